"""The workflows of continuous integration, and the commands of the suite in them."""

from __future__ import annotations

from typing import Any

import yaml

from suite.paths import ROOT


def workflow(name: str) -> dict[Any, Any]:
    """The content of a file in ``.github/workflows``."""
    loaded: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    return loaded


def workflow_calls(name: str) -> list[list[str]]:
    """The words of every ``python -m suite`` in the steps of a workflow, from the verb on, in their order."""
    steps = [step for job in workflow(name)["jobs"].values() for step in job["steps"]]
    lines = [line for step in steps for line in step.get("run", "").splitlines()]
    return [line.partition("-m suite ")[2].split() for line in lines if "-m suite " in line]
