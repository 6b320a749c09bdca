"""Resume points: two are kept, a bad one is set aside, and no moment to be killed at leaves none."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from suite.store.run_folders import RESUME_BEFORE_FILE, RESUME_FILE
from suite.store.sealed import seal_of
from tasks.training.resume_points import ResumePoints

RUN = "0123456789abcdef"


class Points(ResumePoints):
    """The points of a folder, and what was told of them."""

    def __init__(self, folder: Path, owner: str = RUN) -> None:
        self.told: list[str] = []
        super().__init__(folder, owner, self.told.append)

    def epochs(self) -> list[int]:
        """The epochs of the good points, the newest first."""
        return [checkpoint["epoch"] for _, checkpoint in self.good()]


@pytest.fixture
def points(tmp_path: Path) -> Points:
    """After three epochs."""
    made = Points(tmp_path)
    for epoch in (1, 2, 3):
        made.write({"epoch": epoch, "weights": torch.full((64,), float(epoch))})
    return made


def test_the_newest_two_are_kept_and_hold_what_was_written(points, tmp_path):
    assert points.epochs() == [3, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == [RESUME_BEFORE_FILE, RESUME_FILE]
    (_, newest), _ = points.good()
    assert torch.equal(newest["weights"], torch.full((64,), 3.0))
    assert points.told == []


def test_numbers_of_numpy_come_back_as_numbers(tmp_path):
    points = Points(tmp_path)
    points.write({"lr": [np.float64(0.1)], "betas": (np.float32(0.5), 0.9), "steps": np.int64(3)})
    ((_, found),) = points.good()
    assert found == {"lr": [0.1], "betas": (0.5, 0.9), "steps": 3}


def test_what_would_not_be_read_back_is_not_written(points):
    with pytest.raises(TypeError, match=r"and no builtins\.print"):
        points.write({"epoch": 4, "anneal": print})
    assert points.epochs() == [3, 2]


class Malice:
    """A pickle of it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def put_in_malice(path: Path) -> None:
    """Sealed as it should be, by somebody who knows how."""
    content = io.BytesIO()
    torch.save({"epoch": 9, "x": Malice(path.with_name("trace"))}, content)
    path.write_bytes(content.getvalue() + seal_of(content.getvalue(), RUN))


def put_in_another_run(path: Path) -> None:
    other = path.with_name("other")
    other.mkdir(exist_ok=True)
    Points(other, "fedcba9876543210").write({"epoch": 9})
    (other / RESUME_FILE).replace(path)


def instead(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def put(path: Path) -> None:
        path.unlink()
        make(path)

    return put


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "bit flipped": (flip_a_bit, "is damaged: its SHA-256 is not the one"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:500]), "is incomplete, or of an older"),
    "something else": (lambda path: path.write_text("<html>"), "is incomplete, or of an older version"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "of another run": (put_in_another_run, r"is of another training \(fedcba9876543210\)"),
    "runs code": (put_in_malice, "is refused: reading it would run exec, which weights have no use for"),
    "a folder": (
        instead(lambda path: (path / "full").mkdir(parents=True)),
        "is a folder, not a regular file",
    ),
    "a pipe": (instead(os.mkfifo), "is a named pipe, not a regular file"),
    "a link to nothing": (instead(lambda path: path.symlink_to("nowhere")), "No such file"),
}


@pytest.mark.parametrize(("put", "says"), FAULTS.values(), ids=FAULTS)
def test_a_point_that_is_no_good_is_set_aside_and_the_one_before_it_is_taken(points, tmp_path, put, says):
    newest, before = tmp_path / RESUME_FILE, tmp_path / RESUME_BEFORE_FILE
    put(newest)
    assert points.epochs() == [2]
    (line,) = points.told
    assert line.startswith(f"the resume point {newest} ")
    assert line.endswith("set aside as resume.pth.dropped, and the one before it is used")
    assert re.search(says, line)
    assert not os.path.lexists(newest)
    assert os.path.lexists(tmp_path / "resume.pth.dropped")

    # The next one is written as ever; should it be bad too, it takes the place of the one set aside.
    points.write({"epoch": 4})
    assert points.epochs() == [4, 2]
    put(newest)
    flip_a_bit(before)
    assert points.epochs() == []
    assert points.told[-1].endswith("set aside as resume-before.pth.dropped, and the training starts over")
    assert not (tmp_path / "trace").exists()


def test_what_teaches_is_a_part_of_whose_a_point_is(tmp_path):
    Points(tmp_path, f"{RUN}/taught-by-{'a' * 64}").write({"epoch": 1})
    other = Points(tmp_path, f"{RUN}/taught-by-{'b' * 64}")
    assert other.epochs() == []
    assert "is of another training" in other.told[0]


def test_one_of_several_processes_changes_the_folder(points, tmp_path):
    flip_a_bit(tmp_path / RESUME_FILE)
    told: list[str] = []
    reader = ResumePoints(tmp_path, RUN, told.append, writes=False)
    assert [checkpoint["epoch"] for _, checkpoint in reader.good()] == [2]
    reader.write({"epoch": 4})
    assert told == []
    assert points.epochs() == [2]
    assert len(points.told) == 1


def test_a_full_disk_leaves_the_points_as_they_are(points, monkeypatch):
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(
        OSError, match=r"cannot write the checkpoint .*resume\.pth \(No space left on device\)"
    ):
        points.write({"epoch": 4})
    assert points.epochs() == [3, 2]


CALLS = ("fsync", "replace", "rename", "unlink", "rmdir")
"""What writing a point asks of the system, each a moment to be killed before."""


def killed_before_call(number: int, work: Callable[[], None]) -> bool:
    """Does something in a process that is killed before its n-th call; False when it came to its end."""
    process = os.fork()
    if process == 0:
        left = [number]

        def dies(call: Callable[..., Any]) -> Callable[..., Any]:
            def instead(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return call(*arguments, **options)

            return instead

        for name in CALLS:
            setattr(os, name, dies(getattr(os, name)))
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9


def test_killed_at_any_moment_of_writing_a_whole_point_is_left(points, tmp_path):
    as_it_was = tmp_path.with_name(f"{tmp_path.name}-as-it-was")
    shutil.copytree(tmp_path, as_it_was)
    number, left = 0, []
    while killed_before_call(number, lambda: points.write({"epoch": 4})):
        left.append(points.epochs())
        assert points.told == []
        shutil.rmtree(tmp_path)
        shutil.copytree(as_it_was, tmp_path)
        number += 1
    assert points.epochs() == [4, 3]
    # Before anything moved, between the two renames, and with both done.
    assert [epochs for index, epochs in enumerate(left) if epochs not in left[:index]] == [
        [3, 2],
        [3],
        [4, 3],
    ]
