"""Describes the published data sets: their content, and where to get them (``baselines/datasets.yaml``)."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, RootModel, model_validator

from suite.catalogue import Catalogue, collect, current, entries
from suite.contract import StoredClass
from suite.paths import datasets_dir
from suite.strict import Strict
from suite.strict_yaml import parse

Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]

IGNORED = 255
"""Label of pixels that are not scored."""


def _split(words: Any) -> Any:
    """Splits a text into words; anything else is left to the schema."""
    return tuple(words.split()) if isinstance(words, str) else words


Words = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""Names without spaces, written in the file as one text."""


class Size(Strict):
    """Width and height of an image in pixels."""

    width: PositiveInt
    height: PositiveInt


class Groups(Strict):
    """Folders that divide images by class or city.

    Attributes:
        count: number of folders.
        smallest: number of images in the smallest folder.
        largest: number of images in the largest folder.
        name: regular expression for their names; None for any.
    """

    count: PositiveInt
    smallest: PositiveInt
    largest: PositiveInt
    name: str | None = None


class Images(Strict):
    """A folder of images.

    Attributes:
        folder: path relative to the folder of the data set, like every path here.
        suffix: end of the names of its images.
        count: number of images.
        exclusive: whether it may contain no other files.
        size: size of every image, if all have the same.
        groups: its folders, if it has any.
    """

    folder: str
    suffix: str
    count: PositiveInt
    exclusive: bool = False
    size: Size | None = None
    groups: Groups | None = None


class Instances(Strict):
    """A file of boxes and masks in COCO format.

    Attributes:
        file: the file.
        images: the folder of `PublishedDataset.images` that it annotates.
        annotated: number of images with at least one object.
        objects: number of objects, including crowds.
    """

    file: str
    images: str
    annotated: PositiveInt
    objects: PositiveInt


class LabelMaps(Strict):
    """A folder of images whose pixels are class numbers (`PublishedDataset.labels`), one for each photo.

    Attributes:
        folder: the folder.
        suffix: end of their names, after the part that they share with the photo.
        polygons: end of the names of the polygon files that they are drawn from.
        images: the folder of `PublishedDataset.images` that they annotate.
    """

    folder: str
    suffix: str
    polygons: str
    images: str


class Checksummed(Strict):
    """A file with a published checksum.

    Attributes:
        file: the file.
        md5: MD5 of its bytes, in hexadecimal.
    """

    file: str
    md5: Md5


class InTheWay(Strict):
    """A file that must not exist.

    Attributes:
        file: the file.
        why: what it would do.
    """

    file: str
    why: str


class PublishedDataset(Strict):
    """One published data set.

    Attributes:
        title: its name in messages.
        claims_name: its name in the claims.
        hub: its id on the Hugging Face Hub; None if it has none.
        folder: its folder in `suite.paths.datasets_dir`.
        gigabytes: its size on disk, in 10^9 bytes.
        obtained: where it comes from.
        prepares: what ``data prepare`` does, as the end of a message; None if unpacking is enough.
        archives: the archives that ``data prepare`` needs, by their content.
        images: folders of images.
        instances: files of boxes and masks.
        label_maps: folders of label maps.
        labels: label of a polygon -> its number in label maps; None if it is not drawn.
        categories: number of a category in files of boxes and masks -> its name, in the order of the labels.
        classes: names of the classes in the order of their labels, for data whose files have no numbers for
            them: the folders of images, or the classes of a pickle.
        pickles: files that are only compared with the published checksum and never opened.
        in_the_way: files that must not exist.
    """

    title: str
    claims_name: str
    hub: str | None = None
    folder: str
    gigabytes: PositiveFloat
    obtained: str
    prepares: str | None = None
    archives: dict[str, Checksummed] = {}
    images: list[Images] = []
    instances: list[Instances] = []
    label_maps: list[LabelMaps] = []
    labels: dict[str, Annotated[int, Field(ge=0, le=IGNORED)] | None] = {}
    categories: dict[int, str] = {}
    classes: Words = ()
    pickles: list[Checksummed] = []
    in_the_way: list[InTheWay] = []

    @model_validator(mode="after")
    def _refers_to_its_own_images(self) -> PublishedDataset:
        folders = [part.folder for part in self.images]
        named = [part.images for part in self.instances] + [part.images for part in self.label_maps]
        for name in named:
            if name not in folders:
                raise ValueError(f"{name!r} is not one of its image folders; name one of {folders}")
        return self

    @property
    def class_list(self) -> tuple[StoredClass, ...]:
        """The classes in the order of their labels, with their numbers in the files."""
        if self.categories:
            return tuple(StoredClass(name, number) for number, name in self.categories.items())
        scored = sorted(
            (number, name) for name, number in self.labels.items() if number is not None and number != IGNORED
        )
        if scored:
            return tuple(StoredClass(name, number) for number, name in scored)
        return tuple(StoredClass(name) for name in self.classes)

    @property
    def root(self) -> Path:
        """Its folder on this machine."""
        return datasets_dir() / self.folder

    @property
    def parts(self) -> list[str]:
        """Folders and files that must exist."""
        folders = [part.folder for part in self.images] + [part.folder for part in self.label_maps]
        return folders + self.single_files

    @property
    def single_files(self) -> list[str]:
        """Single files that must exist: annotations and pickles."""
        return [part.file for part in self.instances] + [part.file for part in self.pickles]

    def missing(self, root: Path) -> list[str]:
        """Folders and files that are missing, and folders of label maps that have none.

        Args:
            root: the folder of the data set.
        """
        unmade = [
            f"{part.folder}/*{part.suffix}"
            for part in self.label_maps
            if (root / part.folder).exists() and not _any_file(root / part.folder, part.suffix)
        ]
        return [name for name in self.parts if not (root / name).exists()] + unmade

    def how_to_get(self, root: Path) -> str:
        """Where to get it, where to put it and how large it is, as the end of a message."""
        return (
            f"get it from {self.obtained}, and put its {self.gigabytes:g} GB at {root} "
            "(SUITE_DATA names the folder above)"
        )

    def expectation(self) -> str:
        """A hash of everything that is checked, without where the data come from."""
        parts = {"images", "instances", "label_maps", "labels", "categories", "classes", "pickles"}
        checked = self.model_dump_json(include=parts)
        return hashlib.sha256(checked.encode()).hexdigest()


class _Published(RootModel[dict[str, PublishedDataset]]):
    """One file, without the embedded data sets (``embedded: true``), which are generated by code."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_code_makes(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        return {
            key: entry
            for key, entry in raw.items()
            if not (isinstance(entry, dict) and entry.get("embedded") is True)
        }


@functools.lru_cache(maxsize=8)
def _read(catalogue: Catalogue) -> dict[str, PublishedDataset]:
    files = catalogue.files("datasets.yaml")
    return entries(collect("data set", files, lambda path: parse(_Published, path).root))


def read_published(folder: Path | None = None) -> dict[str, PublishedDataset]:
    """The published data sets by name, such as `imagenet`; read once per catalogue.

    Args:
        folder: laid out like ``baselines/``; by default that folder and all paper folders.

    Raises:
        SuiteError: ``datasets.yaml`` is missing or breaks the schema, or two files have the same data set;
            names the line.
    """
    return _read(current() if folder is None else Catalogue(folder))


def _any_file(folder: Path, suffix: str) -> bool:
    """Whether a folder, or a folder directly in it, has a file with a suffix; stops at the first."""
    found: Iterator[Path] = folder.glob(f"*/*{suffix}")
    return next(found, None) is not None or next(folder.glob(f"*{suffix}"), None) is not None
