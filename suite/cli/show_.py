"""``show``: print everything that is known about one claim, one paper, or one pair of teacher and student."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping

from suite.cli.output import add_output, text_width, wrapped
from suite.cli.selection import claim_ids, completed, paper_ids
from suite.errors import SuiteError, did_you_mean
from suite.published.claims import Claim, Paper, Protocol, Quoted, Source
from suite.published.finding import find_claim

WIDTH = 108
"""Most columns of the text."""
FORMATS = ("table", "json")

Paragraph = tuple[str, int]
"""A text, and the indentation of its second and later lines."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb. Their values are checked in `run`, whose errors are one line."""
    claim = parser.add_argument("claim", metavar="CLAIM", nargs="?", help="id of a claim, as shown by 'list'")
    completed(claim, claim_ids)
    paper = parser.add_argument(
        "--paper",
        metavar="P",
        help="instead of a claim: what is known about this paper, and what we measured",
    )
    completed(paper, paper_ids)
    parser.add_argument(
        "--all", action="store_true", help="with --paper: list contradictions, re-runs and gaps one by one"
    )
    parser.add_argument(
        "--pair",
        metavar="TEACHER:STUDENT",
        help="instead of a claim: every published number of this pair, and our own; STUDENT alone for "
        "methods without a teacher",
    )
    parser.add_argument("--dataset", metavar="D", help="data set of the pair, if it has numbers on several")
    parser.add_argument(
        "--format", metavar="F", default="table", help="table (default), or for a paper or a pair json"
    )
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the claim, the paper or the pair and returns 0.

    Raises:
        SuiteError: none or several are named, there is nothing of that name, or a record cannot be read.
    """
    if args.format not in FORMATS:
        raise SuiteError(f"unknown format {args.format!r}; {did_you_mean(args.format, FORMATS)}")
    if args.all and args.paper is None:
        raise SuiteError("--all lists what is known about a paper; name one with --paper")
    if args.paper is not None:
        return _show_paper(args)
    if args.pair is not None:
        return _show_pair(args)
    if args.dataset is not None:
        raise SuiteError("--dataset chooses among the numbers of a pair; name one with --pair")
    if args.claim is None:
        raise SuiteError("no claim was named; 'python -m suite list' shows their ids")
    if args.format != "table":
        raise SuiteError("a claim is shown as text; 'python -m suite list --format json' has claims as data")
    _print(describe(*find_claim(args.claim)))
    return 0


def _print(paragraphs: Iterable[Paragraph]) -> None:
    width = text_width(WIDTH)
    for text, hanging in paragraphs:
        print("\n".join(wrapped(text, width, hanging=" " * hanging)))


def _show_paper(args: argparse.Namespace) -> int:
    others = {"the claim": args.claim, "--pair": args.pair, "--dataset": args.dataset}
    if beside := [name for name, value in others.items() if value is not None]:
        raise SuiteError(f"--paper is shown instead of a claim; leave out {' and '.join(beside)}")
    from suite.published.finding import find_paper

    paper = find_paper(args.paper)
    from suite.cli.known import as_json, as_text, what_is_known

    known = what_is_known(paper)
    if args.format == "json":
        print(as_json(known))
    else:
        _print(as_text(known, args.all))
    return 0


def _show_pair(args: argparse.Namespace) -> int:
    from suite.cli.pair import as_json, as_text, measured
    from suite.paths import records_dir
    from suite.published.pairs import find_pair
    from suite.store.summaries import read_summaries

    if args.claim is not None:
        raise SuiteError(f"--pair is shown instead of a claim; leave out {args.claim!r}, or --pair")
    pair = find_pair(args.pair, args.dataset)
    ours = measured(pair, read_summaries(records_dir()))
    print(as_json(pair, ours) if args.format == "json" else "\n".join(as_text(pair, ours)))
    return 0


def describe(paper: Paper, claim: Claim) -> Iterator[Paragraph]:
    """Describes a claim: numbers as printed, sources, context, settings, and what others say about it."""
    yield f"{claim.id} ({claim.role})", 0
    yield _entry(paper.title, f"{paper.venue}; arXiv {', '.join(paper.arxiv)}; {paper.code}")
    yield "", 0
    yield from _fields(
        {
            "method": claim.label,
            "task": f"{claim.task} on {claim.dataset}",
            "teacher": claim.teacher,
            "student": claim.student,
            "baseline": _with_numbers(claim.baseline),
            "teacher alone": _with_numbers(claim.teacher_claim),
            "recipe": claim.recipe or "none: the number is only quoted",
            "settings": _whose_settings(claim),
            "unreleased": claim.unreleased,
            "upstream config": claim.upstream_config,
            "note": claim.note,
        }
    )
    yield from _heading("Claimed")
    for name, metric in claim.metrics.items():
        gain = "" if metric.gain is None else f"  gain {metric.gain:+.{metric.decimals}f}"
        yield f"  {name:<10} {metric}{gain}", 0
    yield from _heading("Printed in")
    for source in claim.sources:
        version = f" [{source.version}]" if source.version else ""
        number = _with_gains(source)
        yield _entry(source.row, f"{source.provenance}, {source.where}{version}: {number}")
    for version in dict.fromkeys(source.version for source in claim.sources if source.version):
        yield _entry(f"[{version}]", paper.versions[version], separator=" ")
    if claim.hyperparameters:
        yield from _heading("Hyper-parameters")
        for where, settings in claim.hyperparameters.items():
            yield _entry(where.replace("_", " "), _pairs(settings))
    yield from _section(
        "Protocols that apply", [_protocol(paper, row) for row in paper.protocols_of(claim.id)]
    )
    yield from _section(
        "Quoted by others, never judged", [_quoted(paper, row) for row in paper.quoted_about(claim.id)]
    )
    discrepancies = [paper.discrepancy(name) for name in claim.discrepancies]
    texts = [(row.id, f"{row.title}. {row.text} [{'; '.join(row.sources)}]") for row in discrepancies]
    yield from _section("Discrepancies", texts)


def _whose_settings(claim: Claim) -> str | None:
    """Whose hyper-parameters the recipe uses, if there was a choice."""
    if claim.settings_of:
        return f"those of {claim.settings_of}, except for what this row varies"
    return f"those of the {claim.follows.replace('_', ' ')}" if claim.follows else None


def _protocol(paper: Paper, row: Protocol) -> tuple[str, str]:
    where = f"{row.provenance}, {paper.document(row)}"
    config = f", {row.upstream_config}" if row.upstream_config else ""
    return row.row, f"{where}{config}: {_pairs(row.hyperparameters)}{_remark(row)}"


def _quoted(paper: Paper, row: Quoted) -> tuple[str, str]:
    beside = [("teacher", row.teacher_metrics), ("student alone", row.student_metrics)]
    context = [f"{who} {_pairs(metrics)}" for who, metrics in beside if metrics]
    stated = [_pairs(row.hyperparameters["stated"])] if "stated" in row.hyperparameters else []
    extra = f" ({'; '.join(context + stated)})" if context or stated else ""
    name = row.method or "model alone"
    return row.row, f"{row.kind}, {paper.document(row)}: {name}: {_with_gains(row)}{extra}{_remark(row)}"


def _with_gains(row: Source | Quoted) -> str:
    numbers = row.printed if isinstance(row, Source) else row.metrics
    gains = f"gain {_pairs(row.gains)}" if row.gains else ""
    return ", ".join(filter(None, [_pairs(numbers), gains])) or "no number"


def _remark(row: Protocol | Quoted) -> str:
    return f". {row.note}" if row.note else ""


def _with_numbers(name: str | None) -> str | None:
    """A claim's id with its numbers."""
    return f"{name} ({_pairs(find_claim(name)[1].metrics)})" if name else None


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _fields(fields: Mapping[str, str | None]) -> Iterator[Paragraph]:
    width = max(map(len, fields)) + 2
    for name, value in fields.items():
        if value is not None:
            yield _entry(f"{name:<{width}}", value, separator="", indent=width + 2)


def _heading(title: str) -> Iterator[Paragraph]:
    yield "", 0
    yield title, 0


def _section(title: str, entries: list[tuple[str, str]]) -> Iterator[Paragraph]:
    if entries:
        yield from _heading(title)
    for name, text in entries:
        yield _entry(name, text)


def _entry(name: str, text: str, separator: str = ": ", indent: int = 6) -> Paragraph:
    return f"  {name}{separator}{text}", indent
