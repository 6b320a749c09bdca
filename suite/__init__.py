"""Reproducibility benchmark for knowledge-distillation papers: FGD, MGD, NKD, tf-NKD and USKD.

In a notebook, ``suite.frame(paper="mgd")`` has the verdicts and ``suite.evidence(paper="mgd")`` the single
measurements, as pandas frames; docs/frames.md lists their columns.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "evidence", "frame"]

if TYPE_CHECKING:
    from suite.evidence import Package
    from suite.evidence.notebooks import judged_frame as frame

    evidence: Package

_LATE = {"frame": ("suite.evidence.notebooks", "judged_frame"), "evidence": ("suite.evidence", "")}
"""Name -> module and attribute, imported on first access so that importing the suite alone stays light."""


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LATE[name]
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
