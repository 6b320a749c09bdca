"""The distillation losses, as plain torch modules that know no training framework.

Each module holds its hyper-parameters and the helper layers it trains, takes the features or logits of
student and teacher, and returns the weighted scalar to add to the task's own loss. Nothing ever flows back
into the teacher. Names of parameters are those of the released checkpoints.
"""

from __future__ import annotations

from torch import nn

from tasks.methods.cwd import ChannelWiseLogitLoss
from tasks.methods.dkd import DKDLoss
from tasks.methods.fgd import FGDLoss
from tasks.methods.fgd_ablation import FGDAblationLoss
from tasks.methods.kd import KDLoss
from tasks.methods.mgd import MGDLoss
from tasks.methods.nkd import NKDLoss
from tasks.methods.srrl import SRRLLoss
from tasks.methods.tf_nkd import TFNKDLoss
from tasks.methods.uskd import USKDLoss
from tasks.methods.vitkd import ViTKDLoss
from tasks.methods.wsld import WSLDLoss

LOSSES: dict[str, type[nn.Module]] = {
    loss.__name__: loss
    for loss in (
        ChannelWiseLogitLoss,
        DKDLoss,
        FGDAblationLoss,
        FGDLoss,
        KDLoss,
        MGDLoss,
        NKDLoss,
        SRRLLoss,
        TFNKDLoss,
        USKDLoss,
        ViTKDLoss,
        WSLDLoss,
    )
}
"""Every loss by the name of its class."""

__all__ = [
    "LOSSES",
    "ChannelWiseLogitLoss",
    "DKDLoss",
    "FGDAblationLoss",
    "FGDLoss",
    "KDLoss",
    "MGDLoss",
    "NKDLoss",
    "SRRLLoss",
    "TFNKDLoss",
    "USKDLoss",
    "ViTKDLoss",
    "WSLDLoss",
]
