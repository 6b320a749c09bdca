"""The files of scalars: whole and small, known by their digest, and told in one line where they are not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite.cli import main
from suite.contract import Scalars, TapGradient
from suite.errors import SuiteError
from suite.store.companions import faults_of
from suite.store.record import Distillation
from suite.store.records import read_all, write_record
from suite.store.scalars import (
    SCALARS,
    read_scalars,
    scalars_file,
    shares_of,
    write_scalars,
)
from suite.store.summaries import read_summaries
from tests.store.test_records import RUN, record


def line(iteration: int, loss: float = 4.0, **losses: float) -> Scalars:
    return Scalars(
        iteration=iteration,
        epoch=1,
        learning_rate=0.1,
        loss=loss,
        losses=losses,
        seconds_per_step=0.25,
        memory_mib=512.0,
    )


LINES = [line(1, 4.0, loss_task=3.0, loss_mgd=1.0), line(2, 2.0, loss_task=1.5, loss_mgd=0.5)]


@pytest.fixture
def kept(tmp_path: Path) -> Any:
    """A record with scalars, in a store."""
    return write_record(tmp_path, record(scalars_sha256=write_scalars(tmp_path, RUN, LINES)))


def file_of(folder: Path, kept: Any) -> Path:
    return scalars_file(folder, kept.run_id, kept.scalars_sha256)


def test_scalars_are_read_back_as_they_were_written_and_are_no_record(tmp_path: Path, kept: Any):
    assert read_scalars(tmp_path, kept) == LINES
    assert read_all(tmp_path) == [kept]
    (summary,) = read_summaries(tmp_path)
    assert read_scalars(tmp_path, summary) == LINES
    first, second = file_of(tmp_path, kept).read_text(encoding="utf-8").splitlines()
    assert json.loads(first)["losses"] == {"loss_task": 3.0, "loss_mgd": 1.0}
    assert json.loads(second)["iteration"] == 2


def test_a_record_without_scalars_has_none_and_is_written_as_it_always_was(tmp_path: Path):
    written = write_record(tmp_path, record())
    assert read_scalars(tmp_path, written) == []
    assert faults_of(tmp_path, [written], SCALARS) is None
    content = json.loads((tmp_path / f"{RUN}-01.json").read_text(encoding="utf-8"))
    assert not {"scalars_sha256", "distillation"} & content.keys()


def test_what_was_kept_of_another_attempt_stays_beside_it(tmp_path: Path, kept: Any):
    other = write_record(tmp_path, record(scalars_sha256=write_scalars(tmp_path, RUN, LINES[:1])))
    assert other.attempt == 2
    assert (read_scalars(tmp_path, other), read_scalars(tmp_path, kept)) == (LINES[:1], LINES)


def flip_a_digit(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"4.0", b"9.0", 1))


def instead(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def put(path: Path) -> None:
        path.unlink()
        make(path)

    return put


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "gone": (Path.unlink, "is missing"),
    "altered": (flip_a_digit, "is not the file that its record names: its SHA-256 differs"),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:-40]), "is not the file that its record"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() * 2), "is not the file that its record"),
    "emptied": (lambda path: path.write_bytes(b""), "is empty"),
    "a folder": (instead(Path.mkdir), "is a folder, not a regular file"),
    "a pipe": (instead(os.mkfifo), "is a named pipe, not a regular file"),
    "a link to itself": (instead(lambda path: path.symlink_to(path.name)), "cannot be read"),
}


@pytest.mark.parametrize(("damage", "says"), FAULTS.values(), ids=FAULTS)
def test_a_file_that_is_not_what_its_record_names_is_one_line_and_no_curve(
    tmp_path: Path, kept: Any, damage: Callable[[Path], Any], says: str
):
    path = file_of(tmp_path, kept)
    damage(path)
    with pytest.raises(SuiteError) as caught:
        read_scalars(tmp_path, kept)
    said = str(caught.value)
    assert said.startswith(f"{path}: {says}")
    assert said.endswith(
        f"restore it from a copy: without it run {RUN} has no curves, but its numbers stay valid"
    )
    assert "\n" not in said
    # The record counts as ever.
    assert read_all(tmp_path) == [kept]


def test_several_faults_are_one_line(tmp_path: Path, kept: Any):
    others = [record(f"{number:016x}", scalars_sha256="a" * 64) for number in range(3)]
    fault = faults_of(tmp_path, [kept, *others], SCALARS)
    assert str(fault).startswith(f"{tmp_path}/{0:016x}-aaaaaaaaaaaa.scalars.jsonl: is missing; ")
    assert str(fault).endswith(", and 2 more like it")


def test_the_store_is_checked_on_request(tmp_path: Path, kept: Any, capsys: pytest.CaptureFixture[str]):
    write_record(tmp_path, record("f" * 16))
    assert main(["archive", "check", "--records", str(tmp_path)]) == 0
    assert "2 records, 1 of them with scalars: all are readable" in capsys.readouterr().out
    flip_a_digit(file_of(tmp_path, kept))
    assert main(["archive", "check", "--records", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is not the file that its record names" in said


def test_a_report_tells_what_is_missing_and_has_the_numbers_that_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path))
    folder = tmp_path / "records"
    kept = write_record(folder, record(scalars_sha256=write_scalars(folder, RUN, LINES)))
    assert main(["report", "--paper", "mgd"]) == 0
    assert capsys.readouterr().err == ""
    whole = (tmp_path / "mgd.csv").read_bytes()
    file_of(folder, kept).unlink()
    assert main(["report", "--paper", "mgd"]) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"suite: {file_of(folder, kept)}: is missing; ")
    assert said.count("\n") == 1
    assert (tmp_path / "mgd.csv").read_bytes() == whole


def test_a_report_looks_at_the_scalars_of_no_run_that_stands_in_none_of_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path))
    lost = {"scalars_sha256": "a" * 64}
    # One of an earlier series, one of another profile, and one that was measured again with the same outcome.
    write_record(tmp_path / "records", record("1" * 16, finished_at="2025-01-01T00:00:00+00:00", **lost))
    write_record(tmp_path / "records", record("2" * 16, profile="smoke", **lost))
    write_record(tmp_path / "records", record("3" * 16, series="b" * 16))
    write_record(tmp_path / "records", record("4" * 16, series="b" * 16, repetition=1, **lost))
    assert main(["report", "--paper", "mgd", "--profile", "mini"]) == 0
    # All of these are another paper's.
    assert main(["report", "--paper", "fgd", "--profile", "smoke"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["archive", "check"]) == 2
    assert "and 2 more like it" in capsys.readouterr().err


def test_shares_are_those_of_all_iterations_of_a_tenth():
    # 100 iterations in lines of 5; the share grows with the iteration.
    lines = [line(number, 10.0, loss_mgd=number / 10) for number in range(5, 101, 5)]
    assert shares_of(lines, ["loss_mgd"]) == {"loss_mgd": (0.075, 0.525, 0.975)}
    # A line for many iterations counts as many times as one.
    uneven = [line(1, 1.0, loss_mgd=1.0), line(10, 1.0, loss_mgd=0.0), line(100, 1.0, loss_mgd=0.5)]
    assert shares_of(uneven, ["loss_mgd"])["loss_mgd"] == (0.1, 0.5, 0.5)


def test_shares_of_few_lines_are_those_nearest_and_of_none_there_are_none():
    assert shares_of(LINES, ["loss_mgd", "loss_other"]) == {
        "loss_mgd": (0.25, 0.25, 0.25),
        "loss_other": (0.0, 0.0, 0.0),
    }
    assert shares_of([line(1, 0.0, loss_mgd=0.0)], ["loss_mgd"]) == {"loss_mgd": (0.0, 0.0, 0.0)}
    assert shares_of([], ["loss_mgd"]) == {}


ACTING = Distillation(
    steps=20,
    fired={"student.neck": 20, "teacher.neck": 20},
    shares={"loss_mgd": (0.5, 0.25, 0.0)},
    gradients=[TapGradient(iteration=1, tap="student.neck", task=2.0, method=0.5)],
    teacher={"top1": 91.6},
)


def test_what_shows_that_a_method_acted_survives_the_file(tmp_path: Path):
    written = write_record(tmp_path, record(arm="distilled", distillation=ACTING.model_dump()))
    assert written.distillation == ACTING
    assert read_all(tmp_path) == [written]
    assert written.inert == list(read_summaries(tmp_path)[0].inert) == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"fired": {"student.neck": 20, "teacher.neck": 0}}, "tap teacher.neck never fired"),
        ({"shares": {"loss_mgd": (0.0, 0.0, 0.0)}}, "loss_mgd contributes nothing to the total loss"),
        (
            {"gradients": [TapGradient(iteration=1, tap="student.neck", task=2.0, method=0.0)]},
            "the gradient of the method is zero at every tap of the student",
        ),
    ],
)
def test_a_method_that_does_not_act_is_found_in_its_record(tmp_path: Path, fault: dict[str, Any], says: str):
    silent = ACTING.model_copy(update=fault)
    write_record(tmp_path, record(arm="distilled", distillation=silent.model_dump()))
    (summary,) = read_summaries(tmp_path)
    assert summary.inert == [says]
