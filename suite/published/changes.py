"""Known change points of the history: ``baselines/changes.yaml``.

From the date of a change on, the rows that it names have a new history: earlier measurements are kept, but
later ones are not compared with them.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from suite import paths
from suite.errors import did_you_mean
from suite.published.finding import claims_by_id
from suite.published.weights import read_weights
from suite.strict import Strict
from suite.strict_yaml import parse, refuse


def _as_date(value: Any) -> Any:
    if isinstance(value, datetime.date):
        return value
    try:
        return datetime.date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a date; write it like 2026-11-26") from None


class Change(Strict):
    """One known change.

    Attributes:
        date: the first night that shows it.
        rows: ids of claims and of released teachers (``weights.yaml``), or `all`.
        reason: what changed, for a reader of the history.
    """

    date: Annotated[datetime.date, BeforeValidator(_as_date)]
    rows: Literal["all"] | Annotated[list[str], Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)]

    def concerns(self, subject: str) -> bool:
        """Whether it starts a new history for a claim or a released teacher."""
        return self.rows == "all" or subject in self.rows


class _Changes(Strict):
    """The whole file.

    Attributes:
        changes: in any order.
    """

    changes: list[Change]


def read_changes(path: Path | None = None) -> list[Change]:
    """The known changes, in the order of the file.

    Args:
        path: the file; by default the one in ``baselines/``.

    Raises:
        SuiteError: it is missing, breaks the schema, or names an unknown row; with file and line.
    """
    path = path or paths.BASELINES / "changes.yaml"
    changes = parse(_Changes, path).changes
    known = claims_by_id().keys() | read_weights().keys()
    for index, change in enumerate(changes):
        for position, row in enumerate(() if change.rows == "all" else change.rows):
            if row not in known:
                where = ("changes", index, "rows", position)
                refuse(path, where, f"there is no row {row!r}; {did_you_mean(row, known)}")
    return changes


def last_change(changes: Iterable[Change], subject: str, night: datetime.date) -> Change | None:
    """The latest change of a claim or a released teacher up to a night; None if there was none."""
    found = [change for change in changes if change.concerns(subject) and change.date <= night]
    return max(found, key=lambda change: change.date, default=None)
