"""Facts of the source file of a paper's claims, one line a row and number; its output is ``rows.csv``.

Usage: ``python tests/published/extract_published_rows.py FILE > baselines/papers/<paper>/rows.csv``, where
FILE is ``<paper>.yaml``. Numbers that a row prints beside its own, the accuracy of its teacher or of the
student alone, get a line whose metric starts with ``teacher:`` or ``student:``.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

COLUMNS = (
    *("file", "row", "table", "role", "provenance", "method", "teacher", "student"),
    *("metric", "value", "gain", "upstream_config", "hyperparameters"),
)


def published_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of the table, in the order of the file."""
    for table in yaml.safe_load(path.read_text(encoding="utf-8")):
        for row in table["rows"]:
            shared = {
                "file": path.stem,
                "row": row["id"],
                "table": table["id"],
                **{key: row[key] for key in ("role", "provenance", "method", "teacher", "student")},
                "upstream_config": row["upstream_config"],
                "hyperparameters": json.dumps(row["hyperparameters"]),
            }
            for metric, value, gain in _numbers(row) or [(None, None, None)]:
                yield {**shared, "metric": metric, "value": value, "gain": gain}


def _numbers(row: dict[str, Any]) -> list[tuple[str | None, float | None, float | None]]:
    gain = row.get("gain")
    gains = gain if isinstance(gain, dict) else dict.fromkeys(row["metrics"], gain)
    numbers: list[tuple[str | None, float | None, float | None]]
    numbers = [(metric, value, gains.get(metric)) for metric, value in row["metrics"].items()]
    for who in ("teacher", "student"):
        numbers += [(f"{who}:{name}", value, None) for name, value in row.get(f"{who}_metrics", {}).items()]
    return numbers


if __name__ == "__main__":
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(published_rows(Path(sys.argv[1])))
