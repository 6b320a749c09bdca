"""A training that is stopped in the middle of an epoch goes on as if it had never been, scalars included."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from suite.contract import Job, Scalars, StoppedError, load
from suite.store.run_folders import RESUME_BEFORE_FILE, RESUME_FILE
from tasks.adapters.base import MMAdapter
from tasks.training import hooks

pytestmark = pytest.mark.slow

RECIPE = "resnet18-mgd-resnet34"
AUGMENTED = "data.train.pipeline=[{type: LoadImageFromFile}, {type: RandomCrop, crop_size: 32, padding: 4}, "
AUGMENTED += "{type: RandomFlip, prob: 0.5}, {type: ColorJitter, brightness: 0.5}, {type: PackInputs}]"
"""Augmentation that draws from NumPy; MGD draws its masks from PyTorch."""

THREE_EPOCHS_OF_FIVE = (
    *("data.train.indices=40", "data.overrides.train_dataloader.batch_size=8", AUGMENTED),
    *("data.test_loader.dataset.indices=40", "student.embedded.epochs=3"),
)


def asked_at(iteration: int) -> Callable[[], bool]:
    """Asks to stop from an iteration of this process on."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= iteration


def built(job: Job, **changes: object) -> MMAdapter:
    """The adapter of a job, ready to train."""
    adapter: MMAdapter = load(job.recipe.adapter)(dataclasses.replace(job, **changes))  # type: ignore[arg-type]
    adapter.build()
    return adapter


def weights_of(adapter: MMAdapter) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in adapter.student.state_dict().items()}


def without_times(lines: Iterable[Scalars]) -> list[dict[str, Any]]:
    """What of a series has to be the same in every execution of a run."""
    return [line.model_dump(exclude={"seconds_per_step", "memory_mib"}) for line in lines]


@dataclasses.dataclass
class Trained:
    """What a training has come to.

    Attributes:
        adapter: that trained.
        resumed: iterations that were behind it as it began.
        weights: of the student.
    """

    adapter: MMAdapter
    resumed: float
    weights: dict[str, torch.Tensor]

    def assert_same_as(self, other: Trained) -> None:
        """The same weights bit for bit, the same series, and the same seen of the method."""
        assert all(torch.equal(self.weights[name], value) for name, value in other.weights.items())
        lines = self.adapter.scalars()
        assert [line.iteration for line in lines] == list(range(1, 16))
        assert without_times(lines) == without_times(other.adapter.scalars())
        assert all(line.seconds_per_step > 0 < line.memory_mib for line in lines)
        assert self.adapter.method_seen() == other.adapter.method_seen()


def train_to_the_end(job: Job) -> Trained:
    adapter = built(job)
    timings = adapter.fit()
    return Trained(adapter, timings.get("resumed_iteration", 0), weights_of(adapter))


@pytest.fixture
def job(distilled_job) -> Job:
    """A distilled run of three epochs, five iterations each, which draws at every one of them."""
    made: Job = distilled_job(RECIPE, *THREE_EPOCHS_OF_FIVE, profile="mini")
    # Recipes are composed once in a process.
    return dataclasses.replace(made, recipe=made.recipe.model_copy(deep=True))


def elsewhere(job: Job, name: str) -> Job:
    """The same job in another folder."""
    folder = job.run_dir.with_name(name)
    folder.mkdir()
    return dataclasses.replace(job, run_dir=folder)


@pytest.mark.parametrize(("accumulated", "stops"), [(1, (2, 4, 3)), (3, (1, 4))])
def test_stopped_in_mid_epoch_it_ends_with_the_weights_of_an_undisturbed_run(job, accumulated, stops):
    job.recipe.schedule["optim_wrapper"]["accumulative_counts"] = accumulated
    expected = train_to_the_end(elsewhere(job, "undisturbed"))
    made = 0
    for asked in stops:
        with pytest.raises(StoppedError, match="of 15 iterations"):
            built(job, stops=asked_at(asked)).fit()
        # Gradients gather until a step is made.
        made += -(-asked // accumulated) * accumulated
    assert made % 5
    found = train_to_the_end(job)
    assert found.resumed == made
    found.assert_same_as(expected)


def test_a_resume_point_of_an_older_version_is_gone_on_from_without_a_series(job):
    with pytest.raises(StoppedError):
        built(job, stops=asked_at(4)).fit()
    points = built(job).runner.points
    assert points is not None
    older = dict(next(points.good())[1])
    del older["scalars"]
    points.write(older)
    found = train_to_the_end(job)
    assert found.resumed == 4
    # It would begin in the middle.
    assert (found.adapter.scalars(), found.adapter.method_seen()) == ((), None)


class PulledPlugError(Exception):
    """The end of a process, at some step."""


def test_killed_in_a_long_epoch_it_goes_on_from_the_middle_of_it(job, monkeypatch):
    expected = train_to_the_end(elsewhere(job, "undisturbed"))
    # Every step is late.
    monkeypatch.setattr(hooks, "LONGEST_LOSS", -1)
    adapter = built(job)

    def pull(runner: object, batch_idx: int, **_: object) -> None:
        if adapter.runner.iter == 8:
            raise PulledPlugError

    monkeypatch.setattr(
        hooks.FiniteLossHook, "after_train_iter", lambda self, *args, **more: pull(*args, **more)
    )
    with pytest.raises(PulledPlugError):
        adapter.fit()
    monkeypatch.undo()
    # The newest point is of an older version, which has no random states: the one before it is taken.
    points = adapter.runner.points
    assert points is not None
    newest = dict(next(points.good())[1])
    newest["random"] = []
    points.write(newest)
    told: list[str] = []
    job = dataclasses.replace(job, tell=told.append)
    found = train_to_the_end(job)
    assert found.resumed == 8
    assert [f"{job.run_dir / RESUME_FILE} does not fit (ValueError)" in line for line in told] == [True]
    assert (job.run_dir / RESUME_BEFORE_FILE).exists()
    found.assert_same_as(expected)
