"""FKD: attention-guided and non-local distillation of a detector's feature pyramid (ICLR 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import full_precision, no_autocast
from tasks.methods.fgd import attentions
from tasks.methods.pyramids import require_levels
from tasks.methods.reductions import mean_magnitudes
from tasks.methods.registry import register_loss

FINE_LEVELS = 2
"""Levels whose relation has half the inner channels of the others: the two finest."""


@register_loss("FKDLoss", version=1)
class FKDLoss(nn.Module):
    """FKD: distils a detector's pyramid by its attention, and by the relations between its positions.

    For each level, with ``F`` and ``T`` the feature maps of ``P`` positions, ``a``, ``a'`` 1x1 convolutions,
    ``l`` a linear layer, ``k`` a 3x3 convolution from one channel to one, and ``|.|`` the Euclidean norm over
    the whole batch::

        A_s(X) = P * softmax_positions(mean_c |X| / temperature)
        A_c(X) = C * softmax_c(mean_positions |X| / temperature)
        M      = (A_s(F) + A_s(T)) / 2 * (A_c(F) + A_c(T)) / 2,  a constant; second factor if channel_mask

        feature  = | sqrt(M) * (a(F) - T) |
        channel  = | l(mean_positions F) - mean_positions T |
        spatial  = | k(mean_c F) - mean_c T |
        nonlocal = | a'(R_s(F)) - R_t(T) |,  R as in `DotProductNonLocal`, one for each side

        loss = sum_levels( alpha * feature + beta * (channel + spatial) + gamma * nonlocal )

    Each level has its own layers. Nothing is divided by the batch size. ``R_t`` is trained too, so that the
    target of the last term moves. A term that is zero, as when features match exactly, has a gradient of
    zero; in the release, which takes the square root of a sum of squares, that of the feature term is NaN.

    Source: "Improve object detection with feature-based knowledge distillation" (ICLR 2021), in the form that
    several public copies of its supplement agree on. The defaults are the released ones for one-stage
    detectors; two-stage ones have ``alpha`` and ``gamma`` 7e-5, ``beta`` 4e-3, temperature 0.5 and no channel
    mask.

    Args:
        student_channels: channels of the student's maps.
        teacher_channels: channels of the teacher's maps; the same number.
        alpha: weight of the feature term.
        beta: weight of the channel term and of the spatial term.
        gamma: weight of the non-local term.
        temperature: temperature of both attentions.
        channel_mask: whether the mask weights channels besides positions.
        pool_strides: for each level, finest first, how many positions along a side are pooled to one in the
            relation; their number is that of the levels.
        inner_channels: for each level the inner channels of the relation; by default a quarter of the
            channels on the two finest levels and half of them on the others: 64 and 128 of the published 256.

    Raises:
        ValueError: if student and teacher differ in channels, or the number of inner channels is not that of
            the levels.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        alpha: float = 4.2e-4,
        beta: float = 2.4e-2,
        gamma: float = 4.2e-4,
        temperature: float = 0.1,
        channel_mask: bool = True,
        pool_strides: Sequence[int] = (8, 4, 2, 2, 2),
        inner_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if student_channels != teacher_channels:
            raise ValueError(
                f"student has {student_channels} channels and teacher {teacher_channels}: FKD averages their "
                "channel attentions; give networks of equal width"
            )
        levels, channels = len(pool_strides), teacher_channels
        parts = [4 if level < FINE_LEVELS else 2 for level in range(levels)]
        inner = inner_channels or [max(1, channels // part) for part in parts]
        if len(inner) != levels:
            raise ValueError(
                f"{len(inner)} inner_channels and {levels} pool_strides: give one of each per level"
            )
        self.channels = channels
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.temperature = temperature
        self.channel_mask = channel_mask
        self.adaptation_layers = _convolutions(levels, channels, 1)
        self.channel_wise_adaptation = nn.ModuleList(nn.Linear(channels, channels) for _ in range(levels))
        self.spatial_wise_adaptation = _convolutions(levels, 1, 3)
        self.student_non_local, self.teacher_non_local = (
            nn.ModuleList(
                DotProductNonLocal(channels, width, stride)
                for width, stride in zip(inner, pool_strides, strict=True)
            )
            for _ in range(2)
        )
        self.non_local_adaptation = _convolutions(levels, channels, 1)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Computes the weighted loss of all levels.

        Args:
            student: the student's feature maps, ``N x channels x H x W``, finest first.
            teacher: the teacher's, of the same shapes; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if the pyramids do not fit this module or each other.
        """
        terms = self.terms(student, teacher)
        return (
            self.alpha * terms["feature"]
            + self.beta * (terms["channel"] + terms["spatial"])
            + self.gamma * terms["nonlocal"]
        )

    def terms(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> dict[str, Tensor]:
        """Computes the four terms, unweighted, each summed over the levels.

        Args:
            student: as for `forward`.
            teacher: as for `forward`.

        Returns:
            Scalars under ``feature``, ``channel``, ``spatial`` and ``nonlocal``.

        Raises:
            ValueError: as `forward`.
        """
        levels = len(self.adaptation_layers)
        require_levels(student, teacher, levels, (self.channels, self.channels))
        with no_autocast(student[0]):
            of_levels = [
                self._of_level(level, full_precision(own), full_precision(other.detach()))
                for level, (own, other) in enumerate(zip(student, teacher, strict=True))
            ]
        return {name: torch.stack([terms[name] for terms in of_levels]).sum() for name in of_levels[0]}

    def _of_level(self, level: int, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """The four terms of one level; feature maps are ``N x C x H x W``."""
        adapted = self.adaptation_layers[level](student)
        channels = self.channel_wise_adaptation[level](student.mean(dim=(2, 3)))
        positions = self.spatial_wise_adaptation[level](student.mean(dim=1, keepdim=True))
        related = self.non_local_adaptation[level](self.student_non_local[level](student))
        return {
            "feature": _norm(self._root_mask(student, teacher) * (adapted - teacher)),
            "channel": _norm(channels - teacher.mean(dim=(2, 3))),
            "spatial": _norm(positions - teacher.mean(dim=1, keepdim=True)),
            "nonlocal": _norm(related - self.teacher_non_local[level](teacher)),
        }

    @torch.no_grad()
    def _root_mask(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Square root of the mask of the feature term; its shape broadcasts to ``N x C x H x W``."""
        (spatial_s, channel_s), (spatial_t, channel_t) = (
            attentions(*mean_magnitudes(feature.flatten(2)), self.temperature)
            for feature in (student, teacher)
        )
        root = ((spatial_s + spatial_t) / 2).sqrt().view(len(student), 1, *student.shape[2:])
        if self.channel_mask:
            root = root * ((channel_s + channel_t) / 2).sqrt()[:, :, None, None]
        return root


class DotProductNonLocal(nn.Module):
    """A non-local block in its dot-product form, with pooling, batch norm and a residual connection.

    With ``theta``, ``phi``, ``g`` and ``W`` 1x1 convolutions, ``phi`` and ``g`` followed by a maximum over
    ``stride x stride`` positions, which leaves ``P'`` of them::

        R(X) = X + BN( W( sum_q (theta(x_p) . phi(x_q)) g(x_q) / P' ) )

    Batch norm starts at zero, so that the block starts as the identity. A map that is smaller than the stride
    is pooled to one position along that side.

    Source: arXiv:1711.07971, equation 4 and section 3.3, in the layout of FKD's supplement.

    Args:
        channels: channels of the feature map.
        inner_channels: channels of the embeddings.
        stride: positions along a side that are pooled to one.
    """

    def __init__(self, channels: int, inner_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        # In sequences, as the released code names them: pooling follows there, which has no parameters.
        self.g = nn.Sequential(nn.Conv2d(channels, inner_channels, kernel_size=1))
        self.theta = nn.Conv2d(channels, inner_channels, kernel_size=1)
        self.phi = nn.Sequential(nn.Conv2d(channels, inner_channels, kernel_size=1))
        norm = _BatchNorm(channels)
        nn.init.zeros_(norm.weight)
        self.W = nn.Sequential(nn.Conv2d(inner_channels, channels, kernel_size=1), norm)

    def forward(self, features: Tensor) -> Tensor:
        """Adds to every position what it gathers from the pooled ones.

        Args:
            features: ``N x C x H x W``.

        Returns:
            ``N x C x H x W``.
        """
        query = self.theta(features)
        key, value = (self._pooled(layer(features)) for layer in (self.phi, self.g))
        # The products of keys and values come first, so that those of all pairs of positions are never held.
        products = value @ key.transpose(1, 2) / key.shape[2]
        gathered = (products @ query.flatten(2)).view_as(query)
        added: Tensor = self.W(gathered)
        return features + added

    def _pooled(self, embedded: Tensor) -> Tensor:
        """Maxima over the squares of positions, ``N x C' x P'``."""
        window = [min(self.stride, extent) for extent in embedded.shape[2:]]
        return functional.max_pool2d(embedded, window).flatten(2)


class _BatchNorm(nn.BatchNorm2d):
    """Batch norm that accepts a single value in training, as its own mean; PyTorch's refuses it."""

    def forward(self, features: Tensor) -> Tensor:
        if self.training and features[:, 0].numel() == 1:
            return (features - features) * self.weight[:, None, None] + self.bias[:, None, None]
        return super().forward(features)


def _convolutions(levels: int, channels: int, size: int) -> nn.ModuleList:
    """A convolution for each level that keeps channels and positions."""
    return nn.ModuleList(
        nn.Conv2d(channels, channels, kernel_size=size, padding=size // 2) for _ in range(levels)
    )


def _norm(difference: Tensor) -> Tensor:
    """Euclidean norm of all entries. Its gradient at zero is zero, where a square root has none."""
    norm: Tensor = torch.linalg.vector_norm(difference)
    return norm
