"""Paths of figures are shortened, and stay where they were."""

from __future__ import annotations

import re

import pytest

from suite.report.figures.svg import tidied


def path(drawn: str) -> str:
    """A path as the figure has it."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><path d="{drawn}" /></svg>'
    found: list[str] = re.findall(r' d="([^"]*)"', tidied(svg, "x", "t", "d", (100, 100), "#123456"))
    return " ".join(found)


@pytest.mark.parametrize(
    ("drawn", "short"),
    [
        ("M 10.04 20.06 \nL 30.55 20.04 \nL -0.52 -3.1 \nz\n", "M10 20.1l20.6-.1l-31.1-23.1z"),
        ("M 1 1 L 1.04 2 M 5 5 L 5 4", "M1 1l0 1M5 5l0-1"),
        ("M 0 0 C 1 2 3 4 5.21 6.38 L 5.3 6.4", "M0 0C1 2 3 4 5.2 6.4l.1 0"),
        ("M 3 3 L 4 4 z L 3 5", "M3 3l1 1zl0 2"),
    ],
)
def test_a_line_is_a_step_from_the_last_point(drawn, short):
    assert path(drawn) == short


def test_many_short_steps_do_not_drift():
    points = [(0.537 * number, 50 + 0.049 * number) for number in range(500)]
    start, *steps = path("M " + " L ".join(f"{x} {y}" for x, y in points)).split("l")
    x, y = (float(number) for number in start.removeprefix("M").split())
    for step, (there, down) in zip(steps, points[1:], strict=True):
        right, below = (float(number) for number in re.findall(r"-?[\d.]+", step))
        x, y = x + right, y + below
        assert (x, y) == pytest.approx((there, down), abs=0.0501)
