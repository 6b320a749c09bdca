"""Fits a training to other devices than its recipe's: the same batch, in more steps or smaller shares."""

from __future__ import annotations

import torch
from mmengine.config import Config

from suite.contract import BlockedError, ComposedRecipe

_GAMMA = 2000
"""Default `gamma` of mmdet's `ExpMomentumEMA`: the iterations in which its momentum settles."""


def fit_to_resources(config: Config, recipe: ComposedRecipe) -> None:
    """Adapts a published config to the user's devices.

    Gradients accumulate until they are those of the published batch of all devices, so that learning rate
    and number of updates stay the same. What the config counts in iterations (length, schedulers, averaged
    weights) is multiplied by the iterations per update. Batch norms still see the batch of one device.

    Args:
        config: of a zoo, with the recipe merged in; changed in place.
        recipe: composed at published scale; see `suite.contract.ComposedRecipe`.

    Raises:
        BlockedError: the published batch is not a multiple of the user's, or mixed precision is requested
            without a GPU.
    """
    loader = config.train_dataloader
    resources = recipe.resources
    published = loader.batch_size * recipe.devices
    loader.batch_size = resources.batch_size or loader.batch_size
    ours = loader.batch_size * recipe.devices_used
    if published % ours:
        raise BlockedError(
            f"no number of batches of {ours} images (resources.batch_size on all resources.devices) makes "
            f"the published batch of {published}; name divisors of it"
        )
    if published != ours:
        _accumulate(config, published // ours)
    if resources.precision:
        if not torch.cuda.is_available():
            raise BlockedError(
                f"resources.precision={resources.precision}: mixed precision needs a GPU, and PyTorch sees "
                "none; leave the override out"
            )
        config.optim_wrapper.type = "AmpOptimWrapper"
        config.optim_wrapper.dtype = resources.precision


def share_batch(config: Config, recipe: ComposedRecipe) -> None:
    """Divides the batch of a training on embedded data among its devices.

    Args:
        config: of a zoo, with the recipe merged in; changed in place.
        recipe: composed at embedded scale.

    Raises:
        BlockedError: the batch cannot be divided equally.
    """
    loader, devices = config.train_dataloader, recipe.devices_used
    if loader.batch_size % devices:
        raise BlockedError(
            f"resources.devices={devices}: a batch of {loader.batch_size} images cannot be split equally; "
            "name a divisor of it"
        )
    loader.batch_size //= devices


def _accumulate(config: Config, batches: int) -> None:
    """Makes a config update once per `batches` iterations."""
    config.optim_wrapper.accumulative_counts = batches
    if config.train_cfg.get("max_iters"):
        config.train_cfg.max_iters *= batches
    schedulers = config.get("param_scheduler") or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        if not scheduler.get("by_epoch", True):
            for edge in ("begin", "end"):
                if edge in scheduler:
                    scheduler[edge] *= batches
    # YOLOX changes the size of its images every so many iterations.
    for augment in (config.model.get("data_preprocessor") or {}).get("batch_augments") or []:
        if "interval" in augment:
            augment.interval *= batches
    for hook in config.get("custom_hooks") or []:
        if hook.type == "EMAHook":
            hook["interval"] = batches * hook.get("interval", 1)
            if hook.get("ema_type") == "ExpMomentumEMA":
                hook["gamma"] = batches * hook.get("gamma", _GAMMA)
