"""Whatever lies in a store in the place of a record: one line that names it, and nothing happens."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.errors import SuiteError
from suite.store.records import read_all, read_for_run, write_record
from suite.store.summaries import read_summaries
from tests.store.test_records import RUN, record

Change = Callable[[Path], None]


def replaced(old: str, new: str) -> Change:
    """A record with one text in place of another."""

    def change(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    return change


def content(what: str | bytes) -> Change:
    """Something else in the file."""

    def change(path: Path) -> None:
        path.write_bytes(what if isinstance(what, bytes) else what.encode())

    return change


def no_file(make: Callable[[Path], object]) -> Change:
    """Something else than a file."""

    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


DEPTH = 100_000
DEEP = f'"recipe": {"[" * DEPTH}{"]" * DEPTH}'

HOSTILE: dict[str, Change] = {
    "deep": content(f'{{"schema_version": 3, {DEEP}}}'),
    "deep and older": content(f'{{"schema_version": 2, {DEEP}}}'),
    "not UTF-8": content(b'{"schema_version": 3, "task": "\xff"}'),
    "older and not UTF-8": content(b'{"schema_version": 2, "task": "\xff"}'),
    "a list": content("[]"),
    "a number of 5,000 digits": replaced('"seed": 0', f'"seed": {"9" * 5000}'),
    "a key twice": replaced('"seed": 0', '"seed": 1,\n "seed": 0'),
    "a metric twice": replaced('"top1": 71.25', '"top1": 99.0, "top1": 71.25'),
    "a student that is a number": replaced('"recipe": {}', '"recipe": {"student": 3}'),
    "a teacher without a name": replaced('"recipe": {}', '"recipe": {"teacher": {"name": null}}'),
    "an attempt that is a list": replaced('"attempt": 1', '"attempt": [1]'),
    "an older attempt that is a list": content(f'{{"schema_version": 2, "run_id": "{RUN}", "attempt": [1]}}'),
    "an older id that leads elsewhere": content('{"schema_version": 2, "run_id": "../x", "attempt": 1}'),
    "an older record of another name": content('{"schema_version": 2, "run_id": "0000000000000000"}'),
    "a pipe": no_file(os.mkfifo),
    "a folder": no_file(os.mkdir),
    "a link to nowhere": no_file(lambda path: path.symlink_to("nowhere")),
    "a link to a device": no_file(lambda path: path.symlink_to("/dev/zero")),
    "a link to itself": no_file(lambda path: path.symlink_to(path.name)),
    "16 GiB": lambda path: os.truncate(path, 2**34),
    "a profile that leads elsewhere": replaced('"profile": "mini"', '"profile": "/../../escaped"'),
    "a profile of dots": replaced('"profile": "mini"', '"profile": ".."'),
    "a run id that leads elsewhere": replaced(f'"run_id": "{RUN}"', '"run_id": "../../escaped"'),
    "a series that is none": replaced('"series": "fedcba9876543210"', '"series": "x"'),
    "a former id that leads elsewhere": replaced('"former_ids": []', '"former_ids": ["../.."]'),
    "a claim with markup": replaced('"claim": "mgd-resnet18"', '"claim": "<script>"'),
    "a claim that is an option": replaced('"claim": "mgd-resnet18"', '"claim": "--all"'),
    "a metric with markup": replaced('"top1": 71.25', '"`|top1": 71.25'),
    "a task of two lines": replaced('"task": "classification"', '"task": "a\\nb"'),
    "a time that is none": replaced('"finished_at": "2026', '"finished_at": "soon'),
    "a package with a slash": replaced('"packages": {}', '"packages": {"../torch": "1"}'),
    "weights without a hash": replaced('"weights_sha256": null', '"weights_sha256": "../x"'),
    "a status with an escape sequence": replaced('"status": "finished"', '"status": "\\u001b[31mred"'),
    "a key with an escape sequence": replaced('"seed": 0', '"seed": 0, "\\u001b[31mred": 0'),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_it_is_one_line_that_names_the_file(tmp_path: Path, change: Change):
    write_record(tmp_path, record())
    path = tmp_path / f"{RUN}-01.json"
    change(path)
    readings: list[Callable[[Path], object]] = [
        read_all,
        read_summaries,
        lambda folder: read_for_run(folder, RUN),
    ]
    for read in readings:
        with pytest.raises(SuiteError) as caught:
            read(tmp_path)
        said = str(caught.value)
        assert said.startswith(f"{path}: ")
        assert said.isprintable()
        assert len(said) < len(str(path)) + 500


def test_free_text_is_kept_as_printable_lines(tmp_path: Path):
    text = "first\nsecond \x1b[31mred\u202e"
    departure = {"kind": "profile", "setting": text, "declared_by": text, "ours": "mini"}
    claim = {"claim": "mgd-resnet18", "arm": "student", "variant": (f"student.x={text}",)}
    write_record(tmp_path, record(status="failed", error=text, departures=[departure], claims=[claim]))
    (read,) = read_all(tmp_path)
    for line in (read.error, read.departures[0].setting, *read.claims[0].variant):
        assert line is not None
        assert line.isprintable()
        assert "second" in line
