"""Loading that survives bad data: it is skipped and counted, or refused before the first step."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image

from suite.contract import BlockedError

UNREADABLE = "images or label maps that cannot be read"
UNLISTED_PIXELS = "label maps with pixels of no listed class"


class _Tally:
    """A counter that the workers of a data loader share with the training process."""

    def __init__(self) -> None:
        self._count = multiprocessing.Value("q", 0)

    def add(self) -> None:
        with self._count.get_lock():
            self._count.value += 1

    @property
    def value(self) -> int:
        return int(self._count.value)


@TRANSFORMS.register_module()
class SkipUnreadable(BaseTransform):
    """Loads an image and its annotations; where a file is broken, the data set draws another image."""

    def __init__(self, loading: Sequence[dict[str, Any]]) -> None:
        """Builds the loading transforms.

        Args:
            loading: their configs, in order.
        """
        self.loading = [TRANSFORMS.build(step) for step in loading]
        self._tally = _Tally()

    @property
    def counts(self) -> dict[str, int]:
        """What was left out -> how often."""
        return {UNREADABLE: self._tally.value}

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Applies the loading transforms; None if a file is broken: the data set then draws another image."""
        try:
            for step in self.loading:
                results = step(results)
        # What a decoder raises on damaged bytes depends on the decoder: OSError, ValueError, AssertionError,
        # cv2.error, SyntaxError (Pillow on a damaged PNG), ...
        except Exception as error:
            self._tally.add()
            print(f"left out {results.get('img_path')}: cannot be read ({type(error).__name__}: {error})")
            return None
        return results


@TRANSFORMS.register_module()
class IgnoreUnlistedLabels(BaseTransform):
    """Sets pixels of unlisted classes to ignored (255), and counts the label maps that have any."""

    def __init__(self, num_classes: int) -> None:
        """Sets the number of listed classes; their labels are 0 to `num_classes - 1`."""
        self.num_classes = num_classes
        self._tally = _Tally()

    @property
    def counts(self) -> dict[str, int]:
        """What was found -> in how many label maps."""
        return {UNLISTED_PIXELS: self._tally.value}

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Rewrites `gt_seg_map` (`H x W`) if it has unlisted pixels."""
        labels = results["gt_seg_map"]
        unlisted = (labels >= self.num_classes) & (labels != 255)
        if unlisted.any():
            self._tally.add()
            results["gt_seg_map"] = np.where(unlisted, 255, labels).astype(labels.dtype)
        return results


def check_images(paths: Sequence[str | Path]) -> None:
    """Decodes every image once, so that a damaged one is found before the training rather than after it.

    Args:
        paths: the images.

    Raises:
        BlockedError: an image cannot be decoded; names the first and how many there are.
    """
    with ThreadPoolExecutor() as pool:
        broken = [path for path, fine in zip(paths, pool.map(_decodes, paths), strict=True) if not fine]
    if broken:
        raise BlockedError(
            f"{broken[0]} cannot be decoded ({len(broken)} of {len(paths)} test images); get it again, "
            "a test set is scored whole or not at all"
        )


def _decodes(path: str | Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
    # Pillow reports a damaged PNG as a syntax error.
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def counts_of(dataset: Any) -> dict[str, int]:
    """How much a data set and the transforms of its pipeline have skipped so far, by reason."""
    steps = getattr(dataset.pipeline, "transforms", dataset.pipeline)
    found: Counter[str] = Counter()
    for source in (dataset, getattr(dataset, "dataset", None), *steps):
        found.update(getattr(source, "counts", {}))
    return {reason: count for reason, count in found.items() if count}
