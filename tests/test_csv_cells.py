"""Text of a CSV file is never a formula, and numbers stay numbers."""

from __future__ import annotations

import pytest

from suite.csv_cells import harmless


@pytest.mark.parametrize(
    "cell",
    [
        "=cmd()",
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "  =1",
        "\t=1",
        "\r=1",
        "\n=1",
        "--again",
        "-",
        "+",
        "-1 0 1",
        "\uff1d1",
    ],
)
def test_what_begins_like_a_formula_becomes_text(cell: str):
    assert harmless(cell) == f"'{cell}"


@pytest.mark.parametrize(
    "cell",
    [
        "-8.77",
        "+2.2",
        "-1",
        "+3e-05",
        " -0.5 ",
        "38.4",
        "",
        "mgd-retinanet",
        "a=b",
        "a -1",
        "'=1",
        -1.5,
        None,
    ],
)
def test_numbers_and_other_text_stay_as_they_are(cell: object):
    assert harmless(cell) is cell
