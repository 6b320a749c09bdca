import copy
import json
import struct
import zlib
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, RandomFlip, Resize
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from suite.planning.composing import compose as compose_recipe
from suite.published.recipes import Recipe
from tasks.embedded.canvas import SOLID, Box, Canvas, bounds, cut_out
from tasks.embedded.digit_scenes import CLASSES, IMAGES, SIZE, annotate, compose, prepare, run_lengths
from tasks.embedded.glyphs import HANDS, Dice, Split, load_glyphs
from tasks.embedded.store import fingerprint, write_png

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@pytest.fixture(scope="session")
def contents(digit_scenes):
    """Split -> the content of its annotation file."""
    files = {split: digit_scenes / "annotations" / f"instances_{split}.json" for split in SPLITS}
    return {split: json.loads(path.read_text(encoding="utf-8")) for split, path in files.items()}


@pytest.fixture
def coco_dataset(digit_scenes):
    """Makes mmdet's data set of a split."""

    def make(split, *transforms, **options):
        return CocoDataset(
            data_root=str(digit_scenes),
            ann_file=f"annotations/instances_{split}.json",
            data_prefix={"img": split},
            metainfo={"classes": CLASSES},
            pipeline=[LoadImageFromFile(), LoadAnnotations(with_bbox=True, with_mask=True), *transforms],
            **options,
        )

    return make


def read(path):
    return np.array(Image.open(path))


def by_image(content):
    found: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        found[annotation["image_id"]].append(annotation)
    return found


def decode(annotation):
    return coco_mask.decode(coco_mask.frPyObjects(annotation["segmentation"], SIZE, SIZE)).astype(bool)


@pytest.mark.slow
def test_the_data_set_is_built_once_and_is_the_one_the_recipe_names(digit_scenes):
    named = compose_recipe(Recipe(task="detection", student="retinanet-r50"), "mini").data.fingerprint
    assert fingerprint(digit_scenes) == named
    files = {path: path.stat().st_mtime_ns for path in digit_scenes.rglob("*.*")}
    assert len(files) == sum(IMAGES.values()) + len(SPLITS)
    prepare(digit_scenes, named)
    assert files == {path: path.stat().st_mtime_ns for path in digit_scenes.rglob("*.*")}


def test_a_scene_drawn_again_is_the_same():
    glyphs = load_glyphs("val")
    for number in range(1, 6):
        first, second = (compose(glyphs, Dice("digit-scenes", "val", number)) for _ in range(2))
        assert annotate(first) == annotate(second)
        assert np.array_equal(first.rgb(), second.rgb())
    other = compose(glyphs, Dice("digit-scenes", "val", 6))
    assert annotate(first) != annotate(other)


def test_no_writer_is_in_two_splits():
    hands = [load_glyphs(split).ink.reshape(-1, 64) for split in SPLITS]
    for some, others in combinations(hands, 2):
        assert not {row.tobytes() for row in some} & {row.tobytes() for row in others}
    rows = [HANDS[split] for split in SPLITS]
    assert all(after.start - before.stop >= 1797 // 13 - 1 for before, after in pairwise(rows))


def test_boxes_and_areas_are_those_of_the_masks_and_no_pixel_belongs_to_two_digits(contents):
    for content in contents.values():
        for annotations in by_image(content).values():
            taken = np.zeros((SIZE, SIZE), dtype=int)
            for annotation in annotations:
                mask = decode(annotation)
                box = bounds(mask)
                assert annotation["bbox"] == [box.left, box.top, box.right - box.left, box.bottom - box.top]
                assert annotation["area"] == mask.sum() >= 64
                taken += mask
            assert taken.max(initial=0) <= 1


def test_the_files_list_every_image_and_number_everything_once(contents, digit_scenes):
    for split, content in contents.items():
        assert [category["name"] for category in content["categories"]] == list(CLASSES)
        assert [category["id"] for category in content["categories"]] == list(range(1, 11))
        assert {image["file_name"] for image in content["images"]} == {
            path.name for path in (digit_scenes / split).iterdir()
        }
        assert len(content["images"]) == IMAGES[split]
        for kind in ("images", "annotations"):
            ids = [item["id"] for item in content[kind]]
            assert len(set(ids)) == len(ids)
            assert 0 not in ids, "COCO's evaluation takes id 0 for 'nothing matched'"
        assert {annotation["iscrowd"] for annotation in content["annotations"]} == {0}
        assert {annotation["category_id"] for annotation in content["annotations"]} == set(range(1, 11))


@pytest.mark.parametrize("split", SPLITS)
def test_every_range_of_sizes_holds_a_fair_share_of_the_digits(contents, split):
    areas = np.array([annotation["area"] for annotation in contents[split]["annotations"]])
    assert (areas < 32**2).mean() > 0.25
    assert (areas > 96**2).mean() > 0.1
    assert ((areas >= 32**2) & (areas <= 96**2)).mean() > 0.25
    heights = [annotation["bbox"][3] for annotation in contents[split]["annotations"]]
    assert np.mean(np.array(heights) >= 28) > 0.99, "14 pixels are left of the smallest digits at half size"


def test_images_hold_up_to_nine_digits_and_one_in_fifty_holds_none(contents):
    for split, content in contents.items():
        counts = [len(annotations) for annotations in by_image(content).values()]
        assert counts.count(0) == IMAGES[split] // 50
        assert max(counts) == 9
        assert counts.count(1) < 0.02 * len(counts)


def test_masks_lie_on_ink(contents, digit_scenes):
    differences = []
    for image_id, annotations in by_image(contents["test"]).items():
        image = read(digit_scenes / "test" / f"{image_id:06d}.png").astype(float)
        masks = [decode(annotation) for annotation in annotations]
        paper = ~np.any(masks, axis=0) if masks else np.ones((SIZE, SIZE), dtype=bool)
        differences += [image[paper].mean() - image[mask].mean() for mask in masks]
    assert np.mean(differences) > 80
    assert min(differences) > 25


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_cocos_evaluation_gives_every_size_full_marks_for_the_annotations_themselves(
    digit_scenes, contents, kind, capsys
):
    truth = COCO(digit_scenes / "annotations" / "instances_val.json")
    answers = [{**annotation, "score": 0.9} for annotation in copy.deepcopy(contents["val"]["annotations"])]
    for answer in answers:
        answer["segmentation"] = coco_mask.encode(np.asfortranarray(decode(answer)))
    evaluation = COCOeval(truth, truth.loadRes(answers), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[:6] == pytest.approx(1.0)
    capsys.readouterr()


def test_mmdet_reads_boxes_and_masks_that_agree_before_and_after_its_transforms(coco_dataset):
    transforms = [Resize(scale=(SIZE // 2, SIZE // 2)), RandomFlip(prob=1.0)]
    plain = coco_dataset("val", test_mode=True)
    packed = coco_dataset("val", *transforms, PackDetInputs(), test_mode=True)
    assert len(plain) == IMAGES["val"]
    for index in range(0, IMAGES["val"], 5):
        raw = plain[index]
        assert len(raw["gt_masks"]) == len(raw["gt_bboxes"]) == len(plain.get_data_info(index)["instances"])
        assert torch.equal(raw["gt_masks"].get_bboxes("hbox").tensor, raw["gt_bboxes"].tensor)
        assert not raw["gt_ignore_flags"].any()
        sample = packed[index]
        assert sample["inputs"].shape == (3, SIZE // 2, SIZE // 2)
        seen = sample["data_samples"].gt_instances
        assert seen.masks.masks.shape == (len(seen), SIZE // 2, SIZE // 2)
        corners = seen.masks.get_bboxes("hbox").tensor - seen.bboxes.tensor
        assert len(seen) == 0 or corners.abs().max() <= 1
        flipped = raw["gt_bboxes"].tensor[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1])
        flipped[:, [0, 2]] += SIZE
        assert torch.allclose(seen.bboxes.tensor, flipped / 2)


def test_mmdet_leaves_images_without_digits_out_of_training_where_asked(coco_dataset):
    dataset = coco_dataset("train", filter_cfg={"filter_empty_gt": True, "min_size": 32})
    assert len(dataset) == IMAGES["train"] - IMAGES["train"] // 50
    assert all(dataset.get_data_info(index)["instances"] for index in range(len(dataset)))
    assert dataset.metainfo["classes"] == CLASSES


def test_digits_overlap_by_a_fifth_of_the_smaller_box_at_most():
    canvas = Canvas(64, 64, Dice("crowd"))
    full = np.full((32, 32), 255, dtype=np.int64)
    placed = sum(canvas.put(7, full) for _ in range(40))
    assert 2 <= placed <= 6, "more than six squares of half the width cannot lie so loosely"
    assert len(canvas.digits) == placed
    assert not Canvas(64, 64, Dice("large")).put(7, np.full((65, 10), 255, dtype=np.int64))
    assert Box(0, 0, 10, 10).common(Box(8, 5, 20, 20)) == 10
    assert Box(0, 0, 10, 10).common(Box(12, 0, 20, 10)) == 0


def test_later_digits_hide_earlier_ones_and_what_is_all_but_hidden_is_not_annotated():
    canvas = Canvas(32, 32, Dice("hidden"))
    canvas.put(3, np.full((32, 32), 255, dtype=np.int64))
    assert [annotation["area"] for annotation in annotate(canvas)] == [1024]
    canvas.digits.append(5)
    canvas.owner[:, 2:] = 1
    assert annotate(canvas)[0]["category_id"] == 4
    assert [annotation["area"] for annotation in annotate(canvas)] == [64, 960]
    canvas.owner[0, :2] = 1
    assert [annotation["category_id"] for annotation in annotate(canvas)] == [6]


def test_a_cut_out_glyph_touches_all_sides_and_keeps_its_size():
    glyphs = load_glyphs("train")
    for digit in range(10):
        ink = glyphs.ink[glyphs.by_digit[digit][0]]
        coverage = cut_out(ink, 60, 80, 20)
        assert bounds(coverage > 0) == Box(0, 0, coverage.shape[1], coverage.shape[0])
        assert 70 <= coverage.shape[0] <= 90
        assert coverage.max() == 255
        assert 0.2 < (coverage >= SOLID).mean() < 0.95


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_are_read_back_by_pycocotools(seed):
    mask = np.random.default_rng(seed).random((7, 5)) < (0.0, 1.1, 0.5, 0.9, 0.1)[seed]
    lengths = run_lengths(mask)
    assert sum(lengths["counts"]) == mask.size
    decoded = coco_mask.decode(coco_mask.frPyObjects(json.loads(json.dumps(lengths)), 7, 5))
    assert np.array_equal(decoded, mask)


@pytest.mark.parametrize("shape", [(3, 5, 3), (3, 5), (256, 256, 3), (255, 256), (257, 255)])
def test_a_png_is_read_back_and_nothing_in_it_is_compressed(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "image.png"
    write_png(path, pixels)
    found = read(path)
    assert np.array_equal(found, pixels)
    content = path.read_bytes()
    start = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[start - 4 : start])
    stream = content[start + 4 : start + 4 + length]
    raw = zlib.decompress(stream)
    assert len(raw) == shape[0] * (1 + pixels[0].size)
    blocks = -(-len(raw) // 0xFFFF)
    assert len(stream) == 2 + 5 * blocks + len(raw) + 4
