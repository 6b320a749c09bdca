"""Facts of the source files of the literature, one line a row and number; its output is ``literature.csv``.

Usage: ``python -m tests.published.extract_literature ROWS TABLES > baselines/literature.csv``, where ROWS is
``secondary.yaml``, of the form that `extract_published_rows` reads, and TABLES the text file whose matrix of
CIFAR-100 has a row a method and a column a pair.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any, NamedTuple

from tests.published.extract_published_rows import COLUMNS, published_rows

HEADING = "### CIFAR-100, RepDistiller protocol"

SOURCES = {
    "DIST, own README (12/2022)": ("dist-readme", "DIST"),
    "DIST, quoted (KD++)": ("kdpp", "DIST"),
    "ReviewKD, quoted (KD++; V13 V8: stored paperswithcode page)": ("kdpp", "ReviewKD"),
    "DKD, md README": ("mdistiller", "DKD"),
    "MLLD, LSKD README": ("lskd", "MLLD"),
    "KD + LSKD, own": ("lskd", "KD + LSKD"),
}
"""First cell of a row -> who prints it, and the method; all others are of RepDistiller."""


class Cell(NamedTuple):
    """One number of the matrix."""

    row: str
    table: str
    method: str
    teacher: str
    student: str
    value: str
    teacher_value: str
    student_value: str


def matrix(text: str) -> Iterator[Cell]:
    """The numbers of the matrix, in the order of the file."""
    lines = dropwhile(lambda line: not line.startswith("|"), text.partition(HEADING)[2].split("\n"))
    table = takewhile(lambda line: line.startswith("|"), lines)
    pairs, _, teachers, students, *methods = (
        [cell.strip() for cell in line[1:-1].split("|")] for line in table
    )
    for first, *numbers in methods:
        source, method = SOURCES.get(first, ("repdistiller", first))
        for pair, value, beside in zip(
            pairs[1:], numbers, zip(teachers[1:], students[1:], strict=True), strict=True
        ):
            if value:
                teacher, student = pair.split()
                name = re.sub(r"[^a-z0-9]+", "-", f"{source} {method} {student} {teacher}".lower())
                yield Cell(name, source, method, teacher, student, value, *beside)


def literature_rows(rows: Path, tables: Path) -> Iterator[dict[str, Any]]:
    """The lines of the transcript."""
    yield from published_rows(rows)
    for cell in matrix(tables.read_text(encoding="utf-8")):
        shared = {
            "file": tables.stem,
            "row": cell.row,
            "table": cell.table,
            "provenance": "secondary",
            "method": cell.method,
            "teacher": cell.teacher,
            "student": cell.student,
            "hyperparameters": "{}",
        }
        numbers = {"top1": cell.value}
        if cell.table == "repdistiller":
            numbers |= {"teacher:top1": cell.teacher_value, "student:top1": cell.student_value}
        for metric, value in numbers.items():
            yield shared | {"metric": metric, "value": value}


if __name__ == "__main__":
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(literature_rows(*map(Path, sys.argv[1:])))
