"""What a scored network predicts for a few test images, small enough to be kept beside a record."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from suite.contract import Found, Sample

GRID = 96
"""Most cells on the longer side of kept masks and label maps."""

LEAST_SCORE = 0.3
"""Score above which a detected object is kept."""

SIDE = 128
"""Most pixels on the longer side of a kept image."""

LIKELIEST = 5
"""How many of a classifier's most likely classes are kept."""


def sample_of(predicted: Any, index: int, names: Sequence[str], root: Path, with_image: bool) -> Sample:
    """Converts a prediction into the sample that is kept.

    Args:
        predicted: the data sample of an mm package, at the size of the image.
        index: of the image in the test set.
        names: of the classes, by label.
        root: folder of the data set.
        with_image: whether the image itself is kept.
    """
    height, width = (int(side) for side in predicted.ori_shape[:2])
    path = predicted.get("img_path")
    image = Path(path) if path else None
    return Sample(
        file=_name(image, index, root),
        width=width,
        height=height,
        png=_png(image) if with_image and image else None,
        **_kept(predicted, names),
    )


def _kept(predicted: Any, names: Sequence[str]) -> dict[str, Any]:
    """The kept fields of a prediction, of whichever task."""
    if "pred_score" in predicted:
        return {"classes": _classes(predicted.pred_score.float().cpu().numpy(), names)}
    if "pred_sem_seg" in predicted:
        labels = _thinned(predicted.pred_sem_seg.data[0].cpu().numpy())
        areas = {names[label]: run_lengths(labels == label) for label in np.unique(labels)}
        return {"grid": labels.shape, "areas": areas}
    return _objects(predicted.pred_instances.cpu().numpy(), names)


def _classes(scores: Any, names: Sequence[str]) -> list[tuple[str, float]]:
    order = np.argsort(-scores, kind="stable")[:LIKELIEST]
    return [(names[label], _percent(scores[label])) for label in order]


def _objects(found: Any, names: Sequence[str]) -> dict[str, Any]:
    worth = np.flatnonzero(found.scores > LEAST_SCORE)
    masks = (
        {number: _thinned(np.asarray(found.masks[number])) for number in worth} if "masks" in found else {}
    )
    kept: dict[str, Any] = {
        "objects": [
            Found(
                label=names[found.labels[number]],
                score=_percent(found.scores[number]),
                box=_box(found.bboxes[number]),
                mask=run_lengths(masks[number]) if masks else None,
            )
            for number in worth
        ]
    }
    return kept | ({"grid": next(iter(masks.values())).shape} if masks else {})


def _box(sides: Any) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (round(float(side), 1) for side in sides)
    return x0, y0, x1, y1


def _thinned(cells: Any) -> Any:
    """Subsamples a map evenly to `GRID` cells on its longer side; a smaller one keeps its size."""
    height, width = cells.shape
    step = max(1.0, max(height, width) / GRID)
    rows, columns = (((np.arange(int(side / step)) + 0.5) * step).astype(int) for side in (height, width))
    return cells[rows][:, columns]


def run_lengths(mask: Any) -> list[int]:
    """The lengths of the runs of a mask, row by row: outside, inside, outside, ...

    Args:
        mask: `H x W`, true inside.
    """
    flat = np.concatenate(([False], np.asarray(mask, dtype=bool).ravel()))
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(length) for length in np.diff([0, *ends, flat.size - 1])]


def first_of_each_class(labels: Sequence[int], count: int) -> list[int]:
    """Indices of the first image of each of the first `count` classes, in the order of the classes.

    Args:
        labels: of the images, in the order of the test set.
        count: how many classes.
    """
    first: Mapping[int, int] = {int(label): place for place, label in reversed(list(enumerate(labels)))}
    return [first[label] for label in sorted(first)[:count]]


def _percent(score: Any) -> float:
    return round(100 * float(score), 2)


def _name(image: Path | None, index: int, root: Path) -> str:
    if image is None:
        return f"test image {index}"
    return image.relative_to(root).as_posix() if image.is_relative_to(root) else image.name


def _png(path: Path) -> str:
    content = io.BytesIO()
    with Image.open(path) as image:
        kept = image.convert("RGB")
        kept.thumbnail((SIDE, SIDE))
        kept.save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()
