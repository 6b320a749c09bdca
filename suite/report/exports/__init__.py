"""Exports reports to other formats: LaTeX tables, data frames, model hubs, benchmark databases, archives.

One module per format, with a pure function `files` from a `Material` to the files to write. The same material
gives the same bytes. `suite.report.exports.run_crate` exports a whole store and is separate.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import pandas as pd

from suite.evidence.observations import build_observations
from suite.published.claims import Paper
from suite.report import Report
from suite.store.files import write
from suite.store.summaries import Evidence

EXPORTS: Final = {
    "latex": "suite.report.exports.latex",
    "parquet": "suite.report.exports.parquet",
    "hugging-face": "suite.report.exports.hugging_face",
    "pytorch": "suite.report.exports.pytorch_benchmark",
}
"""Format -> the module that makes its files; imported when needed."""

Files: TypeAlias = Mapping[str, bytes]
"""Path below the folder of the results -> content."""


@dataclass(frozen=True)
class Material:
    """The input of an export.

    Attributes:
        paper: the paper with its claims.
        profile: which records count.
        report: the judged frame and the page.
        records: the store.
    """

    paper: Paper
    profile: str
    report: Report
    records: Sequence[Evidence]

    @functools.cached_property
    def observations(self) -> pd.DataFrame:
        """The long frame of the paper."""
        return build_observations([self.paper], self.records, self.profile, self.report.arms)


def export(format_name: str, material: Material) -> Files:
    """The files of one of `EXPORTS`; none if nothing in the material belongs in it.

    Raises:
        SuiteError: a package that the format needs is missing.
    """
    files: Files = importlib.import_module(EXPORTS[format_name]).files(material)
    return files


def write_export(format_name: str, material: Material, folder: Path) -> list[Path]:
    """Writes the files of one of `EXPORTS`; each is replaced atomically, and an unchanged one is left alone.

    Returns:
        The paths written.

    Raises:
        SuiteError: as `export`.
        OSError: the folder cannot be written to.
    """
    files = export(format_name, material)
    for name, content in files.items():
        write(folder / name, content)
    return [folder / name for name in files]
