"""Files appear whole or not at all, wherever the system stops, and on file systems with less to offer."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from suite.paths import ROOT
from suite.store.files import begun, create, replacing, write

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES)


def refuse(number: int) -> Callable[..., NoReturn]:
    def refusal(*_: Any, **__: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return refusal


@pytest.mark.parametrize("number", NO_LINKS, ids=errno.errorcode.get)
def test_without_hard_links_a_file_is_created_whole_and_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    monkeypatch.setattr(os, "link", refuse(number))
    path = tmp_path / "one"
    assert create(path, b"first")
    assert not create(path, b"second")
    assert path.read_bytes() == b"first"
    assert [file.name for file in tmp_path.iterdir()] == ["one"]


def test_without_hard_links_writers_at_once_get_one_name_each(tmp_path: Path):
    code = """
import os, sys
from pathlib import Path
from suite.store.files import create
def refuse(*_): raise PermissionError(1, "Operation not permitted")
os.link = refuse
for number in range(30):
    if create(Path(sys.argv[1]) / str(number), sys.argv[2].encode() * 1000):
        print(number)
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), name], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for name in "abc"
    ]
    won = {
        name: writer.communicate(timeout=120)[0].split() for name, writer in zip("abc", writers, strict=True)
    }
    assert sorted(int(number) for numbers in won.values() for number in numbers) == list(range(30))
    for name, numbers in won.items():
        for number in numbers:
            assert (tmp_path / number).read_text() == name * 1000


def test_a_link_to_elsewhere_in_the_place_of_a_new_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "one").symlink_to(tmp_path / "elsewhere")
    assert not create(tmp_path / "store" / "one", b"content")
    monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    assert not create(tmp_path / "store" / "one", b"content")
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_is_written_in_the_place_of_a_link_and_not_through_it(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"somebody's")
    table = tmp_path / "table.md"
    table.symlink_to(elsewhere)
    write(table, b"ours")
    assert (table.read_bytes(), elsewhere.read_bytes()) == (b"ours", b"somebody's")


def test_what_cannot_be_renamed_leaves_no_name_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    monkeypatch.setattr(os, "replace", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        create(tmp_path / "one", b"content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["link", "replace"])
def test_a_step_that_was_made_though_the_answer_was_lost_counts_as_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    made = getattr(os, call)

    def lose_the_answer(*arguments: Any) -> NoReturn:
        made(*arguments)
        number = {"link": errno.EEXIST, "replace": errno.ENOENT}[call]
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    monkeypatch.setattr(os, call, lose_the_answer)
    assert create(tmp_path / "one", b"content")
    assert (tmp_path / "one").read_bytes() == b"content"


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "fsync", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left") as caught, replacing(tmp_path / "one") as aside:
        aside.write_bytes(b"content")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "one"))
    assert list(tmp_path.iterdir()) == []


CALLS = ("mkdir", "open", "link", "fsync", "replace", "unlink", "rmdir", "close")
"""What changes a file system, or ends a change."""


def killed_at(at: int, links: bool, path: Path, content: bytes) -> bool:
    """Whether a process that creates a file was killed before its `at`-th call to the system."""
    child = os.fork()
    if child == 0:
        calls = iter(range(1, 1000))

        def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                if next(calls) == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return call

        if not links:
            os.link = refuse(errno.EPERM)
        for name in CALLS:
            setattr(os, name, deadly(getattr(os, name)))
        try:
            os._exit(0 if create(path, content) else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("links", [True, False])
def test_wherever_a_writer_is_killed_the_file_is_whole_absent_or_to_be_found_beside(
    tmp_path: Path, links: bool
):
    content, seen = b"x" * 100_000, set()
    for at in range(1, 100):
        path = tmp_path / str(at) / "one"
        if not killed_at(at, links, path, content):
            break
        with contextlib.suppress(FileNotFoundError):
            found = path.read_bytes()
            assert found in (content, b"")
            assert found or begun(path, 2**20) == content
            seen.add(len(found))
            assert not create(path, b"another")
    else:
        pytest.fail("it never ended")
    assert at > 5
    # A name without content is left in one place alone, and only where there are no links.
    assert seen == ({100_000} if links else {0, 100_000})
