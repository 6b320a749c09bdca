"""One line for whatever stops a run: what, where, and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from suite.contract import BlockedError
from suite.errors import SuiteError
from suite.running.complaints import describe, one_line
from suite.running.run_log import RunLog

PLACE = Path("runs/0123456789abcdef")


def refusal(number: int, *place: str) -> OSError:
    return OSError(number, os.strerror(number), *place)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (refusal(errno.ENOSPC, "/w/a.json"), "No space left on device (/w/a.json): make room there and run "),
        (
            refusal(errno.ENOLCK),
            f"No locks available ({PLACE}): its file system does not support locks",
        ),
        (refusal(errno.EROFS), f"Read-only file system ({PLACE}): make it writable, or name another folder"),
        (
            refusal(errno.ELOOP, "/w/lock"),
            "Too many levels of symbolic links (/w/lock): a symbolic link ",
        ),
        (
            refusal(errno.ENOENT, "/w/a.jpg"),
            "FileNotFoundError: [Errno 2] No such file or directory: ",
        ),
        (OSError("cannot write x; make room"), "OSError: cannot write x; make room"),
        (SuiteError("log.txt is a link: delete it"), "log.txt is a link: delete it"),
        (ValueError("one\n  two"), "ValueError: one two"),
    ],
)
def test_what_the_system_refuses_has_a_place_and_a_remedy(error, says):
    assert describe(error, PLACE).startswith(says)


def test_the_refusal_behind_an_error_of_a_library_is_what_is_told():
    try:
        try:
            raise refusal(errno.ENOSPC, "/w/x.png")
        except OSError as inner:
            raise RuntimeError("image not written") from inner
    except RuntimeError as error:
        found = describe(error, PLACE)
    assert found == "No space left on device (/w/x.png): make room there and run the same command again"


def test_a_long_error_is_cut_and_one_without_words_has_a_name():
    assert len(describe(ValueError("x" * 1000), PLACE)) < 310
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert one_line(BlockedError("a\nb")) == "a b"


def test_a_log_on_a_full_disk_takes_nothing_with_it_and_says_so_once(tmp_path: Path):
    said: list[str] = []
    full = RunLog(Path("log.txt"), open("/dev/full", "ab", buffering=0), said.append)  # noqa: SIM115
    for number in range(3):
        print(f"epoch {number}", file=full, flush=True)
    assert said == ["log.txt cannot be written (No space left on device): the run continues without a log"]
    path = tmp_path / "log.txt"
    with open(path, "ab", buffering=0) as file:
        print("épochs \udcff", file=RunLog(path, file, said.append))
    assert path.read_bytes() == "épochs \\udcff\n".encode()
    assert len(said) == 1
