"""``work``: one run that was requested, executed as often as anybody asks, and recorded once."""

from __future__ import annotations

import pytest

from suite.cli import main
from suite.planning.plan import make_plan
from suite.published.finding import find_claim

SMOKE = ("reproduce", "--claim", "nkd-resnet18-nkd", "--profile", "smoke", "--device", "cpu", "--jobs", "1")


def run_id_of(arm: str) -> str:
    runs = make_plan([find_claim("nkd-resnet18-nkd")[1]], "smoke", 1).runs
    return next(run_id for run_id, run in runs.items() if run.arm == arm)


@pytest.mark.train
@pytest.mark.slow
def test_a_run_that_was_requested_is_executed_by_its_id_and_once(suite):
    done = suite(*SMOKE)
    assert done.returncode == 0, done.stderr
    ours = run_id_of("distilled")
    folder = suite.run_folder(ours)
    before = suite.records
    (suite.folder / "results" / "records" / f"{ours}-01.json").unlink()
    folder.weights.unlink()
    folder.drop_resume_points()

    again = suite("work", ours)
    assert (again.returncode, again.stdout) == (0, "")
    lines = again.stderr.splitlines()
    assert lines[0] == "1 runs: 0 recorded already, 1 to execute"
    assert lines[-1].startswith("[1/1] ")
    assert ": finished in " in lines[-1]
    assert suite.records.keys() == before.keys()
    # Numbers, teacher and who asked are those of the request; when is not.
    made, first = suite.records[f"{ours}-01"], before[f"{ours}-01"]
    assert made.metrics == first.metrics
    assert made.provenance.weights_sha256 == first.provenance.weights_sha256
    assert made.provenance.command == first.provenance.command
    assert made.claims == first.claims

    recorded = suite.record_bytes
    third = suite("work", ours)
    assert third.returncode == 0
    assert third.stdout.endswith(": recorded already\n")
    assert suite.record_bytes == recorded

    # Without its teacher nothing is taught, and the record says why.
    (suite.folder / "results" / "records" / f"{ours}-01.json").unlink()
    folder.weights.unlink()
    folder.drop_resume_points()
    suite.run_folder(run_id_of("teacher")).weights.unlink()
    blocked = suite("work", ours)
    assert blocked.returncode == 1
    assert "Traceback" not in blocked.stderr
    assert suite.records[f"{ours}-01"].status == "blocked"
    assert suite.records[f"{ours}-01"].error in blocked.stderr


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("0123456789abcdef", "run 0123456789abcdef was never requested here: 'python -m suite reproduce'"),
        ("../../etc/passwd", "'../../etc/passwd' is not the id of a run, which has 16 hexadecimal digits"),
        ("\x1b[31m", "is not the id of a run"),
    ],
)
def test_what_was_never_requested_is_refused_in_one_line(tmp_path, monkeypatch, capsys, word, says):
    monkeypatch.setenv("SUITE_WORK", str(tmp_path))
    assert main(["work", word]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert line.isprintable()
    assert list(tmp_path.iterdir()) == []
