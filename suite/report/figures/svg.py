"""The SVG of figures: elements that a page sets into itself, or that stand by themselves as files.

They name generic families of fonts: a page sets their text in its own.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from typing import Final

from suite.report.layout import Figure

_FAMILY: Final = "system-ui, sans-serif"
_GREYS: Final = ("#6e7781", "#7d8590")
"""Ink of a figure that stands by itself, for a light and for a dark page: a contrast of 4.5 there and of 3.7
on the other, for a page need not be as its reader's system is."""

_SVG: Final = "{http://www.w3.org/2000/svg}"
_HREF: Final = "{http://www.w3.org/1999/xlink}href"


def standalone(figure: Figure) -> str:
    """The SVG of a figure as a file that a page shows as an image, which lends it no colour.

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
    """An ``<svg>`` element to be set into a page: named, described, and inked by the page.

    Args:
        name: ids of its title and its description begin with it.
        title: what it is.
        description: what it shows, for who does not see it.
        size: width and height, pixels.
        content: what is drawn.
        attributes: further ones of the element.
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
    """What matplotlib has drawn as `framed` sets it: short, and with ids of its own.

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
    """Cleans what is below an element, and puts in the place of groups without attributes what is in them."""
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
        elif not value.startswith("rotate(-0 "):
            yield key, _rounded(value).strip()


def _declared(value: str, ink: str) -> Iterator[tuple[str, str]]:
    """Declarations as attributes, which are shorter; what says nothing is left out."""
    for declaration in value.split(";"):
        key, _, said = (part.strip() for part in declaration.partition(":"))
        if key and key not in ("font-family", "stroke-linejoin") and (key, said) != ("text-anchor", "start"):
            yield key, _rounded("currentColor" if said == ink else said.removesuffix("px"))


def _rounded(text: str) -> str:
    """Numbers with two decimals: a hundredth of a pixel, far from the last bits of a processor."""
    return re.sub(
        r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]) + 0:.2f}".rstrip("0").rstrip("."), text
    )
