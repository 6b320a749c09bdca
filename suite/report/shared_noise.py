"""The section on the noise of embedded data: the spread that the rows of a task share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from suite.evidence.embedded_noise import Kind, KindNoise
from suite.published.claims import Claim
from suite.published.priors import find_margin
from suite.report.cells import NOTHING, task_cell
from suite.report.layout import Grid, Line, Section

TITLE: Final = "Noise shared by the rows of a task"
HEADINGS: Final = (
    "task",
    "metric",
    "rows",
    "sd of a difference",
    "degrees of freedom",
    "correlation of the arms",
    "margin",
)

_REMARK: Final = (
    "Rows of one task have the same spread up to chance. The variance of each row is shrunk towards a "
    "variance common to all papers and methods. The better the variances agree, the more degrees of freedom "
    "the common variance counts for: infinitely many where they differ by chance alone (Smyth 2004, "
    "`suite/verdicts/shared_noise.py`). The correlation is between the distilled student and the student "
    "alone at the same seed. A gain that is certainly within the margin is no change."
)


def noise_sections(claims: Iterable[Claim], noise: Mapping[Kind, KindNoise]) -> Iterator[Section]:
    """The section on the noise with which a paper's rows were judged; none on published data.

    Args:
        claims: of the paper.
        noise: for every task and metric, from all papers.
    """
    kinds = dict.fromkeys((claim.task, name) for claim in claims for name in claim.metrics)
    lines = tuple(_line(kind, noise[kind]) for kind in kinds if kind in noise and find_margin(kind[1]))
    if lines:
        yield Section(TITLE, (Grid(HEADINGS, lines),), _REMARK)


def _line(kind: Kind, noise: KindNoise) -> Line:
    task, metric = kind
    shared = noise.shared
    return Line(
        (
            task_cell(task),
            metric,
            str(shared.rows),
            f"{shared.prior_sd:.2f}",
            "infinite" if math.isinf(shared.prior_df) else f"{shared.prior_df:.1f}",
            NOTHING if noise.correlation is None else f"{noise.correlation:+.2f}",
            f"{find_margin(metric):g}",
        )
    )
