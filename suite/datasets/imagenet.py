"""Prepares ImageNet-1k from the published archives: one folder per class, for training and for validation."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from suite.datasets.archives import archive_name, check_md5, extract, opened, opened_inside
from suite.datasets.published import Images, PublishedDataset
from suite.errors import SuiteError, one_line

if TYPE_CHECKING:
    from suite.datasets.listing import Report

_META = "data/meta.mat"
_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"

_CLASS_ARCHIVE = re.compile(r"(n\d{8})\.tar")
_VALIDATION_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
"""Name of a validation image; its number is the line of the ground truth, from 1."""

_LARGEST_IMAGE = 2**26
"""Most bytes of an image; the largest published one has a quarter of that."""

_LARGEST_TABLE = 2**24
"""Most bytes of a file of the development kit."""


def prepare_imagenet(dataset: PublishedDataset, root: Path, report: Report) -> list[str]:
    """Puts every image into the folder of its class; if interrupted, the same call continues.

    Validation images may be anywhere below `val/`, or in their archive; training images in theirs. Archives
    stay where they are.

    Args:
        dataset: description of the data set.
        root: its folder, with the development kit as an archive or unpacked.
        report: called with the progress.

    Returns:
        What was done, as sentences.

    Raises:
        SuiteError: something is missing, damaged or present twice. Faults of the kit and of images in `val/`
            are found before anything is moved.
    """
    parts = {part.folder: part for part in dataset.images}
    train, val = parts["train"], parts["val"]
    truth = read_truth(dataset, root)
    moves = _planned_moves(root / val.folder, truth)
    there = len(_validation_images(root / val.folder))
    val_archive, train_archive = (root / dataset.archives[part].file for part in ("val", "train"))
    if not there and not val_archive.exists():
        raise SuiteError(
            f"no validation image in {root / val.folder} and no {val_archive.name} in {root}: "
            f"put one of the two there; it comes from {dataset.obtained}"
        )
    said = [_move(moves, val, report)]
    if there < val.count and val_archive.exists():
        check_md5(val_archive, dataset.archives["val"].md5)
        said.append(_unpack_val(val_archive, root / val.folder, truth, report))
    if train_archive.exists() and sum(1 for _ in (root / train.folder).glob("*/[!.]*")) < train.count:
        check_md5(train_archive, dataset.archives["train"].md5)
        said.append(_unpack_train(train_archive, root / train.folder, train, dataset.classes, report))
    return said


def read_truth(dataset: PublishedDataset, root: Path) -> list[str]:
    """The class of every validation image, from the development kit.

    Args:
        dataset: description of the data set.
        root: its folder, with the kit as an archive, or unpacked.

    Returns:
        WordNet ids of image 1, image 2, ...

    Raises:
        SuiteError: the kit is missing, damaged, or of another year.
    """
    from scipy.io import loadmat

    kit = dataset.archives["devkit"]
    fields = ("ILSVRC2012_ID", "WNID", "num_children")
    try:
        meta, truth = _read_kit(dataset, root)
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        rows = zip(*(synsets[field] for field in fields), strict=True)
        # Synsets that have children are not classes, but groups of them.
        ids = {int(number): str(wordnet) for number, wordnet, children in rows if children == 0}
        found = [ids[int(line)] for line in truth.split()]
    except SuiteError:
        raise
    # The exception that scipy raises on a damaged table depends on where it is damaged.
    except Exception as error:
        what = f"{type(error).__name__}: {one_line(error)[:80]}"
        raise SuiteError(
            f"{root / kit.file}: not the development kit of ILSVRC 2012 ({what}); get it again"
        ) from error
    expected = next(part.count for part in dataset.images if part.folder == "val")
    if len(found) != expected:
        raise SuiteError(
            f"{root / kit.file}: ground truth of {len(found):,} images instead of {expected:,}; "
            "get the kit of ILSVRC 2012, tasks 1 and 2"
        )
    if foreign := sorted(set(found) - set(dataset.classes)):
        raise SuiteError(
            f"{root / kit.file}: {foreign[0][:40]!r} is not a class of {dataset.title}; get the kit again"
        )
    return found


def _read_kit(dataset: PublishedDataset, root: Path) -> tuple[bytes, bytes]:
    """The table of classes and the ground truth, from the archive or the folder that it unpacks to."""
    kit = dataset.archives["devkit"]
    name = kit.file.removesuffix(".tar.gz")
    if (root / name).is_dir():
        return _read_table(root / name / _META), _read_table(root / name / _TRUTH)
    if not (root / kit.file).exists():
        raise SuiteError(
            f"no {kit.file} in {root}: it gives the classes of the validation images; put it there, from "
            f"{dataset.obtained}"
        )
    check_md5(root / kit.file, kit.md5)
    with opened(root / kit.file, compressed=True) as content:
        files = [content.extractfile(f"{name}/{member}") for member in (_META, _TRUTH)]
        meta, truth = (file.read(_LARGEST_TABLE) if file else b"" for file in files)
    return meta, truth


def _read_table(path: Path) -> bytes:
    """Reads a file of the unpacked kit.

    Raises:
        ValueError: it is not a file, or is too large.
    """
    if path.exists() and (not path.is_file() or path.stat().st_size > _LARGEST_TABLE):
        raise ValueError(f"{path.name} is not a table")
    return path.read_bytes()


def _validation_images(folder: Path) -> dict[str, list[Path]]:
    """Name of a validation image -> its paths, anywhere below the folder."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.JPEG")):
        if _VALIDATION_IMAGE.fullmatch(path.name):
            found.setdefault(path.name, []).append(path)
    return found


def _planned_moves(folder: Path, truth: Sequence[str]) -> list[tuple[Path, Path]]:
    """Source and target of every image that has to be moved.

    Raises:
        SuiteError: an image is present twice, or has no class.
    """
    moves = []
    for name, places in _validation_images(folder).items():
        if len(places) > 1:
            raise SuiteError(f"{places[0]} and {places[1]} are the same image; move one of them away")
        target = folder / _class_of(name, truth) / name
        if places[0] != target:
            moves.append((places[0], target))
    return moves


def _class_of(name: str, truth: Sequence[str]) -> str:
    match = _VALIDATION_IMAGE.fullmatch(name)
    number = int(match.group(1)) if match else 0
    if not 1 <= number <= len(truth):
        raise SuiteError(f"{name}: validation images are numbered 1 to {len(truth):,}; move it away")
    return truth[number - 1]


def _move(moves: Sequence[tuple[Path, Path]], val: Images, report: Report) -> str:
    for done, (source, target) in enumerate(moves, start=1):
        target.parent.mkdir(exist_ok=True)
        source.rename(target)
        report(done, len(moves))
    return f"{len(moves):,} images in {val.folder}/ moved to the folders of their classes"


def _unpack_val(path: Path, folder: Path, truth: Sequence[str], report: Report) -> str:
    unpacked = 0
    done: set[str] = set()
    with opened(path) as archive:
        for member in archive:
            if member.isdir():
                continue
            name = Path(member.name).name
            target = folder / _class_of(name, truth) / name
            if name in done:
                raise SuiteError(f"{path.name}: {name} is in there twice; get the archive again")
            target.parent.mkdir(parents=True, exist_ok=True)
            unpacked += extract(archive, member, target, _LARGEST_IMAGE)
            done.add(name)
            report(len(done), len(truth))
    return f"{unpacked:,} images of {path.name} unpacked to {folder.name}/"


def _unpack_train(path: Path, folder: Path, train: Images, classes: Sequence[str], report: Report) -> str:
    """Unpacks an archive of archives, one per class."""
    unpacked = 0
    with opened(path) as archive:
        for done, (images, image, place) in enumerate(_training_images(archive, classes), start=1):
            target = folder / place
            if done > train.count or not target.name.endswith(train.suffix) or target.name.startswith("."):
                what = f"{image.name[:80]} is none of the {train.count:,} images"
                raise SuiteError(f"{path.name}: {what}; get the archive again")
            target.parent.mkdir(parents=True, exist_ok=True)
            unpacked += extract(images, image, target, _LARGEST_IMAGE)
            report(done, train.count)
    return f"{unpacked:,} images of {path.name} unpacked to {folder.name}/"


def _training_images(
    archive: tarfile.TarFile, classes: Sequence[str]
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, str]]:
    """The members of the archives in an archive, each with its class and name, such as `n01440764/1.JPEG`.

    Raises:
        SuiteError: it has something else, or a class or an image twice.
    """
    left = set(classes)
    for member in archive:
        match = _CLASS_ARCHIVE.fullmatch(Path(member.name).name)
        if not match or match.group(1) not in left:
            name = f"{archive_name(archive)}: {member.name[:80]}"
            raise SuiteError(f"{name} is not an archive of another class; get it again")
        left.remove(match.group(1))
        seen: set[str] = set()
        with opened_inside(archive, member) as images:
            for image in images:
                name = Path(image.name).name
                if name in seen:
                    raise SuiteError(f"{archive_name(archive)}: {name} is in there twice; get it again")
                seen.add(name)
                yield images, image, f"{match.group(1)}/{name}"
