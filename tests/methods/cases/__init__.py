"""How the tests build each loss: a file for each of `tasks/methods`.

A file may define two tables, which are joined here:

- ``GOLDEN``: beginning of a golden file's name -> how its loss is built (`tests.methods.golden_file`).
  The longest beginning that fits counts.
- ``LOSSES``: class -> how it and its inputs are made for what all losses have in common
  (`tests.methods.loss_case`).
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from torch import nn

from tests.methods.golden_file import Builder
from tests.methods.loss_case import LossCase


def _joined(table: str) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for module in pkgutil.iter_modules(__path__):
        ours = getattr(importlib.import_module(f"{__name__}.{module.name}"), table, {})
        assert not found.keys() & ours.keys(), f"{module.name}: {table} has what another file has too"
        found |= ours
    return found


GOLDEN: dict[str, Builder] = _joined("GOLDEN")
LOSSES: dict[type[nn.Module], LossCase] = _joined("LOSSES")
