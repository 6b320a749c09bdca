"""Turns numbers and rows of the frame into the texts of table cells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from suite.contract import Arm
from suite.evidence.frame import SEPARATOR
from suite.report.addresses import claim_page, runs_of
from suite.report.layout import Cell, Tone
from suite.verdicts import (
    BLOCKED,
    DEVIATES_HIGH,
    DEVIATES_LOW,
    GAIN,
    GAIN_LARGER,
    GAIN_REPRODUCED,
    GAIN_SMALLER,
    GAIN_UNCLEAR,
    INCONCLUSIVE,
    LARGEST_K,
    LOSS,
    MOST_RUNS,
    NO_CHANGE,
    REPRODUCED,
    RankAgreement,
)

Row = dict[str, Any]
"""One row of the frame, with None for what is missing."""

NOTHING: Final = "—"

ARM_WORDS: Final[dict[Arm, str]] = {
    "teacher": "teacher",
    "student": "student alone",
    "distilled": "distilled",
}
"""The arms that are shown for a claim, in order -> their names."""

_OTHER_ARMS: Final[dict[Arm, str]] = {"backbone": "pretrained backbone", "released": "released"}


def arm_in_words(arm: Arm) -> str:
    """The name of any arm, including those that are not shown for a claim."""
    return ARM_WORDS.get(arm) or _OTHER_ARMS[arm]


_TONES: Final[dict[str, Tone]] = {
    REPRODUCED: "good",
    GAIN_REPRODUCED: "good",
    GAIN: "good",
    DEVIATES_LOW: "bad",
    DEVIATES_HIGH: "bad",
    LOSS: "bad",
    GAIN_SMALLER: "bad",
    GAIN_LARGER: "bad",
    BLOCKED: "bad",
    INCONCLUSIVE: "open",
    GAIN_UNCLEAR: "open",
    NO_CHANGE: "open",
}


def tone_of(verdict: str | None) -> Tone | None:
    """What a verdict says about its claim; None if there is no verdict, or no number to judge."""
    return _TONES.get(verdict or "")


def claim_cell(claim: str) -> Cell:
    """A claim's id, linked to its page."""
    return Cell(claim, link=claim_page(claim))


def measured_cell(row: Row, text: str) -> Cell:
    """A measured number, linked to the runs of its row."""
    return Cell(text, link="" if text == NOTHING else runs_of(row["claim"], row["profile"]))


def percent(value: float | None) -> str:
    """A measured number with two decimals."""
    return NOTHING if value is None else f"{value:.2f}"


def signed(value: float | None, decimals: int = 2) -> str:
    """A difference with its sign."""
    return NOTHING if value is None else f"{value:+.{decimals}f}"


def interval(lower: float | None, upper: float | None, sign: str = "") -> str:
    """An interval in words; `sign` is ``+`` for differences."""
    if lower is None or upper is None:
        return NOTHING
    return f"{lower:{sign}.2f} to {upper:{sign}.2f}"


def spread(mean: float | None, sd: float | None) -> str:
    """A mean with its sample sd, if there is one."""
    return percent(mean) if sd is None else f"{percent(mean)} ± {sd:.2f}"


def p_value(value: float) -> str:
    """A probability with three decimals, or in scientific notation below 0.001."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def yes_no(value: bool | None) -> str:
    """A truth value in words."""
    return NOTHING if value is None else "yes" if value else "no"


def many(count: int, noun: str) -> str:
    """A count with its noun, in the plural unless the count is 1."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def entries(cell: str | None) -> list[str]:
    """The entries of a frame cell that holds several."""
    return cell.split(SEPARATOR) if cell else []


def task_cell(task: str) -> str:
    """A task as the tables name it."""
    return task.replace("_", " ")


def pair_cell(row: Row) -> str:
    """Teacher and student of a row, or whichever it has."""
    if row["teacher"] and row["student"]:
        return f"{row['teacher']} → {row['student']}"
    return row["student"] or row["teacher"] or NOTHING


def claimed_cell(row: Row) -> str:
    """The claimed number with the decimals that were printed."""
    return NOTHING if row["claimed"] is None else f"{row['claimed']:.{row['decimals']}f}"


def reproduced_cell(row: Row) -> str:
    """Mean, sd and number of our runs, or why there are none; then the score of a released checkpoint."""
    if row["reproduced"] is None:
        worded = row["status"] if row["status"] != "finished" else NOTHING
    else:
        worded = f"{spread(row['reproduced'], row['sd'])} (n = {row['n']})"
    return worded if row["released"] is None else f"{worded}; released {percent(row['released'])}"


def runs_cell(row: Row) -> str:
    """How many runs a row is based on, and its status if it is not finished."""
    if row["n"] is None:
        return row["status"] if row["status"] != "finished" else NOTHING
    return f"n = {row['n']}" + ("" if row["status"] == "finished" else f", {row['status']}")


def verdict_cell(row: Row) -> Cell:
    """The verdict on the number, with its strength."""
    if row["verdict"] is None:
        return Cell("not judged" if row["reproduced"] is not None else NOTHING)
    label = f"{row['verdict']}*" if row["marked"] else row["verdict"]
    more = [row["strength"], "equivalent" if row["equivalent"] else None]
    worded = ", ".join(part for part in more if part)
    return Cell(f"{label} ({worded})" if worded else label, tone_of(row["verdict"]))


def gain_cell(row: Row) -> str:
    """The reproduced gain of a row with its interval."""
    if row["gain"] is None:
        return NOTHING
    bounds = interval(row["gain_lower"], row["gain_upper"], sign="+")
    worded = signed(row["gain"]) if bounds == NOTHING else f"{signed(row['gain'])} ({bounds})"
    if row["retained"] is None:
        return worded
    return f"{worded}, {row['retained']:.0%} of the claim"


def gain_verdict_cell(row: Row) -> Cell:
    """The verdict on the gain."""
    if row["gain_verdict"] is None:
        return Cell(NOTHING if row["gain"] is None else "not judged")
    label = f"{row['gain_verdict']}*" if row["gain_marked"] else row["gain_verdict"]
    return Cell(label, tone_of(row["gain_verdict"]))


def best_of_k_cell(row: Row) -> str:
    """For a number that is too low: the k for which the best of k runs would explain the claim."""
    if row["verdict"] != DEVIATES_LOW:
        return NOTHING
    return f"more than {LARGEST_K}" if row["best_of_k"] is None else str(row["best_of_k"])


def runs_needed_cell(row: Row) -> str:
    """For an undecided number: how many runs would decide it."""
    if row["verdict"] != INCONCLUSIVE:
        return NOTHING
    return f"more than {MOST_RUNS}" if row["runs_needed"] is None else str(row["runs_needed"])


def main_rows(rows: Iterable[Row]) -> list[Row]:
    """The main row of each claim of a paper: that of its main metric."""
    return [row for row in rows if row["origin"] == "claim" and row["main"]]


def measured_values(rows: Iterable[Row]) -> dict[str, float]:
    """Claim -> mean over the seeds, for the rows that were measured and not blocked."""
    return {
        row["claim"]: row["reproduced"]
        for row in rows
        if row["reproduced"] is not None and row["verdict"] != BLOCKED
    }


def agreement_sentence(agreement: RankAgreement, of: int, what: str) -> str:
    """A tau in words, with its p value and the number of rows, or why there is none.

    Args:
        agreement: between the claimed and the measured order.
        of: how many rows were claimed.
        what: noun for the rows, in the plural.
    """
    if agreement.tau is None or agreement.p_value is None:
        equal = ", all tied in claim or result" if agreement.n > 1 else ""
        return f"no tau, {agreement.n or 'none'} of {of} {what} measured{equal}"
    name = "tau-b (for ties)" if agreement.ties else "tau"
    kind = "exact p" if agreement.exact else "approximate p"
    return (
        f"{name} {agreement.tau:+.2f} over {agreement.n} of {of} {what} "
        f"({kind} = {p_value(agreement.p_value)})"
    )
