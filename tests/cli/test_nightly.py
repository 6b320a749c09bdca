"""``nightly``: run, append, publish, tell, in this order, and nothing twice."""

from __future__ import annotations

import datetime
import re
import signal
import time
from typing import get_args

import pytest

from suite import cli
from suite.cli import tiers
from suite.cli.night import OutOfTimeError, alarm
from suite.cli.nightly_ import _hours
from suite.cli.standing_issue import ABSENT, TITLE, body_of, update
from suite.cli.tiers import Selection
from suite.errors import SuiteError
from suite.evidence.history import FILE, read_history
from suite.evidence.labels import Label
from suite.evidence.points import Row, night_of
from suite.evidence.trajectories import TOLERANCE
from suite.paths import ROOT
from suite.planning.plan import next_repetition
from suite.published.finding import select
from suite.report.nightly import STEM
from tests.cli.conftest import CLAIM, NOW
from tests.conftest import SMALL
from tests.workflows import workflow_calls

NIGHT = ("nightly", "--tier", "train", "--budget", "1m", "--claim", CLAIM, "--device", "cpu")
"""No training of a published protocol is bought by a minute."""


def thirty():
    """Thirty nights of the claimed accuracy, give and take a tenth of a point."""
    return [71.9 + 0.1 * (-1) ** number for number in range(30)]


def test_one_bad_night_is_on_the_page_and_told_to_nobody(store, github, capsys):
    results = store(thirty(), until=1)
    store([68.0])
    assert cli.main(NIGHT) == 0
    assert ": 31 new points, 0 flags." in capsys.readouterr().out
    assert "suspicious" in (results / f"{STEM}.md").read_text()
    assert github.calls() == []


def test_a_regression_is_told_once_and_closed_when_it_is_over(store, github, capsys, tmp_path, monkeypatch):
    results = store(thirty(), until=2)
    store([68.0, 68.0])
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert cli.main(NIGHT) == 0
    assert f"- regression: {CLAIM} (paper), top1" in capsys.readouterr().out
    assert github.calls() == ["create"]
    (issue,) = github.issues
    assert issue["title"] == TITLE
    assert f"- regression: {CLAIM} (paper), top1" in issue["body"]
    for text in (summary.read_text(), (results / f"{STEM}.html").read_text()):
        assert "regression" in text
    feed = (results / f"{STEM}.atom").read_text()
    assert "regression" in feed
    assert len(read_history(results / FILE)) == 32
    before = (results / FILE).read_bytes()
    assert cli.main(NIGHT) == 0
    assert (github.calls(), github.issues) == ([], [issue])
    assert (results / FILE).read_bytes() == before
    assert (results / f"{STEM}.atom").read_text() == feed
    # The next point is inside again.
    later = NOW + datetime.timedelta(seconds=1)
    store([71.9], finished_at=later)
    assert cli.main(NIGHT) == 0
    assert github.calls() == ["close"]


@pytest.mark.parametrize("step", ["_append", "_publish", "_tell"])
def test_a_crash_between_run_and_publish_loses_no_point(store, github, monkeypatch, step):
    results = store(thirty(), until=2)
    store([68.0, 68.0])

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"suite.cli.night.{step}", crash)
        assert cli.main(NIGHT) == 130
    assert (results / FILE).exists() == (step != "_append")
    assert github.calls() == []
    assert cli.main(NIGHT) == 0
    assert [point.n for point in read_history(results / FILE)] == list(range(1, 33))
    assert "regression" in (results / f"{STEM}.md").read_text()
    assert github.calls() == ["create"]


def test_a_torn_line_of_the_history_is_repaired_and_said(store, github, capsys):
    results = store(thirty())
    assert cli.main(NIGHT) == 0
    whole = (results / FILE).read_bytes()
    (results / FILE).write_bytes(whole[:-50])
    assert cli.main(NIGHT) == 0
    assert "has been repaired" in capsys.readouterr().out
    assert (results / FILE).read_bytes() == whole


def test_without_a_gpu_the_command_of_the_workflow_fails_with_one_line_and_tells_it(
    store, github, capsys, monkeypatch
):
    results = store(thirty())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    (command,) = [call for call in workflow_calls("nightly-gpu.yml") if call[0] == "nightly"]
    assert cli.main(command) == 2
    err = capsys.readouterr().err
    assert err.startswith("suite: --device cuda: PyTorch sees no GPU")
    assert err.count("\n") == 1
    assert len(read_history(results / FILE)) == 30
    assert "- did not run: --device cuda: PyTorch sees no GPU" in github.issues[0]["body"]


def test_a_dry_run_prints_what_would_be_run_and_sent_and_writes_nothing(store, github, capsys):
    results = store(thirty(), until=2)
    store([68.0, 68.0])
    before = sorted(results.rglob("*"))
    assert cli.main([*NIGHT, "--dry-run"]) == 0
    out = capsys.readouterr().out
    for part in ("Tier train", "Summary of the job", f"Issue '{TITLE}'", "- regression", "<feed xmlns="):
        assert part in out
    assert sorted(results.rglob("*")) == before
    assert github.calls() == []


def test_the_issue_follows_the_set_of_flags_and_nothing_else(github):
    assert update([]) == "no flags, and no issue is open"
    assert update(["stale: a", "regression: b, top1"]) == "issue created"
    assert github.calls() == ["create"]
    assert "stays as it is" in update(["regression: b, top1", "stale: a"])
    assert github.calls() == []
    assert update(["stale: a"]) == "issue 7 commented"
    assert github.calls() == ["comment", "edit"]
    assert github.issues[0]["body"] == body_of(["stale: a"])
    assert update([]) == "issue 7 closed: no flags are left"
    assert "no issue is open" in update([])
    assert github.calls() == ["close"]
    assert update(["stale: a"]) == "issue 7 reopened"
    assert github.calls() == ["reopen", "edit"]
    assert len(github.issues) == 1


def test_without_gh_there_is_one_line_and_no_failure_and_a_refusal_is_one(store, github, capsys, monkeypatch):
    store(thirty())
    (github.folder / "refuse").touch()
    assert cli.main(NIGHT) == 1
    found = capsys.readouterr()
    assert "'gh issue list' refuses (not logged in): the history and the page are written" in found.err
    assert found.err.count("\n") == 1
    monkeypatch.setattr("suite.cli.standing_issue.shutil.which", lambda name: None)
    assert cli.main(NIGHT) == 0
    assert capsys.readouterr().out.endswith(f"{ABSENT}.\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tier", "every"), "--tier"),
        (("--tier", "train", "--budget", "3"), "not a time up to 24h; write it like 3h"),
        (("--tier", "train", "--device", "auto"), "a night names its device"),
        (("--tier", "train", "--profile", "smoke"), "the tier smoke"),
        (("--tier", "train", "--profile", "papre"), "papre"),
        (("--tier", "train", "--claim", "mgd-resnet81"), "unknown claim"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_does_nothing(store, github, capsys, words, message):
    results = store([])
    assert cli.main(["nightly", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not results.exists()
    assert github.calls() == []


@pytest.mark.parametrize(("text", "hours"), [("3h", 3), ("90m", 1.5), ("2h30m", 2.5), ("0.5h", 0.5)])
def test_a_budget_is_written_as_hours_and_minutes(text, hours):
    assert _hours(text) == hours


@pytest.mark.slow
def test_the_weights_of_our_own_runs_are_scored_every_night_and_score_the_same(copy_of_undisturbed, github):
    suite = copy_of_undisturbed
    overrides = [word for word in SMALL if "=" in word]
    words = ("nightly", "--tier", "score", "--claim", "mgd-resnet18", "--profile", "mini", "--device", "cpu")
    trained = {record.run_id: record for record in suite.records.values()}
    for number in (1, 2):
        done = suite(*words, *overrides)
        assert done.returncode == 0, done.stderr
        scored = [record for record in suite.records.values() if record.run_id not in trained]
        assert sorted(record.repetition for record in scored) == list(range(number))
    distilled = next(record for record in trained.values() if record.arm == "distilled")
    assert {record.metrics["top1"] for record in scored} == {distilled.metrics["top1"]}
    points = read_history(suite.folder / "results" / FILE)
    assert [point.value for point in points if point.arm == "released" and point.metric == "top1"] == [
        distilled.metrics["top1"]
    ] * 2
    # Noon may have come meanwhile.
    nights = {night_of(NOW), night_of(datetime.datetime.now(datetime.timezone.utc))}
    assert {point.night for point in points if point.arm == "released"} <= nights
    page = (suite.folder / "results" / f"{STEM}.md").read_text()
    assert "no_regression" in page


def test_an_answer_that_is_no_list_of_issues_is_refused(github, monkeypatch):
    (github.folder / "issues.json").write_text('{"message": "rate limit"}')
    with pytest.raises(SuiteError, match="not return a list of issues"):
        update(["stale: a"])


def test_the_budget_stops_what_runs_and_what_did_not_come_is_told(store, github, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(OutOfTimeError), alarm(0.05):
        time.sleep(20)
    with pytest.raises(OutOfTimeError), alarm(0.0):
        raise AssertionError
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    results = store(thirty())
    words = ("nightly", "--tier", "smoke", "train", "--budget", "1m", "--claim", CLAIM, "--device", "cpu")
    monkeypatch.setattr("suite.cli.night._execute", out_of_time)
    assert cli.main(words) == 0
    page = (results / f"{STEM}.md").read_text()
    assert "Out of time in tier smoke" in page
    assert github.issues[0]["body"].splitlines()[2:] == [f"- stale: {CLAIM} (smoke)"]


def out_of_time(*_):
    raise OutOfTimeError


def test_a_night_trains_what_the_budget_buys_and_then_what_was_measured_longest_ago(store, github, capsys):
    store([])
    words = ("nightly", "--tier", "train", "--claim", "mgd-resnet18", CLAIM, "--device", "cpu", "--dry-run")
    assert cli.main([*words, "--profile", "mini", "--budget", "20h", "--seeds", "1"]) == 0
    out = capsys.readouterr().out
    assert "Claims: 2; trainings they need: 4;" in out
    assert "Claims: 0; trainings they need: 0;" in out
    assert cli.main([*words, "--profile", "mini", "--budget", "0.1m", "--seeds", "1"]) == 0
    assert "Claims: 2" not in capsys.readouterr().out


def test_the_tier_score_scores_released_teachers_as_their_next_repetition(store, github):
    store([])
    chosen = Selection([claim for _, claim in select(claims=[CLAIM, "mgd-resnet18"])], "paper", 1, [])
    first = tiers.score(chosen, [])
    assert first.awaited == [Row("resnet34", "released", (), "paper", "f257d4e6")]
    (run,) = first.plan.runs.values()
    assert (run.trains, run.repetition) == (False, 0)
    again = next_repetition(run, {run.run_id}.__contains__)
    assert (again.repetition, again.series) == (1, run.series)
    assert again.run_id not in (run.run_id, run.series)
    assert next_repetition(again, {run.run_id}.__contains__) == again


def test_the_tier_smoke_declares_no_resources_and_awaits_every_row(store, github):
    store([])
    claims = [claim for _, claim in select(claims=["mgd-resnet18", "mgd-resnet18-student"])]
    step = tiers.smoke(Selection(claims, "paper", 1, ["resources.devices=1"]), [])
    assert {(row.subject, row.arm, row.profile) for row in step.awaited} >= {
        ("mgd-resnet18", "distilled", "smoke"),
        ("mgd-resnet18-student", "student", "smoke"),
    }


def test_a_row_is_awaited_by_the_tiers_of_tonight_alone():
    trained = Row(CLAIM, "distilled", (), "paper", None)
    teacher = Row("resnet34", "released", (), "paper", "f257d4e6")
    own = Row(CLAIM, "released", (), "paper", "0" * 64)

    def nights(row, *names, profile="paper"):
        return tiers.nights_until_stale(row, names, profile)

    assert [nights(trained, "train"), nights(teacher, "score"), nights(own, "score")] == [30, 1, None]
    assert [nights(trained, "score"), nights(teacher, "train")] == [None, None]
    assert nights(trained._replace(profile="smoke"), "smoke") == 1
    assert nights(trained, "train", profile="mini") is None


def test_the_guide_has_every_tier_and_label_and_commands_that_are_read():
    text = (ROOT / "docs" / "nightly.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == tiers.TIERS.keys() | set(get_args(Label))
    (tolerances,) = re.findall(r"^\| tolerance, [^|]*\|(.*)\|$", text, re.MULTILINE)
    assert [float(cell) for cell in tolerances.split("|")] == list(TOLERANCE.values())
    lines = [line.partition("-m suite ")[2].split() for line in text.splitlines() if "-m suite " in line]
    calls = [words for words in lines if words[0] in ("nightly", "weights")]
    assert len(calls) == 5
    for words in calls:
        cli.build_parser(words[0]).parse_args(words)
