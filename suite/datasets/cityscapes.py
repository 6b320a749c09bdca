"""Label maps of Cityscapes, drawn from the polygons that the publisher offers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.datasets.archives import unfinished_name
from suite.datasets.published import IGNORED, LabelMaps, PublishedDataset
from suite.errors import SuiteError

if TYPE_CHECKING:
    from PIL.Image import Image

    from suite.datasets.listing import Report


def prepare_cityscapes(dataset: PublishedDataset, root: Path, report: Report) -> list[str]:
    """Draws every label map that is not there; interrupted, the same call goes on.

    Args:
        dataset: its facts.
        root: its folder.
        report: called as it goes on.

    Returns:
        What was done, a sentence each.

    Raises:
        SuiteError: photos or polygons are missing, or polygons cannot be read.
    """
    wanted = [pair for maps in dataset.label_maps for pair in _to_draw(dataset, maps, root)]
    for done, (polygons, target) in enumerate(wanted, start=1):
        image = draw_label_map(_read_polygons(polygons), dataset.labels, polygons)
        unfinished = unfinished_name(target)
        image.save(unfinished, format="PNG")
        unfinished.rename(target)
        report(done, len(wanted))
    return [f"{len(wanted):,} label maps drawn"]


def _to_draw(dataset: PublishedDataset, maps: LabelMaps, root: Path) -> list[tuple[Path, Path]]:
    """Polygons and label map of every photo that has no label map yet."""
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


def _read_polygons(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise SuiteError(f"{path}: no JSON ({error}); unpack it again") from error


def draw_label_map(content: Mapping[str, Any], labels: Mapping[str, int | None], where: Path) -> Image:
    """Draws polygons over each other, in the order of the file, as the publisher's own script does.

    Args:
        content: `imgWidth`, `imgHeight` and `objects`, each with a `label` and the corners of a `polygon`.
        labels: name of a polygon -> its number; None where it is not drawn. A name that is not in there but
            for the word `group` at its end, such as `cargroup`, counts as one of its kind.
        where: the file, for messages.

    Returns:
        An image of one number a pixel, 255 where no polygon is.

    Raises:
        SuiteError: a polygon has no label that is known, or no corners.
    """
    from PIL import Image, ImageDraw

    try:
        image = Image.new("L", (content["imgWidth"], content["imgHeight"]), IGNORED)
        pencil = ImageDraw.Draw(image)
        for thing in content["objects"]:
            if thing.get("deleted"):
                continue
            name = thing["label"] if thing["label"] in labels else thing["label"].removesuffix("group")
            if labels[name] is not None:
                pencil.polygon([(x, y) for x, y in thing["polygon"]], fill=labels[name])
    except (KeyError, TypeError, ValueError) as error:
        raise SuiteError(
            f"{where}: not the polygons of Cityscapes ({type(error).__name__}: {error}); unpack it again"
        ) from error
    return image
