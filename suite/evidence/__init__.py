"""What the records say of each claim: which of them count, the long frame and the judged one.

The package can be called: ``suite.evidence(paper="mgd")`` is the long frame, a row for each claim, metric,
arm, seed and repetition. ``suite.frame(paper="mgd")`` is the judged one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class Package(ModuleType):
    """This package: a module that is a function, too."""

    def __call__(
        self, paper: str | None = None, profile: str | None = None, records: str | Path | None = None
    ) -> pd.DataFrame:
        """The long frame: one row for each claim, metric, arm, seed and repetition.

        Args:
            paper: id of a paper; all of them unless given.
            profile: `smoke`, `mini` (unless given) or `paper`.
            records: folder of a record store; that of the results folder unless given.

        Returns:
            Columns and dtypes as in `suite.evidence.observations.COLUMNS`, which docs/frames.md lists.
            Without records it has no rows.

        Raises:
            SuiteError: paper, profile or folder are unknown, or a record cannot be read.
        """
        from suite.evidence.notebooks import long_frame

        return long_frame(paper, profile, records)


# Python looks for __call__ in the class of a module, not among its names.
sys.modules[__name__].__class__ = Package
