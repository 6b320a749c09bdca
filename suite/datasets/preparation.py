"""Brings downloaded data sets into the layout that the suite reads: ``data prepare``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from suite.datasets.archives import check_md5, extract, opened
from suite.datasets.cityscapes import prepare_cityscapes
from suite.datasets.imagenet import prepare_imagenet
from suite.datasets.listing import Report
from suite.datasets.published import PublishedDataset
from suite.datasets.verification import refuse_absent
from suite.errors import SuiteError


def prepare(name: str, dataset: PublishedDataset, root: Path, report: Report) -> list[str]:
    """Brings a data set into the layout that is read, without downloading or overwriting anything.

    Args:
        name: name of the data set.
        dataset: its description.
        root: its folder.
        report: called with the progress.

    Returns:
        What was done, as sentences.

    Raises:
        SuiteError: a file that it needs is missing or damaged.
    """
    if name not in _MAKERS:
        refuse_absent(dataset, root)
        return ["nothing to prepare: what the publisher offers is unpacked and read as it is"]
    if not root.is_dir():
        raise SuiteError(f"{dataset.title} is not at {root} (no such folder): {dataset.how_to_get(root)}")
    return _MAKERS[name](dataset, root, report)


def _prepare_cifar(dataset: PublishedDataset, root: Path, report: Report) -> list[str]:
    """Unpacks the files that are read; each is compared with its checksum before it gets its name."""
    wanted = {}
    for part in dataset.pickles:
        if (root / part.file).exists():
            check_md5(root / part.file, part.md5)
        else:
            wanted[part.file] = part.md5
    archive = dataset.archives["python"]
    if wanted and not (root / archive.file).exists():
        raise SuiteError(f"no {archive.file} in {root}: {dataset.how_to_get(root)}")
    if wanted:
        check_md5(root / archive.file, archive.md5)
        with opened(root / archive.file, compressed=True) as content:
            members = {member.name: member for member in content}
            # Check that all files are there before unpacking any.
            for file in wanted:
                if file not in members:
                    raise SuiteError(f"{root / archive.file} has no {file}; get it again")
            for done, (file, md5) in enumerate(wanted.items(), start=1):
                (root / file).parent.mkdir(exist_ok=True)
                extract(content, members[file], root / file, dataset.gigabytes * 1e9, md5)
                report(done, len(wanted))
    return [f"{len(wanted)} files unpacked"]


_MAKERS: dict[str, Callable[[PublishedDataset, Path, Report], list[str]]] = {
    "imagenet": prepare_imagenet,
    "cityscapes": prepare_cityscapes,
    "cifar-100": _prepare_cifar,
}
