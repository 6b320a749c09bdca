"""Detection, instance and semantic segmentation: teacher, students, and the data that reach a loss."""

import copy
import dataclasses
import math

import pytest
import torch

from suite.contract import BlockedError, ComposedRecipe, load
from suite.published.recipes import Recipe, load_recipes
from tasks.embedded.digit_streets import CLASSES
from tasks.methods.fgd import box_masks

RECIPES = load_recipes()
PAIRS = {
    (recipe.task, recipe.student, recipe.method, recipe.teacher): name
    for name, recipe in sorted(RECIPES.items(), reverse=True)
    if recipe.task != "classification" and recipe.teacher
}
"""One recipe for every student, method and teacher; its variants differ in numbers."""
FGD = "retinanet-r50-fgd-retinanet-r101"
MGD = "pspnet-r18-mgd-pspnet-r101-logit"
BOTH = pytest.mark.parametrize("name", [FGD, MGD])


def build(job):
    adapter = load(job.recipe.adapter)(job)
    adapter.build()
    return adapter


def first_batch(adapter):
    distiller = adapter.runner.model
    return distiller.data_preprocessor(next(iter(adapter.runner.train_loop.dataloader)), True)


def test_a_detector_learns_from_an_instance_segmenter(distilled_job):
    adapter = build(distilled_job("faster-rcnn-r50-fgd-cascade-mask-rcnn-x101-dcn"))
    assert type(adapter.runner.model.teacher).__name__ == "CascadeRCNN"
    assert set(adapter.runner.model(**first_batch(adapter), mode="loss")) >= {"loss_fgd", "loss_rpn_cls"}


def test_the_loss_of_a_method_is_the_sum_over_the_levels(distilled_job):
    adapter = build(distilled_job(FGD))
    distiller = adapter.runner.model.eval()
    batch = first_batch(adapter)
    losses = distiller(**batch, mode="loss")
    boxes, shapes = adapter.boxes(batch["data_samples"]), adapter.image_shapes(batch["data_samples"])
    caught = {}
    for side, model in (("student", adapter.student), ("teacher", distiller.teacher)):
        neck = model.neck.fpn_convs
        hooks = [
            neck[i].conv.register_forward_hook(lambda m, x, y, key=(side, i): caught.update({key: y}))
            for i in range(len(neck))
        ]
        model.extract_feat(batch["inputs"])
        for hook in hooks:
            hook.remove()
    levels = [
        loss(caught["student", level], caught["teacher", level], boxes, shapes)
        for level, loss in enumerate(distiller.losses["fgd"])
    ]
    assert len(levels) == 5
    torch.testing.assert_close(losses["loss_fgd"], torch.stack(levels).sum())


def test_a_student_inherits_neck_and_head_and_tells_what_it_could_not(distilled_job):
    adapter = build(distilled_job(f"{FGD}-inherit"))
    distiller = adapter.runner.model
    ours, theirs = adapter.student.state_dict(), distiller.teacher.state_dict()
    outside = {name for name in ours if not name.startswith("backbone.")}
    same = {name for name in outside if torch.equal(ours[name], theirs[name])}
    different = {name for name in outside if ours[name].shape != theirs[name].shape}
    assert set(distiller.inherited.copied) == same
    assert set(distiller.inherited.left) == different
    # What takes maps of the backbone has the width of the student: lateral convolutions, first extra level.
    assert {name.partition(".conv")[0] for name in different} == {
        *(f"neck.lateral_convs.{level}" for level in range(3)),
        "neck.fpn_convs.3",
    }
    assert {name for name in outside if name.startswith("bbox_head")} <= same
    assert adapter.describe().settings["inherited"]["tensors"] == len(same)
    assert set(adapter.describe().settings["inherited"]["left"]) == different


def modules_of_neck(recipe: ComposedRecipe) -> list[str]:
    assert recipe.teacher is not None
    modules = recipe.teacher.taps["neck"].module
    assert isinstance(modules, list)
    return modules


def test_levels_that_disagree_are_refused_by_name(distilled_job):
    job = distilled_job(FGD)
    fewer = job.recipe.model_copy(deep=True)
    modules_of_neck(fewer).pop()
    with pytest.raises(BlockedError, match=r"'fgd': student\.neck has 5 levels and teacher\.neck has 4"):
        build(dataclasses.replace(job, recipe=fewer))
    shifted = job.recipe.model_copy(deep=True)
    modules_of_neck(shifted).reverse()
    with pytest.raises(
        BlockedError, match=r"'fgd': level 0 of student\.neck is 16 x 16 and of teacher\.neck"
    ):
        build(dataclasses.replace(job, recipe=shifted))


def test_a_tap_that_names_no_module_is_refused_by_name(distilled_job):
    job = distilled_job(MGD, "student.taps.feature.module=backbone.layer5")
    with pytest.raises(BlockedError, match=r"'backbone\.layer5': EncoderDecoder\.backbone has no 'layer5'"):
        build(job)


def test_a_teacher_of_another_architecture_is_refused_by_key(make_job, trained_weights):
    job = make_job(RECIPES[FGD], teacher_weights=trained_weights("retinanet-x101"))
    with pytest.raises(BlockedError, match=r"does not fit the teacher retinanet-r101: .*backbone\.layer1"):
        build(job)


@BOTH
def test_half_precision_changes_the_losses_little(name, distilled_job):
    adapter = build(distilled_job(name))
    distiller = adapter.runner.model
    batch = first_batch(adapter)
    # Batch norm and dropout in eval mode, so that two passes see the same network; the mask is drawn anew.
    distiller.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        expected = distiller(**batch, mode="loss")
    torch.manual_seed(0)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16):
        found = distiller(**batch, mode="loss")
    for term in [key for key in expected if key.removeprefix("loss_") in distiller.losses]:
        assert found[term].dtype == torch.float32
        torch.testing.assert_close(found[term], expected[term], rtol=0.1, atol=0)


def wrapped(job, **options):
    """The job with other options of its optimizer's wrapper."""
    schedule = job.recipe.schedule
    changed = {**schedule, "optim_wrapper": schedule["optim_wrapper"] | options}
    return dataclasses.replace(job, recipe=job.recipe.model_copy(update={"schedule": changed}))


@pytest.mark.gpu
@BOTH
def test_mixed_precision_trains_on_a_gpu(name, distilled_job):
    job = wrapped(distilled_job(name), type="AmpOptimWrapper", dtype="float16")
    adapter = build(dataclasses.replace(job, device="cuda"))
    adapter.fit()
    assert all(torch.isfinite(value).all() for value in adapter.student.state_dict().values())


@BOTH
def test_accumulated_gradients_make_one_step(name, distilled_job):
    adapter = build(wrapped(distilled_job(name), accumulative_counts=2))
    before = copy.deepcopy(adapter.student.state_dict())
    adapter.fit()
    optimizer = adapter.runner.optim_wrapper.optimizer
    assert {int(state["step"]) for state in optimizer.state.values()} == {1}
    after = adapter.student.state_dict()
    assert any(not torch.equal(value, before[key]) for key, value in after.items())


def test_masks_of_fgd_lie_where_the_objects_went(make_job, distilled_job, bright_square):
    """Resized to half and flipped: the square's cells, found in the picture itself, are those of the mask."""
    adapter = build(distilled_job(FGD, *bright_square.overrides))
    batch = first_batch(adapter)
    boxes = adapter.boxes(batch["data_samples"])
    shapes = adapter.image_shapes(batch["data_samples"])
    assert batch["inputs"].shape[-2:] == (64, 128)
    assert shapes == [(64, 128)] * 2
    foreground, background = box_masks(boxes, shapes, (8, 16))
    bright = torch.nn.functional.max_pool2d(batch["inputs"].mean(dim=1, keepdim=True), 8)[:, 0] > 0
    # A box covers its cells with both ends, hence up to one cell more to the right and below.
    grown = torch.nn.functional.max_pool2d(bright.float()[:, None], 3, stride=1, padding=1)[:, 0] > 0
    for image in range(2):
        assert (foreground[image] > 0)[bright[image]].all()
        assert not (foreground[image] > 0)[~grown[image]].any()
        assert not (background[image] > 0)[bright[image]].any()
    # The left edge at 32 of 256 pixels has become the right one, at 112 of 128.
    torch.testing.assert_close(boxes[0], torch.tensor([[92.0, 24.0, 112.0, 44.0]]))


def test_boxes_are_scaled_by_the_size_before_padding(distilled_job, bright_square):
    """An image of 240 x 120 becomes 120 x 60 and is padded to 128 x 64: FGD divides by 120 and 60."""
    adapter = build(distilled_job(FGD, *bright_square.cropped(width=240, height=120)))
    batch = first_batch(adapter)
    assert batch["inputs"].shape[-2:] == (64, 128)
    assert adapter.image_shapes(batch["data_samples"]) == [(60, 120)] * 2
    assert all(
        boxes[:, 2].max() <= 120 and boxes[:, 3].max() <= 60 for boxes in adapter.boxes(batch["data_samples"])
    )


def test_the_protocol_lists_losses_levels_and_scaled_weights(distilled_job):
    adapter = build(distilled_job(FGD))
    scales = adapter.job.recipe.data.scales
    fgd = adapter.describe().settings["losses"]["fgd"]
    asked = adapter.job.recipe.method.losses["fgd"].arguments
    assert fgd["levels"] == 5
    assert fgd["alpha"] == pytest.approx(asked["alpha"] * scales["channels"])
    assert fgd["lambda_"] == pytest.approx(asked["lambda_"] * scales["map"])
    assert fgd["temperature"] == asked["temperature"]


def test_semantic_segmentation_records_the_iou_of_every_class(make_job):
    adapter = build(make_job(Recipe(task="semantic_segmentation", student="pspnet-r18")))
    adapter.fit()
    score = adapter.evaluate()
    by_class = adapter.per_class()["IoU"]
    assert set(by_class) == set(CLASSES)
    assert math.isclose(score["mIoU"], sum(by_class.values()) / len(by_class), abs_tol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PAIRS.values()))
def test_every_pair_trains_two_iterations_and_is_scored(name, make_job, trained_weights):
    recipe = RECIPES[name]
    adapter = build(make_job(recipe, teacher_weights=trained_weights(recipe.teacher)))
    adapter.fit()
    score = adapter.evaluate()
    main = {"detection": "box_AP", "instance_segmentation": "mask_AP", "semantic_segmentation": "mIoU"}
    assert 0 <= score[main[recipe.task]] <= 100


def test_the_hook_that_ends_yolox_finds_its_detector_inside_the_distiller(distilled_job):
    from mmdet.engine.hooks import YOLOXModeSwitchHook

    adapter = build(distilled_job("yolox-m-fgd-yolox-l"))
    runner = adapter.runner
    runner.train_loop.dataloader.dataset.update_skip_type_keys = lambda keys: None
    assert not adapter.student.bbox_head.use_l1
    # With one epoch in all, the first is among the last.
    YOLOXModeSwitchHook(num_last_epochs=1).before_train_epoch(runner)
    assert adapter.student.bbox_head.use_l1
