"""The series of a training: which iterations it has, and what a line of it says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tasks.training.scalars import LINES, ScalarsHook, losses_of


def runner_of(iterations: int) -> Any:
    """As much of a runner as the hook asks: a rate that falls with every iteration, epochs of ten."""
    runner = SimpleNamespace(max_iters=iterations, iter=0, epoch=0, counts_iterations=False, model=None)
    runner.optim_wrapper = SimpleNamespace(get_lr=lambda: {"lr": [1.0 / (runner.iter + 1), 9.0]})
    return runner


def go(hook: ScalarsHook, runner: Any, until: int) -> None:
    """Makes iterations; the loss of each is its number."""
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    for number in range(runner.iter, until):
        runner.iter, runner.epoch = number, number // 10
        hook.after_train_iter(runner, 0, outputs={"loss": torch.tensor(number + 1.0), "top1": 50.0})
        runner.iter = number + 1


@pytest.mark.parametrize(
    ("iterations", "ends"),
    [
        (1, [1]),
        (15, list(range(1, 16))),
        (LINES, list(range(1, LINES + 1))),
        (LINES + 1, [1, *range(2, LINES + 1, 2), LINES + 1]),
        (1000, [1, *range(5, 1001, 5)]),
        (90_007, [1, *range(451, 90_007, 451), 90_007]),
    ],
)
def test_lines_end_at_even_distances_and_at_the_first_and_the_last_iteration(iterations, ends):
    hook, runner = ScalarsHook(), runner_of(iterations)
    go(hook, runner, iterations)
    assert [line.iteration for line in hook.lines] == ends
    assert len(ends) <= LINES + 2


def test_a_line_has_means_since_the_one_before_it_and_the_rate_of_its_iteration():
    hook, runner = ScalarsHook(), runner_of(1000)
    go(hook, runner, 10)
    first, second, third = hook.lines
    assert (first.loss, second.loss, third.loss) == (1.0, 3.5, 8.0)
    assert (second.learning_rate, second.epoch) == (0.2, 1)
    assert second.losses == {"loss_task": 3.5}


def test_a_series_goes_on_between_two_lines():
    whole, runner = ScalarsHook(), runner_of(1000)
    go(whole, runner, 20)
    before, runner = ScalarsHook(), runner_of(1000)
    go(before, runner, 7)
    point: dict[str, Any] = {}
    before.before_save_checkpoint(runner, point)
    # What is made after the point is lost with the process.
    go(before, runner, 13)
    after, runner.iter = ScalarsHook(), 7
    after.after_load_checkpoint(runner, point)
    go(after, runner, 20)
    times = {"seconds_per_step", "memory_mib"}
    assert [line.model_dump(exclude=times) for line in after.lines] == [
        line.model_dump(exclude=times) for line in whole.lines
    ]


@pytest.mark.parametrize(
    ("outputs", "methods", "expected"),
    [
        # A task whose only loss lies over the total of the same name.
        ({"loss": 2.0}, [], {"loss": 2.0, "loss_task": 2.0}),
        (
            {"loss": 2.0, "loss_mgd": 0.5, "top1": 50.0},
            ["loss_mgd"],
            {"loss": 2.5, "loss_task": 2.0, "loss_mgd": 0.5},
        ),
        # One with losses of other names.
        (
            {"loss": 3.0, "loss_cls": 1.0, "loss_bbox": 1.5, "loss_fgd": 0.5},
            ["loss_fgd"],
            {"loss": 3.0, "loss_cls": 1.0, "loss_bbox": 1.5, "loss_fgd": 0.5},
        ),
        (
            {"loss": 2.0, "decode.loss_ce": 1.5, "aux_0.loss_ce": 0.5, "decode.acc_seg": 80.0},
            [],
            {"loss": 2.0, "decode.loss_ce": 1.5, "aux_0.loss_ce": 0.5},
        ),
    ],
)
def test_the_total_is_the_sum_of_what_stands_beside_it(outputs, methods, expected):
    found = losses_of(outputs, methods)
    assert found == expected
    assert found.pop("loss") == sum(found.values())
