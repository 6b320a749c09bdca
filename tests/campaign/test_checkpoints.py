"""Hostile checkpoints are what they are called: PyTorch itself reads those that lie, and no others."""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.campaign.checkpoints import KINDS, make

NOT_FILES = ("folder", "fifo", "device", "dangling link", "link to itself")
REFUSALS = (RuntimeError, ValueError, TypeError, EOFError, LookupError, MemoryError, pickle.UnpicklingError)
READABLE = (
    "NaN",
    "infinity",
    "other shapes",
    "keys missing",
    "sound",
    "two pickles",
    "absolute names",
    "zip bomb",
)


@pytest.fixture(scope="module")
def sound() -> bytes:
    """Weights as the suite writes them."""
    weights = {f"layer{number}.weight": torch.full((64, 8), float(number)) for number in (1, 2, 3)}
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


def read(path: Path) -> Any:
    return torch.load(path, weights_only=True)


# A bomb takes seconds to make and gibibytes to read.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (*NOT_FILES, *READABLE)])
def test_weights_that_are_cut_or_hold_code_are_refused_by_pytorch(tmp_path, sound, kind):
    path = tmp_path / "hostile.pth"
    make(path, sound, {"kind": kind, "at": 0.5}, tmp_path / "mark")
    assert path.read_bytes() != sound
    with pytest.raises(REFUSALS):
        read(path)
    assert not (tmp_path / "mark").exists()


def test_weights_that_lie_are_read_and_have_other_content(tmp_path, sound):
    path = tmp_path / "hostile.pth"
    found = {}
    for kind in ("sound", "NaN", "infinity", "keys missing"):
        make(path, sound, {"kind": kind, "at": 0.5}, tmp_path / "mark")
        found[kind] = read(path)
    assert float(found["sound"]["layer2.weight"][0, 0]) == 2.0
    assert math.isnan(found["NaN"]["layer2.weight"][0, 0])
    assert math.isinf(found["infinity"]["layer2.weight"][0, 0])
    assert "layer2.weight" not in found["keys missing"]
    make(path, sound, {"kind": "other shapes", "at": 0.5}, tmp_path / "mark")
    assert path.read_bytes() != sound
