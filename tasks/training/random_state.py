"""The states of the random generators that a training draws from, as plain values."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

_WORDS = 624
"""Words in the state of a Mersenne Twister, which Python and NumPy both use."""


def random_state() -> dict[str, Any]:
    """The states of the generators of Python, NumPy and PyTorch in this process, as tensors and numbers."""
    version, words, gauss = random.getstate()
    numpy: dict[str, Any] = dict(np.random.get_state(legacy=False))
    state: dict[str, Any] = {
        "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "words": torch.from_numpy(numpy["state"]["key"].astype(np.int64)),
            "position": numpy["state"]["pos"],
            "has_gauss": numpy["has_gauss"],
            "gauss": numpy["gauss"],
        },
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Sets all generators of this process to a state.

    Raises:
        Exception: of any kind, if it is not a valid state; some generators may have been set by then.
    """
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    # NumPy reads the word at the position without checking that it is within the state.
    if len(numpy["words"]) != _WORDS or not 0 <= numpy["position"] <= _WORDS:
        raise ValueError(f"position {numpy['position']} of {len(numpy['words'])} words")
    words = numpy["words"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", words, numpy["position"], numpy["has_gauss"], numpy["gauss"]))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
