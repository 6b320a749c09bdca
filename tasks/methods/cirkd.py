"""CIRKD: cross-image relational knowledge distillation of segmenters (CVPR 2022)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import (
    full_precision,
    no_autocast,
    require_feature_maps,
    unit_vectors,
)
from tasks.methods.processes import gathered
from tasks.methods.registry import register_loss


@register_loss("CIRKDMiniBatchLoss", version=1)
class CIRKDMiniBatchLoss(nn.Module):
    """Cross-Image Relational KD within a batch: similarities between the pixels of any two images.

    With ``f_i`` the feature of image ``i``, one row of unit length per position, the softmax of each row of
    ``f_i f_j^T / t`` is a distribution over the ``P`` positions of image ``j``, ``p`` of the student and
    ``q`` of the teacher::

        loss = weight * sum_{i, j} sum_rows KL( q || p ) / (N^2 * P)

    An image is paired with itself too, so that a batch of one has a loss. The pairs take ``(N * P)^2``
    numbers of memory, several times over. Each process of a distributed training pairs its own images, as in
    the release. The release also averages maps of 256 x 256 positions or more (images of 2048 pixels at
    stride 8), which is left out here.

    A feature of zeros is equally far from all. The channels of student and teacher need not agree.

    Source: arXiv:2204.06986; the defaults are the released ones.

    Args:
        weight: weight of the loss.
        temperature: ``t``.
    """

    def __init__(self, weight: float = 1.0, temperature: float = 0.1) -> None:
        super().__init__()
        self.weight = weight
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's feature map, ``N x C x H x W``.
            teacher: the teacher's feature map, of the same images and size; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if the two differ in images, height or width.
        """
        require_feature_maps(student, teacher, student.shape[1], teacher.shape[1])
        log_p, log_q = (self._over_positions(of) for of in (student, teacher.detach()))
        divergence = functional.kl_div(log_p, log_q, reduction="sum", log_target=True)
        return self.weight * divergence / (log_p.shape[0] * log_p.shape[1])

    def _over_positions(self, feature: Tensor) -> Tensor:
        """Log-probabilities ``(N * P) x N x P``: of each position, over the positions of each image."""
        images = len(feature)
        rows = _positions(feature).flatten(0, 1)
        with no_autocast(rows):
            similarities = rows @ rows.T / self.temperature
        return similarities.view(len(rows), images, -1).log_softmax(dim=2)


class Draws(NamedTuple):
    """The random choices of `CIRKDMemoryLoss` in a step.

    Attributes:
        pixels: indices of the entries of the pixel queues that are compared with, the same for every class.
        regions: those of the region queues.
        stored: ``N x K x stored`` positions of the map whose features enter the queue of a class. If an image
            has fewer pixels of the class, only that many of its first positions are used.
    """

    pixels: Tensor
    regions: Tensor
    stored: Tensor


@register_loss("CIRKDMemoryLoss", version=1)
class CIRKDMemoryLoss(nn.Module):
    """Cross-Image Relational KD with a memory: similarities of a pixel to pixels and regions of other images.

    Two queues per class hold features of the teacher, of unit length: those of pixels, and those of regions,
    where a region is the mean over a class in an image. With ``s`` and ``t`` the features of a pixel for
    student (after ``project_head``) and teacher, of unit length, and ``m`` the entries of all classes at
    indices of the queue that are drawn anew in each step::

        relation(m) = mean_pixels KL( softmax(t m^T / temperature) || softmax(s m^T / temperature) )

        loss = pixel_weight * relation(pixels) + region_weight * relation(regions)

    Pixels without a class (an ignored label) neither count nor enter a queue; if none has a class, the loss
    is zero. Labels are resized to the map by nearest neighbour.

    The queues are buffers, updated in place before they are used: no step copies them. They start with random
    features of unit length. Each image adds to every one of its classes a region and at most ``stored``
    pixels. Pixels that reach the end of their queue overwrite its last entries, and the next ones its first.
    In a distributed training each process stores the images of all. Its batch norm is its own, unless the
    training synchronises it as the release does.

    **The released code stores the wrong pixels**: it draws numbers below the count of a class's pixels, and
    uses them as positions of the map. The first positions of an image thus enter the queues of all of its
    classes. ``own_pixels`` stores pixels of the class itself; it is off, as released.

    Source: arXiv:2204.06986; the defaults are the released ones.

    Args:
        student_channels: channels of the student's feature map.
        teacher_channels: channels of the teacher's feature map.
        num_classes: ``K``.
        pixel_weight: weight of the pixel term.
        region_weight: weight of the region term.
        temperature: softens both distributions.
        pixels: entries of a class's pixel queue.
        regions: entries of a class's region queue.
        drawn_pixels: entries drawn from all pixel queues together; from each class
            ``drawn_pixels // num_classes + 1``, or all that there are.
        drawn_regions: the same for the region queues.
        stored: most pixels of a class that an image stores.
        own_pixels: whether the pixels stored for a class are pixels of that class.

    Raises:
        ValueError: if an image could store more pixels than a queue has entries.
    """

    pixel_queue: Tensor
    region_queue: Tensor
    pixel_queue_ptr: Tensor
    region_queue_ptr: Tensor

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        num_classes: int,
        pixel_weight: float = 0.1,
        region_weight: float = 0.1,
        temperature: float = 0.1,
        pixels: int = 20000,
        regions: int = 2000,
        drawn_pixels: int = 4096,
        drawn_regions: int = 1024,
        stored: int = 16,
        own_pixels: bool = False,
    ) -> None:
        super().__init__()
        if stored > pixels:
            raise ValueError(
                f"stored {stored} and pixels {pixels} do not fit: a queue needs room for an image's pixels"
            )
        self.student_channels = student_channels
        self.teacher_channels = teacher_channels
        self.num_classes = num_classes
        self.pixel_weight = pixel_weight
        self.region_weight = region_weight
        self.temperature = temperature
        self.drawn_pixels = min(drawn_pixels // num_classes + 1, pixels)
        self.drawn_regions = min(drawn_regions // num_classes + 1, regions)
        self.stored = stored
        self.own_pixels = own_pixels
        self.project_head = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(teacher_channels),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, kernel_size=1, bias=False),
        )
        for kind, entries in (("pixel", pixels), ("region", regions)):
            queue = unit_vectors(torch.randn(num_classes, entries, teacher_channels))
            self.register_buffer(f"{kind}_queue", queue)
            self.register_buffer(f"{kind}_queue_ptr", torch.zeros(num_classes, dtype=torch.long))

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor, draws: Draws | None = None) -> Tensor:
        """Computes the weighted loss, and stores the teacher's features.

        Args:
            student: the student's feature map, ``N x student_channels x H x W``. In training mode batch norm
                needs ``N * H * W`` of at least two.
            teacher: the teacher's feature map, ``N x teacher_channels x H x W``; detached.
            target: ``N x h x w`` class indices; other values are ignored.
            draws: drawn when not given.

        Returns:
            A scalar.

        Raises:
            ValueError: if the feature maps do not fit this module or each other, or the target is not of the
                same images.
        """
        terms = self.terms(student, teacher, target, draws)
        return self.pixel_weight * terms["pixel"] + self.region_weight * terms["region"]

    def terms(
        self, student: Tensor, teacher: Tensor, target: Tensor, draws: Draws | None = None
    ) -> dict[str, Tensor]:
        """Stores as `forward` does; returns the two unweighted terms, `pixel` and `region`."""
        require_feature_maps(student, teacher, self.student_channels, self.teacher_channels)
        if target.dim() != 3 or len(target) != len(teacher):
            raise ValueError(
                f"target {tuple(target.shape)} and teacher {tuple(teacher.shape)} do not fit: "
                "the target must be N x h x w, of the same N"
            )
        labels = self.labels(target, teacher.shape[2:])
        keys = _positions(teacher.detach())
        everywhere, of_all = gathered(keys), gathered(labels)
        draws = draws or self.draw(of_all)
        self.store(everywhere, of_all, draws.stored)
        rows, taught_rows = _positions(self.project_head(student)).flatten(0, 1), keys.flatten(0, 1)
        counted = self._classes(labels).any(dim=1).flatten()
        queues = {"pixel": (self.pixel_queue, draws.pixels), "region": (self.region_queue, draws.regions)}
        return {
            name: self._relation(rows, taught_rows, queue[:, places].flatten(0, 1), counted)
            for name, (queue, places) in queues.items()
        }

    def labels(self, target: Tensor, size: torch.Size) -> Tensor:
        """The classes of the positions of a map, ``N x P``, from a target ``N x h x w``."""
        resized = functional.interpolate(target.unsqueeze(1).float(), list(size), mode="nearest")
        return resized.long().flatten(1)

    def draw(self, labels: Tensor) -> Draws:
        """Makes the random choices of a step, with the CPU's generator on every device.

        Args:
            labels: of the images that are stored, ``N x P``.
        """
        pixels, regions = (
            torch.randperm(queue.shape[1], device="cpu")[:drawn].to(queue.device, non_blocking=True)
            for queue, drawn in (
                (self.pixel_queue, self.drawn_pixels),
                (self.region_queue, self.drawn_regions),
            )
        )
        members = self._classes(labels)
        if not self.own_pixels:
            # Positions below the number of a class's pixels, wherever those are.
            positions = torch.arange(labels.shape[1], device=labels.device)
            members = positions < members.sum(dim=2, keepdim=True)
        order = torch.rand(members.shape, device="cpu").to(labels.device, non_blocking=True)
        order = order.masked_fill(~members, 2.0)
        stored = order.topk(min(self.stored, labels.shape[1]), dim=2, largest=False).indices
        return Draws(pixels, regions, stored)

    @torch.no_grad()
    def store(self, keys: Tensor, labels: Tensor, stored: Tensor) -> None:
        """Writes regions and pixels of a batch into the queues, in place.

        All classes at once, image by image: an image's entries follow those of the one before. There is no
        branch on which classes an image has, since the host would have to wait for the device: for a class
        that is absent, an entry is overwritten with itself.

        Args:
            keys: the teacher's features of unit length, ``N x P x C``.
            labels: their classes, ``N x P``.
            stored: as in `Draws`.
        """
        members = self._classes(labels)
        counts = members.sum(dim=2)
        with no_autocast(keys):
            regions = unit_vectors(members.to(keys.dtype) @ keys)
        one = (counts > 0).long()
        pixels = counts.clamp(max=stored.shape[2])
        for image, positions in enumerate(stored):
            self._enqueue(self.region_queue, self.region_queue_ptr, regions[image].unsqueeze(1), one[image])
            self._enqueue(self.pixel_queue, self.pixel_queue_ptr, keys[image][positions], pixels[image])

    @staticmethod
    def _enqueue(queue: Tensor, pointer: Tensor, entries: Tensor, counts: Tensor) -> None:
        """Writes the first entries of each class into its queue, after the latest ones.

        Args:
            queue: ``K x size x C``.
            pointer: index of the next entry of each class, ``K``.
            entries: ``K x n x C``, with ``n`` at most ``size``.
            counts: how many of them are written, ``K``.
        """
        size = queue.shape[1]
        ends = pointer + counts >= size
        first = torch.where(ends, size - counts, pointer)
        steps = torch.arange(entries.shape[1], device=queue.device)
        places = (first.unsqueeze(1) + steps) % size
        classes = torch.arange(len(queue), device=queue.device).unsqueeze(1)
        real = (steps < counts.unsqueeze(1)).unsqueeze(2)
        queue[classes, places] = torch.where(real, entries.to(queue.dtype), queue[classes, places])
        pointer.copy_((pointer + counts).masked_fill(ends, 0))

    def _classes(self, labels: Tensor) -> Tensor:
        """Which positions ``N x P`` are of which class, ``N x K x P`` booleans."""
        classes = torch.arange(self.num_classes, device=labels.device).unsqueeze(1)
        return labels.unsqueeze(1) == classes

    def _relation(self, rows: Tensor, taught_rows: Tensor, memory: Tensor, counted: Tensor) -> Tensor:
        """One unweighted term: rows of student and teacher against the drawn entries, mean of the counted."""
        with no_autocast(rows):
            log_p, log_q = (
                (of @ memory.to(of.dtype).T / self.temperature).log_softmax(dim=1)
                for of in (rows, taught_rows)
            )
        divergence = functional.kl_div(log_p, log_q, reduction="none", log_target=True).sum(dim=1)
        return (divergence * counted).sum() / counted.sum().clamp(min=1)


def _positions(feature: Tensor) -> Tensor:
    """The positions of a map ``N x C x H x W`` as rows of unit length, ``N x (H * W) x C``."""
    return unit_vectors(full_precision(feature).flatten(2).transpose(1, 2))
