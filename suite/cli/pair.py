"""``show --pair``: one pair of models across the literature, as a table of 80 columns or as data."""

from __future__ import annotations

import itertools
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from suite.published.metrics import find_metric, load_metrics
from suite.published.pairs import Pair, Value, pair_of, values_of

if TYPE_CHECKING:
    from suite.store.summaries import Evidence

WIDTH = 80
METHOD = 28
PROFILES = ("paper", "mini")
"""The profiles whose measurements are shown beside published numbers."""

_AS_IN_THE_FRAME = (
    *("claim", "method", "metric", "lower", "upper", "n", "gain", "gain_lower", "gain_upper"),
    *("verdict", "gain_verdict"),
)
"""Fields of `Ours` that are columns of `suite.evidence.frame`."""

NOTHING = "-"
HEADINGS = ("method", "value", "gain", "student", "teacher", "whose", "source")


@dataclass(frozen=True)
class Ours:
    """Our own measurement of one metric of a claim about the pair.

    Attributes:
        claim: id of the claim.
        method: name of the method.
        profile: profile of the runs.
        metric: name of the metric.
        comparable: whether it was trained on the published data, and may be listed among published numbers.
        value: mean over the seeds.
        lower: with `upper`, the 95 % prediction interval for one more run; None if not comparable.
        upper: see `lower`.
        n: number of seeds.
        student: mean of our own student alone.
        gain: gain over our own student alone.
        gain_lower: with `gain_upper`, the 90 % interval of the gain.
        gain_upper: see `gain_lower`.
        verdict: verdict on the claimed number.
        gain_verdict: verdict on the claimed gain.
    """

    claim: str
    method: str
    profile: str
    metric: str
    comparable: bool
    value: float
    lower: float | None
    upper: float | None
    n: int
    student: float | None
    gain: float | None
    gain_lower: float | None
    gain_upper: float | None
    verdict: str | None
    gain_verdict: str | None


def measured(pair: Pair, records: Sequence[Evidence]) -> list[Ours]:
    """Our own measurements of the claims about a pair, one entry per claim, metric and profile."""
    if not records:
        return []
    from suite.evidence.frame import build_frame, rows_of
    from suite.published.finding import claims_by_id, load_papers

    about = {
        claim.id
        for claim in claims_by_id().values()
        if claim.judged and claim.kind.distilled and pair_of(claim) == pair
    }
    frames = {profile: build_frame(load_papers().values(), records, profile) for profile in PROFILES}
    return [
        Ours(
            profile=profile,
            comparable=row["difference"] is not None,
            value=row["reproduced"],
            student=row["student_mean"],
            **{name: row[name] for name in _AS_IN_THE_FRAME},
        )
        for profile, frame in frames.items()
        for row in rows_of(frame[frame["claim"].isin(about) & (frame["origin"] == "claim")])
        if row["reproduced"] is not None
    ]


def as_json(pair: Pair, ours: Sequence[Ours]) -> str:
    """The pair as JSON: ``published``, and separately ``ours``, since these numbers were never printed."""
    content: dict[str, Any] = {
        "teacher": pair.teacher or None,
        "student": pair.student,
        "dataset": pair.dataset,
        "published": [asdict(value) for value in values_of(pair)],
        "ours": [asdict(entry) for entry in ours],
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def as_text(pair: Pair, ours: Sequence[Ours]) -> Iterator[str]:
    """The lines of the table: the headline metrics, their sources, notes and contradictions, and ours."""
    values = values_of(pair)
    headline = [name for name, metric in load_metrics().items() if metric.headline]
    shown = [value for value in values if value.metric in headline]
    sources = {source: number for number, source in enumerate(dict.fromkeys(v.source for v in shown), 1)}
    who = f"{pair.student} from {pair.teacher}" if pair.teacher else f"{pair.student} without a teacher"
    yield f"{who}, on {pair.dataset}"
    yield f"{_many(len(shown), 'number')} in {_many(len(sources), 'source')}"
    for metric in headline:
        own = [entry for entry in ours if entry.metric == metric]
        rows = [value for value in shown if value.metric == metric]
        if rows:
            yield ""
            yield f"{find_metric(metric).title} ({find_metric(metric).unit})"
            yield _columns(HEADINGS)
            yield from _table(rows, [entry for entry in own if entry.comparable], sources)
    yield from _list("Sources", _described(shown, sources))
    yield from _list("Notes", _notes(shown, sources))
    titles = dict.fromkeys(title for value in shown for title in value.discrepancies)
    yield from _list("Sources that contradict each other", [("-", title) for title in titles])
    yield from _list("Ours", [("-", _in_words(entry)) for entry in ours if entry.metric in headline])
    others = len(values) - len(shown)
    if others:
        yield ""
        yield f"{_many(others, 'number')} of other metrics: --format json has them."


def _table(rows: Sequence[Value], ours: Sequence[Ours], sources: Mapping[str, int]) -> Iterator[str]:
    """The published numbers of each method, followed by our own measurements of their claims."""
    for _, group in itertools.groupby(rows, key=lambda value: value.method):
        values = list(group)
        for value in values:
            cells = (value.printed, _signed(value), value.student, value.teacher, value.provenance)
            yield from _line(value.method, *(cell or NOTHING for cell in cells), f"[{sources[value.source]}]")
        claims = {value.claim for value in values}
        for entry in ours:
            if entry.claim in claims:
                yield from _our_line(entry)


def _our_line(entry: Ours) -> Iterator[str]:
    student = NOTHING if entry.student is None else f"{entry.student:.2f}"
    gain = NOTHING if entry.gain is None else f"{entry.gain:+.2f}"
    yield from _line(
        f"{entry.method}, ours", f"{entry.value:.2f}", gain, student, NOTHING, "measured", "ours"
    )
    if entry.lower is not None:
        yield f"{'':{METHOD}} {entry.lower:.2f} to {entry.upper:.2f} for one more run"


def _line(method: str, *cells: str) -> Iterator[str]:
    first, *more = textwrap.wrap(method, METHOD)
    yield _columns((first, *cells))
    yield from (f"  {line}" for line in more)


def _columns(cells: Sequence[str]) -> str:
    method, value, gain, student, teacher, whose, source = cells
    return f"{method:<{METHOD}} {value:>6} {gain:>6} {student:>7} {teacher:>7}  {whose:<8}  {source}"


def _signed(value: Value) -> str | None:
    if value.gain is None:
        return None
    return value.gain if value.gain.startswith("-") else f"+{value.gain}"


def _described(values: Sequence[Value], sources: Mapping[str, int]) -> list[tuple[str, str]]:
    """The sources by their numbers, each with the protocol and notes on its numbers."""
    remarks: dict[str, dict[str, None]] = {source: {} for source in sources}
    for value in values:
        said = (text for text in (value.protocol, value.source_note) if text)
        remarks[value.source].update(dict.fromkeys(said))
    return [
        (f"[{sources[source]}]", _sentences(source, *texts) if texts else source)
        for source, texts in remarks.items()
    ]


def _sentences(*parts: str) -> str:
    return " ".join(f"{part.rstrip('.')}." for part in parts)


def _notes(values: Sequence[Value], sources: Mapping[str, int]) -> list[tuple[str, str]]:
    """The notes on values, each distinct note once, with the values that it is about."""
    about: dict[str, list[str]] = {}
    for value in values:
        spread = f"standard deviation {value.spread}" if value.spread else None
        claimed = f"claimed by {value.claimed_by}" if value.claimed_by else None
        settings = ", ".join(f"{name} {setting}" for name, setting in value.settings.items())
        parts = [part for part in (claimed, spread, settings, value.note) if part]
        if parts:
            text = _sentences(*parts)
            number = value.printed or _signed(value)
            about.setdefault(text, []).append(f"{value.method} {number} [{sources[value.source]}]")
    return [("-", f"{', '.join(dict.fromkeys(names))}: {text}") for text, names in about.items()]


def _in_words(entry: Ours) -> str:
    """One measurement in words with its profile, and on embedded data a warning that it is not comparable."""
    found = f"profile {entry.profile}: {entry.method} ({entry.claim}) {entry.metric} {entry.value:.2f}"
    if entry.lower is not None:
        found += f" ({entry.lower:.2f} to {entry.upper:.2f} for one more run)"
    if entry.gain is not None:
        bounds = "" if entry.gain_lower is None else f" ({entry.gain_lower:+.2f} to {entry.gain_upper:+.2f})"
        found += f", gain {entry.gain:+.2f}{bounds}"
    apart = "" if entry.comparable else "; not comparable with the published numbers"
    return f"{found}, {_many(entry.n, 'seed')}{apart}"


def _list(title: str, entries: Sequence[tuple[str, str]]) -> Iterator[str]:
    if entries:
        yield ""
        yield title
    for name, text in entries:
        yield from _entry(name, text)


def _entry(name: str, text: str) -> list[str]:
    return textwrap.wrap(f"  {name} {text}", WIDTH, subsequent_indent=" " * 6, break_on_hyphens=False)


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
