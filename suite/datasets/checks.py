"""Checks the content of a data set against ``baselines/datasets.yaml``."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from suite.datasets.archives import md5_of
from suite.datasets.listing import Entry, Facts
from suite.datasets.published import Groups, Images, Instances, LabelMaps, PublishedDataset
from suite.errors import one_line
from suite.strict import first_fault


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        what: the folder or file, and the property that was checked.
        expected: what should be there.
        found: what is there; if several items are wrong, their number and the first.
        ok: whether the check passed.
        remedy: what to do if it failed, as the end of a message.
    """

    what: str
    expected: str
    found: str
    ok: bool
    remedy: str = "fix that and verify again"


def check_all(
    dataset: PublishedDataset, root: Path, entries: Sequence[Entry], facts: Mapping[str, Facts]
) -> list[Check]:
    """Checks everything that was read against the published data set.

    Args:
        dataset: the published data set.
        root: the folder of the data set.
        entries: its files and folders.
        facts: path of a file -> what reading it showed.
    """
    by_part = {images.folder: _below(images.folder, entries) for images in dataset.images}
    checks = [check for part in dataset.images for check in _images(part, by_part[part.folder], facts)]
    checks += _same_classes(dataset.images, by_part) + _published_classes(dataset, by_part)
    unreadable = {name: facts[name].fault for name in dataset.single_files if facts[name].fault}
    checks += [Check(f"{name}: readable", "yes", fault, False) for name, fault in unreadable.items()]
    for instances in dataset.instances:
        if instances.file in unreadable:
            continue
        sizes = _sizes(by_part[instances.images], facts, instances.images)
        checks += _instances(instances, dataset.categories, root / instances.file, sizes)
    for maps in dataset.label_maps:
        photos = next(part for part in dataset.images if part.folder == maps.images)
        found = _below(maps.folder, entries)
        checks += _label_maps(maps, photos, found, by_part[maps.images], facts)
    for pickle in dataset.pickles:
        if pickle.file in unreadable:
            continue
        md5 = md5_of(root / pickle.file)
        checks.append(Check(f"{pickle.file}: MD5", pickle.md5, md5, md5 == pickle.md5))
    return checks


def check_nothing_in_the_way(dataset: PublishedDataset, root: Path) -> list[Check]:
    """A failed check for every file that would be read instead of the data set."""
    return [
        Check(part.file, "absent", f"there: {part.why}", False)
        for part in dataset.in_the_way
        if (root / part.file).exists()
    ]


def check_unchanged(changes: Mapping[str, Sequence[str]]) -> Check:
    """Checks that contents that were verified as published have not changed since.

    Publishers provide no checksums of single files, so no other check would notice that two label maps of the
    same size were swapped.

    Args:
        changes: `changed`, `added` or `missing` -> paths.
    """
    wrong = [f"{path} {what}" for what, paths in changes.items() for path in paths]
    expected = "those verified before"
    found = f"{len(wrong):,} not: {wrong[0]}" if wrong else expected
    remedy = "restore them, or accept them as they are by adding --accept to 'python -m suite data verify'"
    return Check("contents", expected, found, not wrong, remedy)


def _below(folder: str, entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.path.startswith(f"{folder}/")]


def _count(what: str, expected: int, found: int) -> Check:
    return Check(what, f"{expected:,}", f"{found:,}", expected == found)


def _none(what: str, expected: str, wrong: Collection[str]) -> Check:
    """A check that no item is wrong.

    Args:
        what: what was checked.
        expected: what should be true of all items.
        wrong: the items for which it is not.
    """
    found = f"{len(wrong):,} not: {min(wrong)}" if wrong else expected
    return Check(what, expected, found, not wrong)


def _images(part: Images, entries: Sequence[Entry], facts: Mapping[str, Facts]) -> list[Check]:
    folder, images = part.folder, [entry.path for entry in entries if entry.kind == "image"]
    checks = [_count(f"{folder}: images", part.count, len(images)), _readable(folder, images, facts)]
    if part.size:
        width, height = part.size.width, part.size.height
        wrong = [
            f"{path}, {facts[path].width} x {facts[path].height}"
            for path in images
            if not facts[path].fault and (facts[path].width, facts[path].height) != (width, height)
        ]
        checks.append(_none(f"{folder}: pixels", f"{width} x {height}", wrong))
    if part.exclusive:
        others = [entry.path for entry in entries if entry.kind == "file"]
        checks.append(_none(f"{folder}: files", f"all {part.suffix}", others))
    depth = folder.count("/") + (2 if part.groups else 1)
    misplaced = [path for path in images if path.count("/") != depth]
    where = "one folder down" if part.groups else "directly there"
    checks.append(_none(f"{folder}: places", where, misplaced))
    return checks + (_groups(folder, part.groups, entries) if part.groups else [])


def _readable(folder: str, paths: Iterable[str], facts: Mapping[str, Facts]) -> Check:
    faults = [f"{path}, {facts[path].fault}" for path in paths if facts[path].fault]
    return _none(f"{folder}: readable", "all", faults)


def _groups(folder: str, groups: Groups, entries: Iterable[Entry]) -> list[Check]:
    sizes = _group_sizes(folder, entries)
    checks = [_count(f"{folder}: folders", groups.count, len(sizes))]
    if groups.name:
        wrong = [name for name in sizes if not re.fullmatch(groups.name, name)]
        checks.append(_none(f"{folder}: names of folders", groups.name, wrong))
    expected = f"{groups.smallest:,} to {groups.largest:,}"
    found = f"{min(sizes.values(), default=0):,} to {max(sizes.values(), default=0):,}"
    return [*checks, Check(f"{folder}: images a folder", expected, found, found == expected)]


def _group_sizes(folder: str, entries: Iterable[Entry]) -> Counter[str]:
    """Name of a folder directly in `folder` -> number of images in it, which may be 0."""
    sizes: Counter[str] = Counter()
    for entry in entries:
        name, slash, rest = entry.path[len(folder) + 1 :].partition("/")
        if slash:
            sizes[name] += bool(rest) and entry.kind == "image"
    return sizes


def _same_classes(parts: Iterable[Images], by_part: Mapping[str, Sequence[Entry]]) -> list[Check]:
    """Checks that all parts have the same class folders, since labels follow the order of their names."""
    classes = [part.folder for part in parts if part.groups and part.groups.name]
    if not classes:
        return []
    first, *others = classes
    names = {folder: set(_group_sizes(folder, by_part[folder])) for folder in classes}
    return [
        _none(f"{other}: folders", f"those of {first}", names[other] ^ names[first])
        for other in others
        if len(names[other]) == len(names[first])
    ]


def _published_classes(dataset: PublishedDataset, by_part: Mapping[str, Sequence[Entry]]) -> list[Check]:
    """Checks that class folders have the names of the published classes."""
    return [
        _none(
            f"{part.folder}: classes",
            "the published ones",
            set(_group_sizes(part.folder, by_part[part.folder])) ^ set(dataset.classes),
        )
        for part in dataset.images
        if dataset.classes and part.groups and part.groups.name
    ]


def _sizes(entries: Iterable[Entry], facts: Mapping[str, Facts], folder: str) -> dict[str, tuple[int, int]]:
    """Name of an image below `folder` -> its width and height."""
    return {
        entry.path[len(folder) + 1 :]: (facts[entry.path].width, facts[entry.path].height)
        for entry in entries
        if entry.kind == "image"
    }


class _Row(BaseModel):
    """A part of a file in COCO format; keys that are not used are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Image(_Row):
    id: int
    file_name: str
    width: int
    height: int


class _Category(_Row):
    id: int
    name: str


class _Object(_Row):
    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    segmentation: list[Any] | dict[str, Any] | None


class _InstancesFile(_Row):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Object]


def _instances(
    part: Instances, published: Mapping[int, str], path: Path, sizes: Mapping[str, tuple[int, int]]
) -> list[Check]:
    """Checks a file in COCO format for consistency, in itself and with the images.

    Args:
        part: what it has to contain.
        published: number of a category -> its name, in the order of the labels.
        path: the file.
        sizes: name of an image that exists -> its width and height.
    """
    name = part.file.rsplit("/", 1)[-1]
    try:
        content = _InstancesFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        return [Check(f"{name}: format", "COCO's", difference(error), False)]
    images = {image.id: image for image in content.images}
    listed = {image.file_name: (image.width, image.height) for image in images.values()}
    objects = content.annotations
    lost = [str(row.id) for row in objects if row.image_id not in images]
    unnamed = [str(row.id) for row in objects if row.category_id not in published]
    broken = [str(row.id) for row in objects if not _has_shape(row)]
    repeated = len(objects) - len({row.id for row in objects}) + len(content.images) - len(images)
    absent = [file for file in listed if file not in sizes]
    # Unreadable images have no size and fail another check; EXIF may rotate an image by 90 degrees.
    other = [file for file, size in listed.items() if sizes.get(file, size) not in {size, size[::-1], (0, 0)}]
    return [
        _categories(name, content.categories, published),
        _count(f"{name}: objects", part.objects, len(objects)),
        _count(f"{name}: repeated ids", 0, repeated),
        _count(f"{name}: images with objects", part.annotated, len({row.image_id for row in objects})),
        _none(f"{name}: images", f"all in {part.images}", absent),
        _none(f"{part.images}: listed", f"all in {name}", [file for file in sizes if file not in listed]),
        _none(f"{name}: widths and heights", "those of the images", other),
        _none(f"{name}: images of objects", "all listed", lost),
        _none(f"{name}: categories of objects", "all listed", unnamed),
        _none(f"{name}: boxes and masks", "for each object", broken),
    ]


def _categories(name: str, found: Sequence[_Category], published: Mapping[int, str]) -> Check:
    """Checks the categories of a file and their order, which defines the labels."""
    rows = zip_longest(((row.id, row.name) for row in found), published.items())
    differing = [
        f"{ours[0]} {ours[1]}" if ours else f"{theirs[0]} {theirs[1]} missing"
        for ours, theirs in rows
        if ours != theirs
    ]
    expected = f"the {len(published)} published, in their order"
    found_text = f"{len(differing)} not: {differing[0]}" if differing else expected
    return Check(f"{name}: categories", expected, found_text, not differing)


def difference(error: ValidationError) -> str:
    """One short line that says where and how a file first breaks its schema."""
    place, fault = first_fault(error)
    return one_line(f"{place}: {fault['msg']}".removeprefix(": "))[:120]


def _has_shape(row: _Object) -> bool:
    """Whether an object has a mask, and a box of four numbers whose sides are not negative.

    Sides may be zero: COCO 2017 has such boxes, and the data set classes of the zoos skip them.
    """
    box = row.bbox
    finite = len(box) == 4 and all(math.isfinite(number) for number in box)
    return finite and min(box[2:]) >= 0 and bool(row.segmentation)


def _label_maps(
    maps: LabelMaps,
    photos: Images,
    map_entries: Iterable[Entry],
    photo_entries: Iterable[Entry],
    facts: Mapping[str, Facts],
) -> list[Check]:
    """Checks label maps against their photos."""
    found = _by_stem(map_entries, maps.folder, maps.suffix)
    wanted = _by_stem(photo_entries, maps.images, photos.suffix)
    unlike = [
        found[stem]
        for stem in found.keys() & wanted.keys()
        if not facts[found[stem]].fault and facts[found[stem]][1:3] != facts[wanted[stem]][1:3]
    ]
    return [
        _none(f"{maps.folder}: label maps", f"one for each of {maps.images}", wanted.keys() - found.keys()),
        _none(f"{maps.folder}: label maps", f"only for {maps.images}", found.keys() - wanted.keys()),
        _readable(maps.folder, found.values(), facts),
        _none(f"{maps.folder}: pixels", "as many as the photo", unlike),
    ]


def _by_stem(entries: Iterable[Entry], folder: str, suffix: str) -> dict[str, str]:
    """The name that photo and label map share, such as `ulm/ulm_000000_000019` -> path."""
    return {
        entry.path[len(folder) + 1 : -len(suffix)]: entry.path for entry in entries if entry.kind != "folder"
    }
