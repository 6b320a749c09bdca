"""Labels of a built data set have to mean what they should mean."""

from __future__ import annotations

import pytest

from suite.contract import BlockedError, ComposedData, StoredClass
from suite.datasets import read_published
from suite.datasets.classes import hold_classes

CITYSCAPES = ComposedData(
    name="cityscapes", prepare="suite.datasets.required:require_cityscapes", fingerprint=None
)
PUBLISHED = read_published()["cityscapes"].class_list


def changed(**other: StoredClass) -> list[StoredClass]:
    return [other.get(f"at_{label}", right) for label, right in enumerate(PUBLISHED)]


def test_the_published_classes_are_taken_in_every_part():
    hold_classes(CITYSCAPES, {"train": PUBLISHED, "test": list(PUBLISHED)})


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (
            changed(at_1=StoredClass("pavement", 1)),
            r"class 1 is 'pavement' \(1 in .* instead of 'sidewalk' \(1 in",
        ),
        (
            changed(at_1=StoredClass("sidewalk", 2)),
            r"class 1 is 'sidewalk' \(2 in .* instead of 'sidewalk' \(1 in",
        ),
        ([*PUBLISHED[:2], PUBLISHED[3]], r"class 2 is 'wall' .* instead of 'building'"),
        ([*PUBLISHED, StoredClass("sea", 19)], r"class 19 is 'sea' \(19 in the files\) instead of none"),
        (PUBLISHED[:-1], r"class 18 is missing, 'bicycle'"),
        ([], r"class 0 is missing, 'road'"),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_other_classes_block_a_run_by_data_set_part_and_first_class(found, difference, part):
    with pytest.raises(BlockedError, match=rf"^cityscapes, {part}: {difference}.*; restore the data"):
        hold_classes(CITYSCAPES, {"train": PUBLISHED, "test": PUBLISHED, part: found})


def test_other_data_have_to_have_the_same_classes_in_all_parts():
    data = CITYSCAPES.model_copy(update={"fingerprint": "0" * 64})
    own = [StoredClass("lane", 0), StoredClass("kerb", 1)]
    hold_classes(data, {"train": own, "test": own})
    with pytest.raises(BlockedError, match=r"cityscapes, test: class 0 is 'kerb' .* as in train"):
        hold_classes(data, {"train": own, "test": own[::-1]})


def test_data_whose_classes_nobody_knows_and_tasks_without_any_are_left_alone():
    data = ComposedData(name="table", prepare="suite.datasets.verification:verify", fingerprint="0")
    hold_classes(data, {})
    hold_classes(data, {"train": [StoredClass("a")], "test": [StoredClass("a")]})
