"""What the losses compute for a golden file, under its own keys."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.methods.cases import GOLDEN
from tests.methods.golden_file import Arrays, Builder, GoldenFile


def compute(name: str, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """The loss, terms, outputs and gradients of one golden file, under the file's own keys.

    Args:
        name: the file's name, with or without `.npz`; its beginning says which loss it is of.
        arrays: its arrays. Inputs, hyper-parameters and parameters are read, and never the expected values.
        dtype: type to compute in.

    Returns:
        `loss`, `term_*` and further outputs, `grad_<input>` and `grad/<state-dict key>`, and, where the file
        has buffers, `buffer_after/<state-dict key>`: what the forward pass left in them. All are detached.

    Raises:
        KeyError: no loss has files of such a name.
    """
    inputs = GoldenFile(arrays, dtype)
    case = _builder(name)(inputs)
    case.module.to(dtype)
    state = {**inputs.below("param/"), **inputs.below("buffer/")} if case.loads else {}
    keys = case.module.load_state_dict(state, strict=False)
    # Keys are those of released checkpoints: nothing else is missing, and nothing recorded is left over.
    assert set(keys.missing_keys) == set(case.unrecorded), keys
    assert not keys.unexpected_keys, keys
    found = case.compute()
    buffers = {
        f"buffer_after/{key}": case.module.state_dict()[key].clone() for key in inputs.below("buffer/")
    }
    found["loss"].backward()
    gradients = {f"grad_{key}": leaf.grad for key, leaf in case.leaves.items()}
    gradients |= {f"grad/{key}": parameter.grad for key, parameter in case.module.named_parameters()}
    # Batch norm that the file says nothing of has its initial values, and no gradient on record.
    left_out = (*case.unrecorded, *case.without_gradient)
    recorded = {key: of for key, of in gradients.items() if key.removeprefix("grad/") not in left_out}
    outputs = {key: value.detach() for key, value in found.items()} | buffers
    return outputs | {key: torch.zeros(()) if of is None else of for key, of in recorded.items()}


def _builder(name: str) -> Builder:
    stem = name.rpartition("/")[2].removesuffix(".npz")
    fitting = [known for known in GOLDEN if stem == known or stem.startswith(f"{known}_")]
    if not fitting:
        raise KeyError(f"no loss for golden file {name!r}; say in tests/methods/cases how to build it")
    return GOLDEN[max(fitting, key=len)]
