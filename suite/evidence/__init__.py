"""What the records say about each claim: which of them count, the long frame and the judged frame.

The package can be called: ``suite.evidence(paper="mgd")`` returns the long frame, a row for each claim,
metric, arm, seed and repetition. ``suite.frame(paper="mgd")`` returns the judged frame.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class Package(ModuleType):
    """The class of this package: a module that can also be called."""

    def __call__(
        self, paper: str | None = None, profile: str | None = None, records: str | Path | None = None
    ) -> pd.DataFrame:
        """The long frame: one row for each claim, metric, arm, seed and repetition.

        Args:
            paper: id of a paper; all papers by default.
            profile: `smoke`, `mini` (default) or `paper`.
            records: folder of a record store; by default the one in the results folder.

        Returns:
            Columns and dtypes as in `suite.evidence.observations.COLUMNS`, which docs/frames.md lists.
            Without records it has no rows.

        Raises:
            SuiteError: the paper, profile or folder is unknown, or a record cannot be read.
        """
        from suite.evidence.notebooks import long_frame

        return long_frame(paper, profile, records)


# Python looks up __call__ in the class of a module, not among its attributes.
sys.modules[__name__].__class__ = Package
