"""Who executes a run."""

from __future__ import annotations

from pathlib import Path

from suite.store.ownership import owned, this_process
from suite.store.run_folders import RunFolder


def test_the_process_that_executes_a_run_is_known(tmp_path: Path):
    folder, other = RunFolder(tmp_path, "0123456789abcdef"), RunFolder(tmp_path, "fedcba9876543210")
    assert folder.owner() is None
    with owned(folder.ownership):
        assert folder.owner() == this_process()
        assert other.owner() is None
    assert folder.owner() is None
