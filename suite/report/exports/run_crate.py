"""Exports a record store as a Process Run Crate 0.5: a self-describing archive for a data repository.

Every record is a ``CreateAction`` (https://w3id.org/ro/wfrun/process/0.5) of the suite at its commit, which
made the record, its scalars and its samples from the composed recipe and the runs of its teacher and its
backbone. Nothing depends on when or where a crate is written: the same store gives the same bytes. A crate
names no agent of its actions: whoever publishes it adds that.
"""

from __future__ import annotations

import functools
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from suite.environment import DISTRIBUTION, HOMEPAGE
from suite.errors import SuiteError, printable
from suite.evidence.gathered import measured_arms
from suite.published.finding import load_papers
from suite.report import DEFAULT_FORMATS, FORMATS, make_report, recorded_profiles
from suite.store.record import Record
from suite.store.records import read_files
from suite.store.samples import SAMPLES
from suite.store.scalars import SCALARS

if TYPE_CHECKING:
    from rocrate.rocrate import ROCrate

PROFILE: Final = "https://w3id.org/ro/wfrun/process/0.5"
_CONTEXT: Final = "https://w3id.org/ro/terms/workflow-run/context"
_RO_CRATE: Final = "1.1"
"""The version of RO-Crate that the profile extends."""

_NO_LICENSE: Final = "Not stated: whoever publishes this crate has to state one."
"""RO-Crate 1.1 requires a license of every crate, and accepts words."""

_MEDIA: Final = {
    "csv": "text/csv",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "md": "text/markdown",
}
"""Suffix -> media type."""


@dataclass(frozen=True)
class Archived:
    """The contents of a crate.

    Attributes:
        records: how many records.
        reports: how many report files.
        left_out: what is wrong with the scalars and samples that are left out, one line each.
    """

    records: int
    reports: int
    left_out: tuple[str, ...]


def write_crate(records: Path, crate: Path, license_of_contents: str | None = None) -> Archived:
    """Writes a store as a run crate; the folder appears whole or not at all.

    Args:
        records: the store.
        crate: the folder, which must not exist yet.
        license_of_contents: the address of a license, or words about it; None: that none is stated.

    Raises:
        SuiteError: rocrate is not installed, the folder exists already or cannot be written, there are no
            records, or one cannot be read or has an older layout.
    """
    if crate.exists():
        raise SuiteError(f"{printable(crate)} already exists; name another folder with --output")
    building = _Building(records, _read(records))
    building.fill(license_of_contents or _NO_LICENSE)
    try:
        crate.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=crate.parent, prefix=".", suffix=".tmp") as aside:
            content = Path(aside) / "crate"
            building.crate.write(content)
            os.replace(content, crate)
    except (OSError, shutil.Error) as error:
        why = getattr(error, "strerror", None) or "files cannot be copied"
        raise SuiteError(f"cannot write {printable(crate)} ({why}); name another folder") from None
    return building.archived()


def _read(folder: Path) -> list[tuple[Path, Record]]:
    """The records with their files, sorted by file name.

    Raises:
        SuiteError: there are none, or one cannot be read or has an older layout.
    """
    found = []
    for path, record in read_files(sorted(folder.glob("*.json"))):
        if path is None:
            raise SuiteError(
                f"{printable(folder)}: has records of an older layout; "
                "run 'python -m suite archive upgrade' first"
            )
        found.append((path, record))
    if not found:
        raise SuiteError(f"{printable(folder)}: no records to archive")
    return found


class _Building:
    """A crate that is being filled.

    Attributes:
        crate: the crate as rocrate holds it.
    """

    def __init__(self, folder: Path, found: Sequence[tuple[Path, Record]]) -> None:
        try:
            from rocrate.rocrate import ROCrate
        except ModuleNotFoundError:
            raise SuiteError(
                "a run crate needs rocrate, which is not installed: pip install rocrate"
            ) from None
        self.crate: ROCrate = ROCrate(version=_RO_CRATE)
        self._folder = folder
        self._found = found
        self._records = [record for _, record in found]
        self._left_out: list[str] = []
        self._reports = 0

    def archived(self) -> Archived:
        """What the crate contains."""
        return Archived(len(self._records), self._reports, tuple(self._left_out))

    def fill(self, license_of_contents: str) -> None:
        """Describes the crate, its files, and the actions that made them."""
        self._describe()
        self.crate.root_dataset["license"] = self._license(license_of_contents)
        files = {
            (record.run_id, record.attempt): self._add(
                path, f"records/{path.name}", f"record of run {record.run_id}"
            )
            for path, record in self._found
        }
        trained = {
            record.weights_sha256: files[record.run_id, record.attempt]
            for record in self._records
            if record.status == "finished" and record.weights_sha256
        }
        actions = []
        for record in self._records:
            made = [files[record.run_id, record.attempt], *self._companions(record)]
            used = [self._config(record)]
            for weights in dict.fromkeys((record.started_from, record.taught_by)):
                if weights in trained:
                    used.append(trained[weights])
            actions.append(self._action(record, used, made))
        self.crate.root_dataset["mentions"] = actions
        self._add_reports()

    def _describe(self) -> None:
        root = self.crate.root_dataset
        self.crate.metadata.extra_contexts.append(_CONTEXT)
        papers = ", ".join(sorted({name.upper() for name in _papers_of(self._records)}))
        root["name"] = "Reproduction of knowledge-distillation papers" + (f": {papers}" if papers else "")
        root["description"] = (
            f"{len(self._records)} records of training and evaluation runs by {DISTRIBUTION}, with the "
            "scalars of the training runs, the composed recipes, and the reports made from the records."
        )
        # The day of the last run, not that of the archive, which would change its bytes.
        root["datePublished"] = max(record.finished_at for record in self._records)[:10]
        root["conformsTo"] = self._add_context(
            PROFILE,
            {"@type": "CreativeWork", "name": "Process Run Crate", "version": PROFILE.rpartition("/")[2]},
        )

    def _license(self, license_of_contents: str) -> Any:
        """The license as the crate refers to it: an address as an entity of its own, words as they are."""
        if not license_of_contents.startswith(("https://", "http://")):
            return license_of_contents
        name = license_of_contents.rstrip("/").rpartition("/")[2]
        return self._add_context(license_of_contents, {"@type": "CreativeWork", "name": name})

    def _add_context(self, identifier: str, properties: dict[str, Any]) -> Any:
        from rocrate.model.contextentity import ContextEntity

        return self.crate.get(identifier) or self.crate.add(
            ContextEntity(self.crate, identifier, properties=properties)
        )

    def _add(self, source: Path | bytes, name: str, words: str) -> Any:
        """Adds a file to the crate."""
        content = io.BytesIO(source) if isinstance(source, bytes) else source
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        properties = {
            "name": words,
            "encodingFormat": _MEDIA[name.rpartition(".")[2]],
            "contentSize": str(size),
        }
        return self.crate.add_file(content, name, properties=properties)

    def _companions(self, record: Record) -> Iterable[Any]:
        """Adds the files of a record's scalars and samples, if it has any and they are unaltered."""
        for kind in (SCALARS, SAMPLES):
            sha256 = kind.sha256_in(record)
            if sha256 is None:
                continue
            try:
                kind.content(self._folder, record)
            except SuiteError as fault:
                self._left_out.append(str(fault))
                continue
            path = kind.file(self._folder, record.run_id, sha256)
            yield self._add(path, f"records/{path.name}", f"{kind.what} of run {record.run_id}")

    def _config(self, record: Record) -> Any:
        content = json.dumps(record.recipe, indent=1).encode() + b"\n"
        return self._add(
            content,
            f"configs/{record.run_id}-{record.attempt:02d}.json",
            f"composed recipe of run {record.run_id}",
        )

    def _action(self, record: Record, used: list[Any], made: list[Any]) -> Any:
        finished = record.status == "finished"
        properties = {
            "@type": "CreateAction",
            "name": _in_words(record),
            "description": record.provenance.command,
            **_times(record),
            "actionStatus": "http://schema.org/CompletedActionStatus"
            if finished
            else "http://schema.org/FailedActionStatus",
            "error": None if finished else (record.error or record.status),
            "instrument": self._instrument(record),
            "object": used,
            "result": made,
        }
        told = {name: value for name, value in properties.items() if value is not None}
        return self._add_context(f"#run-{record.run_id}-{record.attempt:02d}", told)

    def _instrument(self, record: Record) -> Any:
        """Adds the suite at the commit of a run."""
        commit = record.provenance.commit or "unknown"
        version = f"{commit}-dirty" if record.provenance.dirty else commit
        return self._add_context(
            f"#suite-{version}",
            {
                "@type": "SoftwareApplication",
                "name": DISTRIBUTION,
                "url": HOMEPAGE,
                "softwareVersion": version,
            },
        )

    def _add_reports(self) -> None:
        arms = functools.cache(functools.partial(measured_arms, self._records))
        for paper in load_papers().values():
            for profile in recorded_profiles(paper, self._records):
                report = make_report(paper, self._records, profile, arms(profile), self._folder)
                for format_name in DEFAULT_FORMATS:
                    name = f"reports/{report.name}.{FORMATS[format_name]}"
                    self._add(
                        report.text(format_name).encode(),
                        name,
                        f"{paper.id}, profile {profile}: claimed and measured",
                    )
                    self._reports += 1


def _papers_of(records: Sequence[Record]) -> set[str]:
    """Ids of the papers with claims that records list."""
    listed = {entry.claim for record in records for entry in record.claims}
    return {paper.id for paper in load_papers().values() if any(claim.id in listed for claim in paper.claims)}


def _in_words(record: Record) -> str:
    made_of = " -> ".join(filter(None, (record.choices.teacher, record.choices.student)))
    return f"{made_of or record.task}: {record.arm}, profile {record.profile}, seed {record.seed}"


def _times(record: Record) -> dict[str, str]:
    """When a run began, if it recorded how long it took, and when it ended."""
    try:
        # Python 3.10 does not parse the Z.
        end = datetime.fromisoformat(record.finished_at.replace("Z", "+00:00"))
        start = end - timedelta(seconds=record.timings["wall"]) if "wall" in record.timings else None
    except (ValueError, OverflowError):
        # The digits are no date, or the duration is not finite.
        return {}
    begun = {} if start is None else {"startTime": start.isoformat(timespec="seconds")}
    return begun | {"endTime": record.finished_at}
