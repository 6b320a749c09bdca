"""Who holds a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suite.store.files import locked
from suite.store.run_folders import RunFolder


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not list its locks")
def test_the_process_that_holds_a_run_is_known(tmp_path: Path):
    folder, other = RunFolder(tmp_path, "0123456789abcdef"), RunFolder(tmp_path, "fedcba9876543210")
    assert folder.holder() is None
    with locked(folder.lock), locked(other.lock):
        assert folder.holder() == os.getpid()
    assert folder.holder() is None
