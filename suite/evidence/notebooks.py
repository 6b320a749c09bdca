"""Builds both frames from a store on disk, for notebooks: `suite.evidence` and `suite.frame`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from suite.errors import SuiteError, printable
from suite.evidence.frame import build_frame
from suite.evidence.observations import build_observations
from suite.paths import records_dir
from suite.published.claims import Paper
from suite.published.finding import find_paper, load_papers
from suite.published.recipes import DEFAULT_PROFILE, check_profile
from suite.store.summaries import Summary, read_summaries


def long_frame(
    paper: str | None = None, profile: str | None = None, records: str | Path | None = None
) -> pd.DataFrame:
    """The long frame, one row for each measured number; see `suite.evidence.Package.__call__`."""
    return _built(build_observations, paper, profile, records)


def judged_frame(
    paper: str | None = None, profile: str | None = None, records: str | Path | None = None
) -> pd.DataFrame:
    """The judged frame: one row for each metric of a claim, with what was measured and the verdicts.

    Args:
        paper: id of a paper; all papers by default.
        profile: `smoke`, `mini` (default) or `paper`.
        records: folder of a record store; by default the one in the results folder.

    Returns:
        Columns and dtypes as in `suite.evidence.frame.COLUMNS`, which docs/frames.md lists. Claims that were
        never run have rows too.

    Raises:
        SuiteError: the paper, profile or folder is unknown, or a record cannot be read.
    """
    return _built(build_frame, paper, profile, records)


def _built(
    build: Callable[[list[Paper], list[Summary], str], pd.DataFrame],
    paper: str | None,
    profile: str | None,
    records: str | Path | None,
) -> pd.DataFrame:
    papers = list(load_papers().values()) if paper is None else [find_paper(paper)]
    # Check the arguments before reading thousands of records.
    asked = check_profile(profile or DEFAULT_PROFILE)
    return build(papers, _summaries(records), asked)


def _summaries(folder: str | Path | None) -> list[Summary]:
    if folder is not None and not Path(folder).is_dir():
        raise SuiteError(f"no folder of records at {printable(folder)}; name one, or leave 'records' out")
    return read_summaries(records_dir() if folder is None else Path(folder))
