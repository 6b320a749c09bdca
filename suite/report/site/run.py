"""The pages of a run and of its composed config."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import yaml

from suite.planning.plan import seed_in_words, stored_label
from suite.report.addresses import INDEX, run_page
from suite.report.cells import NOTHING
from suite.report.layout import Cell, Grid, Line
from suite.report.site.blocks import Chapter, Listing, Sheet
from suite.report.site.world import OF_CONFIG, OF_RUN, Config, Document, World
from suite.store.summaries import Evidence

_CONFIG_TITLES: Final = {
    "recipe": "Config as composed",
    "protocol": "Effective protocol, read back from what was built",
    "identity": "What defines the run, apart from seed and repetition",
}


def run_sheet(world: World, run: Evidence, files: Sequence[Cell]) -> Sheet:
    """The page of one attempt at a run.

    Args:
        world: what the site shows.
        run: its summary, or its record.
        files: its log and its scalars, if the site has them.
    """
    document, config = world.document(run), world.config(run)
    served = world.served_by(run)
    facts: list[tuple[str, tuple[str, ...]]] = [
        ("run", (f"{run.run_id}, attempt {run.attempt}",)),
        ("status", (run.status, *((run.error,) if run.error else ()))),
        ("profile", (run.profile,)),
        (
            "arm, seed",
            (f"{run.arm}, {run.seed}" + (f", repetition {run.repetition}" * bool(run.repetition)),),
        ),
        *_start(world, document),
        ("finished", (run.finished_at,)),
        ("claims", served),
        ("config", (Cell("as composed", link=config.page),) if config else ("not recorded",)),
        ("log", tuple(file for file in files if file.link.endswith(".txt")) or ("not kept here",)),
        ("scalars", tuple(file for file in files if file.link.endswith(".jsonl")) or ("none recorded",)),
    ]
    return Sheet(
        path=run_page(run.run_id, run.attempt),
        title=_label(document, run, run.seed, run.repetition),
        trail=(Cell("All papers", link=INDEX), *_first_page(served)),
        facts=tuple(facts),
        chapters=tuple(_chapters(run, document)),
    )


def _start(world: World, document: Document) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The run whose backbone it started from, linked to its page if the site has one."""
    if start := (document.get("provenance") or {}).get("start"):
        run_id = str(start["run_id"])
        attempts = [attempt for known, attempt in world.standing if known == run_id]
        link = run_page(run_id, max(attempts)) if attempts else ""
        yield "starts from the backbone of", (Cell(run_id, link=link),)


def _chapters(run: Evidence, document: Document) -> Iterator[Chapter]:
    if run.metrics:
        lines = tuple(Line((name, number(value))) for name, value in run.metrics.items())
        yield Chapter("Metrics", grids=(Grid(("metric", "value"), lines),))
    provenance = document.get("provenance") or {}
    yield Chapter("Command", listings=(Listing("", str(provenance.get("command") or "not recorded")),))
    yield Chapter("Provenance", grids=(_flat(provenance, leave_out=("command",)),))
    if timings := document.get("timings"):
        yield Chapter("Time and memory", grids=(_flat(timings),))
    if run.departures:
        yield Chapter("Departures from the published protocol", points=tuple(map(str, run.departures)))
    if run.inert:
        yield Chapter("The method did not act", points=tuple(run.inert))
    own = {name: value for name, value in document.items() if name not in OF_CONFIG}
    own["identity"] = {name: (document.get("identity") or {}).get(name) for name in OF_RUN}
    title = "All fields except those on the page of its config"
    yield Chapter("Record as stored", listings=(Listing(title, as_json(own), folded=True),))


def config_sheet(world: World, config: Config, runs: Sequence[Evidence]) -> Sheet:
    """The page of a config that runs share.

    Args:
        world: what the site shows.
        config: the shared parts of their records.
        runs: those with this config.
    """
    first = runs[0]
    served = tuple(dict.fromkeys(claim for run in runs for claim in world.served_by(run)))
    return Sheet(
        path=config.page,
        title=f"{_label(world.document(first), first)}, {first.profile}",
        trail=(Cell("All papers", link=INDEX), *_first_page(served)),
        facts=(
            ("claims", served),
            (
                "runs",
                tuple(
                    Cell(seed_in_words(run.seed, run.repetition), link=run_page(run.run_id, run.attempt))
                    for run in runs
                ),
            ),
        ),
        chapters=tuple(
            Chapter(title, listings=(Listing("", as_yaml(config.parts[part])),))
            for part, title in _CONFIG_TITLES.items()
            if part in config.parts
        ),
    )


def _first_page(claims: Sequence[Cell]) -> list[Cell]:
    """The first claim with a page, if there is one."""
    return [claim for claim in claims if claim.link][:1]


def _label(document: Document, run: Evidence, *number: int) -> str:
    """A run in words; without `number` (seed and repetition), its series."""
    label = stored_label(document.get("recipe") or {}, document.get("identity") or {}, *number)
    return label or ", ".join([f"{run.arm} run", *([seed_in_words(run.seed, 0)] if number else [])])


def number(value: float) -> str:
    """A stored number, with up to six decimals if it is finite."""
    return f"{value:.6f}".rstrip("0").rstrip(".") if math.isfinite(value) else str(value)


def as_json(value: Any) -> str:
    """Stored data as JSON, as in records."""
    return json.dumps(value, indent=1, ensure_ascii=False)


def as_yaml(value: Any) -> str:
    """Stored data as YAML, as in configs."""
    text: str = yaml.dump(value, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=100)
    return text


# The compiled emitter is ten times as fast, and has the same output.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _flat(values: Mapping[str, Any], leave_out: Sequence[str] = ()) -> Grid:
    lines = [
        Line((name, value))
        for name, value in _flattened({k: v for k, v in values.items() if k not in leave_out})
    ]
    return Grid(("what", "value"), tuple(lines))


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            yield f"{prefix}{name}", number(value)
        elif value not in (None, {}, []):
            yield f"{prefix}{name}", str(value)
        else:
            yield f"{prefix}{name}", NOTHING
