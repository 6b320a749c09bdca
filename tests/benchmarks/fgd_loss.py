"""How much faster `FGDLoss` is than its formulas written out step by step.

Run as ``python -m tests.benchmarks.fgd_loss``. It times the forward and the backward pass over a detector's
five pyramid levels, as two images of 800 x 1333 pixels give them, after checking that both ways agree.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.fgd import FGDLoss

IMAGES = 2
IMAGE_SHAPE = (800, 1333)
# 800 x 1344, padded to a multiple of 32, at strides 8 to 128.
LEVELS = ((100, 168), (50, 84), (25, 42), (13, 21), (7, 11))
CHANNELS = 256
BOXES = 8
TOLERANCE = 1e-4


def plain_fgd(
    loss: FGDLoss,
    student: Tensor,
    teacher: Tensor,
    boxes: Sequence[Tensor],
    image_shapes: Sequence[tuple[int, int]],
) -> Tensor:
    """FGD for one level as its formulas read: a map for every factor, a loop over the boxes.

    Args:
        loss: whose layers and weights to use; the channels of student and teacher must agree.
        student: ``N x C x H x W``.
        teacher: ``N x C x H x W``.
        boxes: for each image ``n x 4`` in input pixels.
        image_shapes: for each image its height and width in input pixels.

    Returns:
        A scalar, equal to ``loss(student, teacher, boxes, image_shapes)``.
    """
    spatial_t, channel_t = _attention(teacher, loss.temperature)
    spatial_s, channel_s = _attention(student, loss.temperature)
    attended_t = teacher * spatial_t.sqrt() * channel_t.sqrt()
    attended_s = student * spatial_t.sqrt() * channel_t.sqrt()
    foreground, background = (
        functional.mse_loss(attended_s * mask.sqrt(), attended_t * mask.sqrt(), reduction="sum")
        for mask in _masks(teacher, boxes, image_shapes)
    )
    attention = functional.l1_loss(channel_s, channel_t, reduction="sum") + functional.l1_loss(
        spatial_s, spatial_t, reduction="sum"
    )
    relation = functional.mse_loss(
        _with_context(student, loss.conv_mask_s, loss.channel_add_conv_s),
        _with_context(teacher, loss.conv_mask_t, loss.channel_add_conv_t),
        reduction="sum",
    )
    total = (
        loss.alpha * foreground + loss.beta * background + loss.gamma * attention + loss.lambda_ * relation
    )
    return total / len(teacher)


def _attention(features: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Spatial attention ``N x 1 x H x W`` and channel attention ``N x C x 1 x 1``."""
    images, channels, height, width = features.shape
    magnitude = features.abs()
    spatial = (magnitude.mean(dim=1) / temperature).flatten(1).softmax(dim=1) * height * width
    channel = (magnitude.mean(dim=(2, 3)) / temperature).softmax(dim=1) * channels
    return spatial.view(images, 1, height, width), channel.view(images, channels, 1, 1)


def _masks(
    teacher: Tensor, boxes: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """Foreground and background weights, ``N x 1 x H x W``."""
    images, _, rows, columns = teacher.shape
    foreground, background = teacher.new_zeros(images, rows, columns), teacher.new_ones(images, rows, columns)
    for index, (height, width) in enumerate(image_shapes):
        for x0, y0, x1, y1 in boxes[index].tolist():
            left, right = math.floor(x0 / width * columns), math.ceil(x1 / width * columns)
            top, bottom = math.floor(y0 / height * rows), math.ceil(y1 / height * rows)
            covered = foreground[index, max(top, 0) : bottom + 1, max(left, 0) : right + 1]
            covered.clamp_(min=1 / ((bottom + 1 - top) * (right + 1 - left)))
        background[index] = torch.where(foreground[index] > 0, 0, 1)
        if background[index].sum() > 0:
            background[index] /= background[index].sum()
    return foreground.unsqueeze(1), background.unsqueeze(1)


def _with_context(features: Tensor, mask: nn.Module, transform: nn.Module) -> Tensor:
    """A feature map with the result of its global context block added, ``N x C x H x W``."""
    scores = mask(features).flatten(2).softmax(dim=2)
    context = features.flatten(2) @ scores.transpose(1, 2)
    added: Tensor = transform(context.unsqueeze(3))
    return features + added


@dataclass
class Workload:
    """A detector's pyramid of feature maps with boxes, and one loss for each level."""

    losses: nn.ModuleList
    students: list[Tensor]
    teachers: list[Tensor]
    boxes: list[Tensor]

    @classmethod
    def draw(cls, channels: int, levels: Sequence[tuple[int, int]], seed: int = 0) -> Workload:
        """Draws features and boxes at random.

        Args:
            channels: of every level.
            levels: height and width of each level.
            seed: of torch's generator.
        """
        torch.manual_seed(seed)
        shapes = [(IMAGES, channels, height, width) for height, width in levels]
        losses = nn.ModuleList(FGDLoss(channels, channels) for _ in levels)
        for parameter in losses.parameters():
            nn.init.normal_(parameter, std=0.1)
        corner = torch.rand(IMAGES, BOXES, 2) * 0.7
        extent = 0.02 + torch.rand(IMAGES, BOXES, 2) * 0.28
        height, width = IMAGE_SHAPE
        boxes = torch.cat([corner, corner + extent], dim=2) * torch.tensor([width, height, width, height])
        students = [torch.randn(shape, requires_grad=True) for shape in shapes]
        return cls(losses, students, [torch.randn(shape) for shape in shapes], list(boxes))

    def step(self, fgd: Callable[..., Tensor]) -> tuple[Tensor, list[Tensor], float]:
        """Runs one forward and backward pass over all levels.

        Args:
            fgd: takes the arguments of `plain_fgd`.

        Returns:
            The loss, its gradient for the student's feature maps, and the time taken in seconds.
        """
        for leaf in (*self.students, *self.losses.parameters()):
            leaf.grad = None
        shapes = [IMAGE_SHAPE] * IMAGES
        start = time.perf_counter()
        levels = zip(self.losses, self.students, self.teachers, strict=True)
        loss = torch.stack([fgd(*level, self.boxes, shapes) for level in levels]).sum()
        loss.backward()
        seconds = time.perf_counter() - start
        return loss.detach(), [student.grad for student in self.students if student.grad is not None], seconds


def fast_fgd(loss: FGDLoss, *arguments: object) -> Tensor:
    """`FGDLoss` with the arguments of `plain_fgd`."""
    value: Tensor = loss(*arguments)
    return value


def disagreement(workload: Workload) -> float:
    """Largest relative difference between the two ways, over the loss and the gradients of `Workload.step`.

    Args:
        workload: what to compute both ways.
    """
    plain_loss, plain_gradients, _ = workload.step(plain_fgd)
    loss, gradients, _ = workload.step(fast_fgd)
    pairs = [(loss, plain_loss), *zip(gradients, plain_gradients, strict=True)]
    return max(((fast - plain).abs().max() / plain.abs().max()).item() for fast, plain in pairs)


def main() -> None:
    """Checks that both ways agree, times them in turn and prints the medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fgd_loss", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=9, help="timed pairs (default: 9)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    workload = Workload.draw(CHANNELS, LEVELS)
    difference = disagreement(workload)
    if difference > TOLERANCE:
        raise SystemExit(f"the two ways differ by {difference:.1e}, more than {TOLERANCE:.0e}: nothing timed")
    pairs = [(workload.step(plain_fgd)[2], workload.step(fast_fgd)[2]) for _ in range(arguments.repetitions)]
    plain, fast = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratios = [slow / quick for slow, quick in pairs]
    height, width = IMAGE_SHAPE
    print(
        f"FGD forward and backward: {IMAGES} images of {height} x {width}, {BOXES} boxes an image, "
        f"{len(LEVELS)} levels of {CHANNELS} channels, threads: {torch.get_num_threads()}\n"
        f"largest relative difference  {difference:.1e}\n"
        f"written out plainly          {plain * 1e3:.0f} ms\n"
        f"FGDLoss                      {fast * 1e3:.0f} ms\n"
        f"ratio of the medians         {plain / fast:.2f} (pairs: {min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
