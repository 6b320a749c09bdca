"""The campaign one experiment after another, two minutes each; ``make campaign`` runs them side by side."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from suite.paths import ROOT
from tests.campaign.campaign import MODULES

MINUTES = os.environ.get("SUITE_CAMPAIGN_MINUTES", "2")
SEED = os.environ.get("SUITE_CAMPAIGN_SEED", "0")


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_found(name, tmp_path):
    words = ["--minutes", MINUTES, "--seed", SEED, "--only", name, "--output", str(tmp_path / "campaign")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.campaign", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
