"""Maintains the one issue in which nightly runs report open flags, with GitHub's own command, ``gh``.

The issue is created with the first flags, commented on when the set of flags changes, closed when none is
left, and reopened with the next ones. The previous flags are read from the issue itself, so that no other
state can be lost.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from suite.errors import SuiteError, one_line, printable
from suite.paths import ROOT

TITLE: Final = "Nightly: rows that have changed"
ABSENT: Final = "there is no gh command on the PATH, so no issue is kept"

_MOST: Final = 200
"""Largest number of flags that are listed, since an issue is limited to 65,536 characters."""
_PATIENCE: Final = 60
"""Timeout of one call, in seconds."""


def body_of(flags: Sequence[str]) -> str:
    """The text of the issue: the flags, and nothing that changes from night to night."""
    lines = [f"- {flag}" for flag in flags[:_MOST]]
    if len(flags) > _MOST:
        lines.append(f"- and {len(flags) - _MOST} more, which the page of the night lists")
    return "\n".join(
        ["Kept by `python -m suite nightly`; the page of the night has the numbers.", "", *lines]
    )


@dataclass(frozen=True)
class _Issue:
    number: int
    is_open: bool
    flags: frozenset[str]


def update(flags: Sequence[str]) -> str:
    """Creates, comments on, reopens or closes the issue, as the flags require.

    Args:
        flags: the open flags, one line each.

    Returns:
        What was done, in words.

    Raises:
        NotToldError: ``gh`` fails or does not answer.
    """
    gh = shutil.which("gh")
    if gh is None:
        return ABSENT
    issue = _find(gh)
    body = body_of(flags)
    now = _flags_in(body)
    if not flags:
        if issue is None or not issue.is_open:
            return "no flags, and no issue is open"
        _call(gh, "close", str(issue.number), "--comment", "No flags are left.")
        return f"issue {issue.number} closed: no flags are left"
    if issue is None:
        _call(gh, "create", "--title", TITLE, "--body", body)
        return "issue created"
    if issue.is_open and issue.flags == now:
        return f"issue {issue.number} stays as it is: the flags are the same"
    news = _news(issue.flags if issue.is_open else frozenset(), now)
    # Comment before editing the text to compare with: a crash in between notifies twice instead of never.
    if issue.is_open:
        _call(gh, "comment", str(issue.number), "--body", news)
    else:
        _call(gh, "reopen", str(issue.number), "--comment", news)
    _call(gh, "edit", str(issue.number), "--body", body)
    return f"issue {issue.number} {'commented' if issue.is_open else 'reopened'}"


def _find(gh: str) -> _Issue | None:
    """The standing issue, open or closed: the oldest one with this title."""
    fields = "number,title,state,body"
    search = ("--search", f'in:title "{TITLE}"', "--state", "all", "--limit", "100")
    try:
        found: list[dict[str, Any]] = json.loads(_call(gh, "list", *search, "--json", fields) or "[]")
        ours = [
            _Issue(int(entry["number"]), entry["state"] == "OPEN", _flags_in(entry["body"]))
            for entry in found
            if entry["title"] == TITLE
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise _failed(f"'gh issue list' did not return a list of issues ({error})") from None
    return min(ours, key=lambda issue: issue.number, default=None)


def _flags_in(body: str) -> frozenset[str]:
    return frozenset(line.strip()[2:] for line in body.splitlines() if line.startswith("- "))


def _news(before: frozenset[str], now: frozenset[str]) -> str:
    parts = [("New", sorted(now - before)), ("Cleared", sorted(before - now))]
    return "\n\n".join(
        "\n".join([f"{title}:", "", *(f"- {flag}" for flag in flags)]) for title, flags in parts if flags
    )


def _call(gh: str, *words: str) -> str:
    try:
        done = subprocess.run(
            [gh, "issue", *words], capture_output=True, text=True, check=False, cwd=ROOT, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(f"'gh issue {words[0]}' does not answer ({error})") from None
    if done.returncode:
        reason = one_line(done.stderr) or f"status {done.returncode}"
        raise _failed(f"'gh issue {words[0]}' refuses ({printable(reason)})")
    return done.stdout


class NotToldError(SuiteError):
    """The night was measured and published, but the issue could not be updated."""

    exit_status = 1


def _failed(what: str) -> NotToldError:
    return NotToldError(
        f"{what}: the history and the page are written, but nobody was notified; see 'gh auth status'"
    )
