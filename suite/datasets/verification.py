"""Verifies data sets: everything is read once, and afterwards only what has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from suite.datasets.checks import Check, check_all, check_nothing_in_the_way, check_unchanged
from suite.datasets.listing import Entry, Facts, Report, fingerprint_of, list_files, read_files, state_of
from suite.datasets.memory import Memory, Remembered
from suite.datasets.published import IGNORED, PublishedDataset, read_published
from suite.errors import SuiteError, did_you_mean

Presence = Literal["absent", "unverified", "verified"]


@dataclass(frozen=True)
class Verification:
    """The result of verifying a data set.

    Attributes:
        title: its name.
        root: its folder.
        fingerprint: hash of the names and contents of its files; the same on every machine.
        files: number of files.
        size: their total size in bytes.
        checks: the results of all checks.
        read: number of files that had to be read; 0 if nothing has changed since the last verification.
        changes: `changed`, `added` or `missing` -> paths, since the last contents without a fault, or if
            there were none, since the last verification. Empty the first time.
    """

    title: str
    root: Path
    fingerprint: str
    files: int
    size: int
    checks: list[Check]
    read: int
    changes: dict[str, list[str]]

    @property
    def faults(self) -> list[Check]:
        """Checks that failed."""
        return [check for check in self.checks if not check.ok]

    def refuse_faults(self) -> None:
        """Makes sure that the data set is as published.

        Raises:
            SuiteError: a check failed.
        """
        if self.faults:
            first = self.faults[0]
            how_many = f"{len(self.faults)} of {len(self.checks)} checks failed"
            raise SuiteError(
                f"{self.title} at {self.root} is not as published: {how_many}, the first of them "
                f"{first.what}: expected {first.expected}, found {first.found}; {first.remedy}"
            )


def published(name: str) -> PublishedDataset:
    """One published data set.

    Raises:
        SuiteError: there is none of this name.
    """
    datasets = read_published()
    if name not in datasets:
        raise SuiteError(f"unknown data set {name!r}: {did_you_mean(name, datasets)}")
    return datasets[name]


def presence(name: str) -> Presence:
    """Whether a data set is where it belongs, and whether a verification found it as published.

    Only looks at a few folders: whether anything has changed since is checked by `verify`, which every run
    calls.

    Args:
        name: `imagenet`, `coco`, `cityscapes` or `cifar-100`.

    Raises:
        SuiteError: there is no data set of this name.
    """
    dataset = published(name)
    return presence_at(dataset, dataset.root)


def presence_at(dataset: PublishedDataset, root: Path) -> Presence:
    """Like `presence`, for a data set in any folder."""
    if dataset.missing(root):
        return "absent"
    findings = Memory(dataset.folder, root).findings()
    if findings is None or findings.expectation != dataset.expectation() or not findings.state:
        return "unverified"
    checks = [*findings.checks, *check_nothing_in_the_way(dataset, root)]
    return "verified" if all(check.ok for check in checks) else "unverified"


def _tell_nobody(done: int, total: int) -> None:
    """Ignores progress."""


def verify(
    dataset: PublishedDataset, root: Path, report: Report = _tell_nobody, accept: bool = False
) -> Verification:
    """Checks a data set: layout, classes, counts, images, annotations, checksums.

    The first time every file is read. Later only names, sizes and times of change are compared, and files
    that differ are read. An interrupted verification resumes where it stopped. Contents without a fault are
    the reference that later contents are compared with.

    Args:
        dataset: the published data set.
        root: its folder.
        report: called while files are read.
        accept: whether to accept contents that have changed since, if nothing else is wrong with them.

    Returns:
        All checks, including those that failed.

    Raises:
        SuiteError: the data set, or a part of it, is missing.
    """
    refuse_absent(dataset, root)
    memory = Memory(dataset.folder, root)
    with memory.owned():
        entries = list_files(dataset, root)
        state, before = state_of(entries), memory.findings()
        if before and before.expectation != dataset.expectation():
            before = None
        if before and before.state == state and not accept:
            found, read, changes = before, 0, {}
        else:
            known = memory.files() if before else {}
            reading = _Reading(dataset, root, entries, known, before.accepted if before else "", accept)
            try:
                reading.read(report)
            finally:
                # Also after an interruption, since reading may take hours; without a state it is not a
                # completed verification.
                memory.keep(reading.findings, reading.to_keep())
            found, read = reading.findings, len(reading.unread)
            changes = reading.changes() if before and (before.fingerprint or before.accepted) else {}
    return Verification(
        title=dataset.title,
        root=root,
        fingerprint=found.fingerprint,
        files=found.files,
        size=found.size,
        checks=[*found.checks, *check_nothing_in_the_way(dataset, root)],
        read=read,
        changes=changes,
    )


def refuse_absent(dataset: PublishedDataset, root: Path) -> None:
    """Makes sure that all folders and files of a data set exist.

    Raises:
        SuiteError: something is missing; says where to get it, where to put it, and how large it is.
    """
    missing = dataset.missing(root)
    if not missing:
        return
    what = f"{', '.join(missing)} missing" if root.exists() else "no such folder"
    made = f"; then {dataset.prepares}" if dataset.prepares else ""
    raise SuiteError(f"{dataset.title} is not at {root} ({what}): {dataset.how_to_get(root)}{made}")


class _Reading:
    """One pass over a data set, which reads the files that are not known yet."""

    def __init__(
        self,
        dataset: PublishedDataset,
        root: Path,
        entries: Sequence[Entry],
        known: Mapping[str, tuple[Entry, Facts]],
        accepted: str,
        accept: bool,
    ) -> None:
        """Finds out what has to be read.

        Args:
            dataset: the published data set.
            root: its folder.
            entries: its files and folders.
            known: path -> the file as it was, and what reading it showed.
            accepted: `Remembered.accepted` of the last verification.
            accept: whether changed contents are accepted.
        """
        self._dataset, self._root, self._entries = dataset, root, entries
        self._known, self._accept = known, accept
        files = [entry for entry in entries if entry.kind != "folder"]
        # Unreadable files are tried again: granting permission to read a file need not change its entry.
        self._facts = {
            entry.path: known[entry.path][1]
            for entry in entries
            if entry.path in known and known[entry.path][0] == entry and known[entry.path][1].sha256
        }
        self.unread = [entry for entry in files if entry.path not in self._facts]
        self.findings = Remembered(
            expectation=dataset.expectation(),
            state="",
            fingerprint="",
            accepted=accepted,
            files=len(files),
            size=sum(entry.size for entry in files),
            checks=[],
        )

    def read(self, report: Report) -> None:
        """Reads the files that are not known, and checks everything."""
        numbers = frozenset(number for number in self._dataset.labels.values() if number is not None)
        for path, fact in read_files(self._root, self.unread, numbers | {IGNORED}, report):
            self._facts[path] = fact
        checks = check_all(self._dataset, self._root, self._entries, self._facts)
        if self.findings.accepted and not (self._accept and all(check.ok for check in checks)):
            checks.append(check_unchanged(self.changes()))
        fingerprint = fingerprint_of(self._entries, self._facts)
        whole = all(fact.sha256 for fact in self._facts.values())
        self.findings = replace(
            self.findings,
            checks=checks,
            fingerprint=fingerprint,
            accepted=fingerprint if all(check.ok for check in checks) else self.findings.accepted,
            state=state_of(self._entries) if whole else "",
        )

    def changes(self) -> dict[str, list[str]]:
        """How files differ from the known ones; a file with the same content has not changed."""
        facts, known = self._facts, self._known
        files = {entry.path for entry in self._entries if entry.kind != "folder"}
        changes = {
            "changed": [path for path in files & known.keys() if facts[path].sha256 != known[path][1].sha256],
            "added": list(files - known.keys()),
            "missing": list(known.keys() - files),
        }
        return {what: sorted(paths) for what, paths in changes.items() if paths}

    def to_keep(self) -> dict[str, tuple[Entry, Facts]]:
        """The facts to store: of the current contents, or if these have a fault, of the last without."""
        facts = self._facts
        now = {entry.path: (entry, facts[entry.path]) for entry in self._entries if entry.path in facts}
        accepted = self.findings.accepted
        if not accepted or accepted == self.findings.fingerprint:
            return now
        return {
            path: now[path] if path in now and now[path][1].sha256 == before[1].sha256 else before
            for path, before in self._known.items()
        }
