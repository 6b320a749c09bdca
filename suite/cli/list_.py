"""``list``: every published claim, the settings and quoted numbers around it, and the gaps."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from suite.cli.output import add_output
from suite.cli.selection import completed, paper_ids
from suite.csv_cells import harmless
from suite.errors import SuiteError, did_you_mean
from suite.published.claims import Claim, Paper, Protocol, Quoted
from suite.published.finding import find_paper, load_papers, select
from suite.published.metrics import load_metrics

if TYPE_CHECKING:
    from rich.table import Table

FORMATS = ("table", "json", "csv")
CSV_COLUMNS = (
    *("paper", "claim", "role", "method", "task", "dataset", "teacher", "student"),
    *("metric", "value", "decimals", "gain", "recipe", "provenance", "rows", "discrepancies"),
)

Selection = list[tuple[Paper, Claim]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb. Their values are checked in `run`, whose errors are one line."""
    completed(parser.add_argument("--paper", metavar="P", help="only this paper"), paper_ids)
    parser.add_argument("--role", metavar="R", help="only claims of this role, such as ours or baseline")
    parser.add_argument("--format", metavar="F", default="table", help="table (default), json or csv")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the claims and returns 0.

    Raises:
        SuiteError: unknown paper, role or format, or broken claims.
    """
    if args.format not in FORMATS:
        raise SuiteError(f"unknown format {args.format!r}; {did_you_mean(args.format, FORMATS)}")
    chosen = select(paper=args.paper, role=args.role)
    papers = [find_paper(args.paper)] if args.paper else list(load_papers().values())
    if args.format == "json":
        print(json.dumps(as_json(papers, chosen, everything=args.role is None), indent=2, ensure_ascii=False))
    elif args.format == "csv":
        _write_csv(chosen)
    else:
        _print_tables(papers, chosen)
    return 0


def as_json(papers: list[Paper], chosen: Selection, everything: bool) -> dict[str, list[dict[str, Any]]]:
    """The claims with protocols, quoted numbers, discrepancies and gaps, as plain data.

    Args:
        papers: the papers to show.
        chosen: their claims to show.
        everything: whether protocols and quoted numbers that concern none of these claims are included.

    Returns:
        ``claims``, ``protocols``, ``quoted``, ``discrepancies``, ``gaps``. Every row of the papers is the
        ``row`` of one source of a claim, of one protocol or of one quoted number.
    """
    ids = {claim.id for _, claim in chosen}

    def concerns(row: Protocol | Quoted) -> bool:
        about = row.applies_to if isinstance(row, Protocol) else [row.about]
        return everything or not ids.isdisjoint(about)

    def entry(paper: Paper, row: Protocol | Quoted) -> dict[str, Any]:
        return {"paper": paper.id, **row.model_dump(), "source": paper.document(row)}

    return {
        "claims": [
            {"paper": paper.id, **claim.model_dump(), "judged": claim.judged} for paper, claim in chosen
        ],
        "protocols": [entry(paper, row) for paper in papers for row in paper.protocols if concerns(row)],
        "quoted": [entry(paper, row) for paper in papers for row in paper.quoted if concerns(row)],
        "discrepancies": [
            {
                "paper": paper.id,
                **row.model_dump(),
                "claims": [claim.id for claim in paper.claims_with(row.id)],
            }
            for paper in papers
            for row in paper.discrepancies
        ],
        "gaps": [{"paper": paper.id, **gap.model_dump()} for paper in papers for gap in paper.gaps],
    }


def numbers(claim: Claim) -> str:
    """The headline metrics of a claim with the printed gains, in one line."""
    shown = [name for name, metric in load_metrics().items() if metric.headline and name in claim.metrics]
    words = []
    for name in shown:
        metric = claim.metrics[name]
        gain = "" if metric.gain is None else f" ({metric.gain:+.{metric.decimals}f})"
        words.append(f"{name} {metric}{gain}")
    others = len(claim.metrics) - len(shown)
    return ", ".join(words) + (f", {others} more" if others else "")


def csv_rows(chosen: Selection) -> Iterator[dict[str, object]]:
    """One row per claim and metric, numbers as printed; source rows and discrepancies separated by blanks."""
    for paper, claim in chosen:
        for name, metric in claim.metrics.items():
            sources = [source for source in claim.sources if name in {*source.printed, *source.gains}]
            yield {
                "paper": paper.id,
                "claim": claim.id,
                "role": claim.role,
                "method": claim.method,
                "task": claim.task,
                "dataset": claim.dataset,
                "teacher": claim.teacher,
                "student": claim.student,
                "metric": name,
                "value": metric,
                "decimals": metric.decimals,
                "gain": None if metric.gain is None else f"{metric.gain:.{metric.decimals}f}",
                "recipe": claim.recipe,
                "provenance": " ".join(sorted({source.provenance for source in sources})),
                "rows": " ".join(source.row for source in sources),
                "discrepancies": " ".join(claim.discrepancies),
            }


def _write_csv(chosen: Selection) -> None:
    writer = csv.DictWriter(sys.stdout, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in csv_rows(chosen):
        writer.writerow({name: harmless(cell) for name, cell in row.items()})


def _print_tables(papers: list[Paper], chosen: Selection) -> None:
    from suite.cli.screen import Screen

    out = Screen()
    for paper in papers:
        claims = [claim for owner, claim in chosen if owner is paper]
        if claims:
            out.say(f"{paper.id}: {paper.title} ({paper.venue})")
            out.print(_narrow(claims) if out.is_narrow else _wide(claims))
            out.say()
    roles = Counter(claim.role for _, claim in chosen)
    split = ": " + ", ".join(f"{count} {role}" for role, count in roles.most_common()) if chosen else ""
    settings = sum(len(paper.protocols) for paper in papers)
    quoted = sum(len(paper.quoted) for paper in papers)
    out.say(f"{len(chosen)} claims{split}; {settings} protocols; {quoted} quoted numbers.")
    out.say("\nKnown to exist, but not included:")
    for paper in papers:
        for gap in paper.gaps:
            out.say(f"  {paper.id}  {f'{gap.table}: ' if gap.table else ''}{gap.text}")
    out.say("\n'python -m suite show CLAIM' shows everything about one claim.")


def _wide(claims: list[Claim]) -> Table:
    """A table with one line per claim, if it fits."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("claim", "role", "method", "teacher", "student", "printed", "sources", "discrepancies"):
        table.add_column(name, no_wrap=name in {"claim", "role"}, overflow="fold")
    for claim in claims:
        models = [claim.label, claim.teacher or "", claim.student or ""]
        counts = [str(len(claim.sources)), str(len(claim.discrepancies) or "")]
        cells = [claim.id, claim.role, *models, numbers(claim), *counts]
        # As Text, since rich would search a string for markup, twice.
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _narrow(claims: list[Claim]) -> Table:
    """The same in three columns, with two or more lines per claim."""
    from rich.text import Text

    from suite.cli.screen import folded, plain_table

    table = plain_table("claim", "method and models", "printed", widths=(29, 27, 20))
    for claim in claims:
        pair = " \u2192 ".join(filter(None, (claim.teacher, claim.student)))
        about = f"  {claim.role}, {_many(len(claim.sources), 'source')}"
        if claim.discrepancies:
            about += f",\n  {_many(len(claim.discrepancies), 'discrepancy', 'discrepancies')}"
        cells = (f"{folded(claim.id, 29)}\n{about}", f"{claim.label}\n{pair}", numbers(claim))
        table.add_row(*map(Text, cells))
    return table


def _many(count: int, one: str, several: str | None = None) -> str:
    return f"{count} {one}" if count == 1 else f"{count} {several or one + 's'}"
