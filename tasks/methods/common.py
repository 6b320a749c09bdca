"""What the losses share: shape checks, precision, ways to read a target, and trainable blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def require_choice(name: str, chosen: str, known: Sequence[str]) -> None:
    """Refuses a value that an argument does not accept.

    Raises:
        ValueError: it is not accepted; names the values that are.
    """
    if chosen not in known:
        raise ValueError(f"{name} {chosen!r} is unknown: use {' or '.join(map(repr, known))}")


def require_same_shape(student: Tensor, teacher: Tensor, layout: str) -> None:
    """Refuses a student and a teacher tensor that cannot be compared element by element.

    Args:
        student: the student's tensor.
        teacher: the teacher's tensor.
        layout: the axes both must have, such as ``"N x K"``; its letters count the dimensions.

    Raises:
        ValueError: if the shapes differ or do not have the axes of ``layout``.
    """
    dimensions = len(layout.split(" x "))
    if student.shape != teacher.shape or student.dim() != dimensions:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} do not fit: "
            f"both must be {layout} and of one shape"
        )


def require_same_batch(student: Tensor, teacher: Tensor) -> None:
    """Refuses features of different batch sizes; all axes but the first may differ.

    Args:
        student: the student's feature, ``N x ...``.
        teacher: the teacher's feature, ``N x ...``.

    Raises:
        ValueError: if the two differ in ``N``, or either has no second axis.
    """
    if min(student.dim(), teacher.dim()) < 2 or len(student) != len(teacher):
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} do not fit: "
            "both must be N x ... with the same N"
        )


def require_feature_maps(
    student: Tensor, teacher: Tensor, student_channels: int, teacher_channels: int
) -> None:
    """Refuses feature maps other than the ones a loss was built for.

    Args:
        student: the student's feature map, ``N x student_channels x H x W``.
        teacher: the teacher's feature map, ``N x teacher_channels x H x W``.
        student_channels: channels the loss was built for on the student's side.
        teacher_channels: channels the loss was built for on the teacher's side.

    Raises:
        ValueError: if either tensor has other channels or another number of axes, or if the two disagree
            in batch size, height or width.
    """
    fits = (
        student.dim() == teacher.dim() == 4
        and student.shape[1] == student_channels
        and teacher.shape[1] == teacher_channels
        and student.shape[0] == teacher.shape[0]
        and student.shape[2:] == teacher.shape[2:]
    )
    if not fits:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} do not fit: this loss takes "
            f"N x {student_channels} x H x W and N x {teacher_channels} x H x W with the same N, H and W"
        )


def require_target(logits: Tensor, target: Tensor) -> None:
    """Refuses a target that is neither class indices nor soft labels of the logits' shape.

    Args:
        logits: ``N x K`` class scores.
        target: ``N`` class indices (an integer type) or ``N x K`` soft labels.

    Raises:
        ValueError: if ``logits`` is not a matrix or ``target`` is neither of the two.
    """
    indices = target.shape == logits.shape[:1] and not target.is_floating_point()
    if logits.dim() != 2 or not (indices or target.shape == logits.shape):
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} ({target.dtype}) do not fit: "
            "logits must be N x K, and the target N integer class indices or N x K soft labels"
        )


def target_class(target: Tensor) -> Tensor:
    """Reads the one target class of every sample: the index itself, or a soft label's largest entry.

    Args:
        target: ``N`` class indices or ``N x K`` soft labels.

    Returns:
        ``N x 1`` class indices.
    """
    return target.argmax(dim=1, keepdim=True) if target.dim() == 2 else target.long().unsqueeze(1)


def target_classes(target: Tensor) -> tuple[Tensor, Tensor]:
    """Reads every target class of a sample with its share: one class, or the two of a mixed sample.

    Mixup and cutmix blend two images, so a soft label has two target classes. An unmixed sample among
    mixed ones has a second class with share zero. Which class that is depends on how ``torch.sort`` orders
    equal entries, as in the released code; a stable sort would change the released numbers.

    Args:
        target: ``N`` class indices or ``N x K`` soft labels.

    Returns:
        Class indices and their shares, both ``N x 1`` for indices and ``N x 2`` for soft labels.
    """
    if target.dim() == 2:
        shares, classes = target.sort(dim=1, descending=True)
        return classes[:, :2], shares[:, :2]
    return target.long().unsqueeze(1), torch.ones_like(target).unsqueeze(1)


def target_distribution(target: Tensor, logits: Tensor) -> Tensor:
    """Reads a target as a distribution over the classes: a soft label as it is, an index as one-hot.

    Args:
        target: ``N`` class indices or ``N x K`` soft labels.
        logits: ``N x K`` class scores, for the number of classes and the type.

    Returns:
        ``N x K`` in the type of ``logits``.
    """
    if target.dim() == 2:
        return target.to(logits.dtype)
    return torch.zeros_like(logits).scatter(1, target.long().unsqueeze(1), 1.0)


def class_mask(classes: Tensor, logits: Tensor) -> Tensor:
    """Marks the given classes of every sample.

    Args:
        classes: ``N x m`` class indices.
        logits: ``N x K`` class scores, for the shape.

    Returns:
        ``N x K`` booleans, true at the given classes.
    """
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, classes, True)


def other_log_softmax(logits: Tensor, excluded: Tensor) -> Tensor:
    """Log-softmax over the classes that are left when some are excluded.

    Excluded classes keep their column, with value zero and without a gradient, so that the result can be
    multiplied by a distribution and summed. Selecting columns by a boolean index instead would make the
    host wait for the device.

    Args:
        logits: ``N x K`` class scores.
        excluded: ``N x K`` booleans, true at the classes to leave out.

    Returns:
        ``N x K`` log-probabilities, zero at the excluded classes.
    """
    return logits.masked_fill(excluded, -math.inf).log_softmax(dim=1).masked_fill(excluded, 0.0)


def kl_divergence(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Mean over the batch of ``KL(q || p)``, from log-probabilities ``N x M``."""
    return functional.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def softened_divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """``temperature^2 * mean KL(q || p)`` of the softened distributions, in at least float32.

    Plain distillation minus the teacher's entropy: zero for equal distributions. The factor keeps gradients
    comparable between temperatures (arXiv:1503.02531, section 2).

    Args:
        student_logits: logits of ``p``, ``N x K``.
        teacher_logits: logits of ``q``, ``N x K``; detached.
        temperature: softens both distributions.

    Returns:
        A scalar.
    """
    student, teacher = full_precision(student_logits), full_precision(teacher_logits.detach())
    log_q, log_p = ((logits / temperature).log_softmax(dim=1) for logits in (teacher, student))
    return temperature**2 * kl_divergence(log_q, log_p)


def unit_vectors(vectors: Tensor, shortest: float = 1e-12) -> Tensor:
    """Scales vectors to length one; those no longer than `shortest` become zero and have no gradient.

    Dividing by a length that is merely bounded from below would give them a gradient of one over the bound.

    Args:
        vectors: ``... x C``.
        shortest: length up to which a vector has no direction; by default the bound in the released code.
    """
    squared = vectors.square().sum(dim=-1, keepdim=True)
    length = squared.clamp(min=shortest**2).sqrt()
    return (vectors / length).masked_fill(squared <= shortest**2, 0.0)


def full_precision(tensor: Tensor) -> Tensor:
    """Converts a half-precision tensor to float32 and leaves every other one as it is.

    A sum of squares over a feature map exceeds the range of float16 (65504) and the precision of bfloat16.
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def no_autocast(tensor: Tensor) -> torch.autocast:
    """Context in which matrix products keep the precision of their operands.

    Args:
        tensor: any tensor on the device concerned.
    """
    return torch.autocast(tensor.device.type, enabled=False)


def squared_error(prediction: Tensor, teacher: Tensor) -> Tensor:
    """Sum of squared differences divided by the batch size, in at least float32.

    Args:
        prediction: ``N x ...``.
        teacher: of the same shape; nothing flows back into it.

    Returns:
        A scalar.
    """
    difference = full_precision(prediction) - full_precision(teacher.detach())
    return difference.square().sum() / len(prediction)


def channel_alignment(student_channels: int, teacher_channels: int) -> nn.Conv2d | None:
    """The 1x1 convolution from the student's channels to the teacher's, where the two differ.

    Args:
        student_channels: channels of the student's feature map.
        teacher_channels: channels of the teacher's feature map.

    Returns:
        A convolution with bias, or None if the numbers are equal: released checkpoints have no ``align``
        then.
    """
    if student_channels == teacher_channels:
        return None
    return nn.Conv2d(student_channels, teacher_channels, kernel_size=1)


def generation_block(channels: int) -> nn.Sequential:
    """The generator of MGD and ViTKD: 3x3 convolution, ReLU, 3x3 convolution, size and width kept.

    Args:
        channels: width of the teacher's feature.
    """
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, kernel_size=3, padding=1),
    )
