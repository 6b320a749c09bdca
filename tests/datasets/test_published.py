"""The shipped facts, against what other packages know of the same data sets."""

from __future__ import annotations

import pytest

from suite.datasets import read_published
from suite.errors import SuiteError
from suite.paths import BASELINES
from suite.published.finding import select


def test_every_data_set_of_the_claims_is_there_once():
    published = read_published()
    assert sorted(published) == ["cifar-100", "cityscapes", "coco", "imagenet"]
    measured = {name for paper, _ in select() for table in paper.tables for name in table.datasets}
    assert measured <= {dataset.claims_name for dataset in published.values()}
    assert len({dataset.claims_name for dataset in published.values()}) == len(published)


def test_the_counts_are_those_of_the_publishers():
    published = read_published()
    counts = {part.folder: part.count for dataset in published.values() for part in dataset.images}
    assert counts == {
        "train": 1_281_167,
        "val": 50_000,
        "train2017": 118_287,
        "val2017": 5_000,
        "leftImg8bit/train": 2_975,
        "leftImg8bit/val": 500,
    }
    assert [(part.objects, part.annotated) for part in published["coco"].instances] == [
        (860_001, 117_266),
        (36_781, 4_952),
    ]
    assert {part.groups.count for part in published["imagenet"].images if part.groups} == {1000}


def test_the_checksums_are_those_that_torchvision_ships():
    from torchvision.datasets import CIFAR100
    from torchvision.datasets.imagenet import ARCHIVE_META

    published = read_published()
    imagenet = {name: (part.file, part.md5) for name, part in published["imagenet"].archives.items()}
    assert imagenet == ARCHIVE_META
    cifar = published["cifar-100"]
    assert (cifar.archives["python"].file, cifar.archives["python"].md5) == (
        CIFAR100.filename,
        CIFAR100.tgz_md5,
    )
    files = [*CIFAR100.train_list, *CIFAR100.test_list, [CIFAR100.meta["filename"], CIFAR100.meta["md5"]]]
    wanted = {f"{CIFAR100.base_folder}/{name}": md5 for name, md5 in files}
    assert {part.file: part.md5 for part in cifar.pickles} == wanted


def test_the_labels_are_numbered_as_torchvision_and_mmseg_number_them():
    from mmseg.datasets import CityscapesDataset
    from torchvision.datasets import Cityscapes

    labels = read_published()["cityscapes"].labels
    numbers = {entry.name: entry.train_id for entry in Cityscapes.classes}
    assert labels == {**numbers, "license plate": None}
    names = CityscapesDataset.METAINFO["classes"]
    assert [labels[name] for name in names] == list(range(19))


def test_the_classes_are_those_that_the_zoos_and_timm_know_in_their_order():
    from mmdet.datasets import CocoDataset
    from mmpretrain.datasets.categories import CIFAR100_CATEGORIES
    from mmseg.datasets import CityscapesDataset
    from timm.data.imagenet_info import ImageNetInfo

    published = read_published()
    names = {key: tuple(name for name, _ in dataset.class_list) for key, dataset in published.items()}
    assert names == {
        "imagenet": tuple(ImageNetInfo().label_names()),
        "coco": CocoDataset.METAINFO["classes"],
        "cityscapes": CityscapesDataset.METAINFO["classes"],
        "cifar-100": CIFAR100_CATEGORIES,
    }
    # Folders are numbered in the order of their names, and label maps hold the labels themselves.
    assert names["imagenet"] == tuple(sorted(names["imagenet"]))
    assert [stored for _, stored in published["cityscapes"].class_list] == list(range(19))
    numbers = list(published["coco"].categories)
    assert numbers == sorted(numbers)
    assert {*range(1, 91)} - {*numbers} == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def test_a_fault_in_the_file_is_refused_with_its_line(tmp_path):
    text = (BASELINES / "datasets.yaml").read_text(encoding="utf-8")
    lines = text.replace("images: train2017", "images: train2014").replace("  claims_name: coco-2017\n", "")
    (tmp_path / "datasets.yaml").write_text(lines, encoding="utf-8")
    with pytest.raises(SuiteError, match=r"datasets\.yaml:\d+: key 'claims_name' is missing"):
        read_published(tmp_path)
    (tmp_path / "more").mkdir()
    wrong = text.replace("images: train2017", "images: train2014")
    (tmp_path / "more" / "datasets.yaml").write_text(wrong, encoding="utf-8")
    with pytest.raises(
        SuiteError, match=r"datasets\.yaml:\d+: .*'train2014' is not one of its image folders"
    ):
        read_published(tmp_path / "more")
