"""The published data sets: obtained by the user, only looked for here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.adapter import BlockedError


def require_imagenet(folder: Path, expected: str | None) -> str:
    """Makes sure that ImageNet-1k lies where the zoo's configs read it: `train/`, `val/`, a folder a class.

    See `_require` for arguments, result and errors.
    """
    return _require(folder, ("train", "val"), "ImageNet-1k", "image-net.org (about 150 GB)")


def require_coco(folder: Path, expected: str | None) -> str:
    """Makes sure that COCO 2017 lies where the zoo's configs read it: images of both parts, and annotations.

    See `_require` for arguments, result and errors.
    """
    needed = (
        "train2017",
        "val2017",
        "annotations/instances_train2017.json",
        "annotations/instances_val2017.json",
    )
    return _require(folder, needed, "COCO 2017", "cocodataset.org (about 20 GB)")


def require_cityscapes(folder: Path, expected: str | None) -> str:
    """Makes sure that Cityscapes lies where the zoo's configs read it, label maps converted to train ids.

    See `_require` for arguments, result and errors.
    """
    needed = [f"{kind}/{part}" for kind in ("leftImg8bit", "gtFine") for part in ("train", "val")]
    found = _require(folder, needed, "Cityscapes", "cityscapes-dataset.com (about 12 GB)")
    if next((folder / "gtFine" / "val").glob("*/*_gtFine_labelTrainIds.png"), None) is None:
        raise BlockedError(
            f"Cityscapes at {folder.name}/ has no *_gtFine_labelTrainIds.png: convert its polygons with "
            "mmseg's tools/dataset_converters/cityscapes.py"
        )
    return found


def _require(folder: Path, needed: Sequence[str], title: str, source: str) -> str:
    """Makes sure that a data set is there.

    Args:
        folder: where it belongs.
        needed: files and folders in it.
        title: its name.
        source: where to get it.

    Returns:
        Which set it is, without having read it: no fingerprint of a published set is on file.

    Raises:
        BlockedError: something is missing.
    """
    missing = [name for name in needed if not (folder / name).exists()]
    if missing:
        raise BlockedError(
            f"{title} is not at {folder.name}/ of the data folder ({' and '.join(missing)} missing): "
            f"get it from {source} and name the parent of its folder with SUITE_DATA"
        )
    return f"{title.lower().replace(' ', '-')}, not verified"
