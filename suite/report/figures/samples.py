"""Draws what teacher, student alone and distilled student predict for the same test images."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import accumulate
from typing import Final

from suite.contract import Arm, Sample
from suite.report.cells import ARM_WORDS, NOTHING
from suite.report.figures.style import CLAIMED, MEASURED, SMALL, TEACHER, TEXT, numbers, plain_line, slug
from suite.report.figures.svg import framed
from suite.report.layout import Figure

HEADINGS: Final = ("image", "network", "predicted")

_WIDTH: Final = 220
"""Width of a column, and largest height of an image, in pixels."""
_CLASSES: Final = 84
"""Height of the five classes of a classifier, and largest height of its images, in pixels."""
_BAR: Final = 70
"""Length of a bar of 100 %, in pixels."""
_KEY: Final = 110
"""Width of an entry of the legend, in pixels."""
_GAP: Final = 12
_HEAD: Final = 22
_LINE: Final = 14
"""Pixels from one line of text to the next."""

_COLOURS: Final = (
    *(CLAIMED, MEASURED, TEACHER, "#CC79A7", "#E69F00", "#56B4E9", "#F0E442"),
    *("#999999", "#882255", "#117733", "#332288", "#AA4499", "#44AA99"),
)
"""Colours for the classes of a figure, sorted by name: those of Okabe and Ito, then some of Tol's."""

Colours = Mapping[str, str]
"""Name of a class -> its colour."""


def samples_figure(claim: str, networks: Mapping[Arm, Sequence[Sample]]) -> Figure | None:
    """Draws a row for each image: the image, and what every network predicts for it.

    Args:
        claim: id of the claim.
        networks: arm -> the samples of one run of it.

    Returns:
        The figure; None if there is no image that all networks have in common.
    """
    arms = [arm for arm in ARM_WORDS if networks.get(arm)]
    by_file = {arm: {sample.file: sample for sample in networks[arm]} for arm in arms}
    files = [sample.file for sample in networks[arms[0]]] if arms else []
    rows = [
        [by_file[arm][file] for arm in arms] for file in files if all(file in by_file[arm] for arm in arms)
    ]
    if not rows:
        return None
    titles = [ARM_WORDS[arm] for arm in arms]
    name, title = slug("samples", claim), f"Predictions of the networks of {plain_line(claim)}"
    description = f"{len(rows)} test images, each next to the predictions of: {', '.join(titles)}."
    lines = [
        (plain_line(sample.file), network, predicted_words(sample))
        for row in rows
        for network, sample in zip(titles, row, strict=True)
    ]
    size, content = _drawn(name, titles, rows)
    svg = framed(name, title, description, size, [content])
    return Figure(name, title, description, svg, numbers(HEADINGS, lines))


def predicted_words(sample: Sample) -> str:
    """A prediction in one line: the most likely classes, the objects, or the share of each class."""
    if sample.classes is not None:
        return ", ".join(f"{name} {score:.1f} %" for name, score in sample.classes)
    if sample.objects is not None:
        return ", ".join(f"{found.label} {found.score:.0f} %" for found in sample.objects) or "nothing"
    if sample.areas:
        shares = {name: _inside(lengths) / sum(lengths) for name, lengths in sample.areas.items()}
        return ", ".join(f"{name} {share:.1%}" for name, share in sorted(shares.items(), key=lambda x: -x[1]))
    return NOTHING


def _drawn(
    name: str, titles: Sequence[str], rows: Sequence[Sequence[Sample]]
) -> tuple[tuple[int, int], ET.Element]:
    """Width and height of the figure in pixels, and its content."""
    colours = _colours(rows)
    heights = [_height(row[0]) + _LINE + _GAP for row in rows]
    width, bottom = (len(titles) + 1) * (_WIDTH + _GAP) - _GAP, _HEAD + sum(heights)
    height = bottom + -(-len(colours) // (width // _KEY)) * _LINE
    parts = [*_panels(name, titles, rows, heights, colours), *_legend(colours, width, bottom)]
    return (width, height), ET.fromstring(f'<g font-size="{TEXT:g}">{"".join(parts)}</g>')


def _panels(
    name: str,
    titles: Sequence[str],
    rows: Sequence[Sequence[Sample]],
    heights: Sequence[int],
    colours: Colours,
) -> Iterator[str]:
    for column, head in enumerate(("image", *titles)):
        yield f'<text x="{_left(column)}" y="{TEXT:g}" font-weight="600">{_text(head)}</text>'
    tops = accumulate(heights, initial=_HEAD)
    for number, (top, row) in enumerate(zip(tops, rows, strict=False)):
        image = f"{name}-image-{number}"
        yield f'<g transform="translate(0 {top})">{_image(row[0], image)}{_caption(row[0])}</g>'
        for column, sample in enumerate(row, start=1):
            panel = _panel(sample, image, colours)
            yield f'<g transform="translate({_left(column)} {top})">{panel}</g>'


def _left(column: int) -> int:
    return column * (_WIDTH + _GAP)


def _size(sample: Sample) -> tuple[int, int]:
    """Width and height of an image in the figure, in pixels."""
    highest = _CLASSES if sample.classes is not None else _WIDTH
    scale = min(_WIDTH / sample.width, highest / sample.height)
    return max(1, round(sample.width * scale)), max(1, round(sample.height * scale))


def _height(sample: Sample) -> int:
    """Height of a row in pixels, without the caption."""
    return max(_size(sample)[1], _CLASSES if sample.classes is not None else 0)


def _colours(rows: Sequence[Sequence[Sample]]) -> Colours:
    names = {
        name
        for row in rows
        for sample in row
        for name in (*(sample.areas or {}), *(found.label for found in sample.objects or ()))
    }
    return {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(sorted(names))}


def _legend(colours: Colours, width: int, top: int) -> Iterator[str]:
    """One entry per class, in lines below the images."""
    beside = width // _KEY
    for number, (name, colour) in enumerate(colours.items()):
        line, place = divmod(number, beside)
        x, y = place * _KEY, top + line * _LINE
        shown = name if len(name) <= 15 else f"{name[:12]}..."
        yield f'<rect x="{x}" y="{y}" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{x + 14}" y="{y + 9}" font-size="{SMALL:g}">{_text(shown)}</text>'


def _image(sample: Sample, name: str) -> str:
    """The image, or an empty frame of its size if it may not be redistributed."""
    width, height = _size(sample)
    if sample.png is None:
        frame = 'fill="none" stroke="currentColor" stroke-opacity="0.4"'
        return f'<rect id="{name}" width="{width}" height="{height}" {frame}/>'
    return (
        f'<image id="{name}" width="{width}" height="{height}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{sample.png}"/>'
    )


def _faded(image: str, opacity: float) -> str:
    """The image again, as the background of a prediction."""
    return f'<use href="#{image}" opacity="{opacity:g}"/>'


def _caption(sample: Sample) -> str:
    place = _height(sample) + _LINE - 2
    shown = sample.file if len(sample.file) <= 40 else f"...{sample.file[-37:]}"
    return f'<text y="{place}" font-size="{SMALL:g}" opacity="0.75">{_text(shown)}</text>'


def _panel(sample: Sample, image: str, colours: Colours) -> str:
    """A prediction: classes as bars, or objects or label maps over the image."""
    if sample.classes is not None:
        return "".join(_bars(sample.classes))
    if sample.objects is not None:
        return _faded(image, 0.75) + "".join(_objects(sample, colours))
    return _faded(image, 0.35) + "".join(
        _area(sample, lengths, colours[name], 0.7, name) for name, lengths in (sample.areas or {}).items()
    )


def _bars(classes: Sequence[tuple[str, float]]) -> Iterator[str]:
    for number, (name, score) in enumerate(classes):
        top, length = number * (_LINE + 3), round(_BAR * score / 100, 1)
        ink = f'fill="{_COLOURS[1]}" fill-opacity="0.55"'
        yield f'<rect y="{top}" width="{length}" height="{_LINE - 3}" {ink}/>'
        place = f'x="{_BAR + 6}" y="{top + _LINE - 4}" font-size="{SMALL:g}"'
        yield f"<text {place}>{_text(f'{score:.1f} % {name}')}</text>"


def _objects(sample: Sample, colours: Colours) -> Iterator[str]:
    scale = _size(sample)[0] / sample.width
    for found in sample.objects or ():
        colour = colours[found.label]
        if found.mask is not None:
            yield _area(sample, found.mask, colour, 0.45, found.label)
        x0, y0, x1, y1 = (round(side * scale, 1) for side in found.box)
        yield (
            f'<rect x="{x0}" y="{y0}" width="{round(max(0.0, x1 - x0), 1)}" '
            f'height="{round(max(0.0, y1 - y0), 1)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
            f'<text x="{x0 + 2:.1f}" y="{y0 + SMALL:.1f}" font-size="{SMALL:g}" fill="#000000" '
            f'stroke="#ffffff" stroke-width="2.5" paint-order="stroke">'
            f"{_text(f'{found.label} {found.score:.0f}')}</text>"
        )


def _area(sample: Sample, lengths: Sequence[int], colour: str, opacity: float, name: str) -> str:
    """The cells of a mask as one path, with the name of its class."""
    rows, columns = sample.grid or (1, 1)
    width, height = _size(sample)
    across, down = width / columns, height / rows
    path = "".join(
        f"M{start * across:.1f} {row * down:.1f}H{end * across:.1f}v{down:.1f}H{start * across:.1f}z"
        for row, start, end in _stretches(lengths, columns)
    )
    return f'<path fill="{colour}" fill-opacity="{opacity:g}" d="{path}"><title>{_text(name)}</title></path>'


def _stretches(lengths: Sequence[int], columns: int) -> Iterator[tuple[int, int, int]]:
    """The cells that run lengths cover, row by row: row, first column, and the column after the last."""
    ends = list(accumulate(lengths))
    for start, end in zip(ends[::2], ends[1::2], strict=False):
        for row in range(start // columns, -(-end // columns)):
            first = row * columns
            yield row, max(start - first, 0), min(end - first, columns)


def _inside(lengths: Sequence[int]) -> int:
    return sum(lengths[1::2])


def _text(text: str) -> str:
    return escape(plain_line(text))
