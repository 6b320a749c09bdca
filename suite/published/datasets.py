"""The data sets that claims may name: ``baselines/datasets.yaml``.

Their required contents are read by `suite.datasets.published`; this module reads only what claims need.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, RootModel, model_validator

from suite.catalogue import Catalogue, collect, current, entries
from suite.strict_yaml import parse, with_keys


class NamedDataset(BaseModel):
    """The names of a data set; the other keys of its entry are read elsewhere.

    Attributes:
        title: its name in messages.
        claims_name: its name in claims, priors and models; by default the key of its entry.
        hub: its id on the Hugging Face Hub; None if it has none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    title: str
    claims_name: str
    hub: str | None = None


class _Datasets(RootModel[dict[str, NamedDataset]]):
    """One file of data sets."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_entries(cls, raw: Any) -> Any:
        return with_keys(raw, default=["claims_name"])


def load_dataset_names() -> dict[str, NamedDataset]:
    """The data sets by their names in claims; read once per catalogue.

    Raises:
        SuiteError: a file breaks the schema, or two have the same data set; names file and line.
    """
    return _of(current())


@functools.lru_cache(maxsize=8)
def _of(catalogue: Catalogue) -> dict[str, NamedDataset]:
    return read_dataset_names(*catalogue)


def read_dataset_names(shared: Path, outside: tuple[Path, ...] = ()) -> dict[str, NamedDataset]:
    """The data sets of a catalogue; see `load_dataset_names`."""
    files = Catalogue(shared, outside).files("datasets.yaml")
    found = entries(collect("data set", files, lambda path: parse(_Datasets, path).root))
    return {dataset.claims_name: dataset for dataset in found.values()}
