"""``compare``: compare the results of two commits, two series, or two stores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.cli.output import add_output

if TYPE_CHECKING:
    from suite.evidence.compared import Difference
    from suite.store.record import Record

FORMATS = ("table", "json", "csv", "markdown")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    what = "a commit (any name git accepts), a series (16 digits), or a folder with records"
    parser.add_argument("first", metavar="A", help=what)
    parser.add_argument("second", metavar="B", help="likewise")
    parser.add_argument("--all", action="store_true", help="also print rows that did not change")
    parser.add_argument("--format", choices=FORMATS, default="table", help="how to print it")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the rows that differ, or with ``--all`` every row.

    Raises:
        SuiteError: A or B names nothing that has records, or a record is damaged.
    """
    from suite.evidence.compared import compare

    found = compare(_records(args.first), _records(args.second))
    shown = [row for row in found if row.moved or args.all]
    if args.format == "table":
        _print_table(shown, found)
    else:
        print(_text(shown, found, args), end="")
    return 0


def _records(name: str) -> list[Record]:
    """The records that an argument names.

    Raises:
        SuiteError: there are none.
    """
    from suite.environment import commit_named
    from suite.errors import SuiteError, printable
    from suite.evidence.compared import COMMIT, SERIES, of_commit, of_series
    from suite.paths import records_dir
    from suite.store.records import read_all

    folder = Path(name)
    if folder.is_dir():
        inner = folder / "records"
        found = read_all(inner if inner.is_dir() else folder)
        if not found:
            raise SuiteError(f"{printable(folder)}: no records here; name the folder of a record store")
        return found
    records = read_all(records_dir())
    if SERIES.fullmatch(name) and (found := of_series(records, name)):
        return found
    commit = name if COMMIT.fullmatch(name) else commit_named(name)
    if commit is not None and (found := of_commit(records, commit)):
        return found
    made = sorted({record.provenance.commit[:10] for record in records if record.provenance.commit})
    known = f"those with records are {', '.join(made[:8])}" if made else f"{records_dir()} has no records"
    raise SuiteError(f"{printable(name)}: not a folder, and no record has this series or commit; {known}")


def _text(shown: list[Difference], found: list[Difference], args: argparse.Namespace) -> str:
    import json
    from dataclasses import asdict

    from suite.report.differences import in_csv, in_markdown, summary

    if args.format == "json":
        rows: list[dict[str, Any]] = [asdict(row) | {"moved": row.moved} for row in shown]
        return json.dumps({"a": args.first, "b": args.second, "rows": rows}, indent=1) + "\n"
    if args.format == "csv":
        return in_csv(shown)
    return in_markdown(shown, summary(found))


def _print_table(shown: list[Difference], found: list[Difference]) -> None:
    from suite.cli.screen import Screen, folded, plain_table
    from suite.report.differences import HEADINGS, cells, summary

    out = Screen()
    if shown:
        narrow = out.is_narrow
        table = plain_table(*HEADINGS, widths=(20, None, 7, 7, 6, 9, None) if narrow else ())
        table.padding = (0, 1, 0, 0) if narrow else (0, 1)
        for row in shown:
            name, *others = cells(row)
            table.add_row(folded(name, 20) if narrow else name, *others)
        out.print(table)
        out.say()
    out.say(summary(found))
