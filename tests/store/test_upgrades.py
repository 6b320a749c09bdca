"""Records of older layouts: read as they are, upgraded, and written anew without losing one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite.cli import main
from suite.errors import SuiteError
from suite.store.record import SCHEMA_VERSION
from suite.store.records import read_all, read_for_run, read_record, rewrite_older

HERE = Path(__file__).parent / "older_records"
"""Four records as schemas 1 and 2 wrote them: a teacher, a student that learned from it, and two alone."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    shutil.copytree(HERE, tmp_path / "records")
    return tmp_path / "records"


def documents(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def test_every_number_and_every_older_id_is_kept(store: Path):
    before = documents(store)
    assert {document["schema_version"] for document in before.values()} == {1, 2}
    records = read_all(store)
    assert len(records) == len(before)
    for record in records:
        (former,) = record.former_ids
        old = before[f"{former}-01"]
        assert record.schema_version == SCHEMA_VERSION
        assert (record.metrics, record.finished_at) == (old["metrics"], old["finished_at"])
        assert [str(departure) for departure in record.departures] == old["departures"]
        assert [entry.claim for entry in record.claims] == [entry["claim"] for entry in old["claims"]]


def test_a_student_knows_its_teacher_under_the_new_id(store: Path):
    records = {record.arm: record for record in read_all(store)}
    teacher = records["distilled"].provenance.teacher
    assert teacher is not None
    assert teacher.run_id == records["teacher"].run_id
    assert records["distilled"].identity["teacher"]["run"] == records["teacher"].run_id
    # The file names the older id; the record is the same, read alone.
    (path,) = store.glob(f"{records['distilled'].former_ids[0]}-*.json")
    assert read_record(path) == records["distilled"]


def test_import_paths_and_titles_of_an_older_record_do_not_count(store: Path):
    def rename(document: dict[str, Any]) -> None:
        document["recipe"]["adapter"] = "elsewhere.module:Adapter"
        document["recipe"]["data"]["prepare"] = "elsewhere.module:prepare"
        if document["recipe"]["method"]:
            document["recipe"]["method"]["title"] = "another title"
        document["recipe"]["student"]["overrides"]["head"] = {"type": "tasks.heads.Head"}

    for path in store.glob("*.json"):
        edit(path, lambda document: document["recipe"]["student"]["overrides"].update(head={"type": "Head"}))
    ids = [record.run_id for record in read_all(store)]

    for path in store.glob("*.json"):
        edit(path, rename)
    assert [record.run_id for record in read_all(store)] == ids


def test_an_override_of_an_older_record_makes_it_a_variant_and_means_are_resources(store: Path):
    path = next(path for path in store.glob("*.json") if '"arm": "student"' in path.read_text("utf-8"))

    def override(document: dict[str, Any]) -> None:
        document["departures"] += ["override student.embedded.epochs=1", "override means.precision=float16"]

    edit(path, override)
    record = read_record(path)
    assert {entry.variant for entry in record.claims if entry.arm == "student"} == {
        ("student.embedded.epochs=1",)
    }
    assert [(entry.kind, entry.setting) for entry in record.departures[-2:]] == [
        ("override", "student.embedded.epochs"),
        ("resources", "precision"),
    ]


def test_writing_them_anew_changes_nothing_that_is_read_and_keeps_the_files(store: Path):
    before, records = {path.name: path.read_bytes() for path in store.iterdir()}, read_all(store)
    assert rewrite_older(store) == records
    assert read_all(store) == records
    assert {path.name: path.read_bytes() for path in (store / "former").iterdir()} == before
    assert rewrite_older(store) == []
    for record in records:
        assert read_for_run(store, record.run_id) == [record]


def test_an_upgrade_that_was_interrupted_counts_no_record_twice_and_is_finished_by_the_next(store: Path):
    records = read_all(store)
    originals = {path.name: path.read_bytes() for path in store.iterdir()}
    rewrite_older(store)
    # As after a kill between writing a record under its new name and moving the old file away.
    name = next(iter(originals))
    (store / "former" / name).rename(store / name)
    assert read_all(store) == records
    rewrite_older(store)
    assert read_all(store) == records
    assert {path.name: path.read_bytes() for path in (store / "former").iterdir()} == originals


def test_a_record_that_says_too_little_for_another_id_is_written_anew_in_its_place(store: Path):
    path = sorted(store.glob("*.json"))[0]
    edit(path, lambda document: document.update(recipe={}))
    before, records = path.read_bytes(), read_all(store)
    assert rewrite_older(store) == records
    assert read_all(store) == records
    assert json.loads(path.read_bytes())["schema_version"] == SCHEMA_VERSION
    assert (store / "former" / path.name).read_bytes() == before


def test_the_verb_says_what_it_did_and_moves_the_weights_of_the_runs(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))
    record = read_all(store)[0]
    old = tmp_path / "work" / "runs" / record.former_ids[0]
    old.mkdir(parents=True)
    (old / "weights.pth").write_bytes(b"weights")
    assert main(["archive", "upgrade", "--records", str(store)]) == 0
    assert "4 records rewritten in the current layout, 1 run folders renamed" in capsys.readouterr().out
    assert (tmp_path / "work" / "runs" / record.run_id / "weights.pth").read_bytes() == b"weights"


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("provenance"),
        lambda document: document.update(claims=[3]),
        lambda document: document.update(departures=None),
        lambda document: document.update(metrics=[1]),
    ],
)
def test_an_older_record_that_is_broken_is_named_and_nothing_is_touched(
    store: Path, change: Callable[[dict[str, Any]], None]
):
    path = sorted(store.glob("*.json"))[1]
    edit(path, change)
    before = {file.name: file.read_bytes() for file in store.iterdir()}
    with pytest.raises(SuiteError, match=f"{path.name}: not a record"):
        rewrite_older(store)
    assert {file.name: file.read_bytes() for file in store.iterdir()} == before
