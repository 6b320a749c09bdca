"""Columns of a frame as data: what each is called, its type, and what stands in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import pandas as pd


class Column(NamedTuple):
    """One column of a frame.

    Attributes:
        dtype: its pandas dtype.
        about: what stands in it, with its unit, and when it is missing.
    """

    dtype: str
    about: str


Columns: TypeAlias = Mapping[str, Column]
"""Name -> column, in the order of the frame."""


def dtypes(columns: Columns) -> dict[str, str]:
    """Name -> pandas dtype."""
    return {name: column.dtype for name, column in columns.items()}


def framed(rows: Iterable[Mapping[str, Any]], columns: Columns) -> pd.DataFrame:
    """A frame of these rows; what a row lacks is missing in it.

    Args:
        rows: values by the name of their column; times are text in ISO 8601, and missing where that is
            no date.
        columns: all columns of the frame.
    """
    frame = pd.DataFrame(list(rows), columns=list(columns))
    for name, column in columns.items():
        if column.dtype.startswith("datetime"):
            frame[name] = pd.to_datetime(frame[name], utc=True, errors="coerce", format="ISO8601")
    typed: pd.DataFrame = frame.astype(dtypes(columns))
    return typed


def as_markdown(columns: Columns) -> str:
    """The columns as a Markdown table, without a line break at its end."""
    lines = ["| column | type | description |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {column.dtype} | {_cell(column.about)} |" for name, column in columns.items()]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
