"""A forest plot of gains over the student alone: what was claimed, and what our runs show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from suite.evidence.embedded_noise import gains_of, pairs_of
from suite.evidence.gathered import Arms
from suite.published.finding import claims_by_id
from suite.published.metrics import find_metric
from suite.published.priors import find_margin, practical_margin
from suite.published.roles import find_role
from suite.report.cells import (
    NOTHING,
    Row,
    gain_cell,
    gain_verdict_cell,
    main_rows,
    many,
    pair_cell,
    signed,
    task_cell,
)
from suite.report.figures.style import (
    CLAIMED,
    FAINT,
    GAP,
    INK,
    MEASURED,
    SMALL,
    WIDTH,
    Key,
    Sheet,
    dots,
    draw,
    intervals,
    numbers,
    padded,
    ticks_between,
    width_of,
)
from suite.report.layout import Figure
from suite.verdicts import GAIN_UNCLEAR, INCONCLUSIVE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADINGS: Final = (
    *("claim", "method", "teacher → student", "metric", "gain claimed", "our gain (90 % interval)"),
    *("seed by seed", "verdict"),
)

_OPEN: Final = frozenset({GAIN_UNCLEAR, INCONCLUSIVE, None})
"""Verdicts that leave the gain undecided: it gets a hollow mark."""

_TOP: Final = 52
_ROW: Final = 16
_HEADING: Final = 26
_BOTTOM: Final = 40
_BELOW: Final = 4.5
"""Pixels from a mean to the seeds below it."""
_PLOT_ENDS: Final = 706.0
_PLOT_LEAST: Final = 200.0
_CLAIM_ENDS: Final = 760.0


@dataclass(frozen=True)
class _Gain:
    """One line of the forest plot; all values in points of its metric.

    Attributes:
        row: of the frame.
        seeds: gains per seed.
    """

    row: Row
    seeds: tuple[float, ...]

    @property
    def undecided(self) -> bool:
        """Whether the interval leaves the sign undecided."""
        return self.row["gain_verdict"] in _OPEN

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the 90 % interval; the gain itself if there is none."""
        gain: float = self.row["gain"]
        lower, upper = self.row["gain_lower"], self.row["gain_upper"]
        return (gain, gain) if lower is None or upper is None else (lower, upper)

    @property
    def extent(self) -> Iterator[float]:
        """All its values that are drawn."""
        yield from self.interval
        yield from self.seeds
        if self.row["claimed_gain"] is not None:
            yield self.row["claimed_gain"]


@dataclass(frozen=True)
class _Group:
    """The lines for one task, metric and role.

    Attributes:
        title: above them.
        margin: practical margin, in points of the metric; 0 for none.
        gains: from top to bottom.
    """

    title: str
    margin: float
    gains: Sequence[_Gain]

    @property
    def height(self) -> float:
        return _HEADING + _ROW * len(self.gains)


def gains_figure(rows: Iterable[Row], arms: Arms, name: str = "gains") -> Figure | None:
    """Draws the measured gains of claims, by task, with the claimed ones.

    Args:
        rows: of the frame, in the order in which they are shown; claims with a measured gain are drawn, each
            by its main metric.
        arms: the measured arms, for the gains per seed.
        name: of the figure.

    Returns:
        The figure; None if no gain was measured.
    """
    shown = [row for row in main_rows(rows) if row["gain"] is not None]
    if not shown:
        return None
    groups = _groups([_Gain(row, _seed_gains(row, arms)) for row in shown])
    lines = [_line(gain) for group in groups for gain in group.gains]
    height = _TOP + sum(group.height for group in groups) + _BOTTOM
    above = sum(row["gain"] > 0 for row in shown)
    return draw(
        name,
        "Gains over the student alone, claimed and measured",
        f"{many(len(shown), 'gain')} by task, in percentage points; {above} above zero. A diamond is the "
        "claimed gain, a circle our mean with its 90 % interval, a dot one seed. A hollow circle means that "
        "the interval does not decide.",
        (WIDTH, height),
        lambda sheet: _paint(sheet, groups),
        numbers(HEADINGS, lines),
    )


def _groups(gains: Sequence[_Gain]) -> list[_Group]:
    """Groups gains by task, metric and role: own results first, otherwise in the order of the rows."""

    def kind(gain: _Gain) -> tuple[str, str, str]:
        role = find_role(gain.row["role"])
        return _task(gain.row), gain.row["metric"], "" if role.own else role.plural

    order = list(dict.fromkeys(map(kind, gains)))
    # Stable: tasks keep the order of the rows, and what is not a paper's own result comes last.
    order.sort(key=lambda key: key[2] != "")
    return [
        _Group(
            title=", ".join(part for part in (task, find_metric(metric).title, plural) if part),
            margin=_margin(own[0].row),
            gains=own,
        )
        for task, metric, plural in order
        for own in [[gain for gain in gains if kind(gain) == (task, metric, plural)]]
    ]


def _task(row: Row) -> str:
    claim = claims_by_id().get(row["claim"])
    return task_cell(claim.task).capitalize() if claim else ""


def _margin(row: Row) -> float:
    if row["difference"] is None:
        return find_margin(row["metric"])
    return practical_margin(row["dataset"], row["metric"])


def _seed_gains(row: Row, arms: Arms) -> tuple[float, ...]:
    distilled, alone = (arms.get((row["claim"], arm, ())) for arm in ("distilled", "student"))
    if distilled is None or alone is None:
        return ()
    return tuple(gains_of(pairs_of(row["metric"], distilled, alone)))


def _line(gain: _Gain) -> tuple[str, ...]:
    row = gain.row
    return (
        row["claim"],
        row["method"] or NOTHING,
        pair_cell(row),
        row["metric"],
        signed(row["claimed_gain"], row["decimals"]),
        gain_cell(row),
        ", ".join(map(signed, gain.seeds)) or NOTHING,
        gain_verdict_cell(row),
    )


def _columns(groups: Sequence[_Group]) -> tuple[float, float]:
    """Where the second column of text and the plot begin: names take as much room as they need."""
    rows = [gain.row for group in groups for gain in group.gains]
    method = max(width_of(row["method"] or NOTHING, SMALL) for row in rows)
    pair = max(width_of(pair_cell(row), SMALL) for row in rows)
    room = _PLOT_ENDS - _PLOT_LEAST - 2 * GAP
    method = min(method, max(room - pair, room / 3))
    return method + GAP, min(method + pair, room) + 2 * GAP


def _paint(sheet: Sheet, groups: Sequence[_Group]) -> None:
    second, left = _columns(groups)
    right = _PLOT_ENDS
    ends = [value for group in groups for gain in group.gains for value in gain.extent]
    low, high = padded([0.0, *ends])
    bottom = sheet.height - _BOTTOM
    axes = sheet.panel((left, _TOP, right, bottom), (low, high), (bottom, _TOP))
    sheet.columns(axes, ticks_between(low, high, 8), "+")
    axes.axvline(0, color=INK, linewidth=1)
    sheet.text((left + right) / 2, bottom + 28, "percentage points over the student alone", "center", SMALL)
    _head(sheet, groups, second)
    top = float(_TOP)
    for group in groups:
        _paint_marks(axes, group, top + _HEADING)
        _write_lines(sheet, group, top + _HEADING, (second, left))
        top += group.height


def _head(sheet: Sheet, groups: Sequence[_Group], second: float) -> None:
    sheet.legend(
        0,
        12,
        [
            Key("claimed", CLAIMED, "D"),
            Key("our mean, 90 % interval", MEASURED, "o", line="-"),
            Key("our mean, undecided", MEASURED, "o", hollow=True),
            Key("one seed", INK, "."),
            *([Key("practical margin", INK, band=True)] if any(group.margin for group in groups) else []),
        ],
    )
    sheet.text(0, 38, "method", size=SMALL)
    sheet.text(second, 38, "teacher → student", size=SMALL)
    sheet.text(_CLAIM_ENDS, 38, "claimed", "right", SMALL)
    sheet.text(WIDTH, 38, "ours (90 % interval)", "right", SMALL)


def _write_lines(sheet: Sheet, group: _Group, first: float, columns: tuple[float, float]) -> None:
    second, left = columns
    sheet.text(0, first - _HEADING / 2 + 2, group.title, bold=True)
    for index, gain in enumerate(group.gains):
        row, y = gain.row, first + _ROW * (index + 0.5)
        sheet.text(0, y, row["method"] or NOTHING, size=SMALL, within=second - GAP)
        sheet.text(second, y, pair_cell(row), size=SMALL, within=left - second - GAP)
        sheet.text(_CLAIM_ENDS, y, _printed(row["claimed_gain"], row["decimals"]), "right", SMALL)
        sheet.text(WIDTH, y, _in_short(gain), "right", SMALL)


def _paint_marks(axes: Axes, group: _Group, first: float) -> None:
    """Draws the marks of a group; all of one kind are one path, or one marker that is reused."""
    drawn = [(gain, first + _ROW * (index + 0.5)) for index, gain in enumerate(group.gains)]
    if group.margin:
        band = [-group.margin, group.margin]
        axes.fill_between(band, first, first + _ROW * len(drawn), color=INK, alpha=FAINT, linewidth=0)
    rings = [gain.row["gain"] if gain.undecided else None for gain, _ in drawn]
    intervals(axes, [(*gain.interval, y) for gain, y in drawn], MEASURED, rings)
    claimed = [(gain.row["claimed_gain"], y) for gain, y in drawn if gain.row["claimed_gain"] is not None]
    dots(axes, claimed, "D", CLAIMED)
    for hollow in (False, True):
        means = [(gain.row["gain"], y) for gain, y in drawn if gain.undecided == hollow]
        dots(axes, means, "o", MEASURED, hollow, size=6.5)
    dots(axes, [(x, y + _BELOW) for gain, y in drawn for x in gain.seeds], ".", INK, size=3.5)


def _printed(value: float | None, decimals: int) -> str:
    return NOTHING if value is None else f"{value:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _in_short(gain: _Gain) -> str:
    """The gain with its interval, with one decimal: the table below has more."""
    mean = _printed(gain.row["gain"], 1)
    if gain.row["gain_lower"] is None:
        return mean
    lower, upper = (_printed(end, 1) for end in gain.interval)
    return f"{mean} ({lower} to {upper})"
