"""The campaign itself: every oracle finds a planted fault, so that no campaign passes by being blind."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from rich.console import Console

import suite.cli
from tests.campaign import oracles
from tests.campaign.calling import Done, call
from tests.campaign.campaign import (
    MODULES,
    Settings,
    copy_of_the_code,
    experiment,
    keep,
    known,
    print_table,
    table_rows,
)
from tests.campaign.checkpoints import KINDS, make
from tests.campaign.experiment import Case, Drawn, Finding, Place, Tried, found
from tests.campaign.files import edited
from tests.campaign.searching import Searched
from tests.campaign.training import PLANTED, WRITES, Planted

FINISHED = {"run_id": "0" * 16, "status": "finished", "metrics": {"top1": 50.0}}


def done(status: int = 0, out: str = "", err: str = "", hung: str = "") -> Done:
    return Done(("list",), status, out, err, hung)


def names(findings: Any) -> set[str]:
    return {finding.oracle for finding in findings}


def write_record(store: Path, name: str, weights: bytes = b"weights", **changes: Any) -> Path:
    provenance = {"weights_sha256": hashlib.sha256(weights).hexdigest()}
    store.mkdir(parents=True, exist_ok=True)
    path = store / f"{name}.json"
    path.write_text(json.dumps({**FINISHED, "provenance": provenance, **changes}), encoding="utf-8")
    return path


@pytest.mark.parametrize("status", oracles.STATUSES)
def test_a_command_that_ends_as_it_should_is_no_finding(status):
    err = "suite: --seeds must be at least 1\n" if status else ""
    assert names(oracles.ending(done(status, "a table\n", err))) == set()
    assert names(oracles.one_line(done(status, "a table\n", err))) == set()
    assert names(oracles.printable(done(status, "a table of GAIN (+0.52 to +14.75) → é\t|\n", err))) == set()


@pytest.mark.parametrize("status", [4, 5, 127, -signal.SIGSEGV, -signal.SIGKILL])
def test_a_status_that_means_nothing_is_found(status):
    assert names(oracles.ending(done(status))) == {"status"}


TRACEBACK = """Traceback (most recent call last):
  File "/somewhere/suite/cli/list_.py", line 40, in run
    raise ValueError(1)
ValueError: 1
"""


def test_a_traceback_is_found_wherever_it_is_printed_and_named_by_its_place():
    for printed in (done(1, err=TRACEBACK), done(0, out=TRACEBACK)):
        (finding,) = oracles.ending(printed)
        assert finding.key == "traceback: ValueError suite/cli/list_.py in run"


@pytest.mark.parametrize(
    "err",
    [
        "",
        "wrong\n",
        "suite: one\nsuite: two\n",
        "suite: one\nand more\n",
        "UserWarning: x\nsuite: one\n",
        f"suite: {'x' * 2000}\n",
    ],
)
def test_wrong_input_that_is_not_told_in_one_line_is_found(err):
    assert names(oracles.one_line(done(2, err=err))) == {"message"}


def test_progress_before_the_line_is_none_of_it():
    assert (
        names(oracles.one_line(done(2, err="3 runs: 1 recorded already, 2 to execute\nsuite: no room\n")))
        == set()
    )


@pytest.mark.parametrize("character", ["\x1b", "\x07", "\0", "\r", "\x85", "\u202e"])
def test_what_a_terminal_obeys_is_found(character):
    expected = set() if character == "\r" else {"control characters"}
    assert names(oracles.printable(done(2, err=f"suite: {character}[2J\n"))) == expected
    assert names(oracles.printable(done(0, out=f"{character}\n"))) == expected


def test_what_hangs_what_is_taken_and_what_does_not_go_on_are_found():
    assert names(oracles.ending(done(-9, hung="does not end"))) == {"hang"}
    assert names(oracles.ending(done(0), refused=True)) == {"accepted"}
    assert names(oracles.ending(done(1), refused=False)) == {"no recovery"}


def test_records_that_are_lost_changed_doubled_or_cut_are_found(tmp_path):
    store = tmp_path / "records"
    first = write_record(store, f"{'0' * 16}-01")
    other = write_record(store, f"{'1' * 16}-01", run_id="1" * 16)
    ledger = oracles.Ledger(store)
    assert names(ledger.look()) == set()
    write_record(store, f"{'2' * 16}-01", run_id="2" * 16)
    assert names(ledger.look()) == set()

    before = first.read_bytes()
    first.write_bytes(before.replace(b"50.0", b"50.1"))
    assert names(ledger.look()) == {"record changed"}
    first.write_bytes(before)
    assert names(ledger.look()) == {"record changed"}

    ledger = oracles.Ledger(store)
    assert names(ledger.look()) == set()
    other.unlink()
    assert names(ledger.look()) == {"record lost"}

    ledger = oracles.Ledger(store)
    write_record(store, f"{'0' * 16}-02")
    assert names(ledger.look()) == {"record doubled"}
    (store / f"{'0' * 16}-02.json").write_bytes(before[:20])
    assert names(oracles.Ledger(store).look()) == {"record doubled"}


def test_another_metric_other_weights_and_a_missing_run_are_found(tmp_path):
    write_record(tmp_path / "results" / "records", f"{'0' * 16}-01")
    weights = tmp_path / "work" / "runs" / ("0" * 16) / "weights.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    undisturbed = oracles.numbers_of(tmp_path / "results" / "records")

    def look(**changes: Any) -> set[str]:
        write_record(tmp_path / "results" / "records", f"{'0' * 16}-01", **changes)
        return names(oracles.numbers(tmp_path / "results", tmp_path / "work", undisturbed, complete=True))

    assert look() == set()
    assert look(metrics={"top1": 50.000001}) == {"number changed"}
    assert look(weights=b"other") == {"number changed"}
    assert look(status="failed") == {"number changed"}
    assert look(run_id="3" * 16) == {"number changed"}
    assert look() == set()
    weights.write_bytes(b"Weights")
    assert look() == {"number changed"}


def test_a_series_that_is_another_or_missing_is_found_and_other_times_are_none(tmp_path):
    store = tmp_path / "results" / "records"

    def keep(**changes: Any) -> Path:
        line = {"iteration": 1, "loss": 2.0, "seconds_per_step": 0.5, "memory_mib": 100.0, **changes}
        content = json.dumps(line).encode()
        digest = hashlib.sha256(content).hexdigest()
        write_record(store, f"{'0' * 16}-01", scalars_sha256=digest)
        path: Path = store / f"{'0' * 16}-{digest[:12]}.scalars.jsonl"
        path.write_bytes(content)
        return path

    def look() -> set[str]:
        return names(oracles.numbers(tmp_path / "results", tmp_path / "work", undisturbed, complete=True))

    keep()
    undisturbed = oracles.numbers_of(store)
    keep(seconds_per_step=0.25, memory_mib=200.0)
    assert look() == set()
    keep(iteration=2)
    assert look() == {"number changed"}
    keep().unlink()
    assert look() == {"number changed"}


@pytest.mark.parametrize("deed", ["appears", "changes", "goes", "becomes a link", "hides in a folder"])
def test_a_file_outside_is_found(tmp_path, deed):
    inside, precious = tmp_path / "results", tmp_path / "outside" / "precious.txt"
    inside.mkdir()
    precious.parent.mkdir()
    precious.write_text("precious", encoding="utf-8")
    around = oracles.Surroundings.of(tmp_path, inside)
    (inside / "nkd.md").touch()
    assert names(around.look()) == set()
    if deed == "appears":
        (tmp_path / "escaped").touch()
    elif deed == "hides in a folder":
        (precious.parent / "a" / "b").mkdir(parents=True)
    elif deed == "changes":
        precious.write_text("PRECIOUS and more", encoding="utf-8")
    else:
        precious.unlink()
        if deed == "becomes a link":
            precious.symlink_to(inside)
    assert names(around.look()) == {"outside"}


def test_code_that_ran_is_found_by_its_mark(tmp_path):
    assert names(oracles.unmarked(tmp_path / "mark")) == set()
    (tmp_path / "mark").touch()
    assert names(oracles.unmarked(tmp_path / "mark")) == {"code ran"}


# The oracles and the calls they judge, together.


@pytest.mark.parametrize(
    ("verb", "oracle"),
    [
        (lambda words: 5, "status"),
        (lambda words: 1 // 0, "traceback"),
        (lambda words: print("\x1b[2J") or 0, "control characters"),
        (lambda words: print("suite: a\nsuite: b", file=sys.stderr) or 2, "message"),
        (lambda words: os.kill(os.getpid(), signal.SIGSEGV), "status"),
        (lambda words: bytearray(2**40) and 0, "traceback"),
        (lambda words: Path("escaped").write_text("x", encoding="utf-8") and 0, "outside"),
        (lambda words: 0, None),
    ],
)
def test_what_a_called_command_does_wrong_is_found(tmp_path, monkeypatch, verb, oracle):
    monkeypatch.setattr(suite.cli, "main", verb)
    around = oracles.Surroundings.of(tmp_path)
    one = call(["list"], tmp_path, {})
    findings = [*oracles.ending(one), *oracles.one_line(one), *oracles.printable(one), *around.look()]
    assert names(findings) == ({oracle} if oracle else set())


def test_what_waits_for_ever_is_stopped_and_found(tmp_path, monkeypatch):
    monkeypatch.setattr(suite.cli, "main", lambda words: time.sleep(10_000))
    monkeypatch.setattr("tests.campaign.calling._IDLE_SECONDS", 0.5)
    assert names(oracles.ending(call(["list"], tmp_path, {}))) == {"hang"}


# What draws, shrinks and keeps cases.


class OddNumbers(Searched):
    """Finds every number above a hundred."""

    name, lane, share, unit, target = "odd", "light", 1.0, "numbers", 1

    def cases(self) -> st.SearchStrategy[Case]:
        return st.fixed_dictionaries({"number": st.integers(0, 10_000)})

    def replay(self, case: Case, place: Place) -> Tried:
        wrong = [Finding("status", "too large")] if case["number"] > 100 else []
        return found(wrong, case, Counter({"numbers": 1}))


def test_a_search_finds_the_smallest_case_once_and_counts_on(tmp_path):
    place = Place(tmp_path, tmp_path)
    search = OddNumbers()
    tried = search.attempt("0", place, time.monotonic() + 60)
    ((finding, case),) = tried.found
    assert (finding.oracle, case) == ("status", {"number": 101})
    again = search.attempt("0", place, time.monotonic() + 60)
    assert (again.found, again.count["numbers"]) == ([], search.examples)
    assert OddNumbers().attempt("0", place, time.monotonic() - 1).count["numbers"] == 0


def test_the_same_seed_draws_the_same():
    for name in MODULES:
        one = experiment(name)
        if isinstance(one, Drawn):
            cases = [one.draw(random.Random(f"{seed}/{name}/0")) for seed in (0, 0, 1)]
            assert cases[0] == cases[1]
            json.dumps(cases)


def test_a_finding_leaves_its_smallest_case_and_how_to_see_it_again(tmp_path):
    settings = Settings(1.0, 7, ("files",), 0, tmp_path)
    finding = Finding("traceback", "list: ValueError: 1")
    keep(finding, {"words": ["list", "x"]}, "files", 3, settings)
    folder = keep(finding, {"words": ["list"]}, "files", 4, settings)
    keep(finding, {"words": ["list", "a long one"]}, "files", 5, settings)
    assert json.loads((folder / "case.json").read_bytes())["case"] == {"words": ["list"]}
    told = (folder / "README.txt").read_text(encoding="utf-8")
    assert f"--replay {folder}" in told
    assert "--seed 7 --only files --first 4" in told


def test_the_table_says_what_was_tried_what_was_found_and_what_could_not_be_tried(tmp_path, capsys):
    settings = Settings(5.0, 7, ("kills", "disks", "files"), 0, tmp_path)
    notes = [
        {"experiment": "kills", "count": {"kills": 2, "of worker": 2}, "findings": [], "not_here": []},
        {"experiment": "kills", "count": {"kills": 3}, "findings": ["status: 5"], "not_here": []},
        {"experiment": "disks", "count": {}, "findings": [], "not_here": ["disks that are mounted"]},
    ]
    journal = "".join(json.dumps({"attempt": 0, "seconds": 1.0, **note}) + "\n" for note in notes)
    (tmp_path / "training.jsonl").write_text(journal, encoding="utf-8")
    rows = table_rows(settings)
    assert {name: len(row.keys) for name, row in rows.items()} == {"kills": 1, "disks": 0, "files": 0}
    text = print_table(rows, settings, Console(width=160, highlight=False, markup=False))
    assert text == capsys.readouterr().out
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "kills 5 kills, 2 of worker 100 0.0 1" in lines
    assert "files 0 mutated files 5000 0.0 0" in lines
    assert "an exit status outside of 0 to 3 and 130 1" in lines
    assert "a traceback was printed 0" in lines
    assert "- status: 5" in lines
    assert "Not tried here: disks that are mounted." in lines


def test_two_sightings_of_one_fault_are_one_finding():
    first = Finding("number changed", "run 0123456789abcdef: '/a/b' instead of 3.5")
    second = Finding("number changed", "run fedcba9876543210: '/c' instead of 11.25")
    assert first.name == second.name
    assert first.name != Finding("number changed", "it is gone").name


def test_an_unknown_experiment_is_refused():
    with pytest.raises(ValueError, match="unknown experiment 'kill'; known: kills"):
        known(["kill"])


@pytest.mark.parametrize(
    ("how", "content"),
    [
        ("byte", b"a: 1\nXb: 2\n"),
        ("cut", b"a: 1\n"),
        ("value", b"a: 1\nb: X\n"),
        ("key", b"a: 1\nX: 2\n"),
        ("insert", b"a: 1\nX\nb: 2\n"),
        ("delete line", b"a: 1\n"),
        ("repeat line", b"a: 1\nb: 2\nb: 2\n"),
    ],
)
def test_a_file_is_edited_where_it_says(how, content):
    before = b"a: 1\n\nb: 2\n" if how == "byte" else b"a: 1\nb: 2\n"
    assert edited(before, how, 5000, b"X") == content


def test_a_process_dies_at_the_write_that_was_told(tmp_path):
    for does, status, files in (("kill", -signal.SIGKILL, ["0", "1"]), (28, 1, ["0", "1"])):
        for path in tmp_path.glob("*"):
            path.unlink()
        log = tmp_path.with_name("log")
        planted = Planted("engine", WRITES, 3, does)
        code = "import sys\nfor name in sys.argv[2:]: open(f'{sys.argv[1]}/{name}', 'w').close()"
        script = tmp_path.with_name("script.py")
        script.write_text(code, encoding="utf-8")
        one = subprocess.run(
            [sys.executable, str(script), str(tmp_path), "0", "1", "2"],
            env={**os.environ, **planted.environment(tmp_path, log), "PYTHONPATH": str(PLANTED)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert one.returncode == status, one.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == files
        assert log.read_text(encoding="utf-8") == "open\n"
        log.unlink()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("code")])
def test_hostile_checkpoints_would_leave_their_mark(tmp_path, kind):
    """Read by what trusts them; so that it means something when the suite leaves none."""
    import io
    import pickle
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("weights/data.pkl", pickle.dumps({"weight": 1}, 2))
        archive.writestr("weights/data/0", bytes(8))
    path, mark = tmp_path / "hostile.pth", tmp_path / "mark"
    make(path, buffer.getvalue(), {"kind": kind, "at": 0.5}, mark)
    content = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            content = archive.read("weights/data.pkl")
    stream = io.BytesIO(content)
    while stream.tell() < len(content):
        pickle.load(stream)
    assert names(oracles.unmarked(mark)) == {"code ran"}


def test_the_copy_of_the_code_has_all_that_the_campaign_imports(tmp_path: Path):
    folder = copy_of_the_code(tmp_path / "code")
    done = subprocess.run(
        [sys.executable, "-m", "tests.campaign", "--help"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
