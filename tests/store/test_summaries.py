"""Summaries are the same with an index and without, whatever happens to the folder, and spare reading."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.errors import SuiteError
from suite.store import summaries
from suite.store.record import Record
from suite.store.records import read_all, read_files, write_record
from suite.store.summaries import INDEX, Summary, SummaryReader, read_summaries
from tests.store.test_records import record

OLDER = Path(__file__).parent / "older_records"


@pytest.fixture(autouse=True)
def _indexed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record is worth an index, and old enough for one."""
    monkeypatch.setattr(summaries, "WORTH_AN_INDEX", 1)
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read whole, in their order."""
    names: list[str] = []

    def noting(paths: Iterable[Path], *rest: object) -> Iterator[tuple[Path | None, Record]]:
        found = list(paths)
        names.extend(path.name for path in found)
        return read_files(found, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(summaries, "read_files", noting)
    return names


def made(number: int) -> Record:
    """One of many records, with all that a summary has."""
    digits = f"{number:016x}"
    failed = number % 5 == 4
    return record(
        digits,
        series=digits[::-1],
        seed=number % 3,
        status="failed" if failed else "finished",
        metrics={} if failed else {"top1": number / 7, "top5": 99.0},
        per_class={"IoU": {"paper": number / 3}} if number % 2 else {},
        skipped={"empty boxes": number},
        timings={"wall": number / 9, "seconds_per_step": 0.1},
        error="out of memory" if failed else None,
        recipe={"task": "classification", "student": {"name": f"net-{number % 4}"}, "teacher_seed": 0},
        departures=[{"kind": "profile", "setting": "data", "ours": [number % 2], "declared_by": "mini"}],
        provenance={
            "packages": {"torch": "2.10.0"},
            "host": {"cores": number % 4},
            "weights_sha256": f"{number:064x}",
        },
    )


def without_index(folder: Path) -> list[Summary]:
    shared = summaries._Shared()
    return [summaries._summary(summaries._row(each, shared), shared) for each in read_all(folder)]


def outcome(read: Callable[[Path], list[Summary]], folder: Path) -> object:
    """What is read, or the error that says why not."""
    try:
        return read(folder)
    except SuiteError as error:
        return str(error)


def changed(path: Path, content: bytes) -> None:
    """Gives a file new content, later than its index by any clock."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.write_bytes(content)


def test_a_summary_has_what_reports_read_of_a_record(tmp_path: Path):
    write_record(tmp_path, one := made(1))
    (summary,) = read_summaries(tmp_path)
    for name in Summary.__dataclass_fields__:
        assert getattr(summary, name) == getattr(one, name)


def test_records_are_read_whole_once_and_later_only_what_is_new_or_has_changed(
    tmp_path: Path, parsed: list[str]
):
    names = []
    for number in range(40):
        made_now = write_record(tmp_path, made(number))
        names.append(f"{made_now.run_id}-01.json")
    first = read_summaries(tmp_path)
    assert parsed == names
    parsed.clear()
    assert read_summaries(tmp_path) == first
    assert parsed == []
    write_record(tmp_path, made(40))
    changed(tmp_path / names[3], (tmp_path / names[3]).read_bytes())
    (tmp_path / names[7]).unlink()
    assert len(read_summaries(tmp_path)) == 40
    assert sorted(parsed) == [names[3], f"{40:016x}-01.json"]


def test_a_reader_reads_later_only_what_is_new_or_has_changed(tmp_path: Path, parsed: list[str]):
    paths = [tmp_path / f"{write_record(tmp_path, made(number)).run_id}-01.json" for number in range(4)]
    reader = SummaryReader(tmp_path)
    first = reader.read()
    (tmp_path / INDEX).unlink()
    parsed.clear()
    assert reader.read() == first
    assert parsed == []
    write_record(tmp_path, made(4))
    changed(paths[1], paths[1].read_bytes())
    paths[2].unlink()
    assert reader.read() == without_index(tmp_path)
    assert sorted(parsed[:2]) == [paths[1].name, f"{4:016x}-01.json"]


def test_few_new_records_are_not_worth_a_new_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(summaries, "WORTH_AN_INDEX", 3)
    for number in range(2):
        write_record(tmp_path, made(number))
    read_summaries(tmp_path)
    assert not (tmp_path / INDEX).exists()
    write_record(tmp_path, made(2))
    read_summaries(tmp_path)
    written = (tmp_path / INDEX).read_bytes()
    write_record(tmp_path, made(3))
    assert len(read_summaries(tmp_path)) == 4
    assert (tmp_path / INDEX).read_bytes() == written


def test_a_file_that_has_just_been_written_is_not_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "time_ns", lambda: (tmp_path / f"{1:016x}-01.json").stat().st_ctime_ns + 10**9)
    write_record(tmp_path, made(1))
    assert len(read_summaries(tmp_path)) == 1
    assert not (tmp_path / INDEX).exists()


def test_an_index_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_record(tmp_path, made(1))

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    assert read_summaries(tmp_path) == without_index(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{1:016x}-01.json"]


def test_an_index_of_another_release_is_not_read(
    tmp_path: Path, parsed: list[str], monkeypatch: pytest.MonkeyPatch
):
    write_record(tmp_path, made(1))
    with monkeypatch.context() as other:
        other.setattr(summaries, "_FORMAT", [1, 3, "0.0.1"])
        read_summaries(tmp_path)
    parsed.clear()
    assert read_summaries(tmp_path) == without_index(tmp_path)
    assert len(parsed) == 1


def test_a_folder_in_the_place_of_the_index_changes_nothing(tmp_path: Path):
    write_record(tmp_path, made(1))
    (tmp_path / INDEX).mkdir()
    (tmp_path / INDEX / "file").touch()
    assert read_summaries(tmp_path) == without_index(tmp_path)


def test_an_index_that_was_carried_to_another_store_says_nothing_there(tmp_path: Path, parsed: list[str]):
    for store, number in (("one", 1), ("two", 2)):
        write_record(tmp_path / store, made(number))
        read_summaries(tmp_path / store)
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    shutil.copy(tmp_path / "one" / INDEX, tmp_path / "two" / INDEX)
    parsed.clear()
    for store in ("copy", "two"):
        assert read_summaries(tmp_path / store) == without_index(tmp_path / store)
    assert len(parsed) == 2


class Folder:
    """A store to which anything may happen."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        self.older_index = b""

    def any_file(self) -> Path | None:
        files = sorted(self.folder.glob("*.json"))
        return self.chance.choice(files) if files else None

    def add(self) -> None:
        write_record(self.folder, made(self.chance.randrange(12)))

    def add_older(self) -> None:
        name = self.chance.choice(sorted(path.name for path in OLDER.iterdir()))
        shutil.copy(OLDER / name, self.folder / name)

    def delete(self) -> None:
        if path := self.any_file():
            path.unlink()

    def edit_in_place(self) -> None:
        """Another number of the same length, and the old time."""
        path = self.any_file()
        if path and (content := path.read_bytes()):
            times = path.stat()
            changed(path, content.replace(b'"seed": 0', b'"seed": 1'))
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def replace(self) -> None:
        path = self.any_file()
        if path and path.name.startswith("0" * 10):
            number = int(path.name[:16], 16)
            attempt = int(path.name[17:19])
            other = made(number).model_copy(update={"attempt": attempt, "seed": 2})
            aside = path.with_name("aside")
            aside.write_text(other.model_dump_json(indent=1) + "\n")
            aside.replace(path)

    def damage(self) -> None:
        if path := self.any_file():
            changed(path, path.read_bytes()[:-10])

    def repair(self) -> None:
        for path in list(self.folder.glob("*.json")):
            with contextlib.suppress(ValueError):
                json.loads(path.read_bytes())
                continue
            path.unlink()

    def keep_index(self) -> None:
        if (self.folder / INDEX).exists():
            self.older_index = (self.folder / INDEX).read_bytes()

    def restore_index(self) -> None:
        (self.folder / INDEX).write_bytes(self.older_index)

    def damage_index(self) -> None:
        index = self.folder / INDEX
        if index.exists() and (content := bytearray(index.read_bytes())):
            content[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
            index.write_bytes(content[: self.chance.randrange(len(content)) + 1])

    def flip_index(self) -> None:
        index = self.folder / INDEX
        if index.exists() and (content := bytearray(index.read_bytes())):
            content[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
            index.write_bytes(content)

    def lose_index(self) -> None:
        (self.folder / INDEX).unlink(missing_ok=True)


HAPPENINGS = sorted(name for name in vars(Folder) if not name.startswith("_") and name != "any_file")


@settings(max_examples=30, deadline=None)
@given(
    happenings=st.lists(st.sampled_from([*HAPPENINGS, "add", "add", "add"]), min_size=3, max_size=14),
    seed=st.integers(0, 2**16),
)
def test_with_an_index_or_a_reader_that_was_kept_the_same_is_read_as_without(
    tmp_path_factory: pytest.TempPathFactory, happenings: list[str], seed: int
):
    store = Folder(tmp_path_factory.mktemp("store"), random.Random(seed))
    reader = SummaryReader(store.folder)
    for happening in happenings:
        getattr(store, happening)()
        expected = outcome(without_index, store.folder)
        assert outcome(lambda _: reader.read(), store.folder) == expected
        assert outcome(read_summaries, store.folder) == expected
