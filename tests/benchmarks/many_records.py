"""How long, and with how much memory, the suite reads a store of very many records.

Run as ``python -m tests.benchmarks.many_records``. It derives records from those of ``results/reference``:
copies with other ids, each a series of its own or another seed of the same. Then it prints what a first
reading costs, which writes the index, and what the next ones do: seconds by the clock and of the processor,
and the peak of the memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from suite.contract import Scalars
from suite.paths import REFERENCE, ROOT
from suite.store.scalars import write_scalars
from suite.store.summaries import INDEX

_CALL = """
import json, resource, sys, time
started = time.perf_counter()
from suite.cli import main
status = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
seconds = time.perf_counter() - started
print(json.dumps([status, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]), file=sys.stderr)
"""


_REWRITE = """
import json, resource, sys, time
from suite.published.finding import load_papers
from suite.report import rewrite_reports
from suite.paths import records_dir
from suite.store.summaries import SummaryReader
store = SummaryReader(records_dir())
rewrite_reports(load_papers(), "mini", store.read())
next(records_dir().glob("*.json")).touch()
started, before = time.perf_counter(), time.process_time()
rewrite_reports(load_papers(), "mini", store.read())
seconds, used = time.perf_counter() - started, time.process_time() - before
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([0, seconds, used, memory]), file=sys.stderr)
"""
"""What a command does again after each of its runs, when one record is new: the reports of all papers."""


def copies(kind: str) -> Iterator[dict[str, Any]]:
    """Reference records, then copies of them without an end.

    Args:
        kind: `series`, where each copy is of an earlier series, or `seeds`, where it is another seed.
    """
    originals = [json.loads(path.read_bytes()) for path in sorted((REFERENCE / "records").glob("*.json"))]
    yield from originals
    number = 0
    while True:
        number += 1
        for document in originals:
            copy = {**document, "run_id": _id(document["run_id"], number), "former_ids": []}
            if kind == "series":
                copy["series"] = _id(document["series"], number)
                copy["finished_at"] = f"2025-{number % 12 + 1:02d}-{number % 28 + 1:02d}T00:00:00+00:00"
            else:
                copy["seed"] = document["seed"] + 3 * number
            yield copy


def _id(old: str, number: int) -> str:
    return hashlib.sha256(f"{old} {number}".encode()).hexdigest()[:16]


def write_store(folder: Path, count: int, kind: str, lines: int) -> None:
    """Writes a store of so many records, each with so many lines of scalars."""
    folder.mkdir(parents=True)
    scalars = [_LINE.model_copy(update={"iteration": number + 1}) for number in range(lines)]
    for document, _ in zip(copies(kind), range(count), strict=False):
        if lines:
            document["scalars_sha256"] = write_scalars(folder, document["run_id"], scalars)
        path = folder / f"{document['run_id']}-{document['attempt']:02d}.json"
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


_LINE = Scalars(
    iteration=1,
    epoch=1,
    learning_rate=0.01,
    loss=1.2345678,
    losses={"loss_cls": 0.5123456, "loss_bbox": 0.4123456, "loss_fgd": 0.3098766},
    seconds_per_step=0.123456,
    memory_mib=1234.5,
)


def measure(folder: Path, *words: str, code: str = _CALL) -> str:
    """Runs a verb, or other code, in a process of its own, and says what that took."""
    environment = {
        **os.environ,
        "SUITE_RESULTS": str(folder / "results"),
        "SUITE_WORK": str(folder / "work"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, check=True
    )
    status, seconds, processor, memory = json.loads(done.stderr.splitlines()[-1])
    return f"{seconds:7.1f} s, {processor:6.1f} s of a core, {memory:6.0f} MiB, status {status}"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000, metavar="N")
    parser.add_argument("--kind", choices=["series", "seeds"], default="series")
    parser.add_argument(
        "--scalars", type=int, default=0, metavar="N", help="lines of scalars beside each record (default: 0)"
    )
    parser.add_argument("--folder", type=Path, help="where to write the store (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        records = folder / "results" / "records"
        write_store(records, args.count, args.kind, args.scalars)
        output = str(folder / "tables")
        for title, words in (
            ("status, no index", ("status",)),
            ("status", ("status",)),
            ("report", ("report", "--output", output)),
            ("site", ("report", "--format", "html", "--output", str(folder / "site"))),
            ("archive check", ("archive", "check")),
        ):
            print(f"{args.count} records, {title:<17}{measure(folder, *words)}", flush=True)
        print(f"{args.count} records, {'after each run':<17}{measure(folder, code=_REWRITE)}", flush=True)
        sizes = {path: path.stat().st_size for path in (folder / "site").rglob("*") if path.is_file()}
        largest = max(sizes, key=sizes.__getitem__)
        print(
            f"The site has {len(sizes)} files and {sum(sizes.values()) / 1e6:.1f} MB; the largest, "
            f"{largest.relative_to(folder / 'site')}, {sizes[largest] / 1e6:.2f} MB."
        )
        print(f"The index has {(records / INDEX).stat().st_size / 2**20:.0f} MiB.")


if __name__ == "__main__":
    main()
