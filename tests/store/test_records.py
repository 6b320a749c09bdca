"""The record store: nothing is lost, doubled or half written, and damage is named."""

from __future__ import annotations

import errno
import gc
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from suite.errors import SuiteError
from suite.paths import ROOT
from suite.store.record import SCHEMA_VERSION, Record, standing_by_run
from suite.store.records import check_writable, read_all, read_for_run, read_record, write_record
from suite.store.summaries import read_summaries

RUN = "0123456789abcdef"


def record(run_id: str = RUN, **fields: Any) -> Record:
    content: dict[str, Any] = {
        "run_id": run_id,
        "series": "fedcba9876543210",
        "claims": [{"claim": "mgd-resnet18", "arm": "student"}],
        "task": "classification",
        "arm": "student",
        "profile": "mini",
        "seed": 0,
        "status": "finished",
        "metrics": {"top1": 71.25},
        "comparable": False,
        "finished_at": "2026-11-01T10:00:00+00:00",
    }
    return Record.model_validate(content | fields)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    written = write_record(tmp_path, record(provenance={"host": {"cores": 2}}, error="[/tmp] größer"))
    assert read_all(tmp_path) == [written]
    assert list(contents(tmp_path)) == [f"{RUN}-01.json"]


def test_the_file_is_plain_json_that_says_which_schema_it_has(tmp_path):
    write_record(tmp_path, record())
    content = json.loads((tmp_path / f"{RUN}-01.json").read_text(encoding="utf-8"))
    assert content["schema_version"] == SCHEMA_VERSION
    assert content["metrics"] == {"top1": 71.25}


def test_results_by_class_and_what_was_skipped_survive_the_file(tmp_path):
    more: dict[str, Any] = {
        "per_class": {"IoU": {"paper": 97.25, "zero": math.inf}, "Acc": {"paper": 99.0, "zero": 12.5}},
        "skipped": {"annotations without area": 3, "images that cannot be decoded": 0},
    }
    write_record(tmp_path, record(task="semantic_segmentation", **more))
    (read,) = read_all(tmp_path)
    assert (read.schema_version, read.per_class, read.skipped) == (
        SCHEMA_VERSION,
        more["per_class"],
        more["skipped"],
    )


def test_what_a_network_started_from_survives_the_file_and_is_no_field_of_a_record_without(tmp_path):
    start = {"run_id": "f" * 16, "weights_sha256": "a" * 64}
    pretrained = write_record(tmp_path, record(provenance={"start": start}))
    random = write_record(tmp_path, record("f" * 16, provenance={"device": "cpu"}))
    assert read_all(tmp_path) == [pretrained, random]
    assert (pretrained.started_from, random.started_from) == ("a" * 64, None)
    files = {path.name[:16]: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert files[RUN]["provenance"]["start"] == start
    assert "start" not in files["f" * 16]["provenance"]
    assert "device" in files["f" * 16]["provenance"]


def test_a_record_of_the_first_schema_is_read_without_what_came_later(tmp_path):
    write_record(tmp_path, record())
    path = tmp_path / f"{RUN}-01.json"
    content = json.loads(path.read_bytes()) | {"schema_version": 1}
    for later in ("per_class", "skipped", "former_ids", "identity", "repetition"):
        del content[later]
    del content["claims"][0]["variant"]
    path.write_text(json.dumps(content), encoding="utf-8")
    (read,) = read_all(tmp_path)
    assert (read.schema_version, read.per_class, read.skipped) == (SCHEMA_VERSION, {}, {})
    assert (read.former_ids, read.repetition, read.claims[0].variant) == ([RUN], 0, ())
    assert read.metrics == {"top1": 71.25}


def test_a_metric_that_is_no_number_survives_the_file(tmp_path):
    write_record(tmp_path, record(metrics={"mIoU": math.nan, "top1": math.inf}))
    json.loads((tmp_path / f"{RUN}-01.json").read_bytes(), parse_constant=pytest.fail)
    (read,) = read_all(tmp_path)
    assert math.isnan(read.metrics["mIoU"])
    assert read.metrics["top1"] == math.inf


def test_every_attempt_gets_a_file_of_its_own_and_none_is_overwritten(tmp_path):
    first = write_record(tmp_path, record(status="failed", metrics={}, error="out of memory"))
    before = contents(tmp_path)
    second = write_record(tmp_path, record())
    assert (first.attempt, second.attempt) == (1, 2)
    assert contents(tmp_path) | before == contents(tmp_path)
    assert read_for_run(tmp_path, RUN) == [first, second]


def test_the_first_finished_attempt_stands_for_the_run_else_the_latest(tmp_path):
    failed = record(status="failed", error="no", attempt=1)
    finished = record(attempt=2)
    late = record(status="failed", error="again", attempt=3)
    elsewhere = record(attempt=4)
    assert standing_by_run([failed, finished, late]) == {RUN: finished}
    for order in ([finished, elsewhere], [elsewhere, finished]):
        assert standing_by_run(order) == {RUN: finished}
    assert standing_by_run([late, failed]) == {RUN: late}


WRITE = """
import sys
from pathlib import Path
from suite.store.records import check_writable, read_record, write_record
folder, original = Path(sys.argv[1]), read_record(Path(sys.argv[2]))
"""


def python(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITE + code, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, **options)


def test_processes_that_write_at_once_do_not_take_each_others_place(tmp_path):
    store = tmp_path / "records"
    write_record(tmp_path, record())
    code = "for _ in range(8): write_record(folder, original)"
    writers = [python(code, store, tmp_path / f"{RUN}-01.json") for _ in range(3)]
    assert [writer.communicate(timeout=60)[1] for writer in writers] == ["", "", ""]
    assert [read.attempt for read in read_all(store)] == list(range(1, 25))


def test_a_file_in_the_making_is_not_taken_for_a_record(tmp_path):
    written = write_record(tmp_path, record())
    (tmp_path / ".x8d2.tmp").write_text('{"run_id"', encoding="utf-8")
    assert read_all(tmp_path) == [written]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_record_is_named_and_left_as_it_is(tmp_path, share):
    write_record(tmp_path, record())
    path = tmp_path / f"{RUN}-01.json"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    before = contents(tmp_path)
    with pytest.raises(
        SuiteError, match=r"(damaged record|is empty).*; restore it from a copy or move it out"
    ) as caught:
        read_all(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"schema_version": SCHEMA_VERSION + 1, "news": 1},
            rf"schema {SCHEMA_VERSION + 1}, this suite reads up to {SCHEMA_VERSION}; update the suite",
        ),
        ({"status": "done"}, r"not a record \(status: "),
        ({"per_class": {"IoU": 0.5}}, r"not a record \(per_class\.IoU: "),
        ({"skipped": {"images that cannot be decoded": -1}}, r"not a record \(skipped\."),
        ({"colour": "red"}, r"not a record \(colour: "),
        ({"run_id": "f" * 16}, rf"holds the record that belongs in {'f' * 16}-01\.json"),
        ({"attempt": 2}, rf"holds the record that belongs in {RUN}-02\.json"),
    ],
)
def test_what_is_no_record_of_its_name_is_refused(tmp_path, change, says):
    write_record(tmp_path, record())
    path = tmp_path / f"{RUN}-01.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change), encoding="utf-8")
    with pytest.raises(SuiteError, match=says):
        read_record(path)


def test_a_copy_beside_the_original_does_not_count_a_run_twice(tmp_path):
    write_record(tmp_path, record())
    copy = tmp_path / f"{RUN}-01 (copy).json"
    copy.write_bytes((tmp_path / f"{RUN}-01.json").read_bytes())
    with pytest.raises(SuiteError, match=r"\(copy\)\.json: holds the record that belongs in"):
        read_all(tmp_path)


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / f"{RUN}-01.json").mkdir()
    with pytest.raises(SuiteError, match=r"is a folder, not a regular file; restore it"):
        read_all(tmp_path)


def _leave_no_room() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("write_record(folder, original)", "OSError: [Errno 27] File too large"),
        ("check_writable(folder)", "cannot write records to {folder} (File too large): make room there"),
    ],
)
def test_without_room_nothing_is_added_and_nothing_is_left_over(tmp_path, code, says):
    # A limit on the size of files stands in for a full disk: both refuse in the middle of a write.
    write_record(tmp_path, record())
    before = contents(tmp_path)
    writer = python(code, tmp_path, tmp_path / f"{RUN}-01.json", preexec_fn=_leave_no_room)
    assert says.format(folder=tmp_path) in writer.communicate(timeout=60)[1]
    assert contents(tmp_path) == before


def test_a_store_that_can_be_written_to_passes_and_is_left_empty(tmp_path):
    check_writable(tmp_path / "results" / "records")
    assert list((tmp_path / "results" / "records").iterdir()) == []


def test_a_file_where_the_store_should_be_is_named_before_anything_is_trained(tmp_path):
    (tmp_path / "results").write_text("", encoding="utf-8")
    with pytest.raises(SuiteError, match=r"cannot write records to .*results/records .*SUITE_RESULTS"):
        check_writable(tmp_path / "results" / "records")


def test_the_garbage_collector_rests_while_records_are_read_and_works_again_after(tmp_path):
    for number in range(200):
        one = record(f"{number:016x}", recipe={"list": [{"key": key} for key in range(50)]})
        (tmp_path / f"{one.run_id}-01.json").write_text(one.model_dump_json(), encoding="utf-8")
    collections = []

    def count(phase: str, info: dict[str, int]) -> None:
        collections.append(info["generation"])

    gc.collect()
    gc.callbacks.append(count)
    try:
        assert len(read_all(tmp_path)) == 200
    finally:
        gc.callbacks.remove(count)
    # More than 10,000 dictionaries are made, which are 15 collections; before and after there may be some.
    assert len(collections) <= 3
    assert gc.isenabled()


def test_a_store_that_does_not_exist_is_empty(tmp_path):
    assert read_all(tmp_path / "nowhere") == []


def no_links(*_: Any) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_a_store_without_hard_links_takes_records_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    check_writable(tmp_path / "records")
    assert [write_record(tmp_path / "records", record()).attempt for _ in range(3)] == [1, 2, 3]
    assert [read.attempt for read in read_all(tmp_path / "records")] == [1, 2, 3]


def kill_between_name_and_content(folder: Path, written: Record) -> None:
    """Leaves a store without links as a writer does that is killed with a name and nothing in it yet."""
    child = os.fork()
    if child == 0:
        for name, fault in (("link", no_links), ("replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))):
            setattr(os, name, fault)
        try:
            write_record(folder, written)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_record_whose_writer_was_killed_is_found_and_its_number_is_not_used_again(tmp_path):
    kill_between_name_and_content(tmp_path, record())
    path = tmp_path / f"{RUN}-01.json"
    assert path.read_bytes() == b""
    (found,) = read_all(tmp_path)
    assert (found.attempt, found.metrics) == (1, {"top1": 71.25})
    assert read_record(path) == found
    assert read_for_run(tmp_path, RUN) == [found]
    assert read_summaries(tmp_path)[0].metrics == {"top1": 71.25}
    assert write_record(tmp_path, record(metrics={"top1": 1.0})).attempt == 2
    assert path.read_bytes() == b""
    assert standing_by_run(read_all(tmp_path))[RUN] == found


def test_an_empty_file_without_content_beside_it_is_damage_and_named(tmp_path):
    kill_between_name_and_content(tmp_path, record())
    for folder in tmp_path.glob(".*.tmp"):
        shutil.rmtree(folder)
    with pytest.raises(SuiteError, match=r"-01\.json: is empty; restore it"):
        read_all(tmp_path)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_a_store_that_takes_no_record_is_refused_with_place_and_remedy(tmp_path, monkeypatch, number):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    for name in ("link", "replace"):
        monkeypatch.setattr(os, name, refuse)
    with pytest.raises(SuiteError) as caught:
        check_writable(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"cannot write records to {tmp_path} ({os.strerror(number)}): ")
    assert "SUITE_RESULTS" in said
    assert ("make room" in said) == (number in (errno.ENOSPC, errno.EDQUOT))
    assert list(tmp_path.iterdir()) == []


def test_a_finished_record_without_a_finite_metric_is_a_failure_that_is_tried_again(tmp_path):
    write_record(tmp_path, record(metrics={"mIoU": math.nan, "top1": 3.0}))
    path = tmp_path / f"{RUN}-01.json"
    before = path.read_bytes()
    (read,) = read_all(tmp_path)
    assert (read.status, read.error) == (
        "failed",
        "it was recorded as finished without a result: mIoU is nan",
    )
    assert [each.status for each in read_for_run(tmp_path, RUN)] == ["failed"]
    assert [each.status for each in read_summaries(tmp_path)] == ["failed"]
    better = write_record(tmp_path, record())
    assert standing_by_run(read_all(tmp_path)) == {RUN: better}
    assert path.read_bytes() == before


def test_a_clock_that_went_back_does_not_change_which_attempt_stands(tmp_path):
    first = write_record(tmp_path, record(finished_at="2026-11-01T10:00:00+00:00"))
    write_record(tmp_path, record(metrics={"top1": 1.0}, finished_at="1970-01-01T00:00:00+00:00"))
    assert standing_by_run(read_all(tmp_path)) == {RUN: first}
    failed = record("f" * 16, status="failed", metrics={}, error="no")
    for time in ("2026-11-01T10:00:00+00:00", "1970-01-01T00:00:00+00:00"):
        latest = write_record(tmp_path, failed.model_copy(update={"finished_at": time}))
    assert standing_by_run(read_all(tmp_path))["f" * 16] == latest


def test_the_store_may_be_a_link_to_another_folder(tmp_path):
    (tmp_path / "disk").mkdir()
    store = tmp_path / "records"
    store.symlink_to(tmp_path / "disk")
    check_writable(store)
    written = write_record(store, record())
    assert read_all(store) == read_all(tmp_path / "disk") == [written]
