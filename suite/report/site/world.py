"""Everything that the site shows: the papers, their reports, and the stored records behind them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from suite.evidence.gathered import Arms, Measured, by_claim, measured_arms
from suite.evidence.served import ClaimArm, claims_served
from suite.published.claims import Claim, Paper
from suite.report import DEFAULT_PROFILE, Report, make_report, recorded_profiles
from suite.report.addresses import CONFIGS
from suite.report.cells import Row, claim_cell
from suite.report.figures.chapters import CURVES, SAMPLES
from suite.report.layout import Cell, Figure, Page
from suite.store.records import read_documents
from suite.store.summaries import Evidence

Document = Mapping[str, Any]
"""A record as stored, as plain data."""

OF_CONFIG: Final = ("recipe", "identity", "protocol")
"""Fields of a record that runs of one series share, except for the items of the identity in `OF_RUN`."""
OF_RUN: Final = ("seed", "repetition")


@dataclass(frozen=True)
class PaperReport:
    """The report of one paper at one profile."""

    paper: Paper
    profile: str
    report: Report

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the frame."""
        return self.report.rows

    @cached_property
    def page(self) -> Page:
        """The report in words, with its figures."""
        return self.report.illustrate()

    @cached_property
    def of_claims(self) -> Mapping[str, Figure]:
        """The figures of single claims, by their names."""
        sections = (section for section in self.page.sections if section.title in (CURVES, SAMPLES))
        return {figure.name: figure for section in sections for figure in section.figures}

    @cached_property
    def by_claim(self) -> Mapping[str, list[Row]]:
        """Claim -> its own rows and those of its variants, in the order of the frame."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            if row["origin"] != "quoted":
                found.setdefault(row["claim"], []).append(row)
        return found


@dataclass(frozen=True)
class Config:
    """The composed config of runs, shared by all that differ only in seed and repetition.

    Attributes:
        digest: of its content; names its page.
        parts: the fields of a record that make it up.
    """

    digest: str
    parts: Document

    @property
    def page(self) -> str:
        """The address of its page."""
        return f"{CONFIGS}/{self.digest}.html"


class World:
    """The records of a store as the site shows them.

    Attributes:
        claims: ids of those that have a page.
        reports: one for each paper and profile, in the order of the papers.
        arms: profile -> the measured arms.
        standing: (run id, attempt) -> the run, for those that appear in a table.
        documents: (run id, attempt) -> the stored record, for the same runs.
    """

    def __init__(
        self, papers: Sequence[Paper], records: Sequence[Evidence], folder: Path, profiles: Sequence[str]
    ) -> None:
        """Makes the reports and reads the records of the runs that appear in them.

        Args:
            papers: all of them.
            records: the store.
            folder: its folder.
            profiles: profiles to show for every paper, besides those that have records of it.

        Raises:
            SuiteError: a record cannot be read.
        """
        of_paper = {
            paper.id: dict.fromkeys([*recorded_profiles(paper, records), *profiles]) or [DEFAULT_PROFILE]
            for paper in papers
        }
        shown = sorted({profile for own in of_paper.values() for profile in own})
        self.arms: dict[str, Arms] = {profile: measured_arms(records, profile) for profile in shown}
        self.reports = [
            PaperReport(paper, profile, make_report(paper, records, profile, self.arms[profile], folder))
            for paper in papers
            for profile in of_paper[paper.id]
        ]
        self.claims = {claim.id for paper in papers for claim in paper.claims}
        self._by_claim = {profile: by_claim(arms) for profile, arms in self.arms.items()}
        self.standing: dict[tuple[str, int], Evidence] = {
            (run.run_id, run.attempt): run
            for arms in self.arms.values()
            for (claim, *_), measured in arms.items()
            if claim in self.claims
            for run in (*measured.runs, *measured.repeated)
        }
        self.documents = read_documents(folder, self.standing)
        self.configs = {key: config_of(document) for key, document in self.documents.items()}

    def arms_of(self, claim: Claim, profile: str) -> dict[ClaimArm, Measured]:
        """The measured arms of a claim and its variants: teacher, student alone, distilled, released."""
        return self._by_claim.get(profile, {}).get(claim.id, {})

    def document(self, run: Evidence) -> Document:
        """The stored record of a run that is shown; empty if the store no longer has it."""
        return self.documents.get((run.run_id, run.attempt), {})

    def served_by(self, run: Evidence) -> tuple[Cell, ...]:
        """The claims that a run serves; one that no paper has any longer is not linked."""
        served = dict.fromkeys(claim for claim, *_ in claims_served(run))
        return tuple(claim_cell(claim) if claim in self.claims else Cell(claim) for claim in served)

    def config(self, run: Evidence) -> Config | None:
        """The composed config of a run; None if its record does not have it."""
        return self.configs.get((run.run_id, run.attempt))

    def runs_by_config(self) -> Iterator[tuple[Config, list[Evidence]]]:
        """Every config with its runs, sorted by seed."""
        found: dict[str, tuple[Config, list[Evidence]]] = {}
        for key in sorted(self.configs, key=lambda key: (self.standing[key].seed, key)):
            config = self.configs[key]
            if config is not None:
                found.setdefault(config.digest, (config, []))[1].append(self.standing[key])
        yield from found.values()


def config_of(document: Document) -> Config | None:
    """The composed config in a record; None if it has none."""
    parts = {name: document[name] for name in OF_CONFIG if document.get(name)}
    if not parts:
        return None
    if isinstance(parts.get("identity"), dict):
        parts["identity"] = {key: value for key, value in parts["identity"].items() if key not in OF_RUN}
    content = json.dumps(parts, sort_keys=True).encode()
    return Config(hashlib.sha256(content).hexdigest()[:16], parts)
