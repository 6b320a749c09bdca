"""Columns of a frame as data: name, type and description."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import pandas as pd


class Column(NamedTuple):
    """One column of a frame.

    Attributes:
        dtype: its pandas dtype.
        about: what it contains, with its unit, and when it is missing.
    """

    dtype: str
    about: str


Columns: TypeAlias = Mapping[str, Column]
"""Name -> column, in the order of the frame."""


def dtypes(columns: Columns) -> dict[str, str]:
    """Name -> pandas dtype."""
    return {name: column.dtype for name, column in columns.items()}


def framed(rows: Iterable[Mapping[str, Any]], columns: Columns) -> pd.DataFrame:
    """Builds a frame from rows; columns that a row lacks are missing values.

    Args:
        rows: values by column name; times are text in ISO 8601, and become missing values if they are not
            valid.
        columns: all columns of the frame.
    """
    frame = pd.DataFrame(list(rows), columns=list(columns))
    for name, column in columns.items():
        if column.dtype.startswith("datetime"):
            frame[name] = pd.to_datetime(frame[name], utc=True, errors="coerce", format="ISO8601")
    typed: pd.DataFrame = frame.astype(dtypes(columns))
    return typed


def as_markdown(columns: Columns) -> str:
    """The columns as a Markdown table, without a trailing line break."""
    lines = ["| column | type | description |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {column.dtype} | {_cell(column.about)} |" for name, column in columns.items()]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
