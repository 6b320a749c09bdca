"""What the audits of a file share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "log"
