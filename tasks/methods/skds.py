"""SKDS: structured knowledge distillation of segmenters, by pixels, pairs and a critic (CVPR 2019)."""

from __future__ import annotations

import itertools
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from tasks.methods.common import (
    full_precision,
    no_autocast,
    require_choice,
    require_same_shape,
    unit_vectors,
)
from tasks.methods.processes import process_count
from tasks.methods.registry import register_loss

Release = Literal["journal", "cvpr2019", "cirkd"]
"""Which implementation: the authors' repository today, its branch of 2019, or CIRKD's comparison."""
RELEASES: tuple[Release, ...] = get_args(Release)

_UPSAMPLING = 8
_EPSILON = 1e-8
_WINDOW = 2


@register_loss("SKDSPixelLoss", version=1)
class SKDSPixelLoss(nn.Module):
    """Structured Knowledge Distillation, pixel-wise term: the teacher's classes at every position.

    With ``z`` and ``v`` the student's and the teacher's ``N x K x H x W`` logits, before they are resized to
    the image, and sums over images and positions::

        journal:  loss = weight * sum CE( softmax(v), z ) / (H * W)
        cvpr2019: loss = weight * sum KL( softmax(v) || softmax(z) ) / (N * K * H * W)
        cirkd:    loss = weight * sum KL( softmax(v) || softmax(z) ) / (N * H * W)

    The first grows with the batch size, which is 8 in the authors' runs. With several processes it is the sum
    over the images of all, as in one process: gradients are averaged over the processes, so that each
    multiplies its own sum by their number. It keeps the teacher's entropy, which changes no gradient. The
    second compares logits up-sampled eightfold (bilinear, corners aligned); ``H`` and ``W`` are those of the
    larger map.

    Source: arXiv:1903.04197 and the code of its authors; the third is the CIRKD release. The default is the
    authors' command for PSPNet.

    Args:
        release: which implementation, ``"journal"``, ``"cvpr2019"`` or ``"cirkd"``.
        weight: weight of the loss; the authors' command has 10 for the first, CIRKD 1.

    Raises:
        ValueError: if ``release`` is none of the three.
    """

    def __init__(self, release: Release = "journal", weight: float = 10.0) -> None:
        super().__init__()
        self.release = _checked(release)
        self.weight = weight

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Computes the weighted loss.

        Args:
            student_logits: ``N x K x H x W``.
            teacher_logits: ``N x K x H x W``; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if the logits differ in shape or are not class maps.
        """
        require_same_shape(student_logits, teacher_logits, "N x K x H x W")
        own, other = full_precision(student_logits), full_precision(teacher_logits.detach())
        if self.release == "cvpr2019":
            own, other = (
                functional.interpolate(of, scale_factor=_UPSAMPLING, mode="bilinear", align_corners=True)
                for of in (own, other)
            )
        log_p, log_q = own.log_softmax(dim=1), other.log_softmax(dim=1)
        images, classes, height, width = own.shape
        positions = height * width
        if self.release == "journal":
            return self.weight * process_count() * -(log_q.exp() * log_p).sum() / positions
        divergence = functional.kl_div(log_p, log_q, reduction="sum", log_target=True)
        divisor = images * positions * (classes if self.release == "cvpr2019" else 1)
        return self.weight * divergence / divisor


@register_loss("SKDSPairLoss", version=1)
class SKDSPairLoss(nn.Module):
    """Structured Knowledge Distillation, pair-wise term: which parts of an image are alike.

    With ``a_ij`` the cosine of the features of two nodes ``i`` and ``j`` of an image, for student and
    teacher, and ``P`` the number of nodes::

        loss = weight * sum_{images, i, j} ( a^T_ij - a^S_ij )^2 / (N * P^2)

    The nodes, and how the cosine is taken:

    - ``"journal"``: max-pooled patches of half the map's height and width, rounded down: two nodes along an
      even side and three along an odd one. The features' lengths are constants, without a gradient.
    - ``"cvpr2019"``: every position. A map of ``P`` positions takes ``N * P^2`` numbers of memory.
    - ``"cirkd"``: max-pooled windows of 2 x 2 positions.

    The first adds ``1e-8`` to a length. A feature of zeros, for which the release of the second computes NaN,
    has the cosine 0 with all. The channels of student and teacher need not agree.

    Source: arXiv:1903.04197 and the code of its authors; the third is the CIRKD release. The default is the
    authors' command for PSPNet; their code has the weight 1 where none is given.

    Args:
        release: which implementation, ``"journal"``, ``"cvpr2019"`` or ``"cirkd"``.
        weight: weight of the loss; the authors' command has 0.5 for the first, CIRKD 10.

    Raises:
        ValueError: if ``release`` is none of the three.
    """

    def __init__(self, release: Release = "journal", weight: float = 0.5) -> None:
        super().__init__()
        self.release = _checked(release)
        self.weight = weight

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
        if student.dim() != 4 or teacher.dim() != 4 or student[:, 0].shape != teacher[:, 0].shape:
            raise ValueError(
                f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} do not fit: both must be "
                "N x C x H x W, of the same N, H and W"
            )
        own, other = (self.similarities(full_precision(of)) for of in (student, teacher.detach()))
        return self.weight * (other - own).square().mean()

    def similarities(self, feature: Tensor) -> Tensor:
        """The cosines of an image's nodes, ``N x P x P``, from its ``N x C x H x W`` feature."""
        if self.release == "journal":
            window = [max(side // 2, 1) for side in feature.shape[2:]]
            feature = functional.max_pool2d(feature, window, ceil_mode=True)
        elif self.release == "cirkd":
            feature = functional.max_pool2d(feature, _WINDOW, ceil_mode=True)
        nodes = feature.flatten(2).transpose(1, 2)
        if self.release == "journal":
            length = torch.linalg.vector_norm(nodes, dim=2, keepdim=True).detach()
            nodes = (nodes / (length + _EPSILON)).masked_fill(length == 0, 0.0)
        else:
            nodes = unit_vectors(nodes)
        with no_autocast(nodes):
            return nodes @ nodes.transpose(1, 2)


@register_loss("SKDSHolisticLoss", version=1)
class SKDSHolisticLoss(nn.Module):
    """Structured Knowledge Distillation, holistic term: a critic of class maps, trained at the same time.

    With ``D`` the critic, ``z`` and ``v`` the logits of student and teacher, and one uniform number ``a`` per
    image, the student minimises the first and the critic the second::

        student: - weight * mean D(z)
        critic:  critic_weight * ( mean D(z) - mean D(v) + penalty * mean( ( |grad D(x)|_2 - 1 )^2 ) ),
                 x = a * v + (1 - a) * z

    The ``"hinge"`` objective of CIRKD's comparison has no penalty; its critic minimises
    ``critic_weight * ( mean relu(1 - D(v)) + mean relu(1 + D(z)) )``.

    Both are trained in the same step: the value is the student's term, and the gradient of the critic's is
    added to it. The student's term holds the critic's parameters constant, and the critic's term the logits,
    so that neither trains the other. The released code makes the critic's step after the student's with the
    same logits, which is equivalent. The critic is thus trained by the student's optimiser; its own learning
    rate (4e-4 where the student has 1e-2) is set there as a factor for its parameters.

    Where the gradient of ``D`` is zero, its length has the gradient zero.

    Source: arXiv:1903.04197 and the code of its authors, whose weights are the defaults.

    Args:
        num_classes: ``K``.
        weight: weight of the student's term.
        critic_weight: weight of the critic's.
        penalty: weight of the gradient penalty inside it.
        objective: ``"wgan-gp"`` or ``"hinge"``.
        critic: network from ``N x K x H x W`` to scores; `Critic` where none is given.

    Raises:
        ValueError: if ``objective`` is neither of the two.
    """

    def __init__(
        self,
        num_classes: int,
        weight: float = 0.1,
        critic_weight: float = 0.1,
        penalty: float = 10.0,
        objective: Literal["wgan-gp", "hinge"] = "wgan-gp",
        critic: nn.Module | None = None,
    ) -> None:
        super().__init__()
        require_choice("objective", objective, ("wgan-gp", "hinge"))
        self.weight = weight
        self.critic_weight = critic_weight
        self.penalty = penalty
        self.objective = objective
        self.critic = critic or Critic(num_classes)

    def forward(
        self, student_logits: Tensor, teacher_logits: Tensor, interpolation: Tensor | None = None
    ) -> Tensor:
        """Computes the weighted term of the student, with the gradients of both.

        Args:
            student_logits: ``N x K x H x W``.
            teacher_logits: ``N x K x H x W``; detached.
            interpolation: ``a``, ``N x 1 x 1 x 1``; drawn when not given.

        Returns:
            A scalar.

        Raises:
            ValueError: if the logits differ in shape or are not class maps.
        """
        require_same_shape(student_logits, teacher_logits, "N x K x H x W")
        own, other = full_precision(student_logits), full_precision(teacher_logits.detach())
        with no_autocast(own):
            critic_term = self.critic_term(own.detach(), other, interpolation)
            # Zero, with the gradient of the critic's term.
            return self.student_term(own) + (critic_term - critic_term.detach())

    def student_term(self, logits: Tensor) -> Tensor:
        """The weighted term of the student; the critic's parameters are constants in it."""
        constant = {name: of.detach() for name, of in self.critic.named_parameters()}
        scores: Tensor = functional_call(self.critic, constant, (logits,))
        return -self.weight * scores.mean()

    def critic_term(self, logits: Tensor, taught_logits: Tensor, interpolation: Tensor | None) -> Tensor:
        """The weighted term of the critic; arguments as for `forward`, both logits detached."""
        taught, own = self._scores(taught_logits), self._scores(logits)
        if self.objective == "hinge":
            return self.critic_weight * ((1 - taught).relu().mean() + (1 + own).relu().mean())
        penalty = self.gradient_penalty(logits, taught_logits, interpolation)
        return self.critic_weight * (own.mean() - taught.mean() + self.penalty * penalty)

    def gradient_penalty(self, logits: Tensor, taught_logits: Tensor, interpolation: Tensor | None) -> Tensor:
        """How far the norm of the critic's gradient between the two is from one, squared, unweighted."""
        if interpolation is None:
            # From the CPU's generator on every device, so that a seed means the same numbers everywhere.
            draw = torch.rand(len(logits), 1, 1, 1, device="cpu")
            interpolation = draw.to(logits.device, non_blocking=True)
        share = interpolation.to(logits.dtype)
        with torch.enable_grad():
            between = (share * taught_logits + (1 - share) * logits).requires_grad_()
            (gradient,) = torch.autograd.grad(self._scores(between).sum(), between, create_graph=True)
            length: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
            return (length - 1).square().mean()

    def _scores(self, logits: Tensor) -> Tensor:
        scores: Tensor = self.critic(logits)
        return scores


class Critic(nn.Module):
    """The authors' critic of class maps: four halvings with spectral norm, self-attention after the last two.

    Made for maps of 65 x 65 (crops of 512 x 512 at stride 8), which give one score. Larger maps give several.
    A side below 64, which the original does not accept, is enlarged to 64 first (bilinear).

    Source: arXiv:1903.04197, code of its authors, after SAGAN (arXiv:1805.08318).

    Args:
        num_classes: channels of a class map.
        width: channels of the first convolution; each further one has twice as many.
    """

    SMALLEST_SIDE = 64

    def __init__(self, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(num_classes)
        widths = [num_classes, width, 2 * width, 4 * width, 8 * width]
        self.halvings = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(taken, given, kernel_size=4, stride=2, padding=1)), nn.LeakyReLU(0.1)
            )
            for taken, given in itertools.pairwise(widths)
        )
        self.attentions = nn.ModuleList(SelfAttention(channels) for channels in widths[3:])
        self.last = nn.Conv2d(widths[-1], 1, kernel_size=4)

    def forward(self, maps: Tensor) -> Tensor:
        """Scores class maps.

        Args:
            maps: ``N x K x H x W``. Batch norm in training mode needs ``N * H * W`` of at least two.

        Returns:
            ``N x 1 x h x w``, larger for what looks like the teacher's.
        """
        size = [max(side, self.SMALLEST_SIDE) for side in maps.shape[2:]]
        if size != list(maps.shape[2:]):
            maps = functional.interpolate(maps, size, mode="bilinear", align_corners=False)
        feature = self.norm(maps)
        for halving in self.halvings[:2]:
            feature = halving(feature)
        for halving, attention in zip(self.halvings[2:], self.attentions, strict=True):
            feature = attention(halving(feature))
        scores: Tensor = self.last(feature)
        return scores


class SelfAttention(nn.Module):
    """Adds to a map the output of attention among its positions, with a factor that starts at zero.

    Args:
        channels: of the map; queries and keys have an eighth of them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, kernel_size=1)
        self.key = nn.Conv2d(channels, channels // 8, kernel_size=1)
        self.value = nn.Conv2d(channels, channels, kernel_size=1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, feature: Tensor) -> Tensor:
        """Attends within ``N x C x H x W``, whose shape is kept."""
        query, key, value = (layer(feature).flatten(2) for layer in (self.query, self.key, self.value))
        attention = (query.transpose(1, 2) @ key).softmax(dim=2)
        attended: Tensor = (value @ attention.transpose(1, 2)).view_as(feature)
        return self.gamma * attended + feature


def _checked(release: Release) -> Release:
    if release not in RELEASES:
        raise ValueError(f"release {release!r} is unknown: use {', '.join(map(repr, RELEASES))}")
    return release
