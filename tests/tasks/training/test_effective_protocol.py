"""What is read back from built objects is what they do, and reading it changes nothing."""

import pytest

from suite.audit.dry_run import dry_run
from suite.contract import load
from suite.datasets import read_published
from suite.planning.composing import compose
from suite.published.recipes import Recipe, load_recipes
from tasks.training.effective_protocol import read_protocol


def effective(name, tmp_path, **changes):
    recipe = compose(load_recipes()[name], "paper")
    changed = recipe.model_copy(update={"schedule": recipe.schedule | changes})
    return dry_run(changed, tmp_path / "log").settings


def test_a_warm_up_and_steps_show_in_the_learning_rate_of_every_epoch(tmp_path):
    rates = effective("retinanet-r50", tmp_path)["learning_rates"]
    assert rates == pytest.approx([0.001, *[1.0] * 15, *[0.1] * 6, *[0.01] * 2])


def test_a_schedule_of_iterations_shows_at_every_tenth(tmp_path):
    protocol = effective("pspnet-r18", tmp_path)
    assert (protocol["iterations"], protocol["epochs"]) == (40000, None)
    assert protocol["learning_rates"][0] == 1.0
    assert protocol["learning_rates"][5] == pytest.approx(0.01 + 0.99 * 0.5**0.9, abs=1e-3)


def test_biases_and_norms_with_a_decay_of_their_own_are_told_apart(tmp_path):
    exceptions = effective("fcos-r50", tmp_path)["exceptions"]
    assert exceptions == {
        "bias": {"weight_decay": 0.0, "learning_rate_factor": 2.0},
        "norm bias": {"weight_decay": 0.0},
    }
    without = effective("shufflenet-v2", tmp_path)["exceptions"]
    assert without == {"norm bias": {"weight_decay": 0.0}, "norm weight": {"weight_decay": 0.0}}


def test_frozen_stages_and_norms_and_the_weights_to_start_from_are_those_of_the_network(tmp_path):
    retinanet = effective("retinanet-r50", tmp_path)
    assert retinanet["frozen"] == ["backbone.conv1", "backbone.bn1", "backbone.layer1"]
    assert retinanet["norms"] == {"stored statistics": 53}
    assert retinanet["initialised_from"] == {"backbone": "torchvision://resnet50"}
    assert effective("fcos-r50", tmp_path)["frozen"][-1] == "norms of the backbone"
    assert effective("resnet18", tmp_path)["norms"] == {"batch statistics": 20}


def test_accumulation_counts_for_the_batch_of_all_devices(tmp_path):
    protocol = effective("retinanet-r50", tmp_path, optim_wrapper={"accumulative_counts": 4})
    assert (protocol["batch_size"], protocol["devices"], protocol["accumulation"]) == (2, 8, 4)
    assert protocol["global_batch"] == 64


def test_pixels_are_described_as_the_network_gets_them(tmp_path):
    assert effective("fcos-r50", tmp_path)["normalisation"]["channels"] == "BGR"
    assert effective("retinanet-r50", tmp_path)["normalisation"]["channels"] == "RGB"
    assert effective("yolox-m", tmp_path)["normalisation"] == {"mean": None, "std": None}


def test_reading_the_protocol_leaves_the_training_as_it_was(make_job):
    job = make_job(load_recipes()["resnet18"])
    adapter = load(job.recipe.adapter)(job)
    adapter.build()
    runner = adapter.runner
    before = [group["lr"] for group in runner.optim_wrapper.optimizer.param_groups]
    steps = [scheduler.last_step for scheduler in runner.param_schedulers]
    training = [module.training for module in runner.model.modules()]
    read_protocol(runner, adapter._config_of_schedulers, adapter.student, adapter._test_data)
    assert [group["lr"] for group in runner.optim_wrapper.optimizer.param_groups] == before
    assert [scheduler.last_step for scheduler in runner.param_schedulers] == steps
    assert [module.training for module in runner.model.modules()] == training


def test_a_run_that_is_built_leaves_its_recipe_as_it_was(tmp_path):
    # Compositions are shared by all runs of a process.
    recipe = compose(load_recipes()["pspnet-r18-mgd-pspnet-r101-logit"], "paper", ["resources.devices=2"])
    before = recipe.model_dump_json()
    dry_run(recipe, tmp_path / "log")
    assert recipe.model_dump_json() == before


def test_a_loss_that_is_built_from_the_training_labels_needs_none_of_them_to_be_described(tmp_path):
    recipe = Recipe(task="classification", student="resnet18", teacher="resnet34", method="crd")
    protocol = dry_run(compose(recipe, "paper"), tmp_path / "log")
    assert protocol.at("global_batch") == 256


def test_a_published_data_set_has_as_many_images_in_its_recipes_as_in_its_description():
    folders = {"imagenet": ("train", "val"), "coco": ("train2017", "val2017"), "cityscapes": ("train", "val")}
    published = {dataset.folder: dataset for dataset in read_published().values()}
    for recipe in ("resnet18", "retinanet-r50", "pspnet-r18"):
        data = compose(load_recipes()[recipe], "paper").data
        dataset, (train, test) = published[data.name], folders[data.name]
        images = {part.folder.rpartition("/")[2]: part.count for part in dataset.images}
        # Images without objects are left out of the training.
        annotated = {part.images: part.annotated for part in dataset.instances}
        assert data.images == {"train": annotated.get(train, images[train]), "test": images[test]}
