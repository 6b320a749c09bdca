"""The tier ``loss``: first steps of distilled recipes, against what they came to before."""

from __future__ import annotations

import pytest

from suite import cli
from suite.cli.loss_tier import METRIC
from suite.evidence.history import FILE, read_history
from suite.evidence.trajectories import file_of, read_trajectories, write_trajectories
from suite.report.nightly import STEM
from tests.cli.conftest import CLAIM
from tests.conftest import SMALL
from tests.evidence.conftest import losses

OTHER = "nkd-resnet18-tf-nkd"
NIGHT = ("nightly", "--tier", "loss", "--claim", CLAIM, OTHER, "--device", "cpu")


@pytest.fixture
def come_to(monkeypatch):
    """Plants what the first steps of a claim's distilled run come to: its losses, or why there are none."""
    planted: dict[str, object] = {}

    def train(requests, jobs, log):
        for request in requests:
            (name,) = {entry.claim for entry in request.run.claims} & planted.keys()
            yield request, planted[name]

    monkeypatch.setattr("suite.cli.loss_tier.train_first_steps", train)
    return planted.update


def page(results):
    return (results / f"{STEM}.md").read_text()


def labels(results):
    """Label of each row on the page."""
    rows = [line.split(" | ") for line in page(results).splitlines() if METRIC in line]
    return {row[0].removeprefix("| "): row[2] for row in rows}


def test_a_loss_that_leaves_its_trajectory_is_told_on_the_first_night_and_closed_when_it_is_back(
    store, github, come_to
):
    results = store([])
    come_to({CLAIM: losses(), OTHER: losses()})
    assert cli.main([*NIGHT, "--write-trajectories"]) == 0
    assert set(read_trajectories(file_of(results, "cpu"))) == {CLAIM, OTHER}
    assert "Trajectories of 2 rows were written" in page(results)
    assert not (results / FILE).exists()
    assert cli.main(NIGHT) == 0
    assert github.calls() == []
    come_to({CLAIM: losses(s6=1.1)})
    assert cli.main(NIGHT) == 0
    assert labels(results) == {f"{CLAIM} (loss)": "differs", f"{OTHER} (loss)": "no_regression"}
    assert github.calls() == ["create"]
    assert f"- differs: {CLAIM} (loss), {METRIC}" in github.issues[0]["body"]
    assert cli.main(NIGHT) == 0
    assert github.calls() == []
    come_to({CLAIM: losses()})
    assert cli.main(NIGHT) == 0
    assert github.calls() == ["close"]
    points = [point for point in read_history(results / FILE) if point.subject == CLAIM]
    assert [(point.n, point.repetition, point.value) for point in points] == [
        *((1, 0, 0.0), (2, 1, 10.0), (3, 2, 10.0), (4, 3, 0.0)),
    ]
    assert len({point.run_id for point in points}) == 4


def test_without_a_trajectory_there_is_nothing_to_compare_with_and_nothing_to_tell(store, github, come_to):
    results = store([])
    come_to({CLAIM: losses(), OTHER: losses()})
    assert cli.main([*NIGHT, "--write-trajectories"]) == 0
    kept = {CLAIM: read_trajectories(file_of(results, "cpu"))[CLAIM]}
    write_trajectories(file_of(results, "cpu"), kept)
    assert cli.main(NIGHT) == 0
    assert labels(results) == {f"{CLAIM} (loss)": "no_regression", f"{OTHER} (loss)": "insufficient_data"}
    assert github.calls() == []


def test_a_training_that_breaks_fails_the_night_and_its_row_is_stale(store, github, come_to):
    results = store([])
    come_to({CLAIM: losses(), OTHER: losses()})
    assert cli.main([*NIGHT, "--write-trajectories"]) == 0
    come_to({CLAIM: "ValueError: it broke"})
    assert cli.main(NIGHT) == 1
    assert "ValueError: it broke" in page(results)
    assert github.issues[0]["body"].splitlines()[2:] == [f"- stale: {CLAIM} (loss)"]
    before = file_of(results, "cpu").read_bytes()
    assert cli.main([*NIGHT, "--write-trajectories"]) == 1
    assert file_of(results, "cpu").read_bytes() == before


def test_a_dry_run_says_how_many_have_a_trajectory(store, github, capsys):
    store([])
    assert cli.main([*NIGHT, "--dry-run"]) == 0
    assert "The first 50 steps of 2 trainings; 0 have a trajectory." in capsys.readouterr().out


def test_trajectories_are_written_by_the_tier_loss_alone(store, github, capsys):
    results = store([])
    words = ("nightly", "--tier", "loss", "score", "--device", "cpu", "--write-trajectories")
    assert cli.main(words) == 2
    assert "--write-trajectories needs '--tier loss' alone" in capsys.readouterr().err
    assert not results.exists()


@pytest.mark.train
@pytest.mark.slow
def test_the_same_steps_come_to_the_same_losses_and_a_planted_difference_is_found_at_its_step(suite, github):
    words = ("nightly", "--tier", "loss", "--claim", "mgd-resnet18", "--device", "cpu", "--jobs", "1")
    overrides = [word for word in SMALL if "=" in word]
    done = suite(*words, "--write-trajectories", *overrides)
    assert done.returncode == 0, done.stderr
    results = suite.folder / "results"
    stored = read_trajectories(file_of(results, "cpu"))
    (row,) = stored
    stored[row]["loss"][2] *= 1.01
    write_trajectories(file_of(results, "cpu"), stored)
    assert suite(*words, *overrides).returncode == 0
    (point,) = read_history(results / FILE)
    assert (point.metric, point.value) == (METRIC, 5.0)
    assert suite.records == {}
    assert f"- differs: {row} (loss), {METRIC}" in github.issues[0]["body"]
