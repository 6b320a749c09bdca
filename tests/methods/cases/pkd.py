"""PKD, whose loss is in the folder of a paper outside of baselines/."""

from __future__ import annotations

from suite.catalogue import import_path
from suite.paths import ROOT
from tasks.methods.registry import find_loss
from tests.methods.golden_file import Builder, Golden, GoldenFile, simple


def _pkd(inputs: GoldenFile) -> Golden:
    import_path(ROOT / "tests" / "papers" / "pkd" / "loss.py")
    options = [key for key in ("weight", "resize", "epsilon") if key in inputs]
    module = find_loss("PearsonLoss")(**inputs.options(*options))
    return simple(module, {"student": inputs.leaf("student")}, inputs.tensor("teacher"))


GOLDEN: dict[str, Builder] = {"pkd": _pkd}
