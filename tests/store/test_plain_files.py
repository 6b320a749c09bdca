"""What is read has an end, and what is written reaches no file behind a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suite.datasets.archives import appearing_whole
from suite.errors import SuiteError
from suite.store.plain_files import NotAPlainFileError, append_to, content_of, refuse_link


def test_a_file_is_read_whole_and_through_a_link(tmp_path: Path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    (tmp_path / "link").symlink_to(path)
    assert content_of(path, 7) == content_of(tmp_path / "link", 7) == b"weights"
    with pytest.raises(NotAPlainFileError, match="MB"):
        content_of(path, 6)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Path.mkdir, "is a folder, not a regular file"),
        (os.mkfifo, "is a named pipe, not a regular file"),
        (Path.touch, "is empty"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a regular file"),
    ],
    ids=["folder", "pipe", "empty", "device"],
)
def test_what_has_no_content_or_no_end_is_not_waited_for(tmp_path: Path, make, says):
    make(tmp_path / "weights.pth")
    with pytest.raises(NotAPlainFileError, match=f"^{says}$"):
        content_of(tmp_path / "weights.pth", 2**20)


def test_nothing_is_written_through_a_link(tmp_path: Path):
    other = tmp_path / "thesis.tex"
    other.write_text("precious", encoding="utf-8")
    link = tmp_path / "log.txt"
    link.symlink_to(other)
    with pytest.raises(SuiteError, match=rf"^{link} is a symbolic link.* delete the link"):
        append_to(link)
    link.unlink()
    with append_to(link) as file:
        file.write(b"one line\n")
    with append_to(link) as file:
        file.write(b"another\n")
    assert link.read_text(encoding="utf-8") == "one line\nanother\n"
    assert other.read_text(encoding="utf-8") == "precious"


def test_a_link_where_a_file_is_unpacked_is_replaced_and_never_followed(tmp_path: Path):
    other = tmp_path / "thesis"
    other.write_bytes(b"of years")
    (tmp_path / ".labels.unfinished").symlink_to(other)
    with appearing_whole(tmp_path / "labels") as unfinished:
        unfinished.write_bytes(b"labels")
    assert (tmp_path / "labels").read_bytes() == b"labels"
    assert other.read_bytes() == b"of years"


def test_a_link_where_data_are_built_is_refused(tmp_path: Path):
    (tmp_path / "labels.unfinished").symlink_to(tmp_path)
    with pytest.raises(SuiteError, match=r"labels\.unfinished is a symbolic link"):
        refuse_link(tmp_path / "labels.unfinished")
