"""Material for exports, of the small paper of the report tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from suite.published.claims import Paper
from suite.report import make_report
from suite.report.exports import Material
from suite.store.record import Record


@pytest.fixture
def material(paper: Paper) -> Callable[..., Material]:
    """Makes material of records: ``material(records, "paper")``."""

    def make(records: Sequence[Record], profile: str = "mini", of: Paper = paper) -> Material:
        return Material(of, profile, make_report(of, records, profile), records)

    return make
