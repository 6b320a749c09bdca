"""Verifies archives from publishers against their checksums, and unpacks them file by file.

The metadata of an archive are not trusted: the caller chooses the path of every file, only regular files are
extracted, and none that is larger than any published one.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from suite.errors import SuiteError, one_line


def check_md5(path: Path, md5: str) -> None:
    """Makes sure that a file is the published one.

    Args:
        path: the file.
        md5: the publisher's checksum, in hexadecimal.

    Raises:
        SuiteError: it is a different file, or not a file.
    """
    if not path.is_file():
        raise SuiteError(f"{path} is not a file; move it away and get the published one")
    found = md5_of(path)
    if found != md5:
        raise SuiteError(
            f"{path}: MD5 {found} instead of the publisher's {md5}: incomplete, or a different file; get it "
            "again"
        )


def md5_of(path: Path) -> str:
    """MD5 of a file of any size, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def opened(path: Path, compressed: bool = False) -> Iterator[tarfile.TarFile]:
    """Opens a published archive.

    Args:
        path: the archive.
        compressed: whether it may be compressed; refused if the published one is not, since its content could
            have any size.

    Raises:
        SuiteError: it cannot be read, now or while it is unpacked.
    """
    try:
        with tarfile.open(path, "r:*" if compressed else "r:") as archive:
            yield archive
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _unreadable(path.name, error) from error


@contextmanager
def opened_inside(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[tarfile.TarFile]:
    """Opens an uncompressed archive inside another one.

    Raises:
        SuiteError: it is not an archive, or cannot be read.
    """
    name = f"{archive_name(archive)}: {member.name}"
    content = _content(archive, member)
    try:
        with content, tarfile.open(fileobj=content, mode="r:") as inner:
            yield inner
    except tarfile.TarError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> SuiteError:
    return SuiteError(f"{name} cannot be read ({one_line(error)[:80]}); get it again")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tarfile.ExFileObject:
    """Opens the content of a member, which must be a file.

    Raises:
        SuiteError: it is a folder, a link or a device.
    """
    content = archive.extractfile(member) if member.isfile() else None
    if content is None:
        raise SuiteError(f"{archive_name(archive)}: {member.name} is not a file; get the archive again")
    assert isinstance(content, tarfile.ExFileObject)
    return content


def extract(
    archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, largest: float, md5: str | None = None
) -> bool:
    """Unpacks one file; never overwrites anything, and leaves no partial file when killed.

    Args:
        archive: the archive.
        member: the file in it.
        target: path of the file, whatever the archive calls it.
        largest: most bytes that it may have.
        md5: the publisher's checksum, if there is one.

    Returns:
        False if it already existed.

    Raises:
        SuiteError: something else is at the target, or the member is not the published file.
    """
    name = f"{archive_name(archive)}: {member.name}"
    content = _content(archive, member)
    if member.size > largest:
        raise SuiteError(
            f"{name} has {member.size:,} bytes, more than any published one; get the archive again"
        )
    if target.exists():
        if not target.is_file() or target.stat().st_size != member.size:
            raise SuiteError(f"{target} is not the one in {archive_name(archive)}; move it away and repeat")
        return False
    with appearing_whole(target) as unfinished:
        with content, open(unfinished, "xb") as file:
            shutil.copyfileobj(content, file, 2**20)
        if md5 and md5_of(unfinished) != md5:
            raise SuiteError(f"{name} is not the published file; get it again")
    return True


def archive_name(archive: tarfile.TarFile) -> str:
    """The name of an archive in messages."""
    return Path(str(archive.name)).name if archive.name else "the archive"


@contextmanager
def appearing_whole(target: Path) -> Iterator[Path]:
    """Gives a file its name only once it is complete; if writing fails, nothing is left.

    Args:
        target: the file.

    Yields:
        The path to write to, which does not exist yet: a hidden file beside the target, so that nothing
        mistakes it for data.
    """
    unfinished = target.with_name(f".{target.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        yield unfinished
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
