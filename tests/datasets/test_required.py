"""What a run of the published protocol asks of its data set before it starts."""

import json

import pytest
from PIL import Image

from suite.contract import BlockedError, load
from suite.datasets import read_published, verify
from suite.planning.composing import compose
from suite.published.recipes import Recipe

PAPER = {
    "resnet18": ("classification", "imagenet"),
    "resnet18-cifar": ("classification", "cifar-100"),
    "retinanet-r50": ("detection", "coco"),
    "mask-rcnn-r50": ("instance_segmentation", "coco"),
    "pspnet-r18": ("semantic_segmentation", "cityscapes"),
}


@pytest.fixture
def two_photos(tmp_path, monkeypatch):
    """COCO's layout with one image a part and no object."""
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))
    for part in ("train2017", "val2017"):
        (tmp_path / "coco" / part).mkdir(parents=True)
        Image.new("RGB", (8, 6)).save(tmp_path / "coco" / part / "1.jpg")
        content = {"images": [{"id": 1, "file_name": "1.jpg", "width": 8, "height": 6}]}
        (tmp_path / "coco" / "annotations").mkdir(exist_ok=True)
        path = tmp_path / "coco" / "annotations" / f"instances_{part}.json"
        path.write_text(json.dumps({**content, "annotations": [], "categories": []}))
    return tmp_path / "coco"


@pytest.mark.parametrize("student", PAPER)
def test_the_published_protocol_asks_for_the_published_data(student, tmp_path):
    task, name = PAPER[student]
    data = compose(Recipe(task=task, student=student), "paper").data
    dataset = read_published()[name]
    assert data.name == dataset.folder
    with pytest.raises(BlockedError, match=rf"^{dataset.title} is not at .*SUITE_DATA"):
        load(data.prepare)(tmp_path / data.name, data.fingerprint)


def test_what_an_imagenet_lacks_is_named_with_what_to_do(tmp_path):
    (tmp_path / "imagenet" / "train").mkdir(parents=True)
    with pytest.raises(BlockedError, match=r"\(val missing\).*image-net\.org.*SUITE_DATA.*data prepare"):
        load("suite.datasets.required:require_imagenet")(tmp_path / "imagenet", None)


def test_an_absent_cifar_100_is_named(tmp_path):
    with pytest.raises(BlockedError, match=r"CIFAR-100 is not at .*cs\.toronto\.edu"):
        load("suite.datasets.required:require_cifar_100")(tmp_path / "cifar100", None)


def test_data_that_are_not_as_published_block_a_run(two_photos):
    with pytest.raises(
        BlockedError, match=r"not as published: .* train2017: images: expected 118,287, found 1"
    ):
        load("suite.datasets.required:require_coco")(two_photos, None)


def test_other_data_run_where_their_fingerprint_is_named_and_only_they(two_photos):
    require = load("suite.datasets.required:require_coco")
    fingerprint = verify(read_published()["coco"], two_photos).fingerprint
    assert require(two_photos, fingerprint) == fingerprint
    Image.new("RGB", (8, 6), "red").save(two_photos / "val2017" / "1.jpg")
    with pytest.raises(BlockedError, match=rf"but data\.fingerprint is {fingerprint}"):
        require(two_photos, fingerprint)


def test_the_log_of_a_run_says_that_data_are_read(two_photos, capfd):
    require = load("suite.datasets.required:require_coco")
    fingerprint = verify(read_published()["coco"], two_photos).fingerprint
    require(two_photos, fingerprint)
    assert capfd.readouterr().out == ""
    (two_photos / "val2017" / "1.jpg").touch()
    require(two_photos, fingerprint)
    assert capfd.readouterr().out == "reading COCO 2017: 1 of 1 files\n"
