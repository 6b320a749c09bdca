"""The SVG of figures: elements that are inlined in a page, or self-contained files.

They name only generic font families, so their text appears in the fonts of the reader's system.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from typing import Final

from suite.report.layout import Figure

_FAMILY: Final = "system-ui, sans-serif"
_GREYS: Final = ("#6e7781", "#7d8590")
"""Ink of a self-contained figure for a light and for a dark page: a contrast of 4.5 there and of 3.7 on the
other, since a page need not match the colour scheme of its reader's system."""

_SVG: Final = "{http://www.w3.org/2000/svg}"
_HREF: Final = "{http://www.w3.org/1999/xlink}href"


def standalone(figure: Figure) -> str:
    """The SVG of a figure as a file, for pages that show it as an image and pass it no colour.

    The ink is a grey that is legible on white and on near-black, and more so on the preferred one.
    """
    light, dark = _GREYS
    inks = f"svg{{color:{light}}}@media (prefers-color-scheme:dark){{svg{{color:{dark}}}}}"
    tag, end, rest = figure.svg.partition(">")
    return f"{tag}{end}<style>{inks}</style>{rest}\n"


def framed(
    name: str,
    title: str,
    description: str,
    size: tuple[float, float],
    content: Iterable[ET.Element],
    **attributes: str,
) -> str:
    """An ``<svg>`` element to be inlined in a page: with title, description, and the page's text colour.

    Args:
        name: ids of its title and its description begin with it.
        title: what it is.
        description: what it shows, for readers who cannot see it.
        size: width and height, pixels.
        content: its elements.
        attributes: further attributes of the element.
    """
    width, height = (f"{side:g}" for side in size)
    top = ET.Element(
        "svg",
        {
            "xmlns": _SVG.strip("{}"),
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-desc",
            "width": width,
            "height": height,
            "viewBox": f"0 0 {width} {height}",
            "font-family": _FAMILY,
            "fill": "currentColor",
            **attributes,
        },
    )
    ET.SubElement(top, "title", id=f"{name}-title").text = title
    ET.SubElement(top, "desc", id=f"{name}-desc").text = description
    top.extend(content)
    return ET.tostring(top, encoding="unicode")


def tidied(svg: str, name: str, title: str, description: str, size: tuple[float, float], ink: str) -> str:
    """Shortens matplotlib's SVG, makes its ids unique, and frames it with `framed`.

    Args:
        svg: as matplotlib writes it.
        name: as in `framed`; all other ids begin with it, too.
        title: as in `framed`.
        description: likewise.
        size: likewise.
        ink: the colour that becomes ``currentColor``.
    """
    root = ET.fromstring(svg)
    used = set(re.findall(r"#([\w-]+)", " ".join(_references(root))))
    _tidy(root, name, used, ink)
    return framed(name, title, description, size, root, **{"stroke-linejoin": "round"})


def _references(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        yield element.get(_HREF, "")
        yield element.get("clip-path", "")


def _tidy(parent: ET.Element, name: str, used: set[str], ink: str) -> None:
    """Cleans the descendants of an element, and replaces groups without attributes by their content."""
    kept: list[ET.Element] = []
    for child in parent:
        child.tag = child.tag.removeprefix(_SVG)
        if child.tag in ("metadata", "style"):
            continue
        child.attrib = dict(_attributes(child, name, used, ink))
        child.text = (child.text or "").strip("\n") if child.tag == "text" else None
        child.tail = None
        _tidy(child, name, used, ink)
        if child.tag in ("g", "defs") and not len(child):
            continue
        kept.extend(child if child.tag == "g" and not child.attrib else [child])
    parent[:] = kept


def _attributes(element: ET.Element, name: str, used: set[str], ink: str) -> Iterator[tuple[str, str]]:
    for key, value in element.attrib.items():
        if key == "id":
            if value in used:
                yield key, f"{name}-{value}"
        elif key == _HREF:
            yield "href", f"#{name}-{value[1:]}"
        elif key == "clip-path":
            yield key, value.replace("#", f"#{name}-")
        elif key == "style":
            yield from _declared(value, ink)
        elif key == "d":
            yield key, _compact(value)
        elif not value.startswith("rotate(-0 "):
            yield key, _rounded(value).strip()


def _declared(value: str, ink: str) -> Iterator[tuple[str, str]]:
    """CSS declarations as attributes, which are shorter; redundant ones are left out."""
    for declaration in value.split(";"):
        key, _, said = (part.strip() for part in declaration.partition(":"))
        if key and key not in ("font-family", "stroke-linejoin") and (key, said) != ("text-anchor", "start"):
            yield key, _rounded("currentColor" if said == ink else said.removesuffix("px"))


def _compact(path: str) -> str:
    """A path in tenths of a pixel, with a line as the step from the last point: figures are mostly paths.

    A step is the difference of two rounded points, so rounding errors do not add up.
    """
    short = ""
    start = at = [0, 0]
    for command, rest in re.findall(r"([A-Za-z])([^A-Za-z]*)", path):
        tenths = [round(10 * float(number)) for number in rest.split()]
        if command == "L":
            short += "l" + _in_pixels(there - here for here, there in zip(at, tenths, strict=True))
        else:
            short += command + _in_pixels(tenths)
        at = tenths[-2:] or start
        if command == "M":
            start = at
    return short


def _in_pixels(tenths: Iterable[int]) -> str:
    """Numbers of a path: neither a leading zero is needed nor a space before a minus sign."""
    written = " ".join(f"{number / 10:g}" for number in tenths)
    return re.sub(r"\b0\.", ".", written).replace(" -", "-")


def _rounded(text: str) -> str:
    """Rounds numbers to a hundredth of a pixel, so that rounding differences of processors do not show."""
    return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]) + 0:.2f}".rstrip("0").rstrip("."), text)
