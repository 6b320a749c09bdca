"""The published data sets: obtained by the user, only looked for here."""

from __future__ import annotations

from pathlib import Path

from tasks.adapter import BlockedError


def require_imagenet(folder: Path, expected: str | None) -> str:
    """Makes sure that ImageNet-1k lies where the zoo's configs read it.

    Args:
        folder: must hold `train/` and `val/`, each with one folder a class.
        expected: not used yet: no fingerprint of the published set is on file.

    Returns:
        Which set it is, without having read it.

    Raises:
        BlockedError: a folder is missing.
    """
    missing = [name for name in ("train", "val") if not (folder / name).is_dir()]
    if missing:
        raise BlockedError(
            f"ImageNet-1k is not at {folder.name}/ of the data folder ({' and '.join(missing)} missing): "
            "get it from image-net.org (about 150 GB) and name the parent of its folder with SUITE_DATA"
        )
    return "imagenet-1k, not verified"
