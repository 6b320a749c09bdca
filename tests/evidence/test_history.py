"""The history: appended once, whole after a crash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suite.errors import SuiteError
from suite.evidence import history
from suite.evidence.history import append_missing, read_history

CLAIM = "nkd-resnet18-nkd"


@pytest.fixture
def three(record):
    """Three finished runs of one claim, one night after the other, and one that failed."""
    runs = [
        record(CLAIM, "distilled", seed, top1=71.0 + seed, finished_at=f"2026-11-0{seed + 1}T23:00:00+00:00")
        for seed in range(3)
    ]
    return [*runs, record(CLAIM, "distilled", 3, status="failed", error="it broke")]


def test_points_are_appended_once_and_in_the_order_of_time(three, tmp_path):
    path = tmp_path / history.FILE
    first = append_missing(path, three[:1])
    before = path.read_bytes()
    second = append_missing(path, three)
    assert [point.n for point in second.points] == [1, 2, 3]
    assert second.points == read_history(path)
    assert path.read_bytes().startswith(before)
    assert (len(first.fresh), len(second.fresh), append_missing(path, three).fresh) == (1, 2, [])
    # A point outlives its record.
    assert len(append_missing(path, []).points) == 3


@pytest.mark.parametrize("torn", [1, 20, 300])
def test_a_torn_last_line_is_noticed_and_its_point_comes_again(three, tmp_path, torn):
    path = tmp_path / history.FILE
    whole = append_missing(path, three).points
    content = path.read_bytes()
    path.write_bytes(content[:-torn])
    assert len(read_history(path)) == 2
    again = append_missing(path, three)
    assert again.torn
    assert again.points == whole
    assert path.read_bytes() == content
    assert not append_missing(path, three).torn


def test_a_point_whose_line_break_alone_is_lost_stays_without_its_record(three, tmp_path):
    path = tmp_path / history.FILE
    whole = append_missing(path, three).points
    path.write_bytes(path.read_bytes()[:-1])
    assert append_missing(path, []).points == whole


def test_a_full_disk_leaves_the_history_as_it_was(three, tmp_path, monkeypatch):
    path = tmp_path / history.FILE
    append_missing(path, three[:1])
    before = path.read_bytes()

    sync = os.fsync

    def refuse(file):
        if Path(os.readlink(f"/proc/self/fd/{file}")) == path:
            raise OSError(28, "No space left on device")
        sync(file)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        append_missing(path, three)
    assert path.read_bytes() == before


def test_a_damaged_line_is_refused_by_its_number(three, tmp_path):
    path = tmp_path / history.FILE
    append_missing(path, three)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"value":', b'"worth":')
    path.write_bytes(b"".join(lines))
    before = path.read_bytes()
    with pytest.raises(SuiteError, match=r"history\.jsonl:2: not a point of a history .*restore that line"):
        append_missing(path, three)
    assert path.read_bytes() == before


def test_nothing_is_appended_through_a_link(three, tmp_path):
    target = tmp_path / "elsewhere"
    target.write_text("mine")
    (tmp_path / history.FILE).symlink_to(target)
    with pytest.raises(SuiteError, match="symbolic link"):
        append_missing(tmp_path / history.FILE, three)
    assert target.read_text() == "mine"
