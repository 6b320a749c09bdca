"""Reads the effective protocol of a run back from the objects that were built."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import EMAHook
from mmengine.model import BaseModule, is_model_wrapper
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from tasks.distillation.distiller import Distiller
from tasks.distillation.probes import mode_of
from tasks.networks.synchronised import SyncBatchNormOnCPU
from tasks.training.initial_weights import pretrained_parts

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)
_SAMPLED = 10
"""Number of points at which the learning rates of an iteration-based training are read."""


def read_protocol(runner: Runner, schedulers: Any, student: nn.Module, test_data: Any) -> dict[str, Any]:
    """Reads from the built objects what will be trained, how, and on what.

    Args:
        runner: with its loop, optimiser and schedulers built.
        schedulers: the config that the schedulers were built from; a second set of them is run through.
        student: the model that is trained, without the distiller around it.
        test_data: the data set that the student is scored on.

    Returns:
        Plain values by name. Learning rates are those at the start of every epoch, or of every tenth of an
        iteration-based training, as fractions of `learning_rate`.
    """
    wrapper, loop = runner.optim_wrapper, runner.train_loop
    loader = loop.dataloader
    world = get_world_size()
    accumulation = int(wrapper._accumulative_counts)
    # Of a loader that groups images by aspect ratio, only the batch sampler knows the batch size.
    batch_size = loader.batch_size or loader.batch_sampler.batch_size
    protocol: dict[str, Any] = {
        "student": describe_model(student),
        **_optimisation(wrapper, _without_wrapper(runner.model)),
        "schedulers": [type(scheduler).__name__ for scheduler in runner.param_schedulers or []],
        "learning_rates": _learning_rates(runner, schedulers),
        "epochs": loop.max_epochs if isinstance(loop, EpochBasedTrainLoop) else None,
        "iterations": loop.max_iters,
        "updates": loop.max_iters // accumulation,
        "batch_size": batch_size,
        "devices": world,
        "accumulation": accumulation,
        "global_batch": batch_size * world * accumulation,
        "train_images": len(loader.dataset),
        "test_images": len(test_data),
        "train_pipeline": [type(step).__name__ for step in _steps(loader.dataset.pipeline)],
        "train_transforms": _transforms(loader.dataset.pipeline),
        "test_pipeline": [type(step).__name__ for step in _steps(test_data.pipeline)],
        "test_transforms": _transforms(test_data.pipeline),
        "evaluation": _evaluation(student),
        "normalisation": _normalisation(student.get_submodule("data_preprocessor")),
        "norms": _norms(student),
        "norm_batch": _norm_batch(student, batch_size, world),
        "heads": _heads(student),
        "augments": _augments(student.get_submodule("data_preprocessor")),
        "averaged_weights": _averaged_weights(runner),
        "frozen": _frozen_parts(student),
        "initialised_from": dict(pretrained_parts(student)),
        "precision": _precision(wrapper),
    }
    model = _without_wrapper(runner.model)
    return protocol | (_distillation(model) if isinstance(model, Distiller) else {})


def _precision(wrapper: OptimWrapper) -> str:
    if isinstance(wrapper, AmpOptimWrapper):
        # Without a dtype it is PyTorch's default for the device.
        return str(wrapper.cast_dtype or "mixed").removeprefix("torch.")
    return "float32"


def _without_wrapper(model: Any) -> nn.Module:
    unwrapped: nn.Module = model.module if is_model_wrapper(model) else model
    return unwrapped


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Type and size of a network."""
    parameters = list(model.parameters())
    return {
        "type": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trained_parameters": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    }


def _optimisation(wrapper: OptimWrapper, model: nn.Module) -> dict[str, Any]:
    optimizer = wrapper.optimizer
    defaults = optimizer.defaults
    return {
        "optimizer": type(optimizer).__name__,
        "learning_rate": defaults["lr"],
        "momentum": defaults.get("momentum"),
        "nesterov": defaults.get("nesterov"),
        "betas": defaults.get("betas"),
        "weight_decay": defaults["weight_decay"],
        "exceptions": _exceptions(optimizer, model),
        "gradient_clip": wrapper.clip_grad_kwargs or None,
    }


def _exceptions(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, dict[str, float]]:
    """Kind of parameter -> its weight decay or learning-rate factor, where it differs from the default."""
    kinds = {
        parameter: f"norm {name}" if isinstance(module, _NORMS) else name
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
    }
    base = optimizer.defaults
    found: dict[str, dict[str, float]] = {}
    for group in optimizer.param_groups:
        own = {}
        if group["weight_decay"] != base["weight_decay"]:
            own["weight_decay"] = group["weight_decay"]
        # A scheduler has changed `lr` already, and kept the initial value.
        factor = group.get("initial_lr", group["lr"]) / base["lr"]
        if abs(factor - 1) > 1e-9:
            own["learning_rate_factor"] = factor
        if own:
            found |= {kinds[parameter]: own for parameter in group["params"]}
    return dict(sorted(found.items()))


def _learning_rates(runner: Runner, schedulers: Any) -> list[float]:
    """Runs the schedulers on a dummy optimiser; returns the learning rates at the sampled points."""
    trained = runner.optim_wrapper
    base = trained.optimizer.defaults["lr"]
    scratch = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
    runner.optim_wrapper = OptimWrapper(scratch)
    try:
        built = runner.build_param_scheduler(schedulers) if schedulers else []
    finally:
        runner.optim_wrapper = trained
    with warnings.catch_warnings():
        # PyTorch warns that the optimiser makes no steps; the dummy has nothing to optimise.
        warnings.filterwarnings("ignore", "Detected call of", UserWarning)
        return [round(rate / base, 8) for rate in _run_through(runner.train_loop, built, scratch)]


def _run_through(loop: BaseLoop, schedulers: list[Any], optimizer: torch.optim.Optimizer) -> Iterable[float]:
    epochs = isinstance(loop, EpochBasedTrainLoop)
    length = len(loop.dataloader) if epochs else max(1, loop.max_iters // _SAMPLED)
    by_iteration = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in schedulers if scheduler.by_epoch]
    for start in range(0, loop.max_iters, length):
        yield optimizer.param_groups[0]["lr"]
        # A scheduler past its end changes nothing any more.
        for iteration in range(start, start + length):
            running = [scheduler for scheduler in by_iteration if iteration <= scheduler.end]
            if not running:
                break
            for scheduler in running:
                scheduler.step()
        if epochs:
            for scheduler in by_epoch:
                scheduler.step()


def _steps(pipeline: Any) -> list[Any]:
    # A data set that mixes several images has a list of transforms, any other a `Compose`.
    return list(getattr(pipeline, "transforms", pipeline))


def _transforms(pipeline: Any) -> dict[str, dict[str, Any]]:
    """Type of a transform -> its settings; the second transform of a type is named `<type>.2`."""
    seen: Counter[str] = Counter()
    found = {}
    for step in _steps(pipeline):
        kind = type(step).__name__
        seen[kind] += 1
        name = kind if seen[kind] == 1 else f"{kind}.{seen[kind]}"
        found[name] = _plain({key: value for key, value in vars(step).items() if not key.startswith("_")})
    return {name: settings for name, settings in found.items() if settings}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are numbers, strings, or lists of such."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in settings.items()
        if _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return isinstance(value, bool | int | float | str)


def _evaluation(student: nn.Module) -> dict[str, Any]:
    """Part of the network -> its test-time settings: thresholds, non-maximum suppression, whole images."""
    found = {
        name: _nested(module.test_cfg)
        for name, module in student.named_modules()
        if isinstance(getattr(module, "test_cfg", None), Mapping)
    }
    # A detector passes its own settings on to its heads.
    return {name: settings for name, settings in found.items() if name} or found.get("", {})


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _nested(value) if isinstance(value, Mapping) else value for key, value in settings.items()}


def _normalisation(preprocessor: nn.Module) -> dict[str, Any]:
    """Mean and standard deviation of the channels, and their order; None for a network on raw pixels."""
    if not hasattr(preprocessor, "mean"):
        return {"mean": None, "std": None}
    values: dict[str, Any] = {
        name: getattr(preprocessor, name).flatten().tolist() for name in ("mean", "std")
    }
    swapped = bool(getattr(preprocessor, "_channel_conversion", getattr(preprocessor, "to_rgb", False)))
    return values | {"channels": "RGB" if swapped else "BGR"}


def _norms(model: nn.Module) -> dict[str, int]:
    """Counts the batch norms that use batch statistics, those that use stored ones, and the other norms."""
    was_training = model.training
    model.train()
    found: Counter[str] = Counter()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            found["batch statistics" if module.training else "stored statistics"] += 1
        elif isinstance(module, _NORMS):
            found[type(module).__name__] += 1
    model.train(was_training)
    return dict(sorted(found.items()))


def _norm_batch(model: nn.Module, batch_size: int, devices: int) -> int | None:
    """The number of images behind a batch norm's statistics; None if no batch norm uses the batch.

    Args:
        model: the network.
        batch_size: images per device.
        devices: how many train together.
    """
    if not _norms(model).get("batch statistics"):
        return None
    return batch_size * devices if is_synchronised(model) else batch_size


def is_synchronised(model: nn.Module) -> bool:
    """Whether batch norms are synchronised over all devices; on a single device mmengine reverts them."""
    kinds = (nn.SyncBatchNorm, SyncBatchNormOnCPU)
    return any(isinstance(module, kinds) for module in model.modules())


def _heads(model: nn.Module) -> dict[str, Any]:
    """Head -> its plain settings, and type and settings of its losses."""
    heads = {
        name: module
        for name, module in model.named_modules()
        if name.rpartition(".")[2].endswith("head") and isinstance(module, BaseModule)
    }
    found = {}
    for name, head in heads.items():
        losses = {key: loss for key, loss in head.named_children() if key.startswith("loss")}
        found[name] = _attributes(head) | {
            key: {"type": type(loss).__name__, **_attributes(loss)} for key, loss in losses.items()
        }
    return found


def _augments(preprocessor: nn.Module) -> dict[str, Any]:
    """Type of an augmentation of whole batches, such as mixing or resizing -> its settings."""
    steps = getattr(preprocessor, "batch_augments", None) or []
    if hasattr(steps, "augments"):
        steps = steps.augments
    return {type(step).__name__: _attributes(step) for step in steps}


def _averaged_weights(runner: Runner) -> dict[str, Any] | None:
    """Type and settings of the weight averaging, if averaged weights are scored in place of the last ones."""
    hooks = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    return dict(hooks[0].ema_cfg) if hooks else None


def _attributes(thing: Any) -> dict[str, Any]:
    """The plain public attributes of an object, except those that every module has."""
    plain = _plain({key: value for key, value in vars(thing).items() if not key.startswith("_")})
    return {key: value for key, value in plain.items() if key not in {"training", "call_super_init"}}


def _frozen(model: nn.Module, prefix: str = "") -> list[str]:
    """The outermost modules in which nothing is trained."""
    frozen = []
    for name, module in model.named_children():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            frozen.append(prefix + name)
        elif not all(parameter.requires_grad for parameter in parameters):
            frozen += _frozen(module, f"{prefix}{name}.")
    return frozen


def _frozen_parts(model: nn.Module) -> list[str]:
    """As `_frozen`, with all norms that are frozen among trained layers as one entry."""
    norms = {name for name, module in model.named_modules() if isinstance(module, _NORMS)}
    parts = _frozen(model)
    scattered = {name for name in parts if name in norms and name.count(".") > 1}
    return [name for name in parts if name not in scattered] + (
        ["norms of the backbone"] if scattered else []
    )


def _distillation(distiller: Distiller) -> dict[str, Any]:
    losses = {
        name: {**_loss(loss[0]), "levels": len(loss)} if isinstance(loss, nn.ModuleList) else _loss(loss)
        for name, loss in distiller.losses.items()
    }
    for name, behaviour in distiller.observed.items():
        losses[name] |= {"observed": behaviour} if behaviour else {}
    described: dict[str, Any] = {
        "task_loss_weight": distiller.task_loss_weight,
        "losses": losses,
        "taps": distiller.tapped,
        "signs": distiller.signs,
        "inherits": distiller.inherits,
    }
    if distiller.teacher is not None:
        described["teacher"] = {**describe_model(distiller.teacher), "mode": mode_of(distiller.teacher)}
    if distiller.inherited is not None:
        described["inherited"] = {
            "tensors": len(distiller.inherited.copied),
            "left": distiller.inherited.left,
        }
    return described


def _loss(loss: nn.Module) -> dict[str, Any]:
    """Type and hyper-parameters of a loss."""
    return {"type": type(loss).__name__, **_attributes(loss)}
