"""Published checkpoints, and for what they are needed: ``baselines/weights.yaml`` and ``backbones.yaml``.

The end of a checkpoint's name holds 32 bits of its SHA-256. That finds a damaged or a wrong file, and stops
nobody who means harm: a fetched file stays untrusted, and is only ever read by `tasks.training.weights`.
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
    """How the SHA-256 of a file begins by its name, which zoos end with it; None where a name does not."""
    found = _HASH_IN_NAME.search(name)
    return found["sha256"] if found else None


class Checkpoint(Strict):
    """A file of weights that others have published.

    Attributes:
        id: what it is called here.
        address: where it lies; None where it is not published, or on private drives only.
    """

    id: str
    address: Address | None = None

    @property
    def published(self) -> bool:
        """Whether it can be fetched."""
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
        """How the SHA-256 of the file begins, as its publisher has put it at the end of the name.

        Raises:
            SuiteError: it is not published.
        """
        found = hash_in_name(self.file_name)
        assert found is not None, "every address ends with it"
        return found


class Backbone(Checkpoint):
    """A backbone that published trainings start from; its id is what the zoos' configs call it.

    Attributes:
        address: where it lies.
    """

    address: Address


class Weights(Checkpoint):
    """A checkpoint that others have trained.

    Attributes:
        model: of ``baselines/models.yaml``; the key of an entry that does not say.
        zoo: ``<package>::<name>`` in the model index that the package ships; None where it is in no zoo.
        dataset: what it was trained for.
        schedule: in words.
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
        """Whether it is the checkpoint that its model teaches with, and no variant of it."""
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
    """``weights.yaml``: an entry has the name of its key, and is of the model of that name unless it says."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_entries(cls, raw: Any) -> Any:
        return with_keys(raw, default=["model"], always=["id"])


def read_weights() -> dict[str, Weights]:
    """The published checkpoints by id, and the models of which none is published; read once for a catalogue.

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
        SuiteError: a file breaks the schema, has an entry that another has, or names a model that no
            ``models.yaml`` has; with file and line.
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
    """The backbones that published trainings start from, by id; read once a process.

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
    """The checkpoint that a model teaches with; None where nothing is known of one."""
    return read_weights().get(model)


def claims_taught(weights: Weights) -> list[str]:
    """Ids of the claims on distilled students whose teacher it is."""
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
