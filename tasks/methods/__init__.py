"""The distillation losses, as plain torch modules that depend on no training framework.

Each module holds its hyper-parameters and the helper layers it trains, takes the features or logits of
student and teacher, and returns the weighted scalar to add to the task's own loss. Nothing ever flows back
into the teacher. Names of parameters are those of the released checkpoints.

Every file of this folder registers its losses (`tasks.methods.registry`). Each can be imported from here by
the name that it is registered under: ``from tasks.methods import FGDLoss``. The losses are imported on first
use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    # Part of the public interface, so that type checkers have to know their own types.
    from tasks.methods.fgd import FGDLoss as FGDLoss
    from tasks.methods.mgd import MGDLoss as MGDLoss
    from tasks.methods.nkd import NKDLoss as NKDLoss
    from tasks.methods.tf_nkd import TFNKDLoss as TFNKDLoss


def __getattr__(name: str) -> type[nn.Module]:
    """The loss that is registered under a name."""
    # Python itself looks up dunder names while the losses are being imported.
    if not name.startswith("_"):
        from tasks.methods.registry import registered_losses

        if name in (known := registered_losses()):
            return known[name].loss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    from tasks.methods.registry import registered_losses

    return sorted({*globals(), *registered_losses()})
