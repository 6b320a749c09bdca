"""The site of the reference records, with hostile records and a hostile paper among them.

A result of FGD without a number in the reference has a planted one: one table has every verdict.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from suite.paths import REFERENCE
from suite.published.claims import Claim, Paper
from suite.published.finding import load_papers
from suite.report.site import write_site
from suite.store.record import Record
from suite.store.records import read_all, write_record
from suite.store.summaries import read_summaries
from tests.report.conftest import make_record

EVIL = (
    "<script>alert(1)</script> | \"'><img src=x onerror=alert(2)> =cmd() javascript:alert(3) {{7*7}}\nsecond"
)
LONG = "w" * 300
"""A word that breaks a page where nothing breaks the word."""


def build(folder: Path) -> None:
    """Writes the site to ``site/`` of a folder, and beside it the store that it is of."""
    store = folder / "records"
    shutil.copytree(REFERENCE / "records", store, ignore=shutil.ignore_patterns(".*"))
    papers = load_papers()
    measured = read_all(store)
    for record in (*_hostile_records(measured), *_planted_records(papers["fgd"], measured)):
        write_record(store, record)
    everything = [*papers.values(), _hostile_paper(papers["mgd"])]
    write_site(folder / "site", everything, read_summaries(store), store, folder / "work")


def _hostile_records(records: list[Record]) -> Iterator[Record]:
    """A run that failed with a hostile message, and one more seed with hostile facts of its machine."""
    one = next(record for record in records if record.arm == "distilled" and record.task == "detection")
    document = json.loads(one.model_dump_json())
    facts = {"hostname": EVIL, "cpu": f"{EVIL} {LONG}", "os": LONG}
    changes: list[dict[str, Any]] = [
        {"seed": 8, "status": "failed", "metrics": {}, "error": f"{EVIL} {LONG}"},
        {"seed": 9, "provenance": {**document["provenance"], "host": facts, "command": EVIL}},
    ]
    for number, change in enumerate(changes):
        run_id = f"{number:016x}"
        yield Record.model_validate_json(
            json.dumps({**document, **change, "run_id": run_id, "former_ids": []})
        )


def _planted_records(paper: Paper, measured: list[Record]) -> Iterator[Record]:
    """Three seeds of each pair that no record serves; a third gains, losses and undecided each."""
    served = {served.claim for record in measured for served in record.claims}
    pairs: dict[str, list[Claim]] = {}
    for claim in paper.claims:
        if claim.baseline and not served & {claim.id, claim.baseline}:
            pairs.setdefault(claim.baseline, []).append(claim)
    for baseline, claims in pairs.items():
        everyone = [baseline, *(claim.id for claim in claims)]
        for seed, noise in enumerate((-0.3, 0.0, 0.3)):
            yield _planted(claims[0], everyone, "student", seed, 50 + noise)
            for number, claim in enumerate(claims):
                gain = (4.0, -4.0, 20 * noise)[number % 3]
                yield _planted(claim, [claim.id], "distilled", seed, 50 + gain)


def _planted(claim: Claim, served: list[str], arm: str, seed: int, value: float) -> Record:
    metrics = dict.fromkeys(claim.metrics, value)
    return make_record(served, arm, seed, task=claim.task, **metrics)


def _hostile_paper(paper: Paper) -> Paper:
    """A paper every word of which is hostile."""
    claims = [
        claim.model_copy(
            update={
                "id": f"{EVIL} {number}",
                "method": f"{EVIL} {LONG}",
                "note": EVIL,
                "student": EVIL,
                "upstream_config": EVIL,
                "discrepancies": [],
            }
        )
        for number, claim in enumerate(paper.claims[:3])
    ]
    tables = [table.model_copy(update={"title": EVIL, "source": EVIL}) for table in paper.tables]
    return paper.model_copy(
        update={
            "id": "evil",
            "title": EVIL,
            "venue": LONG,
            "code": EVIL,
            "claims": claims,
            "tables": tables,
            "quoted": [],
            "protocols": [],
        }
    )
