"""Published checkpoints, and what they are needed for: ``baselines/weights.yaml`` and ``backbones.yaml``.

A checkpoint's name ends with 32 bits of its SHA-256. That detects a damaged or wrong file, but stops no
attacker: a downloaded file stays untrusted, and is only ever read by `tasks.training.weights`.
"""

from __future__ import annotations

import functools
import re
import urllib.parse
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, RootModel, model_validator

from suite import paths
from suite.catalogue import Catalogue, collect, current, entries
from suite.errors import SuiteError, did_you_mean
from suite.published.claims import Numbers
from suite.published.datasets import read_dataset_names
from suite.published.finding import load_papers
from suite.published.metrics import read_metrics
from suite.published.models import read_models
from suite.published.names import DatasetName, Known
from suite.published.roles import load_roles
from suite.strict import Strict
from suite.strict_yaml import parse, refuse, with_keys

Address = Annotated[str, Field(pattern=r"^https?://[\w.:-]+/[\w/.%-]+-[0-9a-f]{8}\.pth$")]

_HASH_IN_NAME = re.compile(r"-(?P<sha256>[0-9a-f]{8})\.pth$")


def hash_in_name(name: str) -> str | None:
    """The first digits of a file's SHA-256, which zoos put at the end of its name; None if it has none."""
    found = _HASH_IN_NAME.search(name)
    return found["sha256"] if found else None


class Checkpoint(Strict):
    """A file of weights that others have published.

    Attributes:
        id: its name here.
        address: its URL; None if it is not published, or only on private drives.
    """

    id: str
    address: Address | None = None

    @property
    def published(self) -> bool:
        """Whether it can be downloaded."""
        return self.address is not None

    @property
    def file_name(self) -> str:
        """The publisher's name of the file.

        Raises:
            SuiteError: it is not published.
        """
        if self.address is None:
            raise SuiteError(f"{self.id} is not published")
        return urllib.parse.unquote(self.address).rpartition("/")[2]

    @property
    def sha256(self) -> str:
        """The first digits of the file's SHA-256, from the end of its name.

        Raises:
            SuiteError: it is not published.
        """
        found = hash_in_name(self.file_name)
        assert found is not None, "every address ends with it"
        return found


class Backbone(Checkpoint):
    """A backbone that published trainings start from; its id is its name in the zoos' configs.

    Attributes:
        address: its URL.
    """

    address: Address


class Weights(Checkpoint):
    """A checkpoint that others have trained.

    Attributes:
        model: id in ``baselines/models.yaml``; by default the key of the entry.
        zoo: ``<package>::<name>`` in the model index that the package ships; None if it is in no zoo.
        dataset: what it was trained on.
        schedule: of its training, in words.
        accuracy: as published.
        unpublished: why there is no address; such a model has to be trained.
        note: what a reader must know.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    model: str
    zoo: Annotated[str, Field(pattern=r"^\w+::[\w.-]+$")] | None = None
    dataset: DatasetName
    schedule: str
    accuracy: Numbers = {}
    unpublished: str | None = None
    note: str | None = None

    @property
    def teaches(self) -> bool:
        """Whether it is the checkpoint that its model teaches with, not a variant of it."""
        return self.id == self.model

    @property
    def file_name(self) -> str:
        """The publisher's name of the file; see `Checkpoint.file_name`."""
        if self.unpublished is not None:
            reason = self.unpublished.rstrip(".")
            raise SuiteError(f"{self.id} is not published ({reason}): {_TRAIN_IT}")
        return super().file_name

    @model_validator(mode="after")
    def _is_published_or_not(self) -> Weights:
        facts = (self.address, self.accuracy or None)
        if self.unpublished and (self.zoo or any(facts)):
            raise ValueError("said to be unpublished; leave out zoo, address and accuracy")
        if not self.unpublished and not all(facts):
            raise ValueError("needs address and accuracy; or say why it is 'unpublished'")
        return self


_TRAIN_IT = "it has to be trained, which 'python -m suite reproduce' does for the claims that need it"


class _Registry(RootModel[dict[str, Weights]]):
    """``weights.yaml``: the key of an entry is its id and, unless the entry says otherwise, its model."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_entries(cls, raw: Any) -> Any:
        return with_keys(raw, default=["model"], always=["id"])


def read_weights() -> dict[str, Weights]:
    """The published checkpoints by id, with entries for unpublished ones; read once per catalogue.

    Raises:
        SuiteError: a file breaks the schema; names file and line.
    """
    return _of(current())


@functools.lru_cache(maxsize=8)
def _of(catalogue: Catalogue) -> dict[str, Weights]:
    return read_registry(*catalogue)


def read_registry(shared: Path, outside: tuple[Path, ...] = ()) -> dict[str, Weights]:
    """Reads and checks ``weights.yaml`` of a folder laid out like ``baselines/`` and of all paper folders.

    Raises:
        SuiteError: a file breaks the schema, repeats an entry of another, or names a model that is in no
            ``models.yaml``; with file and line.
    """
    models = read_models(shared, outside)
    known: Known = {"metric": read_metrics(shared, outside), "data set": read_dataset_names(shared, outside)}
    files = Catalogue(shared, outside).files("weights.yaml")
    found = collect("checkpoint", files, lambda path: parse(_Registry, path, known).root)
    for path, weights in found.values():
        if weights.model not in models:
            refuse(
                path,
                (weights.id, "model"),
                f"no model {weights.model!r} in models.yaml; {did_you_mean(weights.model, models)}",
            )
    return entries(found)


@functools.lru_cache(maxsize=1)
def read_backbones() -> dict[str, Backbone]:
    """The backbones that published trainings start from, by id; read once per process.

    Raises:
        SuiteError: ``backbones.yaml`` breaks the schema; names file and line.
    """
    addresses = parse(RootModel[dict[str, Address]], paths.BASELINES / "backbones.yaml").root
    return {name: Backbone(id=name, address=address) for name, address in addresses.items()}


def find_checkpoint(name: str) -> Checkpoint:
    """Weights or a backbone by id.

    Raises:
        SuiteError: there is none.
    """
    backbones = read_backbones()
    return backbones[name] if name in backbones else find_weights(name)


def find_weights(name: str) -> Weights:
    """An entry by its id.

    Raises:
        SuiteError: there is none.
    """
    known = read_weights()
    if name not in known:
        close = did_you_mean(name, [*known, *read_backbones()])
        raise SuiteError(f"no weights {name!r}: {close}; 'weights list' has all")
    return known[name]


def weights_of(model: str) -> Weights | None:
    """The entry for the checkpoint that a model teaches with; None if there is no entry."""
    return read_weights().get(model)


def claims_taught(weights: Weights) -> list[str]:
    """Ids of the reproduced claims on distilled students whose teacher it is."""
    return [
        claim.id
        for paper in load_papers().values()
        for claim in paper.claims
        if claim.judged
        and load_roles()[claim.role].distilled
        and weights.teaches
        and claim.teacher == weights.model
    ]


def how_to_get(model: str) -> str:
    """What to do about missing weights of a model, as the end of a message."""
    weights = weights_of(model)
    if weights is None or not weights.published:
        return f"no checkpoint of {model} is published: {_TRAIN_IT}"
    return f"fetch them with 'python -m suite weights fetch {weights.id}'"
