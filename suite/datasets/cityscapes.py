"""Draws the label maps of Cityscapes from the published polygons."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator
from pydantic import FiniteFloat as Finite

from suite.datasets.archives import appearing_whole
from suite.datasets.checks import difference
from suite.datasets.published import IGNORED, LabelMaps, PublishedDataset
from suite.errors import SuiteError

if TYPE_CHECKING:
    from PIL.Image import Image

    from suite.datasets.listing import Report

_LARGEST_FILE = 2**24
"""Most bytes of a polygon file; the published ones have less than one million."""

_LARGEST_SIDE = 2**14
"""Most pixels of a side of a photo."""


class _Published(BaseModel):
    """A part of a polygon file; keys that are not used are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Thing(_Published):
    """One polygon.

    Attributes:
        label: name of what it outlines.
        polygon: its corners, x and y in pixels.
        deleted: whether its annotator deleted it.
    """

    label: str
    polygon: list[tuple[Finite, Finite]] = Field(min_length=2)
    deleted: int = 0


class Polygons(_Published):
    """The polygon file that Cityscapes has for every photo.

    Attributes:
        width: width of the photo in pixels.
        height: height of the photo in pixels.
        objects: the polygons; later ones are drawn over earlier ones.
    """

    width: PositiveInt = Field(alias="imgWidth", le=_LARGEST_SIDE)
    height: PositiveInt = Field(alias="imgHeight", le=_LARGEST_SIDE)
    objects: list[_Thing]

    @model_validator(mode="after")
    def _near_the_photo(self) -> Polygons:
        for thing in self.objects:
            for x, y in thing.polygon:
                if not (-self.width <= x <= 2 * self.width and -self.height <= y <= 2 * self.height):
                    raise ValueError(f"a corner of a {thing.label[:40]!r} is far outside the photo")
        return self


def prepare_cityscapes(dataset: PublishedDataset, root: Path, report: Report) -> list[str]:
    """Draws every missing label map; if interrupted, the same call continues.

    Args:
        dataset: description of the data set.
        root: its folder.
        report: called with the progress.

    Returns:
        What was done, as sentences.

    Raises:
        SuiteError: photos or polygons are missing, or polygons cannot be read.
    """
    wanted = [pair for maps in dataset.label_maps for pair in _to_draw(dataset, maps, root)]
    for done, (polygons, target) in enumerate(wanted, start=1):
        image = draw_label_map(read_polygons(polygons), dataset.labels, polygons)
        with appearing_whole(target) as unfinished:
            image.save(unfinished, format="PNG")
        report(done, len(wanted))
    return [f"{len(wanted):,} label maps drawn"]


def _to_draw(dataset: PublishedDataset, maps: LabelMaps, root: Path) -> list[tuple[Path, Path]]:
    """The paths of polygon file and label map for every photo that has no label map yet."""
    photos = next(part for part in dataset.images if part.folder == maps.images)
    found = sorted((root / photos.folder).rglob(f"*{photos.suffix}"))
    if not found:
        raise SuiteError(f"no *{photos.suffix} in {root / photos.folder}: {dataset.how_to_get(root)}")
    pairs = []
    for photo in found:
        place = photo.relative_to(root / photos.folder).parent
        stem = photo.name.removesuffix(photos.suffix)
        polygons, target = (
            root / maps.folder / place / f"{stem}{suffix}" for suffix in (maps.polygons, maps.suffix)
        )
        if target.exists():
            continue
        if not polygons.exists():
            raise SuiteError(f"{polygons} is missing: {dataset.how_to_get(root)}")
        pairs.append((polygons, target))
    return pairs


def read_polygons(path: Path) -> Polygons:
    """The polygons of a photo.

    Raises:
        SuiteError: the file is not a polygon file of Cityscapes.
    """
    if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
        raise SuiteError(f"{path} is not a polygon file; move it away and unpack it again")
    try:
        return Polygons.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise SuiteError(
            f"{path}: not the polygons of Cityscapes ({difference(error)}); unpack it again"
        ) from error


def draw_label_map(content: Polygons, labels: Mapping[str, int | None], where: Path) -> Image:
    """Draws polygons over each other, in the order of the file, as the publisher's own script does.

    Args:
        content: the polygons of a photo.
        labels: name of a label -> its number; None if it is not drawn. A name that is only known without the
            suffix `group`, such as `cargroup`, gets the number of the name without it.
        where: the file, for messages.

    Returns:
        An image with one label number per pixel, 255 where there is no polygon.

    Raises:
        SuiteError: a polygon has an unknown label.
    """
    from PIL import Image, ImageDraw

    image = Image.new("L", (content.width, content.height), IGNORED)
    pencil = ImageDraw.Draw(image)
    for thing in content.objects:
        if thing.deleted:
            continue
        name = thing.label if thing.label in labels else thing.label.removesuffix("group")
        if name not in labels:
            raise SuiteError(f"{where}: Cityscapes has no label {thing.label[:40]!r}; unpack the file again")
        if labels[name] is not None:
            pencil.polygon(thing.polygon, fill=labels[name])
    return image
