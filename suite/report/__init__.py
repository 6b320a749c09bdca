"""Reports: claimed against reproduced numbers, from records, as Markdown, CSV and HTML.

All formats come from the same frame (`suite.evidence.frame`) and the same text (`suite.report.page`). The
same records give the same bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import pandas as pd

from suite.csv_cells import harmless
from suite.errors import SuiteError
from suite.evidence.frame import COLUMNS, build_frame, rows_of
from suite.evidence.gathered import Arms, measured_arms
from suite.evidence.served import known_trainings
from suite.paths import records_dir, results_dir
from suite.published.claims import Paper
from suite.published.finding import find_paper
from suite.published.recipes import DEFAULT_PROFILE as DEFAULT_PROFILE
from suite.report.cells import Row
from suite.report.layout import Page
from suite.report.page import build_page
from suite.store.companions import Companion
from suite.store.files import write
from suite.store.samples import SAMPLES
from suite.store.scalars import SCALARS
from suite.store.summaries import Evidence, read_summaries
from suite.strict import Strict
from suite.verdicts import DEVIATIONS, GAIN_LARGER, GAIN_SMALLER, LOSS

FORMATS: Final = {"markdown": "md", "csv": "csv", "html": "html"}
"""Format -> suffix of its files."""
DEFAULT_FORMATS: Final = ("markdown", "csv")

_Entry = TypeVar("_Entry", bound=Strict)

_AGAINST_THE_CLAIM: Final = frozenset({LOSS, GAIN_SMALLER, GAIN_LARGER})


@dataclass(frozen=True)
class Report:
    """The report of one paper at one profile.

    Attributes:
        name: stem of its files.
        frame: the rows, columns as in `suite.evidence.frame.COLUMNS`.
        page: the same in words.
        arms: the measured arms of all claims, from which it was made.
        illustrate: makes the same page with figures, which needs matplotlib and is slow.
    """

    name: str
    frame: pd.DataFrame
    page: Page
    arms: Arms
    illustrate: Callable[[], Page]

    @property
    def rows(self) -> list[Row]:
        """The rows as plain dictionaries, with None for what is missing."""
        return rows_of(self.frame)

    @property
    def deviates(self) -> bool:
        """Whether a verdict contradicts its claim: a deviating number, a loss, a gain of another size."""
        claims = self.frame[self.frame["origin"] == "claim"]
        verdicts = {*claims["verdict"].dropna(), *claims["gain_verdict"].dropna()}
        return not verdicts.isdisjoint(DEVIATIONS | _AGAINST_THE_CLAIM)

    def text(self, format_name: str) -> str:
        """The report in one of `FORMATS`."""
        if format_name == "csv":
            # Ten digits keep every measured number and drop binary rounding noise.
            return _safe(self.frame).to_csv(index=False, lineterminator="\n", float_format="%.10g")
        if format_name == "html":
            from suite.report.html import to_html

            return to_html(self.illustrate())
        from suite.report.markdown import to_markdown

        return to_markdown(self.page)

    def write(self, folder: Path, formats: Sequence[str] = DEFAULT_FORMATS) -> list[Path]:
        """Writes the report; each file is replaced atomically, and an unchanged file is left alone.

        Returns:
            The paths, in the order of `formats`.
        """
        paths = [folder / f"{self.name}.{FORMATS[format_name]}" for format_name in formats]
        for path, format_name in zip(paths, formats, strict=True):
            write(path, self.text(format_name).encode("utf-8"))
        return paths


def _safe(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose texts no spreadsheet interprets as formulas."""
    texts = [name for name, column in COLUMNS.items() if column.dtype == "string"]
    safe: pd.DataFrame = frame.assign(
        **{name: frame[name].map(harmless, na_action="ignore") for name in texts}
    )
    return safe


def make_report(
    paper: Paper,
    records: Sequence[Evidence],
    profile: str = DEFAULT_PROFILE,
    arms: Arms | None = None,
    store: Path | None = None,
) -> Report:
    """Builds the report of a paper.

    The files of the default profile are named after the paper, those of another also after the profile, so
    that a two-iteration smoke run does not replace real results.

    Args:
        paper: the paper with its claims.
        records: the store.
        profile: which records count.
        arms: the measured arms at that profile, if known already: they are the same for all papers.
        store: folder of the records, for figures; by default that in the results folder.
    """
    arms = measured_arms(records, profile) if arms is None else arms
    frame = build_frame([paper], records, profile, arms)
    name = paper.id if profile == DEFAULT_PROFILE else f"{paper.id}-{profile}"
    words = functools.partial(build_page, paper, frame, records, profile, arms=arms)
    beside = functools.partial(_beside, records_dir() if store is None else store)
    illustrate = functools.partial(
        words,
        scalars=functools.partial(beside, SCALARS),
        samples_of=functools.partial(beside, SAMPLES),
    )
    return Report(name, frame, words(), arms, illustrate)


def _beside(store: Path, kind: Companion[_Entry], record: Evidence) -> list[_Entry]:
    """The entries of a file beside a record; empty if it is missing or altered, which others report."""
    try:
        return kind.read(store, record)
    except SuiteError:
        return []


def recorded_profiles(paper: Paper, records: Iterable[Evidence]) -> list[str]:
    """The profiles with records of a paper, in alphabetical order."""
    claims, trainings = {claim.id for claim in paper.claims}, known_trainings()
    return sorted(
        {
            record.profile
            for record in records
            if any(claim in claims for claim, *_ in trainings.served_by(record))
        }
    )


def write_reports(
    paper: str,
    profile: str = DEFAULT_PROFILE,
    output_dir: Path | None = None,
    records: Sequence[Evidence] | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
) -> list[Path]:
    """Writes the report of one paper, for example after every finished run.

    Args:
        paper: id of the paper.
        profile: which records count.
        output_dir: folder to write to; by default the results folder.
        records: the store, if the caller has read it already.
        formats: keys of `FORMATS`.

    Returns:
        The paths written.

    Raises:
        SuiteError: the paper is unknown, or a record cannot be read.
        OSError: the folder cannot be written to; existing files are untouched.
    """
    store = read_summaries(records_dir()) if records is None else records
    return make_report(find_paper(paper), store, profile).write(output_dir or results_dir(), formats)


def rewrite_reports(papers: Iterable[str], profile: str, records: Sequence[Evidence]) -> None:
    """Updates the reports of several papers, for example after every finished run.

    Unchanged files are left alone.

    Args:
        papers: their ids.
        profile: which records count.
        records: the store.

    Raises:
        SuiteError: a paper is unknown.
        OSError: the folder cannot be written to; existing files are untouched.
    """
    arms = measured_arms(records, profile)
    for paper in papers:
        make_report(find_paper(paper), records, profile, arms).write(results_dir())
