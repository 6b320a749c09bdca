"""Reports on a night: a page, a summary, an Atom feed, and the flags that people are notified of."""

from __future__ import annotations

import datetime
import itertools
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from suite.evidence.labels import NO_REGRESSION, OPEN, PERFORMANCE, STALE, Status
from suite.evidence.points import Point
from suite.report.cells import NOTHING, many
from suite.report.figures.history import history_figure
from suite.report.layout import Figure, Grid, Line, Page, Section, plain
from suite.report.markdown import to_markdown
from suite.store.files import write

STEM: Final = "nightly"
"""Name of the files, without their suffixes."""

MOST_FIGURES: Final = 20
"""Most histories on one page, for the first rows that need attention."""

HEADINGS: Final = ("row", "metric", "label", "last", "expected", "points", "since", "last night", "change")

_HOW_TO_READ: Final = (
    "A `regression` has been outside the interval that its own history predicts for two or more points, a "
    "`suspicious` row for one. A row `differs` when its losses have left their stored trajectory at that "
    "step. A `stale` row was due and has no new point. `insufficient_data` means too few points for an "
    "interval, nothing stored to compare with, or a number that says nothing."
)
_TAG: Final = "tag:distillation-reproducibility,2026"
_ATOM: Final = "http://www.w3.org/2005/Atom"


@dataclass(frozen=True)
class Night:
    """The outcome of one night.

    Attributes:
        date: of its evening.
        tiers: the requested tiers.
        statuses: every row's metrics, labelled (`suite.evidence.labels.judge`).
        fresh: how many points are new.
        failed: run in words -> why it did not finish.
        faults: why a tier could not run.
        notes: what else a reader must know, one sentence each.
        history: the points that the statuses are based on.
    """

    date: datetime.date
    tiers: Sequence[str]
    statuses: Sequence[Status]
    fresh: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    faults: Sequence[str] = ()
    notes: Sequence[str] = ()
    history: Sequence[Point] = ()

    @property
    def flags(self) -> list[str]:
        """What people are notified of, one line each; without dates and numbers, so it rarely changes."""
        found = dict.fromkeys(f"did not run: {fault}" for fault in self.faults)
        for status in self.statuses:
            for label in status.alerts:
                # A run that is missing lacks all of its metrics.
                about = "" if label == STALE else f", {status.metric}"
                found[f"{label}: {status.row.title}{about}"] = None
        return [plain(flag) for flag in found]

    @property
    def summary(self) -> str:
        """The page as Markdown, for the summary of a job."""
        return to_markdown(self.page)

    @property
    def page(self) -> Page:
        """The page, in words."""
        return self._page(())

    def illustrate(self) -> Page:
        """The page with the histories of rows that need attention; needs matplotlib, and is slow."""
        drawn = (history_figure(self.history, status) for status in self.statuses if _is_open(status))
        return self._page(tuple(itertools.islice((figure for figure in drawn if figure), MOST_FIGURES)))

    def _page(self, figures: tuple[Figure, ...]) -> Page:
        flagged = [status for status in self.statuses if _is_open(status)]
        sections = [Section("Needs attention", (_grid(flagged),), figures=figures)] if flagged else []
        if self.failed:
            lines = tuple(Line((run, reason)) for run, reason in self.failed.items())
            sections.append(Section("Runs that did not finish tonight", (Grid(("run", "why"), lines),)))
        if self.statuses:
            title = f"{many(len(self.statuses), 'metric')}, each with its last point"
            whole = Grid(HEADINGS, tuple(map(_line, self.statuses)), title, folded=True)
            sections.append(Section("All rows", (whole,)))
        counts = [
            f"Flags: {len(self.flags)}; new points: {self.fresh}; failed runs: {len(self.failed)}.",
            *(f"Did not run: {plain(fault)}" for fault in self.faults),
            *self.notes,
        ]
        return Page(
            title=f"Night of {self.date.isoformat()}: {', '.join(self.tiers)}",
            paragraphs=(_HOW_TO_READ,),
            caption=tuple(counts),
            sections=tuple(sections),
            shared_departures=(),
            footnotes=(),
            commands=tuple(f"python -m suite nightly --tier {tier}" for tier in self.tiers),
        )

    def publish(self, folder: Path) -> list[Path]:
        """Writes the page as Markdown and HTML, and the feed; each file is replaced atomically.

        Raises:
            OSError: the folder cannot be written to.
        """
        from suite.report.html import to_html

        texts = {"md": self.summary, "html": to_html(self.illustrate()), "atom": to_feed(self)}
        paths = [folder / f"{STEM}.{suffix}" for suffix in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            write(path, text.encode("utf-8"))
        return paths


def _is_open(status: Status) -> bool:
    return status.stale or status.label in OPEN


def _grid(statuses: Iterable[Status]) -> Grid:
    return Grid(HEADINGS, tuple(map(_line, statuses)))


def _line(status: Status) -> Line:
    return Line(
        (
            status.row.title,
            status.metric,
            ", ".join(status.labels),
            _number(status.metric, status.value),
            _expected(status),
            str(status.n),
            status.since.isoformat() if status.since and status.label != NO_REGRESSION else NOTHING,
            status.last.isoformat() if status.last else NOTHING,
            status.change or NOTHING,
        )
    )


def _number(metric: str, value: float | None) -> str:
    """Metrics with two decimals, performance with four digits."""
    if value is None:
        return NOTHING
    return f"{value:.4g}" if metric in PERFORMANCE else f"{value:.2f}"


def _expected(status: Status) -> str:
    if status.interval is None:
        return NOTHING
    lower, upper = (_number(status.metric, end) for end in status.interval)
    return f"up to {upper}" if status.metric in PERFORMANCE else f"{lower} to {upper}"


def to_feed(night: Night) -> str:
    """An Atom feed of open rows; an entry keeps its id while its row is open, so it is announced once."""
    feed = ET.Element("feed", xmlns=_ATOM)
    _add(feed, "id", f"{_TAG}:nightly")
    _add(feed, "title", "Nightly: rows that have changed")
    _add(feed, "updated", _noon(night.date))
    author = ET.SubElement(feed, "author")
    _add(author, "name", "python -m suite nightly")
    for fault in night.faults:
        _entry(feed, f"did not run: {fault}", night.date, f"{night.date}/did-not-run", fault)
    for status in night.statuses:
        if _is_open(status):
            for label in status.labels:
                since = status.last if label == STALE else status.since
                name = f"{label}/{status.row.title}/{status.metric}/{since or 'never'}".replace(" ", "_")
                text = f"last {_number(status.metric, status.value)}, expected {_expected(status)}"
                title = f"{label}: {status.row.title}, {status.metric}"
                _entry(feed, title, since or night.date, name, text)
    ET.indent(feed)
    return ET.tostring(feed, encoding="unicode", xml_declaration=True) + "\n"


def _entry(feed: ET.Element, title: str, since: datetime.date, name: str, text: str) -> None:
    entry = ET.SubElement(feed, "entry")
    _add(entry, "id", f"{_TAG}:nightly/{name}")
    _add(entry, "title", title)
    _add(entry, "updated", _noon(since))
    _add(entry, "content", text)


def _add(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = plain(text)


def _noon(date: datetime.date) -> str:
    """The start of a night as an Atom timestamp."""
    return f"{date.isoformat()}T12:00:00Z"
