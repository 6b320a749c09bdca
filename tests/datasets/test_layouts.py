"""What is verified and prepared is what the data classes of the zoos read."""

from __future__ import annotations

import numpy as np
from PIL import Image

from suite.datasets import prepare, verify


def tell_nobody(done, total):
    pass


def test_mmpretrain_reads_the_sorted_validation_images_with_their_classes(small, layouts):
    from mmpretrain.datasets import ImageNet

    dataset, root = small("imagenet")
    for path in sorted((root / "val").glob("*/*")):
        path.rename(root / "val" / path.name)
    for name, content in layouts.devkit_files().items():
        layouts.write(root / "ILSVRC2012_devkit_t12" / "data" / name, content)
    prepare("imagenet", dataset, root, tell_nobody)
    assert verify(dataset, root).faults == []
    read = ImageNet(data_root=str(root), split="val", metainfo={"classes": layouts.CLASSES})
    labels = {
        info["img_path"][-len(layouts.val_name(1)) :]: info["gt_label"] for info in read.load_data_list()
    }
    wanted = {layouts.val_name(number): label for number, label in enumerate(layouts.VAL_TRUTH, start=1)}
    assert labels == wanted


def test_mmpretrain_reads_the_unpacked_pickles_of_cifar(tmp_path, layouts):
    from mmpretrain.datasets import CIFAR100

    dataset = layouts.facts_of_cifar()
    root = tmp_path / "cifar100"
    layouts.write(root / "cifar-100-python.tar.gz", layouts.tar(layouts.cifar_files()))
    prepare("cifar-100", dataset, root, tell_nobody)
    assert verify(dataset, root).faults == []
    md5 = {part.file.rpartition("/")[2]: part.md5 for part in dataset.pickles}

    class FewImages(CIFAR100):
        train_list = (("train", md5["train"]),)
        test_list = (("test", md5["test"]),)

    rows = FewImages(data_root=str(root), split="train", download=False).load_data_list()
    assert [row["gt_label"] for row in rows] == list(range(6))
    assert rows[0]["img"].shape == (32, 32, 3)


def test_mmdet_reads_the_boxes_and_masks_of_coco(small):
    from mmdet.datasets import CocoDataset

    dataset, root = small("coco")
    assert verify(dataset, root).faults == []
    read = CocoDataset(
        data_root=str(root),
        ann_file=dataset.instances[0].file,
        data_prefix={"img": dataset.instances[0].images},
        metainfo={"classes": ("person", "bicycle")},
    )
    rows = [row for row in map(read.get_data_info, range(len(read))) if row["instances"]]
    assert len(rows) == dataset.instances[0].annotated
    assert sum(len(row["instances"]) for row in rows) == dataset.instances[0].objects
    assert all(Image.open(row["img_path"]).width == row["width"] for row in rows)


def test_mmseg_reads_the_drawn_label_maps(tmp_path, layouts):
    from mmseg.datasets import CityscapesDataset

    dataset, root = layouts.facts_of_cityscapes(), tmp_path / "cityscapes"
    layouts.make_streets(root)
    prepare("cityscapes", dataset, root, tell_nobody)
    prefixes = {"img_path": "leftImg8bit/train", "seg_map_path": "gtFine/train"}
    read = CityscapesDataset(data_root=str(root), data_prefix=prefixes)
    rows = [read.get_data_info(number) for number in range(len(read))]
    assert len(rows) == dataset.images[0].count
    classes = CityscapesDataset.METAINFO["classes"]
    seen = {int(number) for row in rows for number in np.unique(np.asarray(Image.open(row["seg_map_path"])))}
    assert {classes[number] for number in seen - {255}} == {"road", "car"}
