"""Regression on scikit-learn's diabetes data: a task that the suite knows nothing of, trained in seconds."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.nn import functional

from suite.contract import Adapter, BlockedError, ComposedModel, EffectiveProtocol
from tasks.methods.registry import find_loss

TEST_ROWS = 110
"""How many of the 442 patients are scored on; which ones is drawn once, with a seed of its own."""


def read_data() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The ten normalised measurements of every patient, ``442 x 10``, and the progression, standardised."""
    features, target = load_diabetes(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(target))
    features = features[order] / features.std(axis=0)
    return features.astype(np.float32), ((target[order] - target.mean()) / target.std()).astype(np.float32)


def fingerprint_of(features: np.ndarray[Any, Any], target: np.ndarray[Any, Any]) -> str:
    """SHA-256 of the data, rounded so that no platform's last digit changes it."""
    digest = hashlib.sha256()
    for array in (features, target):
        digest.update(np.round(array.astype(np.float64) * 1000).astype("<i8").tobytes())
    return digest.hexdigest()


def prepare(folder: Path, expected: str | None) -> str:
    """Makes sure that the data are those of the recipe; they ship with scikit-learn and need no folder.

    Raises:
        BlockedError: they are others.
    """
    found = fingerprint_of(*read_data())
    if expected not in (None, found):
        raise BlockedError(f"the diabetes data have fingerprint {found}, the recipe names {expected}")
    return found


class RegressionAdapter(Adapter):
    """Trains one hidden layer on the mean squared error, and distils it by its outputs."""

    def fingerprint(self) -> str:
        """The fingerprint of the data, see `prepare`."""
        data = self.job.recipe.data
        return prepare(self.job.data_dir / data.name, data.fingerprint)

    def build(self) -> None:
        """Builds student, teacher, losses and optimiser."""
        recipe = self.job.recipe
        torch.manual_seed(self.job.seed)
        self._read()
        self._student = self._network(recipe.student)
        self._teacher: nn.Module | None = None
        self._losses: dict[str, nn.Module] = {}
        if recipe.teacher and recipe.method:
            self._teacher = self._network(recipe.teacher).requires_grad_(False)
            if self.job.teacher_weights:
                self._load(self._teacher, self.job.teacher_weights)
            for name, loss in recipe.method.losses.items():
                self._losses[name] = find_loss(loss.type)(**loss.arguments)
        self._optimizer = torch.optim.Adam(self._student.parameters(), lr=recipe.schedule["learning_rate"])

    def build_released(self, checkpoint: Path) -> dict[str, Any]:
        """Builds the student with weights that were trained elsewhere."""
        self._read()
        self._student = self._network(self.job.recipe.student)
        return {"loaded": self._load(self._student, checkpoint)}

    def describe(self) -> EffectiveProtocol:
        """Optimiser, learning rate, length, batch and data."""
        settings: dict[str, Any] = {
            "optimizer": type(self._optimizer).__name__,
            "learning_rate": self._optimizer.param_groups[0]["lr"],
            "epochs": self.job.recipe.schedule["epochs"],
            "batch_size": self.job.recipe.schedule["batch_size"],
            "train_rows": len(self._train[1]),
            "test_rows": len(self._test[1]),
        }
        if self._teacher is not None and self.job.recipe.teacher:
            weights = {name: {"weight": loss.weight} for name, loss in self._losses.items()}
            settings |= {
                "teacher": {"name": self.job.recipe.teacher.name},
                "losses": weights,
                "inherits": False,
            }
        return EffectiveProtocol(settings)

    @classmethod
    def with_stub_data(cls) -> type[Adapter]:
        """Itself: its data are always there."""
        return cls

    def fit(self) -> dict[str, float]:
        """Trains from the start: a training takes no longer than reading a checkpoint."""
        schedule = self.job.recipe.schedule
        order = torch.Generator().manual_seed(self.job.seed)
        features, target = self._train
        started, steps = time.monotonic(), 0
        for _ in range(schedule["epochs"]):
            for rows in torch.randperm(len(target), generator=order).split(schedule["batch_size"]):
                loss = self._loss(features[rows], target[rows])
                self._optimizer.zero_grad()
                loss.backward()
                self._optimizer.step()
                steps += 1
        seconds = time.monotonic() - started
        return {"train": seconds, "seconds_per_step": seconds / steps}

    def evaluate(self) -> dict[str, float]:
        """The share of the variance that the student explains, in percent."""
        features, target = self._test
        with torch.no_grad():
            error = (self._student(features).squeeze(1) - target).square().sum()
        return {"R2": 100 * float(1 - error / (target - target.mean()).square().sum())}

    def save(self, path: Path) -> None:
        """Writes the student's weights."""
        torch.save(self._student.state_dict(), path)

    def _read(self) -> None:
        features, target = (torch.from_numpy(array).to(self.job.device) for array in read_data())
        self._train = features[TEST_ROWS:], target[TEST_ROWS:]
        self._test = features[:TEST_ROWS], target[:TEST_ROWS]

    def _network(self, model: ComposedModel) -> nn.Sequential:
        hidden = model.overrides["hidden"]
        return nn.Sequential(nn.Linear(10, hidden), nn.ReLU(), nn.Linear(hidden, 1)).to(self.job.device)

    def _loss(self, features: Tensor, target: Tensor) -> Tensor:
        method = self.job.recipe.method
        predictions = self._student(features)
        own = functional.mse_loss(predictions.squeeze(1), target)
        if self._teacher is None or method is None:
            return own
        taught = sum(
            (loss(predictions, self._teacher(features)) for loss in self._losses.values()), own.new_zeros(())
        )
        return method.task_loss_weight * own + taught

    def _load(self, network: nn.Module, path: Path) -> int:
        weights = torch.load(path, map_location=self.job.device, weights_only=True)
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise BlockedError(f"{path.name} does not fit: {' '.join(str(error).split())}") from error
        return len(weights)
