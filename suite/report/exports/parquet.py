"""Exports both frames as Parquet, each column with its description.

A file has no pandas metadata and no timestamp: with the same release of pyarrow, the same records give the
same bytes. ``pandas.read_parquet(path, dtype_backend="numpy_nullable")`` keeps integers with missing values.
"""

from __future__ import annotations

import io
from typing import Any

import pandas as pd

from suite.errors import SuiteError
from suite.evidence import frame, observations
from suite.evidence.columns import Columns
from suite.report.exports import Files, Material


def files(material: Material) -> Files:
    """``<report>.parquet``, the judged frame, and ``<report>-evidence.parquet``, the long one.

    Raises:
        SuiteError: pyarrow is not installed.
    """
    name = material.report.name
    return {
        f"{name}.parquet": as_parquet(material.report.frame, frame.COLUMNS),
        f"{name}-evidence.parquet": as_parquet(material.observations, observations.COLUMNS),
    }


def as_parquet(table: pd.DataFrame, columns: Columns) -> bytes:
    """A frame as the content of a parquet file.

    Args:
        table: the frame.
        columns: its columns; their descriptions go into the metadata of the fields, under ``description``.

    Raises:
        SuiteError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise SuiteError("parquet needs pyarrow, which is not installed: pip install pyarrow") from None
    schema = pa.schema(
        [
            pa.field(name, _arrow_type(column.dtype), metadata={"description": column.about})
            for name, column in columns.items()
        ]
    )
    arrays = [pa.array(table[field.name], type=field.type, from_pandas=True) for field in schema]
    content = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), content)
    return content.getvalue()


def _arrow_type(dtype: str) -> Any:
    """The pyarrow type for the pandas dtype of a column."""
    import pyarrow as pa

    times = {"datetime64[us, UTC]": pa.timestamp("us", tz="UTC")}
    return times.get(dtype) or pa.type_for_alias(dtype.lower().replace("boolean", "bool"))
