"""Both frames as parquet: values, gaps, types and descriptions come back."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from suite.evidence import frame, observations
from suite.report.exports import export

pa = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install pyarrow")
STUDENT, DISTILLED = [69.9, 70.1, 70.0], [71.0, 71.4, 71.1]


def test_both_frames_come_back_as_they_were(material, pair_records, record):
    failed = record("tiny-plus", "distilled", 0, status="failed", error="=cmd()", profile="paper")
    of = material([*pair_records(STUDENT, DISTILLED, profile="paper"), failed], "paper")
    files = export("parquet", of)
    assert list(files) == ["tiny-paper.parquet", "tiny-paper-evidence.parquet"]
    for content, expected in zip(files.values(), (of.report.frame, of.observations), strict=True):
        read = pd.read_parquet(io.BytesIO(content), dtype_backend="numpy_nullable")
        assert list(read) == list(expected)
        for name in expected:
            there = expected[name].notna()
            assert list(read[name].notna()) == list(there), name
            assert list(read[name][there]) == list(expected[name][there]), name


def test_a_field_has_its_type_and_its_description(material, pair_records):
    from pyarrow import parquet

    judged, long = (
        parquet.read_schema(io.BytesIO(content))
        for content in export("parquet", material(pair_records(STUDENT, DISTILLED))).values()
    )
    for schema, columns in ((judged, frame.COLUMNS), (long, observations.COLUMNS)):
        assert schema.names == list(columns)
        for field in schema:
            assert field.metadata[b"description"].decode() == columns[field.name].about
        # No trace of the pandas that wrote it.
        assert b"pandas" not in (schema.metadata or {})
    assert (str(long.field("seed").type), str(long.field("counts").type)) == ("int64", "bool")
    assert str(long.field("finished_at").type) == "timestamp[us, tz=UTC]"
