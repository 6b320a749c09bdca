"""Exports measured numbers in the format of evaluation results on the Hugging Face Hub.

A run on published data gets a folder, to be copied into the repository of its weights: the Hub reads
``.eval_results/*.yaml`` there (https://huggingface.co/docs/hub/eval-results). Runs on embedded data get none,
since the Hub does not know their data sets; nor do runs on a data set without an id on the Hub (``hub`` in
``baselines/datasets.yaml``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from suite.environment import HOMEPAGE
from suite.evidence.frame import rows_of
from suite.published.datasets import load_dataset_names
from suite.report.exports import Files, Material
from suite.report.exports.names import Unique

FOLDER = "hugging-face"


def files(material: Material) -> Files:
    """``hugging-face/<claim>-seed-<n>/.eval_results/<report>.yaml`` for runs that count on published data."""
    claims = {claim.id: claim for claim in material.paper.claims}
    runs: dict[tuple[str, str | None, int], list[dict[str, Any]]] = {}
    for row in rows_of(material.observations):
        speaks = row["arm"] in (claims[row["claim"]].kind.arm, "released")
        if row["counts"] and row["comparable"] and speaks and row["metric"] in claims[row["claim"]].metrics:
            runs.setdefault((row["claim"], row["variant"], row["seed"]), []).append(row)
    name = Unique()
    found = {}
    for (claim, variant, seed), rows in runs.items():
        if entries := list(_entries(rows)):
            folder = name(f"{claim} {variant or ''} seed {seed}")
            content = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=10_000)
            found[f"{FOLDER}/{folder}/.eval_results/{material.report.name}.yaml"] = content.encode()
    return found


def _entries(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """An entry for each metric of a run."""
    for row in rows:
        dataset = load_dataset_names().get(row["dataset"])
        if dataset is None or dataset.hub is None:
            continue
        pair = " -> ".join(filter(None, (row["teacher"], row["student"])))
        variant = f", with {row['variant']}" if row["variant"] else ""
        entry = {
            "dataset": {"id": dataset.hub, "task_id": row["metric"]},
            "value": row["value"],
            "date": row["finished_at"].date().isoformat() if row["finished_at"] is not None else None,
            "source": {"url": HOMEPAGE, "name": "distillation reproducibility"},
            "notes": f"{row['method']}, {pair}{variant}, seed {row['seed']}, run {row['run_id']}",
        }
        yield {key: value for key, value in entry.items() if value is not None}
