"""The common style of all figures: the same numbers give the same bytes, on every machine.

A figure is laid out in pixels, from the top left corner, and its text is measured in the DejaVu Sans that
comes with matplotlib, so that neither the fonts of a machine nor its ``matplotlibrc`` change anything. What
is drawn in `INK` takes the colour of the text around the figure; `CLAIMED`, `MEASURED` and `TEACHER` are
legible on white and on near-black. `suite.report.figures.svg` produces the SVG.

matplotlib is imported only when a figure is drawn.
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from suite.errors import printable
from suite.report.figures.svg import tidied
from suite.report.layout import Figure, Grid, Line
from suite.report.slugs import slugged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.font_manager import FontProperties

WIDTH: Final = 920
"""Width in pixels of a figure that is as wide as a page."""

INK: Final = "#000000"
"""Becomes ``currentColor``."""

CLAIMED: Final = "#D55E00"
MEASURED: Final = "#0072B2"
TEACHER: Final = "#009E73"
"""The palette: three of the eight colours of Okabe and Ito (2008), which remain distinct under common colour
blindness, chosen for a contrast of at least 3 against white and near-black. Each goes with a shape."""

_NAN: Final = float("nan")
"""Interrupts a path."""

FAINT: Final = 0.08
"""Opacity of bands."""
SOFT: Final = 0.55
"""Opacity of lines that lie behind others."""

GAP: Final = 14.0
"""Pixels between columns of text."""

TEXT: Final = 11.0
SMALL: Final = 10.0
"""Font sizes, pixels."""

_RING: Final = 3.4
"""Pixels from the middle of a hollow mark to where a line may begin."""

_PER_INCH: Final = 72
_X_HEIGHT: Final = 0.36
"""Distance from the baseline to the middle of a line of text, in units of the font size."""

Anchor = Literal["left", "center", "right"]


def slug(*parts: str) -> str:
    """A name for files and anchors: lower-case letters, digits and hyphens."""
    return slugged(" ".join(parts), "figure")


def numbers(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> Grid:
    """The table below a figure, with the numbers that it draws."""
    return Grid(tuple(headings), tuple(Line(tuple(line)) for line in lines), "The numbers", folded=True)


@dataclass(frozen=True)
class Sheet:
    """A figure that is being drawn.

    Attributes:
        width: pixels.
        height: pixels.
        canvas: matplotlib's figure, one pixel per point.
    """

    width: float
    height: float
    canvas: Canvas

    def panel(
        self,
        box: tuple[float, float, float, float],
        x: tuple[float, float],
        y: tuple[float, float] = (1.0, 0.0),
    ) -> Axes:
        """Axes without frame and ticks.

        Args:
            box: left, top, right and bottom, pixels.
            x: the values at the left and at the right.
            y: the values at the bottom and at the top.
        """
        left, top, right, bottom = box
        axes = self.canvas.add_axes(
            (
                left / self.width,
                1 - bottom / self.height,
                (right - left) / self.width,
                (bottom - top) / self.height,
            )
        )
        axes.set_axis_off()
        axes.set_xlim(*x)
        axes.set_ylim(*y)
        return axes

    @functools.cached_property
    def whole(self) -> Axes:
        """Axes over the whole figure, in pixels from the top left corner."""
        return self.panel((0, 0, self.width, self.height), (0, self.width), (self.height, 0))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        anchor: Anchor = "left",
        size: float = TEXT,
        colour: str = INK,
        bold: bool = False,
        within: float | None = None,
    ) -> None:
        """Writes one line of plain text.

        Args:
            x: of its anchor, pixels.
            y: of the middle of its letters, pixels.
            text: shown literally, without markup.
            anchor: which end of it is at `x`.
            size: pixels.
            colour: see `INK`.
            bold: whether it is bold.
            within: largest width in pixels; a longer text is cut off with an ellipsis.
        """
        line = plain_line(text)
        self.canvas.text(
            x / self.width,
            1 - (y + _X_HEIGHT * size) / self.height,
            line if within is None else _fitted(line, size, within),
            fontproperties=_font(size, bold),
            color=colour,
            ha=anchor,
            va="baseline",
        )

    def columns(
        self, axes: Axes, ticks: Sequence[float], sign: str = "", labels: Sequence[str] | None = None
    ) -> None:
        """Labels the horizontal axis of a panel, below it, and draws a line for each tick.

        Args:
            axes: the panel.
            ticks: their values.
            sign: of the labels, as in a format specification; ``+`` for differences.
            labels: of the ticks; by default their values.
        """
        box, (low, high) = axes.get_position(), axes.get_xlim()
        _gridlines(axes, [(tick, y) for tick in ticks for y in (*axes.get_ylim(), _NAN)])
        for tick, label in zip(ticks, labels or labels_of(ticks, sign), strict=True):
            x = box.x0 + (tick - low) / (high - low) * (box.x1 - box.x0)
            self.text(x * self.width, (1 - box.y0) * self.height + 11, label, "center", SMALL)

    def rows(self, axes: Axes, ticks: Sequence[float], sign: str = "") -> None:
        """Labels the vertical axis of a panel, on its left, and draws a line for each tick; see `columns`."""
        box, (low, high) = axes.get_position(), axes.get_ylim()
        _gridlines(axes, [(x, tick) for tick in ticks for x in (*axes.get_xlim(), _NAN)])
        for tick, label in zip(ticks, labels_of(ticks, sign), strict=True):
            y = box.y0 + (tick - low) / (high - low) * (box.y1 - box.y0)
            self.text(box.x0 * self.width - 6, (1 - y) * self.height, label, "right", SMALL)

    def legend(self, x: float, y: float, entries: Sequence[Key]) -> None:
        """Draws a legend in one line.

        Args:
            x: where it begins, pixels.
            y: its middle, pixels.
            entries: from left to right.
        """
        axes = self.whole
        for entry in entries:
            reach = 9 if entry.line or entry.band else 5
            if entry.band:
                axes.fill_between([x, x + 2 * reach], y - 5, y + 5, color=entry.colour, alpha=2 * FAINT, lw=0)
            if entry.line:
                axes.plot([x, x + 2 * reach], [y, y], entry.line, color=entry.colour, lw=1.6)
            if entry.marker:
                axes.plot(
                    [x + reach], [y], linestyle="none", **mark(entry.marker, entry.colour, entry.hollow)
                )
            self.text(x + 2 * reach + 5, y, entry.words, size=SMALL)
            x += 2 * reach + 5 + width_of(entry.words, SMALL) + 18


@dataclass(frozen=True)
class Key:
    """One entry of a legend.

    Attributes:
        words: what the mark stands for.
        colour: of the mark.
        marker: of matplotlib; empty for none.
        hollow: whether the marker is hollow.
        line: line style of matplotlib; empty for none.
        band: whether it is a band.
    """

    words: str
    colour: str
    marker: str = ""
    hollow: bool = False
    line: str = ""
    band: bool = False


def mark(shape: str, colour: str, hollow: bool = False, size: float = 6.0) -> dict[str, Any]:
    """Arguments of `Axes.plot` for a marker: filled, or hollow and as large."""
    return {
        "marker": shape,
        "markersize": size if not hollow else size - 0.6,
        "markerfacecolor": "none" if hollow else colour,
        "markeredgecolor": colour,
        "markeredgewidth": 1.2 if hollow else 0.6,
        "clip_on": False,
    }


def _gridlines(axes: Axes, path: Sequence[tuple[float, float]]) -> None:
    """Draws the lines of all ticks of an axis, as one path with gaps."""
    if path:
        axes.plot(*zip(*path, strict=True), color=INK, alpha=0.12, linewidth=0.8, zorder=0, clip_on=False)


def dots(
    axes: Axes,
    places: Sequence[tuple[float, float]],
    shape: str,
    colour: str,
    hollow: bool = False,
    size: float = 6.0,
) -> None:
    """Draws the same marker at each place."""
    if places:
        axes.plot(*zip(*places, strict=True), linestyle="none", **mark(shape, colour, hollow, size))


def intervals(
    axes: Axes, ends: Sequence[tuple[float, float, float]], colour: str, rings: Sequence[float | None] = ()
) -> None:
    """Draws horizontal intervals, all of them as one path.

    Args:
        axes: the panel.
        ends: lower end, upper end and vertical position of each.
        colour: of the lines.
        rings: position of the hollow mark on each, which the line does not cross; None for a filled mark.
    """
    (low, high), box = axes.get_xlim(), axes.get_window_extent()
    radius = _RING * (high - low) / box.width
    path: list[tuple[float, float]] = []
    for (lower, upper, y), ring in zip(ends, rings or [None] * len(ends), strict=True):
        parts = [(lower, upper)] if ring is None else [(lower, ring - radius), (ring + radius, upper)]
        path += [(x, y) for left, right in parts if left < right for x in (left, right, _NAN)]
    if path:
        axes.plot(*zip(*path, strict=True), color=colour, linewidth=1.6, solid_capstyle="butt")


def draw(
    name: str,
    title: str,
    description: str,
    size: tuple[float, float],
    paint: Callable[[Sheet], None],
    table: Grid,
) -> Figure:
    """Draws a figure.

    Args:
        name: as in `suite.report.layout.Figure`; ids within the SVG begin with it.
        title: likewise.
        description: likewise.
        size: width and height, pixels.
        paint: draws on the sheet; called once.
        table: the numbers.
    """
    title, description = plain_line(title), plain_line(description)
    with _settings():
        sheet = Sheet(*size, _canvas(*size))
        paint(sheet)
        svg = _svg_of(sheet.canvas)
    return Figure(name, title, description, tidied(svg, name, title, description, size, INK), table)


def plain_line(text: str) -> str:
    """A text as one line without control characters."""
    return printable(text, 500)


def ticks_between(low: float, high: float, count: int = 6) -> list[float]:
    """About `count` round numbers from `low` to `high`."""
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(value) for value in found if low <= value <= high]


def labels_of(ticks: Sequence[float], sign: str = "") -> list[str]:
    """The labels of an axis, with as many decimals as its ticks need."""
    decimals = next(
        (n for n in range(6) if all(abs(round(tick, n) - tick) < 1e-9 for tick in ticks)),
        6,
    )
    # Zero gets no sign.
    return [
        f"{tick:{sign if abs(tick) > 1e-12 else ''}.{decimals}f}".replace("-", "\N{MINUS SIGN}")
        for tick in ticks
    ]


def padded(values: Sequence[float], share: float = 0.05, least: float = 0.5) -> tuple[float, float]:
    """A range that contains all values, with some room at its ends."""
    low, high = min(values), max(values)
    room = max((high - low) * share, least)
    return low - room, high + room


def width_of(text: str, size: float = TEXT, bold: bool = False) -> float:
    """Width of a line of text in pixels, in the font that figures are measured with."""
    from matplotlib.textpath import text_to_path

    with warnings.catch_warnings():
        # A character that this font lacks is shown in another one.
        warnings.simplefilter("ignore")
        width, *_ = text_to_path.get_text_width_height_descent(plain_line(text), _font(size, bold), False)
    return float(width)


def labelled_rows(
    sheet: Sheet, labels: Sequence[tuple[str, ...]], top: float, height: float, widest: float = 520.0
) -> float:
    """Writes the labels of lines, in columns as wide as necessary.

    Args:
        sheet: to write on.
        labels: of each line, one text per column.
        top: of the first line, pixels.
        height: of a line, pixels.
        widest: intended width of all columns in pixels; beyond it, the first column shrinks, by half at most.

    Returns:
        Where the columns end, pixels.
    """
    widths = [max(width_of(text, SMALL) for text in column) + GAP for column in zip(*labels, strict=True)]
    widths[0] -= max(0.0, min(sum(widths) - widest, widths[0] / 2))
    for index, line in enumerate(labels):
        x = 0.0
        for text, width in zip(line, widths, strict=True):
            sheet.text(x, top + height * (index + 0.5), text, size=SMALL, within=width - GAP)
            x += width
    return sum(widths)


def _fitted(line: str, size: float, within: float) -> str:
    while width_of(line, size) > within + 0.1 and len(line) > 1:
        line = line.removesuffix("…")[:-1].rstrip() + "…"
    return line


def _font(size: float, bold: bool = False) -> FontProperties:
    import matplotlib
    from matplotlib.font_manager import FontProperties

    face = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / face
    return FontProperties(size=size, weight="bold" if bold else "normal", fname=str(file))


def _canvas(width: float, height: float) -> Canvas:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(width / _PER_INCH, height / _PER_INCH), dpi=_PER_INCH)
    canvas.patch.set_visible(False)
    FigureCanvasSVG(canvas)
    return canvas


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Uses matplotlib's defaults with our settings, whatever the user has configured, and restores those."""
    import matplotlib

    delivered = {
        name: value
        for name, value in matplotlib.rcParamsDefault.items()
        if name not in ("backend", "backend_fallback", "toolbar", "interactive", "timezone")
    }
    ours = {
        "font.family": ["sans-serif"],
        "font.sans-serif": ["DejaVu Sans"],
        "svg.fonttype": "none",
        "svg.hashsalt": "distillation-reproducibility",
        "text.parse_math": False,
        "path.simplify": False,
    }
    with warnings.catch_warnings(), matplotlib.rc_context(delivered | ours):
        warnings.simplefilter("ignore")
        yield


def _svg_of(canvas: Canvas) -> str:
    buffer = io.StringIO()
    nobody = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    canvas.savefig(buffer, format="svg", metadata=nobody)
    return buffer.getvalue()
