"""Records of PyTorch's benchmark database: a value a seed, and the claim as the target."""

from __future__ import annotations

import json
from typing import Any

from suite.report.exports import export

STUDENT, DISTILLED = [69.9, 70.1, 70.0], [71.0, 71.4, 71.1]

COLUMNS = {
    "benchmark": {"name", "mode", "dtype", "extra_info"},
    "model": {"name", "type", "backend", "origins", "extra_info"},
    "runners": {"name", "type", "cpu_info", "cpu_count", "gpu_info", "gpu_count", "extra_info"},
    "dependencies": {"repo", "branch", "sha", "version", "extra_info"},
    "metric": {"name", "benchmark_values", "target_value", "extra_info"},
}
"""What the table has of each column of ours."""


def entries(of: Any) -> list[dict[str, Any]]:
    files = export("pytorch", of)
    found = [entry for content in files.values() for entry in json.loads(content)]
    assert all(isinstance(entry, dict) for entry in found)
    return found


def test_a_metric_of_a_claim_is_a_record_with_a_value_a_seed(material, pair_records):
    found = entries(material(pair_records(STUDENT, DISTILLED, profile="paper"), "paper"))
    assert [entry["benchmark"]["extra_info"]["claim"] for entry in found] == ["tiny-base", "tiny-kd"]
    kd = found[1]
    assert kd["metric"]["benchmark_values"] == DISTILLED
    assert kd["metric"]["target_value"] == 71.96
    assert kd["metric"]["extra_info"]["verdict"] == "DEVIATES_LOW"
    assert kd["metric"]["extra_info"]["unit"] == "percent"
    assert kd["model"] == {"name": "resnet18", "type": "classification"}
    assert kd["benchmark"]["extra_info"]["comparable"] == "True"
    assert kd["runners"] == [{"cpu_info": "a CPU"}]
    assert kd["dependencies"]["torch"] == {"version": "2.10.0"}


def test_nothing_is_there_that_the_table_does_not_have(material, pair_records):
    for entry in entries(material(pair_records(STUDENT, DISTILLED, profile="paper"), "paper")):
        assert entry.keys() <= COLUMNS.keys()
        parts = [(name, entry[name]) for name in ("benchmark", "model", "metric")]
        parts += [("runners", runner) for runner in entry["runners"]]
        parts += [("dependencies", package) for package in entry["dependencies"].values()]
        for name, part in parts:
            assert part.keys() <= COLUMNS[name]
            assert all(isinstance(text, str) for text in part.get("extra_info", {}).values())


def test_embedded_data_have_no_target_and_variants_neither(material, pair_records, record):
    embedded = entries(material(pair_records(STUDENT, DISTILLED)))
    assert embedded
    assert not any("target_value" in entry["metric"] for entry in embedded)
    variant = {"claim": "tiny-kd", "arm": "distilled", "variant": ("method.x=1",)}
    tried = record("tiny-kd", "distilled", 0, top1=60.0, claims=[variant], profile="paper")
    (found,) = entries(material([tried], "paper"))
    assert "target_value" not in found["metric"]
    assert found["benchmark"]["extra_info"]["variant"] == "method.x=1"


def test_without_a_measured_row_there_is_no_file(material):
    assert export("pytorch", material([])) == {}
