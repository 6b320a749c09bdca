import dataclasses
import itertools
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.hub import get_config
from mmengine.registry import init_default_scope

from suite.contract import BlockedError, modules_of
from suite.published.recipes import Recipe, load_recipes
from suite.store.run_folders import RESUME_BEFORE_FILE, RESUME_FILE
from tasks.adapters.classification import ClassificationAdapter
from tasks.distillation.taps import find_module
from tasks.training.hooks import NonFiniteLossError, NonFiniteWeightsError
from tasks.training.resume_points import ResumePoints

RECIPES = load_recipes()
CLASSIFICATION = sorted(name for name, recipe in RECIPES.items() if recipe.task == "classification")
DISTILLED = [name for name in CLASSIFICATION if RECIPES[name].teacher]


class KilledError(Exception):
    """Stands for the kill."""


class KilledInEpoch(Hook):
    """Ends a run in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.epoch + 1 == self.epoch:
            raise KilledError


class Spoil(Hook):
    """Makes a weight infinite after the last step, of which no loss can tell."""

    def after_train(self, runner) -> None:
        runner.model.backbone.layer4[1].bn2.bias.data[0] = torch.inf


def build(job) -> ClassificationAdapter:
    adapter = ClassificationAdapter(job)
    adapter.build()
    return adapter


def test_the_loss_of_a_method_is_added_to_the_students_own(make_job, trained_weights):
    adapter = build(make_job(RECIPES["resnet18-nkd-resnet34"], teacher_weights=trained_weights("resnet34")))
    distiller = adapter.runner.model
    batch = distiller.data_preprocessor(next(iter(adapter.runner.train_loop.dataloader)), True)
    # Batch norm in eval mode, so that two passes see the same network.
    distiller.eval()
    losses = distiller(**batch, mode="loss")
    own = adapter.student(**batch, mode="loss")
    assert set(losses) == {"loss", "loss_nkd"}
    torch.testing.assert_close(losses["loss"], own["loss"])
    target = torch.cat([sample.gt_label for sample in batch["data_samples"]])
    logits = [model(batch["inputs"], mode="tensor") for model in (adapter.student, distiller.teacher)]
    torch.testing.assert_close(losses["loss_nkd"], distiller.losses["nkd"](*logits, target))


def test_mixed_labels_reach_the_loss(make_job):
    mixup = "+student.embedded.overrides.train_cfg={augments: [{type: Mixup, alpha: 0.8}]}"
    adapter = build(make_job(RECIPES["resnet18-tf-nkd"], mixup))
    distiller = adapter.runner.model
    batch = distiller.data_preprocessor(next(iter(adapter.runner.train_loop.dataloader)), True)
    target = adapter.target(batch["data_samples"])
    assert target.shape == (64, 100)
    torch.testing.assert_close(target.sum(dim=1), torch.ones(64))
    assert (target > 0).sum(dim=1).max() == 2
    assert torch.isfinite(distiller(**batch, mode="loss")["loss_tf_nkd"])


def test_a_teacher_that_does_not_fit_is_refused_by_key(make_job, trained_weights, tmp_path):
    state = torch.load(trained_weights("resnet34"), weights_only=True)
    state.pop("backbone.layer4.2.conv2.weight")
    torch.save(state, tmp_path / "damaged.pth")
    job = make_job(RECIPES["resnet18-nkd-resnet34"], teacher_weights=tmp_path / "damaged.pth")
    with pytest.raises(BlockedError, match=r"missing backbone\.layer4\.2\.conv2\.weight"):
        ClassificationAdapter(job).build()


def test_a_tap_that_names_no_module_is_refused_by_name(make_job):
    job = make_job(RECIPES["resnet18-uskd"], "student.taps.middle.module=backbone.layer9")
    with pytest.raises(BlockedError, match=r"'backbone\.layer9': ImageClassifier\.backbone has no 'layer9'"):
        ClassificationAdapter(job).build()


def test_a_loss_that_is_not_a_number_stops_the_run_and_says_where(make_job):
    rate = "schedule.optimizers.convnet.optimizer.lr=1.0e+30"
    adapter = build(make_job(Recipe(task="classification", student="resnet18"), rate))
    with pytest.raises(NonFiniteLossError, match=r"loss is (nan|inf) in epoch 1, iteration 2"):
        adapter.fit()


def nothing(folder: Path) -> None:
    """As the kill has left it."""


def rewrite(path: Path, **changes: Any) -> None:
    """Changes a resume point and seals it again, as only somebody would who knows how."""
    changed = path.with_name("changed")
    changed.mkdir()
    content = torch.load(path, weights_only=True)
    ResumePoints(changed, "killed", print).write(content | changes)
    (changed / RESUME_FILE).replace(path)
    changed.rmdir()


def forge_another_network(folder: Path) -> None:
    rewrite(folder / RESUME_FILE, state_dict={"backbone.conv1.weight": torch.zeros(3)})


def forge_another_place(folder: Path) -> None:
    """Both fit by their weights; one lies behind the end, one is counted wrongly."""
    rewrite(folder / RESUME_FILE, meta={"epoch": 9, "iter": 36})
    rewrite(folder / RESUME_BEFORE_FILE, meta={"epoch": 2, "iter": 4})


def forge_a_config_that_runs(folder: Path) -> None:
    """mmengine's own resume would execute it."""
    meta = {"epoch": 2, "iter": 8, "config": f"open({str(folder / 'trace')!r}, 'w').close()"}
    rewrite(folder / RESUME_FILE, meta=meta)


def test_a_resumed_run_ends_as_an_undisturbed_one(make_job, trained_weights, tmp_path, capsys, monkeypatch):
    small = ("data.train.indices=256", "data.test_loader.dataset.indices=100", "student.embedded.epochs=3")
    job = make_job(
        RECIPES["resnet18-mgd-resnet34"], *small, profile="mini", teacher_weights=trained_weights("resnet34")
    )
    undisturbed = build(job)
    undisturbed.fit()
    expected, score = undisturbed.student.state_dict(), undisturbed.evaluate()

    killed_job = dataclasses.replace(job, run_dir=job.run_dir.with_name("killed"))
    killed_job.run_dir.mkdir()
    killed = build(killed_job)
    killed.runner.register_hook(KilledInEpoch(3))
    with pytest.raises(KilledError):
        killed.fit()
    # The clock is set back by an hour whenever somebody looks.
    clock = itertools.count(10**9, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    for plant, resumed_at, says in (
        (nothing, 8, ""),
        (forge_a_config_that_runs, 8, ""),
        (
            forge_another_network,
            4,
            "does not fit (RuntimeError): set aside as resume.pth.dropped, and the one",
        ),
        (forge_another_place, 0, "set aside as resume-before.pth.dropped, and the training starts over"),
    ):
        folder = tmp_path / plant.__name__ / "killed"
        shutil.copytree(killed_job.run_dir, folder)
        plant(folder)
        resumed = build(dataclasses.replace(killed_job, run_dir=folder))
        timings = resumed.fit()
        assert timings.get("resumed_iteration", 0) == resumed_at
        assert timings["train"] > 0
        assert says in capsys.readouterr().out
        assert resumed.evaluate() == score
        found = resumed.student.state_dict()
        assert all(torch.equal(expected[key], found[key]) for key in expected)
        assert not (folder / "trace").exists()


def test_weights_that_are_no_numbers_are_not_scored(make_job):
    adapter = build(make_job(Recipe(task="classification", student="resnet18")))
    adapter.runner.register_hook(Spoil())
    with pytest.raises(
        NonFiniteWeightsError, match=r"NaN or infinite values in backbone\.layer4\.1\.bn2\.bias"
    ):
        adapter.fit()


def test_the_protocol_is_read_back_from_what_was_built(make_job, trained_weights):
    recipe = RECIPES["resnet18-nkd-resnet34"]
    job = make_job(recipe, profile="mini", teacher_weights=trained_weights("resnet34"))
    protocol = build(job).describe().settings
    assert protocol["optimizer"] == "SGD"
    assert protocol["momentum"] == 0.9
    assert protocol["epochs"] == job.recipe.schedule["train_cfg"]["max_epochs"]
    assert protocol["batch_size"] == 64
    assert protocol["train_images"] == 32_000
    nkd = {"type": "NKDLoss", "temperature": 1.0, "gamma": 1.5}
    assert nkd.items() <= protocol["losses"]["nkd"].items()
    assert protocol["teacher"]["trained_parameters"] == 0


@pytest.mark.parametrize("name", sorted({RECIPES[name].student for name in CLASSIFICATION}))
def test_published_side_of_a_model_is_the_zoo_config_with_taps_that_exist(name, make_job):
    job = make_job(Recipe(task="classification", student=name), profile="paper")
    adapter = ClassificationAdapter(job)
    config = adapter._config(job.recipe.student)
    zoo = get_config(job.recipe.student.zoo)
    # What is published otherwise than the zoo has it stands in the model's file.
    zoo.merge_from_dict(job.recipe.student.config)
    assert config.optim_wrapper == zoo.optim_wrapper
    assert config.train_cfg == zoo.train_cfg
    init_default_scope("mmpretrain")
    model = adapter._model(config)
    for tap in job.recipe.student.taps.values():
        for path in modules_of(tap):
            find_module(model, path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFICATION)
def test_every_recipe_trains_two_iterations_and_is_scored(name, make_job, trained_weights):
    recipe = RECIPES[name]
    weights = trained_weights(recipe.teacher) if recipe.teacher else None
    adapter = build(make_job(recipe, teacher_weights=weights))
    adapter.fit()
    score = adapter.evaluate()
    assert set(score) == {"top1", "top5"}
    assert 0 <= score["top1"] <= score["top5"] <= 100
