"""The small published world, records in it, and SVG as its reader has it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from suite.evidence.frame import build_frame, rows_of
from suite.evidence.gathered import Arms, measured_arms
from suite.report.cells import Row
from suite.report.layout import Figure
from tests.report.conftest import dense_paper, pair_records, paper, record, seeds

__all__ = ["dense_paper", "pair_records", "paper", "record", "seeds"]

SVG = "{http://www.w3.org/2000/svg}"


def parsed(figure: Figure) -> ET.Element:
    return ET.fromstring(figure.svg)


def drawn(figure: Figure | None) -> Figure:
    """The figure, which is there."""
    assert figure is not None
    return figure


def texts(figure: Figure) -> list[str]:
    """What is written in a figure, in the order of the file."""
    return [element.text or "" for element in parsed(figure).iter(f"{SVG}text")]


def marks(figure: Figure, colour: str, hollow: bool = False) -> list[tuple[float, float]]:
    """Where the markers of a colour lie that are filled, or outlines; those of the legend come with them."""
    return [
        (float(use.get("x", "")), float(use.get("y", "")))
        for use in parsed(figure).iter(f"{SVG}use")
        if use.get("stroke", "").lower() == colour.lower() and (use.get("fill-opacity") == "0") == hollow
    ]


@pytest.fixture
def measured_rows(record, monkeypatch, paper) -> Callable[..., tuple[list[Row], Arms]]:
    """Rows and arms of the small paper, given its student's and its method's top-1 accuracies by seed."""
    monkeypatch.setattr("suite.published.finding.load_papers", lambda: {"tiny": paper})

    def make(student, profile="mini", **methods):
        records = [
            record(
                ["tiny-base", *(f"tiny-{name}" for name in methods)],
                "student",
                seed,
                top1=value,
                profile=profile,
            )
            for seed, value in enumerate(student)
        ]
        records += [
            record(f"tiny-{name}", "distilled", seed, top1=value, profile=profile)
            for name, values in methods.items()
            for seed, value in enumerate(values)
        ]
        return rows_of(build_frame([paper], records, profile)), measured_arms(records, profile)

    return make
