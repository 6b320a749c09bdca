"""Losses of these tests are known to plans, as those of `tasks/methods` are."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.planning import versions


@pytest.fixture(autouse=True)
def _losses_of_these_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = versions._sources
    own = sorted(Path(__file__).parent.glob("*.py"))
    monkeypatch.setattr(versions, "_sources", lambda: [*sources(), *own])
