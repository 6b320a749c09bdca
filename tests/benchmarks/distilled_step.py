"""What distillation costs: a distilled step against a step of the student and a forward pass of the teacher.

Run as ``python -m tests.benchmarks.distilled_step [RECIPE...]``. All are timed in turn, on the same random
batch, so that whatever else the machine does falls on all of them alike: on the CPU by the processor time of
one thread, on a GPU by the clock; the ratio of a method is the median over the rounds. The losses of the
method are timed by themselves as well, on features that are there already: they are arithmetic that the
method asks for (a generator of two convolutions for MGD, attention and relations for FGD), whoever computes
it. What the last column has above one, where they are counted in, is the cost of our machinery.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData, PixelData
from rich.console import Console
from rich.table import Table
from torch import Tensor

from suite.contract import ComposedData, Job, load
from suite.planning.composing import compose
from suite.published.recipes import load_recipes
from tasks.adapters.base import MMAdapter, plain_taps
from tasks.distillation.distiller import Distiller

RECIPES = (
    "retinanet-r50-fgd-retinanet-x101",
    "retinanet-r50-mgd-retinanet-x101",
    "pspnet-r18-mgd-pspnet-r101",
    "pspnet-r18-mgd-pspnet-r101-logit",
    "retinanet-r50-cwd-retinanet-x101",
    "pspnet-r18-cwd-pspnet-r101",
    "retinanet-r50-pkd-retinanet-x101",
    "resnet18-at-resnet34",
    "resnet18-dkd-resnet34",
    "resnet18-dist-resnet34",
)
BATCHES = {
    ("mini", "classification"): (128, 32, 32),
    ("mini", "detection"): (8, 128, 128),
    ("mini", "semantic_segmentation"): (8, 128, 256),
    ("paper", "classification"): (32, 224, 224),
    # Two images a GPU; 1333 x 800 pixels padded to a multiple of 32, crops of 1024 x 512 pixels.
    ("paper", "detection"): (2, 800, 1344),
    ("paper", "semantic_segmentation"): (2, 512, 1024),
}
"""Profile and task -> images, height and width of a batch, as one device trains on them."""

SHOWN = ("student", "teacher", "losses", "distilled")
"""What is timed, in the order of the table's columns."""

OBJECTS = 5


@dataclass(frozen=True)
class Timing:
    """Seconds of one round.

    Attributes:
        student: a training step of the student alone.
        teacher: a forward pass of the teacher, as far as its taps reach.
        losses: the method's own losses, forward and backward.
        distilled: a training step with distillation.
    """

    student: float
    teacher: float
    losses: float
    distilled: float

    @property
    def ratio(self) -> float:
        """Distilled step over student's step and teacher's pass."""
        return self.distilled / (self.student + self.teacher)

    @property
    def machinery(self) -> float:
        """The same ratio with the method's own losses counted in: above one is the cost of the machinery."""
        return self.distilled / (self.student + self.teacher + self.losses)


def measure(recipe_id: str, profile: str, device: str, rounds: int) -> list[Timing]:
    """Times a recipe.

    Args:
        recipe_id: a recipe with a teacher.
        profile: `mini` or `paper`: the size of networks and batch.
        device: `cpu` or `cuda`.
        rounds: how often each is timed, after one round that is not counted.

    Returns:
        One timing a round.
    """
    torch.manual_seed(0)
    recipe = compose(load_recipes()[recipe_id], profile)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(recipe=recipe, seed=0, run_dir=Path(folder), data_dir=Path(folder))
        adapter: MMAdapter = load(recipe.adapter)(job)
    images, height, width = BATCHES[profile, recipe.task]
    inputs = torch.randn(images, 3, height, width)
    samples = [_annotated(adapter.scope, height, width, recipe.data) for _ in range(images)]
    # The student alone is another object: taps would cost it a little.
    alone, student = (adapter.network(recipe.student) for _ in range(2))
    assert recipe.teacher is not None
    assert recipe.method is not None
    teacher = adapter.network(recipe.teacher)
    distiller = Distiller(
        student,
        plain_taps(recipe.student),
        recipe.method.model_dump(),
        example=inputs[:1],
        features=adapter.features,
        annotations=adapter.annotations,
        teacher=teacher,
        teacher_taps=plain_taps(recipe.teacher),
        scales=recipe.data.scales,
    )
    inputs, samples = inputs.to(device), [sample.to(device) for sample in samples]
    steps = [_step(model.to(device).train(), inputs, samples) for model in (alone, distiller)]

    def pass_teacher() -> None:
        distiller.run_teacher(inputs)

    works = (steps[0], pass_teacher, _losses_alone(distiller, inputs, samples), steps[1])
    found = [Timing(*(_seconds(work, device) for work in works)) for _ in range(rounds + 1)]
    return found[1:]


def _step(model: BaseModel, inputs: Tensor, samples: list[Any]) -> Callable[[], None]:
    """A training step as mmengine makes it: losses, backward pass, clipped gradients, optimiser."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    wrapper = OptimWrapper(optimizer, clip_grad={"max_norm": 35.0})

    def step() -> None:
        loss, _ = model.parse_losses(model(inputs, samples, mode="loss"))
        wrapper.update_params(loss)

    return step


def _losses_alone(distiller: Distiller, inputs: Tensor, samples: list[Any]) -> Callable[[], None]:
    """The method's losses and their gradients, down to the student's features and no further."""
    features = distiller.caught(inputs)
    wanted: list[Tensor] = list(distiller.losses.parameters())
    for name, caught in features.items():
        if name.startswith("student."):
            wanted += [level.requires_grad_() for level in (caught if isinstance(caught, list) else [caught])]

    def compare() -> None:
        losses = distiller.compare(features, samples)
        torch.autograd.grad(torch.stack(list(losses.values())).sum(), wanted, allow_unused=True)

    return compare


def _annotated(scope: str, height: int, width: int, data: ComposedData) -> Any:
    """A data sample with random objects, with a random label map, or of a random class."""
    if scope == "mmpretrain":
        from mmpretrain.structures import DataSample

        return DataSample().set_gt_label(int(torch.randint(0, 100, ())))
    shape = (height, width)
    meta = {"img_shape": shape, "pad_shape": shape, "batch_input_shape": shape, "ori_shape": shape}
    if scope == "mmseg":
        from mmseg.structures import SegDataSample

        labels = torch.randint(0, 11, (1, height, width))
        return SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels))
    from mmdet.structures import DetDataSample

    corners = torch.rand(OBJECTS, 2) * torch.tensor([width / 2, height / 2])
    boxes = torch.cat([corners, corners + torch.tensor([width / 3, height / 3])], dim=1)
    objects = InstanceData(bboxes=boxes, labels=torch.randint(0, 10, (OBJECTS,)))
    return DetDataSample(
        metainfo=meta, gt_instances=objects, ignored_instances=InstanceData(bboxes=boxes[:0])
    )


def _seconds(work: Callable[[], None], device: str) -> float:
    # What else the machine does changes the processor time of one thread least.
    clock = time.perf_counter if device == "cuda" else time.process_time
    started = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def main() -> None:
    """Prints one line a recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="with a teacher (default: a choice)")
    parser.add_argument("--profile", choices=("mini", "paper"), default="mini", help="size of the networks")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=20, help="how often each is timed (default: 20)")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    table = Table(title=f"A distilled step, profile {arguments.profile}, {arguments.device}; medians")
    for column in ("recipe", *(f"{name} [s]" for name in SHOWN), "ratio", "losses counted in"):
        table.add_column(column)
    for recipe_id in arguments.recipes or RECIPES:
        timings = measure(recipe_id, arguments.profile, arguments.device, arguments.rounds)
        seconds = [statistics.median(getattr(timing, name) for timing in timings) for name in SHOWN]
        ratios = [
            statistics.median(getattr(timing, name) for timing in timings) for name in ("ratio", "machinery")
        ]
        table.add_row(
            recipe_id, *(f"{value:.4f}" for value in seconds), *(f"{value:.3f}" for value in ratios)
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
