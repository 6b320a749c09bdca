"""The small published world of the report tests and its records, and losses of first steps."""

from __future__ import annotations

from suite.evidence.trajectories import STEPS
from tests.report.conftest import dense_paper, pair_records, paper, record, seeds

__all__ = ["dense_paper", "pair_records", "paper", "record", "seeds"]


def losses(steps: int = STEPS[-1], **scaled: float) -> list[dict[str, float]]:
    """Two losses that fall, the second `scaled` from a step on, as in `s10=1.5`."""
    found = []
    for step in range(1, steps + 1):
        factor = 1.0
        for name, value in scaled.items():
            factor *= value if step >= int(name[1:]) else 1.0
        found.append({"loss_cls": 4.0 / step, "loss_nkd": factor * 2.0 / step})
    return found
