"""Archives as publishers offer them: held against their checksum, unpacked file by file."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

from suite.errors import SuiteError
from suite.store.plain_files import refuse_link


def check_md5(path: Path, md5: str) -> None:
    """Does nothing for a file that is as published.

    Args:
        path: the file.
        md5: the publisher's checksum, in hexadecimal.

    Raises:
        SuiteError: it is another file.
    """
    found = md5_of(path)
    if found != md5:
        raise SuiteError(
            f"{path}: MD5 {found} instead of the publisher's {md5}: incomplete, or another file; get it again"
        )


def md5_of(path: Path) -> str:
    """MD5 of a file of any size, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, md5: str | None = None) -> bool:
    """Unpacks one file; what is there is never overwritten, and a killed call leaves no half of a file.

    Args:
        archive: the archive.
        member: the file in it.
        target: where the file goes, whatever the archive calls it.
        md5: the publisher's checksum, where there is one.

    Returns:
        False when it was there already.

    Raises:
        SuiteError: something else is there, or the archive has something else.
    """
    if target.exists():
        if target.stat().st_size != member.size:
            raise SuiteError(f"{target} is not the one in {archive_name(archive)}; move it away and repeat")
        return False
    content = archive.extractfile(member)
    if content is None:
        raise SuiteError(f"{archive_name(archive)}: {member.name} is no file; get the archive again")
    unfinished = unfinished_name(target)
    with content, open(unfinished, "wb") as file:
        shutil.copyfileobj(content, file, 2**20)
    if md5 and md5_of(unfinished) != md5:
        unfinished.unlink()
        raise SuiteError(f"{archive_name(archive)}: {member.name} is not the published file; get it again")
    unfinished.rename(target)
    return True


def archive_name(archive: tarfile.TarFile) -> str:
    """An archive as messages name it."""
    return Path(str(archive.name)).name if archive.name else "the archive"


def unfinished_name(target: Path) -> Path:
    """Where a file is written before it gets its name: hidden, so that nothing takes it for data.

    Raises:
        SuiteError: a symbolic link stands there.
    """
    unfinished = target.with_name(f".{target.name}.unfinished")
    refuse_link(unfinished)
    return unfinished
