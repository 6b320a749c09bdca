"""The published protocol executed: real layouts, published networks and resolutions, two images."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel

from suite.contract import BlockedError, Job, load
from suite.datasets.classes import hold_classes
from suite.planning.composing import compose
from suite.published.models import load_models
from suite.published.recipes import load_recipes
from suite.published.weights import Backbone
from tasks.adapters.base import MMAdapter
from tasks.training.initial_weights import pretrained_parts
from tests.tasks import published_layouts

pytestmark = pytest.mark.slow

ONE_EPOCH = ("+schedule.overrides.train_cfg.max_epochs=1",)
ONE_ITERATION = ("student.published.config.train_cfg.max_iters=1",)
TWO_ITERATIONS = ("student.published.config.train_cfg.max_iters=2",)
ONE_IMAGE = ("+schedule.overrides.train_dataloader.batch_size=1",)
"""In every batch. Nothing accumulates, since the batch of all devices shrinks with it."""

IN_THIS_PROCESS = (
    "+schedule.overrides.train_dataloader={num_workers: 0, persistent_workers: false}",
    "+schedule.overrides.test_dataloader={num_workers: 0, persistent_workers: false}",
)

ONE_BY_ONE = (*ONE_EPOCH, *ONE_IMAGE)
ROWS = {
    "classification": ("resnet18-nkd-resnet34", "imagenet", 64, ONE_EPOCH, {"top1", "top5"}),
    "detection": ("retinanet-r50-fgd-retinanet-r101-inherit", "coco", 2, ONE_BY_ONE, {"box_AP", "box_AP_S"}),
    "instance segmentation": ("solo-r50-mgd-solo-r101", "coco", 2, ONE_BY_ONE, {"mask_AP", "mask_AP_S"}),
    # A batch norm over pooled maps of one cell needs a batch of two.
    "semantic segmentation": ("pspnet-r18-mgd-pspnet-r101-logit", "cityscapes", 2, ONE_ITERATION, {"mIoU"}),
}
"""Task -> recipe, data set, training images, how long it trains, some of what is measured."""

ITERATIONS = {"classification": 2, "detection": 2, "instance segmentation": 2, "semantic segmentation": 1}

ALONE = ("pspnet-r18", "cityscapes", 4, TWO_ITERATIONS, {"mIoU"})
"""The same of a student alone that starts from a published backbone."""


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("SUITE_WEIGHTS", str(tmp_path / "weights"))
    torch.set_num_threads(1)


@pytest.fixture
def make_adapter(tmp_path: Path):
    """Makes the adapter of a row, its data made, in a folder of its own."""

    def make(row: tuple[Any, ...], *overrides: str, **job: Any) -> MMAdapter:
        name, dataset, images, duration, _ = row
        fingerprint = published_layouts.make(dataset, tmp_path / "data", images, 1)
        changes = (f"data.fingerprint={fingerprint}", *duration, *IN_THIS_PROCESS, *overrides)
        recipe = compose(load_recipes()[name], "paper", changes)
        run_dir = tmp_path / "run"
        run_dir.mkdir()
        made: MMAdapter = load(recipe.adapter)(
            Job(recipe=recipe, seed=0, run_dir=run_dir, data_dir=tmp_path / "data", **job)
        )
        assert made.fingerprint() == fingerprint
        return made

    return make


def publish_backbone(network: BaseModel, cache: Path, **changes: Any) -> dict[str, Backbone]:
    """Puts random weights of a network's backbone into the cache; as published, with a classifier."""
    found = {}
    for part, source in pretrained_parts(network):
        weights: dict[str, Any] = dict(network.get_submodule(part).state_dict())
        weights |= {"fc.weight": torch.zeros(1000, 8), "fc.bias": torch.zeros(1000), **changes}
        weights = {key: value for key, value in weights.items() if value is not None}
        cache.mkdir(exist_ok=True)
        torch.save(weights, cache / "aside")
        digest = hashlib.sha256((cache / "aside").read_bytes()).hexdigest()[:8]
        (cache / "aside").rename(cache / f"backbone-{digest}.pth")
        found[source] = Backbone(id=source, address=f"http://127.0.0.1/backbone-{digest}.pth")
    return found


@pytest.fixture
def train(make_adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes and builds the adapter of a row; teacher and backbone to start from have random weights."""

    def build(row: tuple[Any, ...], *overrides: str) -> MMAdapter:
        adapter: MMAdapter = make_adapter(row, *overrides, teacher_weights=tmp_path / "teacher.pth")
        recipe = adapter.job.recipe
        if recipe.teacher:
            teacher: Any = adapter.network(recipe.teacher)
            teacher.backbone.init_cfg = None
            # Without the start of its head, SOLO would take every cell for an object.
            teacher.init_weights()
            # As the zoo saves it.
            content = {"meta": {"epoch": 12}, "state_dict": teacher.state_dict()}
            torch.save(content, tmp_path / "teacher.pth")
        backbones = publish_backbone(adapter.network(recipe.student), tmp_path / "weights")
        monkeypatch.setattr("tasks.training.initial_weights.read_backbones", lambda: backbones)
        adapter.build()
        return adapter

    return build


@pytest.mark.parametrize("task", ROWS)
def test_a_row_of_every_task_trains_and_is_scored(task, train, tmp_path):
    adapter = train(ROWS[task])
    protocol = adapter.describe()
    published = adapter.job.recipe.data.model_copy(update={"fingerprint": None})
    hold_classes(published, adapter.classes())
    before = copy.deepcopy(adapter.student.state_dict())
    assert adapter.fit()["seconds_per_step"] > 0
    assert adapter.runner.iter == ITERATIONS[task]
    trained = {name for name, of in adapter.student.named_parameters() if of.requires_grad}
    changed = {
        name for name, value in adapter.student.state_dict().items() if not torch.equal(value, before[name])
    }
    # A warm-up starts at a thousandth of the rate, which single precision need not show in every tensor.
    assert len(trained & changed) > 0.5 * len(trained)
    assert not {name for name in changed - trained if "running_" not in name and "num_batches" not in name}
    assert set(adapter.evaluate()) >= ROWS[task][-1]
    adapter.save(tmp_path / "weights.pth")
    assert torch.load(tmp_path / "weights.pth", weights_only=True).keys() == before.keys()
    for part, report in (protocol.at("initial_weights") or {}).items():
        assert report["from"] == protocol.at("initialised_from")[part]
        assert (report["left_out"], report["faults"]) == ({"not needed": 2}, [])
    started = protocol.at("initial_weights") or {}
    assert started.keys() == protocol.at("initialised_from").keys()


def test_a_student_starts_from_its_published_backbone(train, tmp_path):
    adapter = train(ALONE)
    (path,) = (tmp_path / "weights").glob("backbone-*.pth")
    published = torch.load(path, weights_only=True)
    backbone = adapter.student.backbone.state_dict()
    assert all(torch.equal(value, published[key].to(value.dtype)) for key, value in backbone.items())


def test_a_backbone_that_is_not_here_is_refused_with_the_command_that_fetches_it(make_adapter):
    adapter = make_adapter(ALONE)
    text = r"starts from resnet18_v1c-b5776b93\.pth, .* weights fetch open-mmlab://resnet18_v1c'"
    with pytest.raises(BlockedError, match=text):
        adapter.build()


def test_a_backbone_with_a_layer_missing_or_foreign_is_refused_by_key(make_adapter, tmp_path, monkeypatch):
    adapter = make_adapter(ALONE)
    student = adapter.network(adapter.job.recipe.student)
    for changes, text in (
        ({"layer3.0.conv1.weight": None}, r"does not fit the backbone: missing layer3\.0\.conv1\.weight"),
        ({"layer9.weight": torch.zeros(1)}, r"does not fit the backbone: unknown layer9\.weight"),
    ):
        backbones = publish_backbone(student, tmp_path / "weights", **changes)
        monkeypatch.setattr("tasks.training.initial_weights.read_backbones", lambda found=backbones: found)
        with pytest.raises(BlockedError, match=text):
            adapter.build()


def test_the_biases_of_a_backbone_from_caffe_are_left_out(make_adapter, tmp_path, monkeypatch):
    adapter = make_adapter(("fcos-r50", "coco", 2, ONE_EPOCH, set()))
    student = adapter.network(adapter.job.recipe.student)
    biases = {
        f"{name}.bias": torch.zeros(module.out_channels)
        for name, module in student.backbone.named_modules()
        if isinstance(module, torch.nn.Conv2d)
    }
    backbones = publish_backbone(student, tmp_path / "weights", **biases)
    monkeypatch.setattr("tasks.training.initial_weights.read_backbones", lambda: backbones)
    adapter.build()
    report = adapter.describe().at("initial_weights")["backbone"]
    assert (report["left_out"], report["faults"]) == ({"not needed": len(biases) + 2}, [])


def test_a_training_counted_in_iterations_resumes_where_it_stopped(train, tmp_path):
    def stop(event: dict[str, Any]) -> None:
        if adapter.runner.iter + 1 == 2:
            raise KeyboardInterrupt

    adapter = train(ALONE)
    adapter._progress.report = stop
    adapter._progress._last = -1e9
    with pytest.raises(KeyboardInterrupt):
        adapter.fit()
    again = type(adapter)(adapter.job)
    again.fingerprint()
    again.build()
    timings = again.fit()
    assert timings["resumed_iteration"] == 1
    assert again.runner.iter == 2


class Watch(Hook):
    """Keeps the weights of one layer after every iteration."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def after_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        self.seen.append(runner.model.student.head.fc.weight.detach().clone())


def test_what_is_scored_and_saved_are_the_averaged_weights_where_the_zoo_averages(train, tmp_path):
    averaging = "+student.published.config={custom_hooks: [{type: EMAHook, momentum: 0.25}]}"
    adapter = train(ROWS["classification"], averaging)
    watch = Watch()
    adapter.runner.register_hook(watch)
    adapter.fit()
    first, last = watch.seen
    # The average begins as the weights of the first iteration.
    average = 0.75 * first + 0.25 * last
    assert not torch.allclose(average, last, atol=1e-9)
    adapter.evaluate()
    adapter.save(tmp_path / "weights.pth")
    saved = torch.load(tmp_path / "weights.pth", weights_only=True)["head.fc.weight"]
    torch.testing.assert_close(saved, average)


MODELS = load_models()
STUDENTS = sorted({recipe.student for recipe in load_recipes().values() if recipe.method})
DATA_SETS = {
    "classification": "imagenet",
    "detection": "coco",
    "instance_segmentation": "coco",
    "semantic_segmentation": "cityscapes",
}


def is_deeper(student: str) -> bool:
    """Whether another student differs by fewer blocks of the backbone alone; the audits build both."""
    return student.endswith("-r101") and f"{student.removesuffix('-r101')}-r50" in STUDENTS


# A model with a data set of its own has a test of its own.
@pytest.mark.parametrize(
    "student", [name for name in STUDENTS if MODELS[name].dataset is None and not is_deeper(name)]
)
def test_every_student_goes_through_its_published_pipeline_forward_and_back(student, train):
    data = DATA_SETS[MODELS[student].task]
    # On two images, no schedule of iterations comes to its beginning.
    row: tuple[Any, ...] = (student, data, 2, ("+schedule.overrides.param_scheduler=[]",), set())
    adapter = train(row, "resources.devices=1", f"resources.batch_size={1 if data == 'coco' else 2}")
    batch = next(iter(adapter.runner.train_loop.dataloader))
    # The loop would say so; YOLOX asks for it.
    adapter.runner.message_hub.update_info("iter", 0)
    model = adapter.runner.model.train()
    losses = model(**model.data_preprocessor(batch, True), mode="loss")
    model.parse_losses(losses)[0].backward()
    gradients = {name: of.grad for name, of in model.named_parameters() if of.requires_grad}
    assert [name for name, found in gradients.items() if found is None] == []
    assert all(torch.isfinite(found).all() for found in gradients.values())
