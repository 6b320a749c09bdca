"""Other devices than the published ones: the same batch and as many updates, put together from more steps."""

import pytest
from mmengine.config import Config

from suite.audit.dry_run import dry_run
from suite.contract import BlockedError, Resources
from suite.errors import SuiteError
from suite.planning.composing import compose
from suite.published.recipes import load_recipes
from tasks.adapters.base import zoo_config
from tasks.training.resources import share_batch


def composed(name, *resources):
    return compose(load_recipes()[name], "paper", resources)


def effective(name, tmp_path, *resources):
    return dry_run(composed(name, *resources), tmp_path / "log").settings


def test_one_device_accumulates_the_batch_of_eight(tmp_path):
    protocol = effective("retinanet-r50", tmp_path, "resources.devices=1")
    assert (protocol["batch_size"], protocol["devices"], protocol["accumulation"]) == (2, 1, 8)
    assert protocol["global_batch"] == effective("retinanet-r50", tmp_path)["global_batch"] == 16


def test_a_larger_batch_on_one_device_accumulates_less(tmp_path):
    protocol = effective("retinanet-r50", tmp_path, "resources.devices=1", "resources.batch_size=8")
    assert (protocol["batch_size"], protocol["devices"], protocol["accumulation"]) == (8, 1, 2)
    assert protocol["global_batch"] == 16


def test_the_batch_of_a_teachers_own_training_does_not_count(tmp_path):
    # DeiT III was trained with batches of 64 on 64 devices, DeiT-Tiny with batches of 256 on 4.
    protocol = effective(
        "deit-tiny-nkd-deit3-small", tmp_path, "resources.devices=1", "resources.batch_size=512"
    )
    assert (protocol["batch_size"], protocol["accumulation"], protocol["global_batch"]) == (512, 2, 1024)


def test_a_training_counted_in_iterations_makes_as_many_updates_and_lowers_its_rate_alike(tmp_path):
    published = effective("pspnet-r18", tmp_path)
    alone = effective("pspnet-r18", tmp_path, "resources.devices=2")
    assert (published["iterations"], alone["iterations"]) == (40000, 160000)
    assert published["updates"] == alone["updates"] == 40000
    assert alone["learning_rates"] == pytest.approx(published["learning_rates"], abs=1e-4)


def test_the_warm_up_and_the_averaged_weights_take_as_many_updates(tmp_path):
    from mmengine.registry import init_default_scope

    from tasks.training.resources import fit_to_resources

    init_default_scope("mmdet")
    config = zoo_config("mmdet::yolox/yolox_m_8xb8-300e_coco.py")
    fit_to_resources(config, composed("resnet18", "resources.devices=2"))
    averaged = next(hook for hook in config.custom_hooks if hook.type == "EMAHook")
    assert (averaged.interval, averaged.gamma) == (4, 8000)
    config = zoo_config("mmdet::retinanet/retinanet_r50_fpn_2x_coco.py")
    fit_to_resources(config, composed("resnet18", "resources.devices=1"))
    warm_up = next(scheduler for scheduler in config.param_scheduler if not scheduler.by_epoch)
    assert (warm_up.begin, warm_up.end) == (0, 4000)
    assert [scheduler.milestones for scheduler in config.param_scheduler if scheduler.by_epoch] == [[16, 22]]


def test_a_batch_that_no_number_of_steps_makes_is_refused(tmp_path):
    with pytest.raises(BlockedError, match=r"no number of batches of 9 images .* the published batch of 16"):
        effective("retinanet-r50", tmp_path, "resources.devices=3", "resources.batch_size=3")


def test_mixed_precision_without_a_gpu_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(BlockedError, match=r"resources\.precision=float16: mixed precision needs a GPU"):
        effective("resnet18", tmp_path, "resources.precision=float16")


@pytest.mark.gpu
def test_mixed_precision_is_told_by_its_type(tmp_path):
    assert effective("resnet18", tmp_path, "resources.precision=bfloat16")["precision"] == "bfloat16"


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ("resources.devices=0", "resources.devices cannot be 0: input should be greater than or equal to 1"),
        (
            "resources.batch_size=half",
            "resources.batch_size cannot be 'half': input should be a valid integer",
        ),
        (
            "resources.precision=float",
            "resources.precision cannot be 'float': input should be 'float16' or 'bfloat16'",
        ),
    ],
)
def test_resources_that_there_cannot_be_are_refused_in_one_line(resources, text):
    with pytest.raises(SuiteError, match=text.replace(".", r"\.")):
        composed("resnet18", resources)


def test_resources_are_part_of_the_run_and_embedded_data_take_devices_alone():
    published, ours = composed("resnet18"), composed("resnet18", "resources.devices=2")
    assert (published.devices, published.devices_used, published.resources) == (8, 8, Resources())
    assert (ours.devices, ours.devices_used, ours.resources) == (8, 2, Resources(devices=2))
    # What is as published is no departure, and no other run.
    assert composed("resnet18", "resources.devices=8").resources == Resources()
    assert composed("resnet18", "resources.devices=8").departures == published.departures
    embedded = compose(load_recipes()["resnet18"], "mini", ("resources.devices=2",))
    assert (embedded.devices, embedded.devices_used) == (1, 2)
    assert embedded.departures[-1].declared_by == "resources.devices=2"
    with pytest.raises(SuiteError, match=r"resources\.precision: profile mini needs no extra resources"):
        compose(load_recipes()["resnet18"], "mini", ("resources.precision=float16",))


def test_devices_share_the_batch_of_embedded_data():
    config = Config({"train_dataloader": {"batch_size": 64}})
    share_batch(config, compose(load_recipes()["resnet18"], "mini", ("resources.devices=4",)))
    assert config.train_dataloader.batch_size == 16
    with pytest.raises(
        BlockedError, match=r"resources\.devices=3: a batch of 16 images cannot be split equally"
    ):
        share_batch(config, compose(load_recipes()["resnet18"], "mini", ("resources.devices=3",)))
