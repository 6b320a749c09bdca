"""The page, the feed and the flags of a night."""

from __future__ import annotations

import datetime
import xml.etree.ElementTree as ET
from dataclasses import replace

from suite.evidence.labels import Interval, Status
from suite.evidence.points import Point, Row
from suite.report.markdown import to_markdown
from suite.report.nightly import Night, to_feed

DATE = datetime.date(2026, 11, 26)
ROW = Row("mgd-resnet18", "distilled", ("schedule.<b>=2",), "paper", None)
BAD = Status(
    ROW, "top1", "regression", False, 70.0, 31, Interval(71.5, 72.5), DATE - datetime.timedelta(days=1), DATE
)
SLOW = Status(
    ROW, "seconds_per_step", "suspicious", False, 0.51234, 31, Interval(float("-inf"), 0.4), DATE, DATE
)
MISSING = Status(ROW._replace(variant=()), "any metric", "insufficient_data", stale=True)
FINE = Status(ROW, "top5", "no_regression", False, 90.0, 31, Interval(89.0, 91.0), DATE, DATE)
NIGHT = Night(DATE, ["score"], [BAD, SLOW, MISSING, FINE], 3, {"resnet18, seed 0": "it broke"}, ["no GPU"])


def test_flags_are_what_somebody_is_told_of_without_numbers_or_dates():
    title = "mgd-resnet18 schedule.<b>=2 (paper)"
    assert NIGHT.flags == [
        "did not run: no GPU",
        f"regression: {title}, top1",
        "stale: mgd-resnet18 (paper)",
    ]


def test_the_page_shows_what_is_open_first_and_every_row_folded():
    page = NIGHT.page
    first, failed, every = page.sections
    assert [line.cells[1:5] for line in first.grids[0].lines] == [
        ("top1", "regression", "70.00", "71.50 to 72.50"),
        ("seconds_per_step", "suspicious", "0.5123", "up to 0.4"),
        ("any metric", "stale", "—", "—"),
    ]
    assert failed.grids[0].lines[0].cells == ("resnet18, seed 0", "it broke")
    assert every.grids[0].folded
    assert len(every.grids[0].lines) == 4
    assert "Did not run: no GPU" in NIGHT.summary


def test_what_is_to_be_looked_at_has_its_history_on_the_page_and_not_in_the_summary():
    points = [
        Point(
            **ROW._asdict(),
            metric="top1",
            run_id=f"{number:016x}",
            seed=0,
            repetition=number,
            value=72.0 if number < 8 else 70.0,
            n=number + 1,
            comparable=True,
            finished_at=f"{DATE - datetime.timedelta(days=9 - number)}T13:00:00Z",
            night=DATE - datetime.timedelta(days=9 - number),
        )
        for number in range(10)
    ]
    night = Night(DATE, ["score"], [replace(BAD, n=10), MISSING, FINE], history=points)
    (figure,) = night.illustrate().sections[0].figures
    assert figure.name == "history-mgd-resnet18-schedule-b-2-paper-distilled-top1"
    assert len(figure.table.lines) == 10
    assert "<b>" not in figure.svg
    assert night.page.sections[0].figures == ()
    assert night.summary == to_markdown(night.page)


def test_an_entry_of_the_feed_keeps_its_id_as_long_as_it_is_open():
    space = {"atom": "http://www.w3.org/2005/Atom"}
    feed = ET.fromstring(to_feed(NIGHT))
    entries = {entry.findtext("atom:title", "", space): entry for entry in feed.findall("atom:entry", space)}
    assert [title.partition(":")[0] for title in entries] == [
        *("did not run", "regression", "suspicious", "stale"),
    ]
    later = Night(DATE + datetime.timedelta(days=1), ["score"], [BAD])
    (again,) = ET.fromstring(to_feed(later)).findall("atom:entry", space)
    (before,) = [entry for title, entry in entries.items() if title.startswith("regression")]
    assert again.findtext("atom:id", "", space) == before.findtext("atom:id", "", space)
    for name in ("id", "title", "updated"):
        assert feed.findtext(f"atom:{name}", "", space)
        assert all(entry.findtext(f"atom:{name}", "", space) for entry in entries.values())


def test_the_same_night_gives_the_same_bytes(tmp_path):
    first = {path.name: path.read_bytes() for path in NIGHT.publish(tmp_path)}
    assert set(first) == {"nightly.md", "nightly.html", "nightly.atom"}
    assert {path.name: path.read_bytes() for path in NIGHT.publish(tmp_path)} == first
    assert b"<b>" not in first["nightly.html"]
