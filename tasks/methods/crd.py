"""CRD: contrastive representation distillation (ICLR 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import full_precision, no_autocast
from tasks.methods.processes import gathered, mean_over_processes
from tasks.methods.registry import register_loss

EPSILON = 1e-7
"""Keeps the logarithms of the released code finite."""


@register_loss("CRDLoss", version=1)
class CRDLoss(nn.Module):
    """Contrastive Representation Distillation: an image is told apart from those of other classes.

    With ``s`` and ``t`` trained linear embeddings of the student's and the teacher's pooled feature, scaled
    to length one, ``U`` and ``V`` memories of the embeddings of all ``n`` training images, student's and
    teacher's, ``k = 0`` the image itself and ``k = 1..K`` images of other classes, drawn anew in each step::

        e_nk = exp( <s_n, V_k> / temperature ) / Z                      c = K / n
        side = -1/N sum_n [ log( e_n0 / (e_n0 + c + 1e-7) ) + sum_{k>0} log( c / (e_nk + c + 1e-7) ) ]

        loss = weight * (side of s with V, plus side of t with U)

    ``Z`` is ``n`` times the mean of the exponentials of the first batch, and then fixed; no gradient flows
    through it. After the forward pass the rows of the batch are moved towards its embeddings::

        U_n = unit( momentum * U_n + (1 - momentum) * s_n ),   V_n likewise with t_n

    The negatives are drawn by the loss; in the released code the data set draws them. An image that occurs
    twice in a batch keeps one of its two embeddings. On several devices every memory gets the rows of all
    devices, so that the memories stay identical.

    Source: arXiv:1910.10699 and the code in RepDistiller, whose defaults these are. It has no settings for
    ImageNet; mdistiller draws with replacement there, and uses the same settings otherwise.

    Args:
        student_channels: width of the student's pooled feature.
        teacher_channels: width of the teacher's.
        labels: the class of every training image, in the order of ``sample_index``.
        negatives: ``K``.
        replacement: whether a negative may be drawn twice for an image. If false, as on CIFAR-100, it still
            may if some class leaves fewer than ``K`` others.
        width: of the embeddings.
        temperature: divides the products.
        momentum: share of a memory's row that is kept.
        weight: weight of the loss.

    Raises:
        ValueError: if the training images are of fewer than two classes, so that there are no negatives, or
            ``negatives`` is below 1.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        labels: Sequence[int],
        negatives: int = 16384,
        replacement: bool = True,
        width: int = 128,
        temperature: float = 0.07,
        momentum: float = 0.5,
        weight: float = 0.8,
    ) -> None:
        super().__init__()
        self.channels = (student_channels, teacher_channels)
        self.negatives = negatives
        self.replacement = replacement
        self.width = width
        self.temperature = temperature
        self.momentum = momentum
        self.weight = weight
        self.embed_s = UnitEmbedding(student_channels, width)
        self.embed_t = UnitEmbedding(teacher_channels, width)
        self.contrast = ContrastMemory(len(labels), width, negatives, temperature, momentum)
        self.sampler = OtherClasses(labels, negatives, replacement)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        sample_index: Tensor,
        contrast_index: Tensor | None = None,
    ) -> Tensor:
        """Computes the weighted loss, and updates the memories.

        Args:
            student: the student's pooled feature, ``N x student_channels``.
            teacher: the teacher's pooled feature, ``N x teacher_channels``; detached.
            sample_index: ``N`` indices of the images in the training data set.
            contrast_index: ``N x (1 + K)`` indices, the image's own first; drawn when not given.

        Returns:
            A scalar.

        Raises:
            ValueError: if the features do not fit this module or each other.
        """
        own, other = self.channels
        images = len(student)
        if student.shape != (images, own) or teacher.shape != (images, other):
            raise ValueError(
                f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} do not fit: this loss "
                f"takes pooled features, N x {own} and N x {other} with the same N"
            )
        if contrast_index is None:
            contrast_index = torch.cat([sample_index[:, None], self.sampler.draw(sample_index)], dim=1)
        with no_autocast(student):
            embeddings = self.embed_s(student), self.embed_t(teacher.detach())
            sides: Tensor = self.contrast(*embeddings, sample_index, contrast_index)
        return self.weight * sides


class UnitEmbedding(nn.Module):
    """A linear embedding of length one; a feature that is embedded as zero stays zero.

    Args:
        channels: width of the feature.
        width: of the embedding.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, width)

    def forward(self, feature: Tensor) -> Tensor:
        """Embeds ``N x channels`` as ``N x width``, in at least float32."""
        embedded: Tensor = self.linear(full_precision(feature).to(self.linear.weight.dtype))
        return functional.normalize(embedded, dim=1)


class ContrastMemory(nn.Module):
    """The embeddings of all training images by student and teacher, as buffers.

    Attributes:
        params: ``[K, temperature, Z of the student's side, Z of the teacher's, momentum]``; a ``Z`` is -1
            until the first batch. The first two and the last are only there to fit released checkpoints.
        memory_v1: the student's embeddings, ``n x width``.
        memory_v2: the teacher's.

    Args:
        images: ``n``.
        width: of an embedding.
        negatives: ``K``.
        temperature: divides the products.
        momentum: share of a row that is kept.
    """

    params: Tensor
    memory_v1: Tensor
    memory_v2: Tensor

    def __init__(self, images: int, width: int, negatives: int, temperature: float, momentum: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.momentum = momentum
        self.register_buffer("params", torch.tensor([negatives, temperature, -1.0, -1.0, momentum]))
        bound = 1 / math.sqrt(width / 3)
        for name in ("memory_v1", "memory_v2"):
            self.register_buffer(name, torch.empty(images, width).uniform_(-bound, bound))

    def forward(
        self, student: Tensor, teacher: Tensor, sample_index: Tensor, contrast_index: Tensor
    ) -> Tensor:
        """The unweighted sum of the two sides; updates the rows of the batch afterwards.

        Args:
            student: the student's embeddings, ``N x width``.
            teacher: the teacher's.
            sample_index: ``N`` indices.
            contrast_index: ``N x (1 + K)`` indices, the image's own first.

        Returns:
            A scalar.
        """
        sides = [
            self._side(student, self.memory_v2, contrast_index, self.params[2]),
            self._side(teacher, self.memory_v1, contrast_index, self.params[3]),
        ]
        index = gathered(sample_index)
        self._move(self.memory_v1, gathered(student.detach()), index)
        self._move(self.memory_v2, gathered(teacher.detach()), index)
        return torch.stack(sides).sum()

    def _side(self, embedding: Tensor, memory: Tensor, chosen: Tensor, constant: Tensor) -> Tensor:
        """One side of the loss, with its gradient, since the memory is updated before the backward pass.

        The products with the whole memory are ``N x n`` numbers; a copy of the chosen rows would take
        ``N x (1 + K) x width`` of them.

        Args:
            embedding: ``N x width``.
            memory: of the other network, ``n x width``.
            chosen: ``N x (1 + K)`` indices.
            constant: ``Z``, set in place where it is below zero.
        """
        rows = embedding.detach()
        products = rows @ memory.T
        images, total = products.shape
        ratio = (chosen.shape[1] - 1) / total
        exponentials = (products.gather(1, chosen) / self.temperature).exp()
        first = mean_over_processes(exponentials.mean() * total)
        constant.copy_(torch.where(constant < 0, first, constant))
        likelihood = exponentials / constant
        sums = likelihood + (ratio + EPSILON)
        own = likelihood[:, 0].log() - sums[:, 0].log()
        others = math.log(ratio) - sums[:, 1:].log()
        value = -(own.sum() + others.sum()) / images
        slopes = likelihood / sums
        slopes[:, 0] -= 1
        slopes /= images * self.temperature
        gradient = torch.zeros_like(products).scatter_add_(1, chosen, slopes) @ memory
        return _with_gradient(embedding, value, gradient)

    @torch.no_grad()
    def _move(self, memory: Tensor, embeddings: Tensor, index: Tensor) -> None:
        """Moves the rows at the given indices towards embeddings, in place."""
        rows = self.momentum * memory[index] + (1 - self.momentum) * embeddings
        memory.index_copy_(0, index, functional.normalize(rows, dim=1).to(memory.dtype))


class OtherClasses(nn.Module):
    """Draws images of other classes than a given image's.

    Sorted by class, the images of one class are contiguous; the others are those before and after them.

    Args:
        labels: the class of every image.
        negatives: how many are drawn per image.
        replacement: whether one may be drawn twice; it always may if there are too few.

    Raises:
        ValueError: if there are fewer than two classes, or ``negatives`` is below 1.
    """

    order: Tensor
    begins: Tensor
    ends: Tensor

    def __init__(self, labels: Sequence[int], negatives: int, replacement: bool) -> None:
        super().__init__()
        classes = np.asarray(labels)
        order = classes.argsort(kind="stable")
        begins, ends = (np.searchsorted(classes[order], classes, side=side) for side in ("left", "right"))
        others = len(classes) - int((ends - begins).max(initial=0))
        if not others:
            raise ValueError(
                f"{len(classes)} training images of fewer than two classes do not fit: this loss takes "
                "negatives from other classes"
            )
        if negatives < 1:
            raise ValueError(f"negatives must be at least 1, got {negatives}")
        self.negatives = negatives
        self.replacement = replacement or others < negatives
        for name, values in (("order", order), ("begins", begins), ("ends", ends)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.long), persistent=False)

    def draw(self, index: Tensor) -> Tensor:
        """Draws negatives for the given images, on the device of the indices.

        Args:
            index: ``N`` indices of images.

        Returns:
            ``N x negatives`` indices.
        """
        begins, ends = self.begins[index, None], self.ends[index, None]
        total = len(self.order)
        if self.replacement:
            bits = torch.randint(2**62, (len(index), self.negatives), device=index.device)
            places = bits % (total - (ends - begins))
            places = torch.where(places < begins, places, places + (ends - begins))
        else:
            everywhere = torch.arange(total, device=index.device)
            own = (everywhere >= begins) & (everywhere < ends)
            draws = torch.rand(len(index), total, device=index.device).masked_fill(own, -1.0)
            places = draws.topk(self.negatives, dim=1, sorted=False).indices
        return self.order[places]


class _GivenGradient(torch.autograd.Function):
    """A value with a given gradient."""

    @staticmethod
    def forward(context: Any, argument: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        context.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(context: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = context.saved_tensors
        return outer[0] * gradient, None, None


def _with_gradient(argument: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """A scalar with the given gradient with respect to an argument."""
    found: Tensor = _GivenGradient.apply(argument, value, gradient)
    return found
