"""What a report says, worded once: Markdown and HTML only set these strings.

Nothing here depends on the time or the machine of the report: the same records give the same page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from suite.claims import Paper, Table
from suite.priors import find_prior, load_priors
from suite.records import Record
from suite.report.frame import SEPARATOR, measured_arms, rows_of
from suite.verdicts import (
    DEVIATES_LOW,
    DEVIATIONS,
    INCONCLUSIVE,
    LARGEST_K,
    MOST_RUNS,
    NOT_COMPARABLE,
    STANDARD_RUNS,
    SignTest,
    sign_test,
)

Row = dict[str, Any]
"""One row of the frame, with None for what is missing."""

NOTHING: Final = "—"

EMBEDDED_OPENING: Final = (
    "The data of these runs are embedded in the project, drawn from scikit-learn's handwritten digits: "
    "published numbers are not comparable with them, and only the sign of a gain is judged."
)
_HOW_TO_READ_EMBEDDED: Final = (
    "Claimed is what the paper or its README prints. Reproduced is the mean ± sample sd over the seeds of "
    "our runs of the same method with shrunken models. The gain is that of the distilled runs over our own "
    "student trained alone, paired by seed; its 90 % interval says `GAIN` when it lies above zero, `LOSS` "
    "below, and `GAIN_UNCLEAR` when it holds zero or fewer than three seeds have run."
)
_HOW_TO_READ_PUBLISHED: Final = (
    "Claimed is what the paper or its README prints, reproduced the mean ± sample sd over our seeds. The "
    "interval is where one more run of ours would fall in 95 of 100 cases; a claim deviates when it lies "
    "outside, and further off than rounding and the practical margin explain. One or two runs only screen. "
    "The gain is that over our own re-trained student, with its 90 % interval. A verdict with `*` comes from "
    "runs with listed departures."
)

HEADINGS: Final = (
    "claim",
    "method",
    "teacher → student",
    "teacher measured",
    "metric",
    "claimed",
    "reproduced",
    "difference",
    "95 % interval",
    "verdict",
    "gain claimed",
    "gain reproduced (90 % interval)",
    "gain verdict",
)
DETAIL_HEADINGS: Final = (
    "claim",
    "metric",
    "verdict",
    "p",
    "survives Benjamini-Hochberg",
    "survives 1.5 sigma0",
    "best of k",
    "runs needed",
)
OTHERS_HEADINGS: Final = ("about", "kind", "method", "teacher → student", "numbers", "gains", "source")

_FACTS: Final = {
    "python": "Python",
    "torch": "torch",
    "torchvision": "torchvision",
    "mmengine": "mmengine",
    "mmcv": "mmcv",
    "mmpretrain": "mmpretrain",
    "mmdet": "mmdet",
    "mmseg": "mmseg",
    "gpu": "GPU",
    "driver": "driver",
    "cpu": "CPU",
    "os": "operating system",
    "commit": "commit",
}
"""Key in the provenance of a record, at its top or in one of its groups -> the fact as printed."""


@dataclass(frozen=True)
class Line:
    """One row of a table: its cells, and the numbers of its footnotes (from 1)."""

    cells: tuple[str, ...]
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Section:
    """One published table.

    Attributes:
        title: heading.
        remark: where it was published, and whether all its rows are known.
        lines: the judged metrics, columns as `HEADINGS`.
        further: metrics that were measured and have no prior to be judged with.
    """

    title: str
    remark: str
    lines: tuple[Line, ...]
    further: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Page:
    """A whole report, in words.

    Attributes:
        title: heading.
        paragraphs: how to read it; on embedded data the first sentence says that they are.
        caption: what was run, and the sign test over pairs.
        sections: one for each published table with claims.
        details: lines of `DETAIL_HEADINGS` for every deviation and every undecided row.
        others: lines of `OTHERS_HEADINGS`: what somebody else measured.
        shared_departures: departures that every finished row has.
        footnotes: texts; footnote n is entry n - 1.
        commands: what makes these numbers.
        environment: fact -> its distinct values over the records.
    """

    title: str
    paragraphs: tuple[str, ...]
    caption: tuple[str, ...]
    sections: tuple[Section, ...]
    details: tuple[Line, ...]
    others: tuple[Line, ...]
    shared_departures: tuple[str, ...]
    footnotes: tuple[str, ...]
    commands: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]


def build_page(paper: Paper, frame: pd.DataFrame, records: Iterable[Record], profile: str) -> Page:
    """Words the report of one paper.

    Args:
        paper: the published side.
        frame: its rows, from `suite.report.frame.build_frame`.
        records: the store that the frame was built from; the environment is that of the records it used.
        profile: the profile of the frame.
    """
    rows = rows_of(frame)
    used = _used(paper, records, profile)
    embedded = not all(record.comparable for record in used) if used else profile != "paper"
    wording = _Wording(paper, rows)
    return Page(
        title=f"{paper.id.upper()}: {paper.title} ({paper.venue})",
        paragraphs=(f"{EMBEDDED_OPENING} {_HOW_TO_READ_EMBEDDED}" if embedded else _HOW_TO_READ_PUBLISHED,),
        caption=(_counts(rows, profile), _sign_sentence(sign_test(pair_gains(rows))), *_priors_used(rows)),
        sections=tuple(wording.sections()),
        details=tuple(_detail(row) for row in rows if row["verdict"] in {*DEVIATIONS, INCONCLUSIVE}),
        others=tuple(_others(rows)),
        shared_departures=wording.shared_departures,
        footnotes=wording.footnotes(),
        commands=_commands(paper.id, profile, rows),
        environment=tuple(environment(used)),
    )


def pair_gains(rows: Iterable[Row]) -> list[float]:
    """Mean gains of the pairs behind the claims of a paper's own methods, for the sign test.

    The first metric of a claim speaks for it, and claims that one series of runs serves count once.
    """
    gains: dict[str, float] = {}
    spoken: set[str] = set()
    for row in rows:
        if row["role"] == "ours" and row["claim"] not in spoken:
            spoken.add(row["claim"])
            if row["gain"] is not None:
                gains.setdefault(row["series"], row["gain"])
    return list(gains.values())


class _Wording:
    """Turns the rows of one paper into lines, collecting footnotes in the order of their first use."""

    def __init__(self, paper: Paper, rows: Sequence[Row]) -> None:
        self._paper = paper
        self._rows = rows
        self._numbers: dict[str, int] = {}
        self._discrepancies = {
            item.id: f"{item.title}. {item.text} Sources: {'; '.join(item.sources)}."
            for item in paper.discrepancies
        }
        finished = [set(_entries(row["departures"])) for row in rows if row["n"]]
        self.shared_departures = tuple(sorted(set.intersection(*finished))) if finished else ()

    def sections(self) -> Iterator[Section]:
        """One section for each published table that prints a claim."""
        for table in self._paper.tables:
            rows = [
                row for row in self._rows if row["origin"] == "claim" and table.id in _entries(row["tables"])
            ]
            if rows:
                main = _headline_rows(rows)
                further = [row for row in rows if row["n"] and row not in main]
                yield Section(
                    title=_table_title(table),
                    remark=table.source
                    + ("" if table.complete else "; more rows of it exist than are known here"),
                    lines=tuple(self._line(row) for row in main),
                    further=tuple(self._line(row) for row in further),
                )

    def footnotes(self) -> tuple[str, ...]:
        """The texts that the lines refer to; ask after the sections."""
        return tuple(self._numbers)

    def _line(self, row: Row) -> Line:
        return Line(
            cells=(
                row["claim"],
                row["method"] or NOTHING,
                pair_cell(row),
                percent(row["teacher_measured"]),
                row["metric"],
                _claimed(row),
                _reproduced(row),
                signed(row["difference"]),
                _interval(row["lower"], row["upper"]),
                _verdict(row),
                signed(row["claimed_gain"], row["decimals"]),
                gain_cell(row),
                _gain_verdict(row),
            ),
            notes=tuple(self._numbers.setdefault(text, len(self._numbers) + 1) for text in self._notes(row)),
        )

    def _notes(self, row: Row) -> Iterator[str]:
        # Reasons that hold for a whole report are said once at its top.
        if row["reason"] and row["verdict"] != NOT_COMPARABLE:
            yield _sentence(row["reason"])
        if row["gain_reason"] and row["gain_reason"] != row["reason"]:
            yield _sentence(row["gain_reason"])
        for text in _entries(row["departures"]):
            if text not in self.shared_departures:
                yield f"Departure: {text}"
        for identifier in _entries(row["discrepancies"]):
            yield f"Discrepancy: {self._discrepancies[identifier]}"
        if row["older_records"]:
            yield (
                f"Left out of this row: {_many(row['older_records'], 'finished run')} of an earlier recipe, "
                "data or version."
            )


def environment(records: Iterable[Record]) -> Iterator[tuple[str, str]]:
    """What the records were made with: each fact with its distinct values, the most frequent first.

    Args:
        records: in any order; facts that no record has are left out.
    """
    seen: dict[str, Counter[str]] = {key: Counter() for key in _FACTS}
    for record in records:
        provenance = record.provenance
        for group in (provenance, *(value for value in provenance.values() if isinstance(value, dict))):
            for key in seen.keys() & group.keys():
                if group[key] is not None and not isinstance(group[key], dict):
                    seen[key][str(group[key])] += 1
    for key, values in seen.items():
        if values:
            yield _FACTS[key], ", ".join(sorted(values, key=lambda value: (-values[value], value)))


def _used(paper: Paper, records: Iterable[Record], profile: str) -> list[Record]:
    """The finished records that the frame of a paper rests on, each once."""
    claims = {claim.id for claim in paper.claims}
    runs = {
        run.run_id: run
        for (claim, _), measured in measured_arms(records, profile).items()
        if claim in claims
        for run in measured.finished
    }
    return list(runs.values())


def _headline_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows that carry a table: metrics with a noise prior, or else the first metric of a claim."""
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row["claim"], row["metric"])
    return [
        row
        for row in rows
        if row["metric"] == first[row["claim"]] or find_prior(row["dataset"], row["metric"]) is not None
    ]


def _table_title(table: Table) -> str:
    if table.number is None:
        return table.title
    where = f"Table {table.number}" if table.number.isdigit() else table.number.capitalize()
    return f"{where}: {table.title}"


def _counts(rows: Sequence[Row], profile: str) -> str:
    """How many claims are where."""
    status: dict[str, str] = {}
    for row in rows:
        if row["origin"] == "claim":
            status.setdefault(row["claim"], row["status"])
    counted = Counter(status.values())
    judged = len(status) - counted["quoted"]
    parts = [f"{counted['finished']} of {judged} claims finished"]
    parts += [f"{counted[name]} {name}" for name in ("failed", "blocked", "not run") if counted[name]]
    parts += [f"{_many(counted['quoted'], 'number')} of rivals quoted"] if counted["quoted"] else []
    return f"Profile `{profile}`: {', '.join(parts)}."


def _sign_sentence(test: SignTest) -> str:
    pairs = test.positive + test.negative + test.ties
    if not pairs:
        return "No gain has been measured yet."
    signs = f"{test.positive} above zero, {test.negative} below, {test.ties} equal"
    p = _p(test.p_value)
    return f"Sign test over {_many(pairs, 'pair')} with a measured gain: {signs} (exact, two-sided p = {p})."


def _priors_used(rows: Sequence[Row]) -> list[str]:
    if not any(row["p_value"] is not None for row in rows):
        return []
    return [f"Noise priors: version {load_priors().version} (`baselines/priors.yaml`)."]


def _commands(paper: str, profile: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """The command that makes these numbers, with as many seeds as the best row has."""
    seeds = max((row["n"] or 0 for row in rows), default=0) or STANDARD_RUNS
    return (
        f"make reproduce PAPER={paper} PROFILE={profile} SEEDS={seeds}",
        f"python -m suite reproduce --paper {paper} --profile {profile} --seeds {seeds}",
    )


def _detail(row: Row) -> Line:
    """What stands beside a deviation, and what an undecided row would need."""
    deviates = row["verdict"] in DEVIATIONS
    return Line(
        (
            row["claim"],
            row["metric"],
            _verdict(row),
            _p(row["p_value"]),
            _yes_no(row["survives_bh"]) if deviates else NOTHING,
            _yes_no(row["survives_wider_prior"]),
            _best_of_k(row),
            _runs_needed(row),
        )
    )


def _best_of_k(row: Row) -> str:
    if row["verdict"] != DEVIATES_LOW:
        return NOTHING
    return f"more than {LARGEST_K}" if row["best_of_k"] is None else str(row["best_of_k"])


def _runs_needed(row: Row) -> str:
    if row["verdict"] != INCONCLUSIVE:
        return NOTHING
    return f"more than {MOST_RUNS}" if row["runs_needed"] is None else str(row["runs_needed"])


def _others(rows: Sequence[Row]) -> Iterator[Line]:
    """One line for each number, or row of numbers, that somebody else printed."""
    quoted: dict[str, list[Row]] = {}
    for row in rows:
        if row["origin"] == "quoted":
            quoted.setdefault(row["claim"], []).append(row)
    for metrics in quoted.values():
        row = metrics[0]
        numbers = [f"{each['metric']} {_claimed(each)}" for each in metrics if each["claimed"] is not None]
        gains = [
            f"{each['metric']} {signed(each['claimed_gain'], each['decimals'])}"
            for each in metrics
            if each["claimed_gain"] is not None
        ]
        yield Line(
            (
                row["about"] or NOTHING,
                row["role"],
                row["method"] or NOTHING,
                pair_cell(row),
                ", ".join(numbers) or NOTHING,
                ", ".join(gains) or NOTHING,
                row["source"] + (f". {row['note']}" if row["note"] else ""),
            )
        )


def pair_cell(row: Row) -> str:
    """Teacher and student of a row, or the one there is."""
    if row["teacher"] and row["student"]:
        return f"{row['teacher']} → {row['student']}"
    return row["student"] or row["teacher"] or NOTHING


def _claimed(row: Row) -> str:
    return NOTHING if row["claimed"] is None else f"{row['claimed']:.{row['decimals']}f}"


def _reproduced(row: Row) -> str:
    if row["reproduced"] is None:
        return row["status"] if row["status"] != "finished" else NOTHING
    spread = "" if row["sd"] is None else f" ± {row['sd']:.2f}"
    return f"{row['reproduced']:.2f}{spread} (n = {row['n']})"


def _verdict(row: Row) -> str:
    if row["verdict"] is None:
        return "not judged" if row["reproduced"] is not None else NOTHING
    label = f"{row['verdict']}*" if row["marked"] else row["verdict"]
    more = [row["strength"], "equivalent" if row["equivalent"] else None]
    worded = ", ".join(part for part in more if part)
    return f"{label} ({worded})" if worded else label


def gain_cell(row: Row) -> str:
    """The reproduced gain of a row with its interval."""
    if row["gain"] is None:
        return NOTHING
    interval = _interval(row["gain_lower"], row["gain_upper"], sign="+")
    worded = signed(row["gain"]) if interval == NOTHING else f"{signed(row['gain'])} ({interval})"
    if row["retained"] is None:
        return worded
    return f"{worded}, {row['retained']:.0%} of the claim"


def _gain_verdict(row: Row) -> str:
    if row["gain_verdict"] is None:
        return NOTHING if row["gain"] is None else "not judged"
    return f"{row['gain_verdict']}*" if row["gain_marked"] else row["gain_verdict"]


def percent(value: float | None) -> str:
    """A measured number with two decimals."""
    return NOTHING if value is None else f"{value:.2f}"


def signed(value: float | None, decimals: int = 2) -> str:
    """A difference with its sign."""
    return NOTHING if value is None else f"{value:+.{decimals}f}"


def _interval(lower: float | None, upper: float | None, sign: str = "") -> str:
    if lower is None or upper is None:
        return NOTHING
    return f"{lower:{sign}.2f} to {upper:{sign}.2f}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def _yes_no(value: bool | None) -> str:
    return NOTHING if value is None else "yes" if value else "no"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _entries(cell: str | None) -> list[str]:
    return cell.split(SEPARATOR) if cell else []
