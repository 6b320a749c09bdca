"""``changes.yaml``: known change points, refused where they are wrong."""

from __future__ import annotations

import datetime

import pytest

from suite.errors import SuiteError
from suite.published.changes import last_change, read_changes

GOOD = """\
changes:
  - date: 2026-11-26
    rows: [nkd-resnet18-nkd, resnet34]
    reason: torch 2.11
  - {date: 2026-11-28, rows: all, reason: another driver}
"""


def test_our_own_file_is_read():
    read_changes()


def test_the_latest_change_up_to_a_night_counts(tmp_path):
    (tmp_path / "changes.yaml").write_text(GOOD)
    changes = read_changes(tmp_path / "changes.yaml")

    def reason(subject, day):
        change = last_change(changes, subject, datetime.date(2026, 11, day))
        return change and change.reason

    assert [reason("resnet34", day) for day in (25, 26, 27, 28)] == [
        *(None, "torch 2.11"),
        *("torch 2.11", "another driver"),
    ]
    assert [reason("mgd-resnet18", day) for day in (27, 28)] == [None, "another driver"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("2026-11-26", "26.11.2026", r":2: .*'26\.11\.2026' is not a date; write it like"),
        ("resnet34]", "resnet43]", r":3: there is no row 'resnet43'; did you mean"),
        ("[nkd-resnet18-nkd, resnet34]", "[]", r":3: "),
        ("[nkd-resnet18-nkd, resnet34]", "every", r":3: "),
        ("reason: torch 2.11", "why: torch 2.11", r":4: .*why"),
        ("reason: torch 2.11", "reason: ''", r":4: "),
    ],
)
def test_a_wrong_entry_is_refused_with_its_line(tmp_path, before, after, message):
    assert before in GOOD
    (tmp_path / "changes.yaml").write_text(GOOD.replace(before, after, 1))
    with pytest.raises(SuiteError, match=r"changes\.yaml" + message):
        read_changes(tmp_path / "changes.yaml")
