"""Exports measured numbers as records of PyTorch's benchmark database (``oss_ci_benchmark_v3``, see its HUD).

The columns are those of ``clickhouse_db_schema/oss_ci_benchmark_v3/schema.sql`` in pytorch/test-infra; what
the upload adds (time, repository, job) is left out. The target of a metric is the claimed number, but only on
the published data, since no other result is comparable with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from suite.environment import DISTRIBUTION, NUMBER_PACKAGES
from suite.evidence.frame import rows_of
from suite.published.metrics import find_metric
from suite.report.exports import Files, Material
from suite.store.summaries import Evidence


def files(material: Material) -> Files:
    """``<report>-pytorch.json`` with a record per metric of each measured claim; nothing if there is none."""
    found = list(_benchmarks(material))
    content = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    return {f"{material.report.name}-pytorch.json": content.encode()} if found else {}


def _benchmarks(material: Material) -> Iterator[dict[str, Any]]:
    claims = {claim.id: claim for claim in material.paper.claims}
    runs = {record.run_id: record for record in material.records if record.status == "finished"}
    counted: dict[tuple[str, str | None, str], list[dict[str, Any]]] = {}
    for row in rows_of(material.observations):
        if row["counts"] and row["arm"] == claims[row["claim"]].kind.arm:
            counted.setdefault((row["claim"], row["variant"], row["metric"]), []).append(row)
    for judged in material.report.rows:
        measured = counted.get((judged["claim"], judged["variant"], judged["metric"]))
        if judged["origin"] in ("claim", "variant") and measured:
            yield _benchmark(judged, measured, claims[judged["claim"]].task, runs)


def _benchmark(
    judged: dict[str, Any], measured: list[dict[str, Any]], task: str, runs: Mapping[str, Evidence]
) -> dict[str, Any]:
    """One record; `extra_info` maps strings to strings, as in the database."""
    metric: dict[str, Any] = {
        "name": judged["metric"],
        "benchmark_values": [row["value"] for row in measured],
    }
    comparable = all(row["comparable"] for row in measured)
    if comparable and judged["origin"] == "claim":
        metric["target_value"] = judged["claimed"]
    about = ("verdict", "gain_verdict", "gain", "seeds")
    metric["extra_info"] = _texts({name: judged[name] for name in about} | _of_metric(judged["metric"]))
    setting = ("paper", "claim", "method", "teacher", "dataset", "variant", "profile")
    return {
        "benchmark": {
            "name": DISTRIBUTION,
            "mode": "training",
            "extra_info": _texts({name: judged[name] for name in setting} | {"comparable": comparable}),
        },
        "model": {"name": judged["student"] or judged["teacher"], "type": task},
        "runners": _runners(measured),
        "dependencies": _dependencies([runs[row["run_id"]] for row in measured if row["run_id"] in runs]),
        "metric": metric,
    }


def _of_metric(name: str) -> dict[str, str]:
    kind = find_metric(name)
    return {"unit": kind.unit, "better": kind.better}


def _texts(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in facts.items() if value is not None}


def _runners(measured: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The machines, each once."""
    hosts = dict.fromkeys((row["cpu"], row["gpu"]) for row in measured)
    told = ({"cpu_info": cpu, "gpu_info": gpu} for cpu, gpu in hosts)
    return [{name: text for name, text in host.items() if text is not None} for host in told]


def _dependencies(runs: list[Evidence]) -> dict[str, dict[str, str]]:
    """The packages that a number depends on, and the suite; several versions are joined by commas."""
    found: dict[str, dict[str, str]] = {}
    commits = dict.fromkeys(run.environment["commit"] for run in runs if "commit" in run.environment)
    if commits:
        found[DISTRIBUTION] = {"sha": ", ".join(commits)}
    for package in NUMBER_PACKAGES:
        versions = dict.fromkeys(run.environment[package] for run in runs if package in run.environment)
        if versions:
            found[package] = {"version": ", ".join(versions)}
    return found
