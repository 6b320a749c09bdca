"""What all figures have in common: bytes, names, ink, text that stays text."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from suite.paths import ROOT
from suite.report.figures.style import (
    CLAIMED,
    INK,
    MEASURED,
    SMALL,
    TEACHER,
    Key,
    Sheet,
    draw,
    labels_of,
    mark,
    numbers,
    slug,
    ticks_between,
    width_of,
)
from suite.report.figures.svg import _GREYS, standalone
from suite.report.layout import Figure
from tests.report.figures.conftest import SVG, parsed, texts

HOSTILE = "</text><script>alert(1)</script> & $x^2$ $\\frac{ | =cmd()\n\x1b[31m\u202e \\input{x} \ud800"


def example(name: str = "example", text: str = HOSTILE) -> Figure:
    def paint(sheet: Sheet) -> None:
        axes = sheet.panel((40, 40, 280, 160), (-1, 1), (0, 10))
        sheet.columns(axes, ticks_between(-1, 1), "+")
        sheet.rows(axes, ticks_between(0, 10))
        axes.plot([-1, 0, 1], [1, 9, 2], color=MEASURED)
        axes.plot([0.5], [0.123456789], linestyle="none", **mark("o", CLAIMED))
        sheet.legend(0, 12, [Key("claimed", CLAIMED, "D"), Key("a band", INK, band=True)])
        sheet.text(150, 20, text, "center")

    return draw(name, f"Title {text}", f"Said of it: {text}", (300, 200), paint, numbers(("a",), [(text,)]))


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("paper", ["#ffffff", "#0d1117", "#1e1e1e"])
@pytest.mark.parametrize("colour", [CLAIMED, MEASURED, TEACHER])
def test_the_palette_stands_out_on_white_and_on_near_black(colour, paper):
    assert contrast(colour, paper) >= 3


def test_the_ink_of_a_figure_by_itself_is_legible_on_both_and_more_so_where_it_is_meant_for():
    light, dark = _GREYS
    assert contrast(light, "#ffffff") >= 4.5
    assert contrast(dark, "#0d1117") >= 4.5
    assert min(contrast(light, "#0d1117"), contrast(dark, "#ffffff")) >= 3.7


def test_a_figure_is_one_named_and_described_image_of_its_own_ids():
    root = parsed(example("first"))
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    named = [root.find(f"*[@id='{name}']") for name in root.get("aria-labelledby", "").split()]
    assert [element.tag for element in named if element is not None] == [f"{SVG}title", f"{SVG}desc"]
    ids = [element.get("id", "") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(name.startswith("first-") for name in ids)
    for link in re.findall(r'(?:href="#|url\(#)([^")]+)', example("first").svg):
        assert link in ids


def test_ink_is_the_colour_of_the_text_around_and_nothing_tells_when_or_with_what_it_was_made():
    svg = example().svg
    assert 'stroke="currentColor"' in svg
    assert INK not in svg
    for word in ("matplotlib", "metadata", "DejaVu", "<?xml", "DOCTYPE", "<style"):
        assert word.lower() not in re.sub(r'"[^"]*"', "", svg).lower()
    assert "DejaVu" not in svg
    assert not re.search(r"20\d\d-\d\d", svg)


def test_hostile_text_is_text():
    figure = example()
    root = parsed(figure)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "title", "desc", "defs", "clipPath", "rect", "g", "path", "use", "text")
    }
    shown = [text for text in texts(figure) if "script" in text]
    assert len(shown) == 1
    assert "$x^2$ $\\frac{ | =cmd()" in shown[0]
    for name in ("title", "desc"):
        assert "<script>" in (root.findtext(f"{SVG}{name}") or "")
    for evil in ("<script", "\x1b", "\u202e", "\n", "\ud800"):
        assert evil not in figure.svg


def test_what_does_not_fit_ends_in_an_ellipsis():
    def paint(sheet: Sheet) -> None:
        sheet.text(0, 10, "foreground and background", size=SMALL, within=60)
        sheet.text(0, 30, "short", size=SMALL, within=width_of("short", SMALL))

    cut, whole = texts(draw("x", "t", "d", (100, 40), paint, numbers(("a",), [])))
    assert cut.endswith("…")
    assert width_of(cut, SMALL) <= 60
    assert whole == "short"


def test_labels_have_the_decimals_and_the_sign_that_they_need():
    assert labels_of([-2.5, 0, 2.5], "+") == ["\N{MINUS SIGN}2.5", "0.0", "+2.5"]
    assert labels_of([10, 20.0]) == ["10", "20"]
    assert ticks_between(0, 1, 5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


def test_a_name_is_fit_for_a_file_and_an_anchor():
    assert slug("FGD / x|y", "", "β") == "fgd-x-y"
    assert slug("<>") == "figure"


def test_a_figure_by_itself_brings_its_ink():
    text = standalone(example())
    assert ET.fromstring(text).find(f"{SVG}style") is not None
    assert "prefers-color-scheme:dark" in text


def test_nothing_of_matplotlib_is_left_changed():
    import matplotlib

    before = dict(matplotlib.rcParams)
    example()
    assert dict(matplotlib.rcParams) == before


ANYWHERE = """
import hashlib, sys
from tests.report.figures.test_style import example
print(hashlib.sha256(example().svg.encode()).hexdigest(), sorted(n for n in sys.modules if "pyplot" in n))
"""

RC = """
backend: agg
svg.fonttype: path
svg.hashsalt: another
font.family: serif
font.size: 30
text.parse_math: True
axes.formatter.use_locale: True
axes.linewidth: 9
lines.linewidth: 7
lines.markersize: 20
lines.dashed_pattern: 1, 1
path.simplify: True
figure.dpi: 300
savefig.dpi: 300
savefig.bbox: tight
savefig.transparent: False
savefig.facecolor: red
figure.constrained_layout.use: True
axes.autolimit_mode: round_numbers
"""


def test_another_process_with_other_settings_draws_the_same_bytes(tmp_path: Path):
    settings = tmp_path / "matplotlibrc"
    settings.write_text(RC, encoding="utf-8")
    environment = os.environ | {
        "MATPLOTLIBRC": str(settings),
        "PYTHONHASHSEED": "77",
        "PYTHONPATH": str(ROOT),
        "SOURCE_DATE_EPOCH": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", ANYWHERE],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [hashlib.sha256(example().svg.encode()).hexdigest(), "[]"]
