"""A store as a run crate: everything in it, described by the profile, the same bytes each time."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from suite.cli import main
from suite.contract import Sample, Scalars
from suite.environment import HOMEPAGE
from suite.store.records import write_record
from suite.store.samples import write_samples
from suite.store.scalars import write_scalars

OLDER = Path(__file__).parents[2] / "store" / "older_records"
WEIGHTS = "a" * 64


@pytest.fixture
def _rocrate() -> None:
    pytest.importorskip("rocrate", reason="needs rocrate: pip install rocrate")


@pytest.fixture
def records(tmp_path: Path, record: Any) -> Path:
    """A store with a teacher, a student of it that left scalars and samples, and a run that failed."""
    folder = tmp_path / "store"
    claim = "nkd-resnet18-nkd"
    provenance = {"commit": "abc123", "command": "python -m suite reproduce"}
    teacher = record(claim, "teacher", 0, top1=80.0, provenance=provenance | {"weights_sha256": WEIGHTS})
    write_record(folder, teacher)
    taught = {"teacher": {"run_id": teacher.run_id, "weights_sha256": WEIGHTS}}
    line = Scalars(iteration=1, learning_rate=0.1, loss=1.0, losses={}, seconds_per_step=0.1, memory_mib=1.0)
    student = record(claim, "distilled", 0, top1=79.0, provenance=provenance | taught, timings={"wall": 60.0})
    sha256 = write_scalars(folder, student.run_id, [line])
    samples = write_samples(folder, student.run_id, [Sample(file="00/000.ppm", width=32, height=32)])
    recipe = {"task": "classification", "student": {"name": "resnet18"}, "teacher": {"name": "resnet34"}}
    left = {"scalars_sha256": sha256, "samples_sha256": samples, "recipe": recipe}
    write_record(folder, student.model_copy(update=left))
    # It started from the backbone of what teaches the other one.
    dirty = {"commit": "abc123", "dirty": True, "start": taught["teacher"]}
    write_record(folder, record(claim, "distilled", 1, status="failed", error="<script>", provenance=dirty))
    return folder


def archive(records: Path, crate: Path) -> int:
    return main(["archive", "crate", "--records", str(records), "--output", str(crate)])


def entities(crate: Path) -> dict[str, dict[str, Any]]:
    graph = json.loads((crate / "ro-crate-metadata.json").read_text(encoding="utf-8"))["@graph"]
    found = {entity["@id"]: entity for entity in graph}
    assert len(found) == len(graph)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("_rocrate")
def test_a_crate_holds_records_what_is_beside_them_recipes_and_reports(records: Path, tmp_path: Path, capsys):
    crate = tmp_path / "out" / "crate"
    assert archive(records, crate) == 0
    assert capsys.readouterr().out == (f"{crate}: a Process Run Crate of 3 records and 2 report files.\n")
    for path in records.iterdir():
        assert (crate / "records" / path.name).read_bytes() == path.read_bytes()
    assert sorted(path.name for path in (crate / "reports").iterdir()) == ["nkd.csv", "nkd.md"]
    assert len(list((crate / "configs").iterdir())) == 3
    assert [path.name for path in crate.parent.iterdir()] == ["crate"]


@pytest.mark.usefixtures("_rocrate")
def test_a_crate_conforms_to_the_profile(records: Path, tmp_path: Path):
    archive(records, tmp_path / "crate")
    found = entities(tmp_path / "crate")
    root = found["./"]
    assert found["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}
    assert found["https://w3id.org/ro/wfrun/process/0.5"]["@type"] == "CreativeWork"
    assert {"name", "description", "datePublished"} <= root.keys()
    assert root["license"] == "Not stated: whoever publishes this crate has to state one."
    actions = {name: entity for name, entity in found.items() if entity["@type"] == "CreateAction"}
    assert {entry["@id"] for entry in root["mentions"]} == actions.keys()
    parts = {entry["@id"] for entry in root["hasPart"]}
    assert parts == {name for name, entity in found.items() if entity["@type"] == "File"}
    assert parts | {"ro-crate-metadata.json"} == set(contents(tmp_path / "crate"))
    for action in actions.values():
        instrument = found[action["instrument"]["@id"]]
        assert (instrument["@type"], instrument["url"]) == ("SoftwareApplication", HOMEPAGE)
        assert instrument["softwareVersion"] in ("abc123", "abc123-dirty")
        assert {entry["@id"] for entry in (*action["object"], *action["result"])} <= parts
        assert "agent" not in action


@pytest.mark.usefixtures("_rocrate")
def test_a_crate_states_the_license_that_was_named(records: Path, tmp_path: Path):
    license_named = "https://spdx.org/licenses/CC-BY-4.0"
    words = ["--records", str(records), "--output", str(tmp_path / "crate"), "--license", license_named]
    assert main(["archive", "crate", *words]) == 0
    found = entities(tmp_path / "crate")
    assert found["./"]["license"] == {"@id": license_named}
    assert found[license_named] == {"@id": license_named, "@type": "CreativeWork", "name": "CC-BY-4.0"}


@pytest.mark.usefixtures("_rocrate")
def test_an_action_says_what_a_run_was_made_of_and_how_it_ended(records: Path, tmp_path: Path):
    archive(records, tmp_path / "crate")
    actions = [e for e in entities(tmp_path / "crate").values() if e["@type"] == "CreateAction"]
    (student,) = [action for action in actions if "resnet34" in action["name"]]
    assert student["name"] == "resnet34 -> resnet18: distilled, profile mini, seed 0"
    assert student["description"] == "python -m suite reproduce"
    assert student["startTime"] == "2026-11-01T09:59:00+00:00"
    assert student["endTime"] == "2026-11-01T10:00:00+00:00"
    (teacher,) = [action for action in actions if "teacher" in action["name"]]
    (failed,) = [action for action in actions if "error" in action]
    assert teacher["result"][0] in student["object"]
    assert teacher["result"][0] in failed["object"]
    assert [entry["@id"].rpartition(".")[2] for entry in student["result"]] == ["json", "jsonl", "jsonl"]
    assert failed["error"] == "<script>"
    assert failed["actionStatus"] == "http://schema.org/FailedActionStatus"
    assert "startTime" not in failed


@pytest.mark.usefixtures("_rocrate")
def test_the_same_store_gives_the_same_bytes(records: Path, tmp_path: Path):
    archive(records, tmp_path / "one")
    moved = tmp_path / "elsewhere"
    shutil.copytree(records, moved)
    archive(moved, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.usefixtures("_rocrate")
@pytest.mark.parametrize(("altered", "kept"), [("scalars", "samples"), ("samples", "scalars")])
def test_what_was_altered_beside_a_record_is_left_out_and_reported(
    altered: str, kept: str, records: Path, tmp_path: Path, capsys
):
    (path,) = records.glob(f"*.{altered}.jsonl")
    path.write_text("{}\n", encoding="utf-8")
    assert archive(records, tmp_path / "crate") == 0
    assert f"{path}: is not the file that its record names" in capsys.readouterr().err
    assert [file.suffixes[0] for file in (tmp_path / "crate" / "records").glob("*.jsonl")] == [f".{kept}"]


@pytest.mark.usefixtures("_rocrate")
def test_a_folder_that_is_there_no_records_and_older_layouts_are_refused(
    records: Path, tmp_path: Path, capsys
):
    (tmp_path / "empty").mkdir()
    for store, crate, message in (
        (records, records, "already exists"),
        (tmp_path / "empty", tmp_path / "crate", "no records"),
        (tmp_path / "none", tmp_path / "crate", "no records"),
        (OLDER, tmp_path / "crate", "archive upgrade"),
    ):
        before = sorted(tmp_path.rglob("*"))
        assert archive(store, crate) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before


def test_without_rocrate_it_is_told_in_one_line(records: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rocrate.rocrate", None)
    assert archive(records, tmp_path / "crate") == 2
    assert capsys.readouterr().err == (
        "suite: a run crate needs rocrate, which is not installed: pip install rocrate\n"
    )


@pytest.mark.parametrize("option", ["--output", "--license"])
def test_output_and_license_are_of_the_crate_alone(option: str, records: Path, tmp_path: Path, capsys):
    assert main(["archive", "check", "--records", str(records), option, str(tmp_path / "x")]) == 2
    assert f"leave out {option}" in capsys.readouterr().err
