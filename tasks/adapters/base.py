"""What the adapters of all tasks share: the zoo's configs, mmengine's Runner, distillation, resuming."""

from __future__ import annotations

import contextlib
import copy
import importlib
import itertools
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import BaseLoop, autocast
from torch import Tensor

import tasks.networks.architectures  # noqa: F401  (registers its networks with timm)
from suite.contract import (
    Adapter,
    BlockedError,
    ComposedModel,
    EffectiveProtocol,
    MethodSeen,
    Sample,
    Scalars,
    StoredClass,
    load,
)
from suite.published.weights import how_to_get
from suite.store.files import replacing
from tasks.adapters.samples import sample_of
from tasks.distillation.distiller import Distiller
from tasks.distillation.sample_index import asks_for_sample_index, carry_sample_index, sample_index
from tasks.distillation.taps import Depth
from tasks.distillation.teacher_memory import TeacherMemory
from tasks.networks.synchronised import synchronise_on_cpu
from tasks.training.backends import backend
from tasks.training.effective_protocol import is_synchronised, read_protocol
from tasks.training.hooks import (
    EnoughStepsError,
    EpochSeedHook,
    FiniteLossHook,
    FirstStepsHook,
    NonFiniteWeightsError,
    ProgressHook,
    ResumePointHook,
    seed_everything,
)
from tasks.training.initial_weights import BACKBONE, initialise, start_from
from tasks.training.logs import warnings_alone
from tasks.training.own_config import contradictions
from tasks.training.resources import fit_to_resources, share_batch
from tasks.training.resume_points import ResumePoints
from tasks.training.runner import ResumingRunner, UnfitResumePointError
from tasks.training.scalars import ScalarsHook
from tasks.training.weights import load_all_weights, non_finite_weights

_RUNNERS = itertools.count(1)
"""Numbers the runners of this process."""


class MMAdapter(Adapter):
    """Base of the adapters on the mm packages; a subclass names its package, annotations and metrics."""

    scope: str
    """Registry scope: `mmpretrain`, `mmdet` or `mmseg`."""

    metrics: Mapping[str, str]
    """Name of a metric in the evaluator's output -> name in a record."""

    @property
    def annotations(self) -> Mapping[str, Callable[[Any], Any]]:
        """Inputs that losses may request: name -> function that reads it from a batch of data samples.

        Every task offers `sample_index`, the index of each sample in the training data set, and
        `data_samples`, the batch of mm data samples itself, for losses that let an mmdet head assign targets.
        """
        return {"sample_index": sample_index, "data_samples": lambda data_samples: data_samples}

    @property
    def training_data(self) -> Mapping[str, Callable[[Any], Any]]:
        """Data that losses may be built from: name -> function that reads it from the training data set."""
        return {}

    def features(self, model: BaseModel, inputs: Tensor, depth: Depth) -> Any:
        """Runs a model only as far as its taps need: to the neck, or all that needs no annotations."""
        return model.extract_feat(inputs) if depth == "neck" else model(inputs, mode="tensor")

    def fingerprint(self) -> str:
        """Builds or checks the data set; see `Adapter.fingerprint`."""
        data = self.job.recipe.data
        found: str = load(data.prepare)(self._data_root(), data.fingerprint)
        return found

    def _data_root(self) -> Path:
        return self.job.data_dir / self.job.recipe.data.name

    def build(self) -> None:
        """Builds everything up to the first step; see `Adapter.build`."""
        recipe = self.job.recipe
        init_default_scope(self.scope)
        seed_everything(self.job.seed)
        config = self._config(recipe.student)
        if recipe.scale == "published":
            fit_to_resources(config, recipe)
        else:
            share_batch(config, recipe)
        self.student = self._model(config)
        if self.job.launcher != "none" and self.job.device == "cpu":
            synchronise_on_cpu(self.student)
        self._synchronised = is_synchronised(self.student)
        self._test_data = self._test_set(config)
        model: BaseModel = self.student
        if recipe.method:
            method = recipe.method.model_dump()
            if asks_for_sample_index(method):
                carry_sample_index(config.train_dataloader.dataset)
            model = Distiller(
                self.student,
                plain_taps(recipe.student),
                method,
                example=self._example(),
                features=self.features,
                annotations=self.annotations,
                teacher=self._teacher(),
                teacher_taps=plain_taps(recipe.teacher) if recipe.teacher else None,
                scales=recipe.data.scales,
                progress=self._progress_of_training(config),
                training_data=self._training_data(config),
                memory=self._teacher_memory(),
            )
        with warnings_alone():
            self._started_from = self._initialise(model)
        self.runner = self._runner(config, model)
        self.runner._train_loop = self.runner.build_train_loop(self.runner._train_loop)
        with warnings_alone():
            self.runner.optim_wrapper = self.runner.build_optim_wrapper(self.runner.optim_wrapper)
        if self.runner.param_schedulers:
            self.runner.param_schedulers = self.runner.build_param_scheduler(self.runner.param_schedulers)

    def build_released(self, checkpoint: Path) -> dict[str, Any]:
        """Builds only the plain student and the test set; see `Adapter.build_released`."""
        student = self.job.recipe.student
        init_default_scope(self.scope)
        seed_everything(self.job.seed)
        config = self._config(student)
        # Nothing is initialised: every key comes from the checkpoint.
        self.student = self._model(config)
        expected = self.job.sha256.get(checkpoint)
        report = load_all_weights(self.student, checkpoint, f"the student {student.name}", expected)
        contradicted = contradictions(report.config, config)
        self._test_data = self._test_set(config)
        self.runner = self._runner(config, self.student)
        self.runner.points = None
        said = {"contradictions": contradicted} if contradicted else {}
        return report.summary() | {"own_config": report.config is not None} | said

    def classes(self) -> dict[str, list[StoredClass]]:
        """The class lists of the training and test data; see `Adapter.classes`.

        The test set that is scored is built here, and so before the training: files that are added to its
        folders later are not in it.
        """
        loops = {"train": self.runner._train_loop, "test": self.runner.test_loop}
        return {
            part: self.classes_of(dataset)
            for name, loop in loops.items()
            if isinstance(loop, BaseLoop)
            for part, dataset in _innermost(name, loop.dataloader.dataset)
        }

    def classes_of(self, dataset: Any) -> list[StoredClass]:
        """The classes of a data set, in the order of their labels 0, 1, ...

        Args:
            dataset: the built data set, without its wrappers.
        """
        return [StoredClass(name) for name in dataset.metainfo.get("classes") or ()]

    def _progress_of_training(self, config: Config) -> dict[str, Callable[[], int]]:
        """Progress of the training by name, for losses; an iteration-based training has no `epoch`."""
        progress = {"iteration": lambda: int(self.runner.iter)}
        by_epoch = config.train_cfg.get("by_epoch", config.train_cfg.get("type") != "IterBasedTrainLoop")
        return progress | ({"epoch": lambda: int(self.runner.epoch)} if by_epoch else {})

    def _training_data(self, config: Config) -> dict[str, Callable[[], Any]]:
        """Functions that return the data of `training_data`, by name; each call builds the data set."""

        def reader(read: Callable[[Any], Any]) -> Callable[[], Any]:
            return lambda: read(_innermost_of(DATASETS.build(config.train_dataloader.dataset)))

        return {name: reader(read) for name, read in self.training_data.items()}

    def _test_set(self, config: Config) -> Any:
        return DATASETS.build(config.test_dataloader.dataset)

    def _train_loader(self, config: Config) -> Any:
        """The loader of the training data, as mmengine's Runner takes it."""
        return config.train_dataloader

    def _initialise(self, model: BaseModel) -> dict[str, dict[str, Any]]:
        """Initialises the network; returns which parts of it start from trained weights.

        Raises:
            BlockedError: weights to start from are missing or do not fit.
        """
        started_from = initialise(model, self.student)
        network, weights = self.job.recipe.student.pretrained, self.job.start_weights
        if network is not None:
            if weights is None:
                raise BlockedError(f"no weights of {network} to start from: train it first")
            expected = self.job.sha256.get(weights)
            started_from[BACKBONE] = start_from(self.student, network, weights, expected)
        return started_from

    def _config(self, model: ComposedModel) -> Config:
        """The zoo's config of a model with the recipe's data, schedule and scale merged in."""
        config = zoo_config(model.zoo)
        recipe = self.job.recipe
        layers = [
            recipe.data.overrides,
            recipe.schedule,
            model.config,
            recipe.method.config if recipe.method else {},
            {"model": model.overrides},
        ]
        for layer in layers:
            _make_way(config._cfg_dict, layer)
            config.merge_from_dict(_with_data_root(layer, str(self._data_root())))
        if recipe.scale == "published":
            for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
                _innermost_config(loader.dataset).data_root = f"{self._data_root()}/"
        return config

    def network(self, model: ComposedModel) -> BaseModel:
        """Builds the network of a composed model at the recipe's scale, from its zoo config; untrained."""
        init_default_scope(self.scope)
        return self._model(self._config(model))

    def _model(self, config: Config) -> BaseModel:
        settings = copy.deepcopy(config.model)
        settings.setdefault("data_preprocessor", config.get("data_preprocessor"))
        built: BaseModel = MODELS.build(settings)
        return built.to(memory_format=getattr(torch, config.get("memory_format", "preserve_format")))

    def _teacher(self) -> BaseModel | None:
        recipe = self.job.recipe
        if not recipe.teacher:
            return None
        name = recipe.teacher.name
        if self.job.teacher_weights is None:
            remedy = how_to_get(name) if recipe.scale == "published" else "train it first"
            raise BlockedError(f"no weights for the teacher {name}: {remedy}")
        teacher = self.network(recipe.teacher)
        expected = self.job.sha256.get(self.job.teacher_weights)
        load_all_weights(teacher, self.job.teacher_weights, f"the teacher {name}", expected)
        return teacher

    def _teacher_memory(self) -> TeacherMemory | None:
        """Embedded images are few, and come again unchanged; published ones are augmented."""
        return TeacherMemory() if self.job.recipe.scale == "embedded" else None

    def _example(self) -> Tensor:
        """The first test image after the student's preprocessor, as a batch of one."""
        preprocessor: Any = self.student.data_preprocessor
        inputs: Tensor = preprocessor(pseudo_collate([self._test_data[0]]), False)["inputs"]
        return inputs

    def _runner(self, config: Config, model: BaseModel) -> ResumingRunner:
        run_dir = self.job.run_dir
        config.default_scope = self.scope
        # Only the last epoch is scored, by the test loop: nothing is ever chosen by a test score.
        config.val_dataloader = config.val_cfg = config.val_evaluator = None
        config.default_hooks.checkpoint = None
        config.visualizer = {"type": "Visualizer", "_scope_": "mmengine", "vis_backends": []}
        if self.job.log_to:
            config.visualizer["vis_backends"].append(backend(self.job.log_to, run_dir))
        config.randomness = {"seed": self.job.seed}
        config.work_dir = str(run_dir)
        config.resume, config.load_from = False, None
        # A name of its own, so that runners of one process share no logger and no message hub.
        config.experiment_name = f"{run_dir.name}-{next(_RUNNERS)}"
        self._config_of_schedulers = config.get("param_scheduler")
        config.launcher = self.job.launcher
        if self.job.launcher != "none" and self.job.device == "cpu":
            # mmengine's own setup of the process group and its default wrapper need GPUs.
            if not torch.distributed.is_initialized():
                torch.distributed.init_process_group("gloo")
            config.model_wrapper_cfg = {"type": "MMDistributedDataParallel", "device_ids": None}
        self._progress = ProgressHook(self.job.progress)
        self._scalars = ScalarsHook()
        # The zoo's own hooks (averaged weights, pipeline switches) belong to the published schedules.
        published = self.job.recipe.scale == "published"
        hooks = [
            *((config.get("custom_hooks") or []) if published else []),
            EpochSeedHook(self.job.seed),
            ResumePointHook(self.job.stops),
            FiniteLossHook(),
            self._scalars,
            self._progress,
        ]
        settings = {key: config.get(key) for key in _RUNNER_KEYS}
        settings["train_dataloader"] = self._train_loader(config)
        runner = ResumingRunner(model=model, custom_hooks=hooks, cfg=config, **settings)
        runner.points = ResumePoints(run_dir, self._training(), self.job.tell, writes=not runner.rank)
        return runner

    def _training(self) -> str:
        """Identifies the training of a resume point: the run, the teacher's weights, the initial weights."""
        words = [urllib.parse.quote(self.job.run_dir.name)]
        weights = {"taught-by": self.job.teacher_weights, "from": self.job.start_weights}
        for what, path in weights.items():
            if path is not None and (sha256 := self.job.sha256.get(path)):
                words.append(f"{what}-{sha256}")
        return "/".join(words)

    def describe(self) -> EffectiveProtocol:
        """The effective protocol, read back from the built objects."""
        protocol = read_protocol(self.runner, self._config_of_schedulers, self.student, self._test_data)
        if self._started_from:
            protocol["initial_weights"] = self._started_from
        if self.job.recipe.teacher:
            protocol["teacher"]["name"] = self.job.recipe.teacher.name
        return EffectiveProtocol(protocol)

    @classmethod
    def with_stub_data(cls) -> type[Adapter]:
        """The adapter's class that builds without data and weights; see `Adapter.with_stub_data`."""
        from tasks.adapters.stub_data import with_stub_data

        return with_stub_data(cls)

    def fit(self) -> dict[str, float]:
        """Trains, resuming from the newest valid resume point if there is one; see `Adapter.fit`.

        Raises:
            NonFiniteWeightsError: the trained weights have NaN or infinite values.
        """
        started = time.monotonic()
        self._train()
        self._take_averaged_weights()
        if wrong := non_finite_weights(self.student):
            raise NonFiniteWeightsError(
                f"the training ended with NaN or infinite values in {wrong[0]}, of {len(wrong)} tensors; "
                "lower the learning rate or the weight of the loss"
            )
        seconds = time.monotonic() - started
        timings = {"train": seconds}
        if behind := self._progress.resumed_iteration:
            timings["resumed_iteration"] = behind
        if steps := self.runner.max_iters - behind:
            timings["seconds_per_step"] = seconds / steps
        return timings

    def first_losses(self, steps: int) -> list[dict[str, float]]:
        """Trains only the first steps and leaves no resume point; see `Adapter.first_losses`."""
        first = FirstStepsHook(steps)
        self.runner.points = None
        self.runner.register_hook(first)
        with contextlib.suppress(EnoughStepsError):
            self.runner.train()
        return first.losses

    def _train(self) -> None:
        while True:
            try:
                self.runner.train()
                return
            except UnfitResumePointError:
                # It has been set aside. Model and optimiser, which it has partly changed, are built anew.
                self.build()

    def _take_averaged_weights(self) -> None:
        """Gives the student the averaged weights, where the zoo's config averages them.

        They are what the zoo scores and publishes. mmengine's hook is removed: it would start a new average,
        from the last weights only, as soon as the same runner tests.
        """
        for hook in [hook for hook in self.runner.hooks if isinstance(hook, EMAHook)]:
            hook._swap_ema_parameters()
            self.runner.hooks.remove(hook)

    def evaluate(self) -> dict[str, float]:
        """Scores the student as the runner's test loop does; see `Adapter.evaluate`."""
        self._found = self.runner.test()
        return self.read_metrics(self._found)

    def read_metrics(self, found: Mapping[str, Any]) -> dict[str, float]:
        """Selects a record's metrics from the evaluators' output.

        Args:
            found: name in the evaluators' output -> value.

        Returns:
            Percent by metric name.
        """
        return {name: float(found[key]) for key, name in self.metrics.items() if key in found}

    def scalars(self) -> Sequence[Scalars]:
        """The scalars of the training, line by line; see `Adapter.scalars`."""
        return self._scalars.lines

    def method_seen(self) -> MethodSeen | None:
        """What was observed of the method; see `Adapter.method_seen`."""
        return self._scalars.seen

    def samples(self, count: int) -> list[Sample]:
        """What the student predicts for a few test images; see `Adapter.samples`."""
        self.student.eval()
        names = self._test_data.metainfo["classes"]
        kept = []
        for index in self.sampled(count):
            batch = pseudo_collate([self._test_data[index]])
            with torch.no_grad(), autocast(enabled=self.runner.test_loop.fp16):
                (predicted,) = self.student.test_step(batch)
            with_image = self.job.recipe.scale == "embedded"
            kept.append(sample_of(predicted, index, names, self._data_root(), with_image))
        return kept

    def sampled(self, count: int) -> list[int]:
        """The test-set indices of the images whose predictions are kept."""
        return list(range(min(count, len(self._test_data))))

    def save(self, path: Path) -> None:
        """Writes the student's state dict; see `Adapter.save`."""
        weights = {key: value.cpu() for key, value in self.student.state_dict().items()}
        with replacing(path) as aside:
            torch.save(weights, aside)


def zoo_config(name: str) -> Config:
    """Reads a config that a model zoo ships.

    mmengine's `get_config` looks for the package under its distribution's name, which the maintained forks
    have changed.

    Args:
        name: `<package>::<path below its configs>`, such as `mmdet::retinanet/retinanet_r50_fpn_2x_coco.py`.
    """
    package, _, path = name.partition("::")
    folder = Path(next(iter(importlib.import_module(package).__path__)))
    read = Config.fromfile(folder / ".mim" / "configs" / path)
    # Otherwise mmengine formats it for the folder and the log of each run; `fromfile` drops the option.
    return Config(
        read._cfg_dict,
        cfg_text=read.text,
        filename=read.filename,
        env_variables=read.env_variables,
        format_python_code=False,
    )


_RUNNER_KEYS = (
    "work_dir",
    "train_dataloader",
    "test_dataloader",
    "train_cfg",
    "test_cfg",
    "optim_wrapper",
    "param_scheduler",
    "test_evaluator",
    "default_hooks",
    "resume",
    "load_from",
    "env_cfg",
    "log_processor",
    "log_level",
    "visualizer",
    "default_scope",
    "randomness",
    "experiment_name",
    "launcher",
)


def _innermost_config(dataset: Any) -> Any:
    """The config of a data set; of a wrapped one, the innermost config."""
    while "dataset" in dataset:
        dataset = dataset.dataset
    return dataset


def _innermost(part: str, dataset: Any) -> Iterator[tuple[str, Any]]:
    """The built data sets inside wrappers and concatenations, each with a name."""
    if hasattr(dataset, "dataset"):
        yield from _innermost(part, dataset.dataset)
    elif hasattr(dataset, "datasets"):
        for number, inner in enumerate(dataset.datasets, start=1):
            yield from _innermost(f"{part} {number}", inner)
    else:
        yield part, dataset


def _innermost_of(dataset: Any) -> Any:
    """The built data set inside all wrappers; of concatenated ones, the first."""
    return next(_innermost("train", dataset))[1]


def _make_way(config: Any, layer: Mapping[str, Any]) -> None:
    """Removes a None where a layer has a mapping: mmengine refuses to merge a mapping into None."""
    for key, settings in layer.items():
        if isinstance(settings, Mapping) and isinstance(config, dict) and key in config:
            if config[key] is None:
                del config[key]
            else:
                _make_way(config[key], settings)


def _with_data_root(overrides: Any, root: str) -> Any:
    """Replaces `{data_root}` in a recipe's overrides with the folder of the data set."""
    if isinstance(overrides, dict):
        return {key: _with_data_root(value, root) for key, value in overrides.items()}
    if isinstance(overrides, list):
        return [_with_data_root(value, root) for value in overrides]
    return overrides.replace("{data_root}", root) if isinstance(overrides, str) else overrides


def plain_taps(model: ComposedModel) -> dict[str, dict[str, Any]]:
    """The taps of a model as plain dictionaries, as the distiller takes them."""
    return {
        name: {"module": tap.module, "pooling": tap.pooling, "side": tap.side, "calls": tap.calls}
        for name, tap in model.taps.items()
    }
