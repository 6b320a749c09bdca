"""The order in which the tests of several modules run."""

from __future__ import annotations

import subprocess
import sys

from suite.paths import ROOT


def test_modules_with_slow_tests_come_first_and_stay_whole():
    modules = [f"tests/verdicts/test_{name}.py" for name in ("absolute", "gains", "shared_noise")]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *modules]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    order = [line.partition("::")[0] for line in listed.splitlines() if "::" in line]
    # Of each module the first test, and nothing of it after another's.
    begins = [name for number, name in enumerate(order) if number == 0 or order[number - 1] != name]
    assert begins == [modules[2], *modules[:2]]
