"""What must hold whatever is done to the suite: each function says what did not.

They know no experiment, and `test_oracles` plants a fault for each, so that none passes by being blind.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaign.calling import Done
from tests.campaign.experiment import Finding

ORACLES = {
    "record lost": "a record that was there is gone",
    "record changed": "a record has other bytes than it had",
    "record doubled": "a run has two finished records, or one that cannot be read",
    "number changed": "metrics or weights differ from those of the undisturbed run",
    "traceback": "a traceback was printed",
    "status": "an exit status outside of 0 to 3 and 130",
    "message": "wrong input is not one line that begins with 'suite: '",
    "control characters": "what is printed holds bytes that a terminal obeys",
    "hang": "a command does not end, or takes memory or time out of proportion",
    "outside": "a file outside of the folders that were named has appeared, changed or gone",
    "code ran": "code in a file that is data was run",
    "accepted": "what must be refused was taken",
    "no recovery": "the same command does not end well after the disturbance is over",
    "left behind": "processes live on after the command that started them",
}
"""Name of an oracle -> what it found."""

STATUSES = (0, 1, 2, 3, 130)
"""0 done; 1 a run failed or is blocked; 2 wrong usage or input; 3 a verdict deviates; 130 interrupted."""

LONGEST = 1000
"""Characters of a message to the user; values from files are cut long before."""

_OBEYED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line \d+, in (?P<function>\S+)')


def ending(done: Done, refused: bool | None = None, what: str = "") -> Iterator[Finding]:
    """A command ends, with a status that means something and without a traceback.

    Args:
        done: the command.
        refused: whether it has to be (True) or must not be (False) refused; None: either will do.
        what: what was offered to it, to tell one acceptance from another.
    """
    if done.hung:
        yield Finding(
            "hang", f"{shown(done.words)}: {done.hung}", f"{done.words[:1]} {done.hung.split(';')[0]}"
        )
        return
    yield from traceback(done)
    if done.status not in STATUSES:
        where = f"{done.status} {_gist(_last(done.err))}"
        yield Finding("status", f"{shown(done.words)} ends with {done.status}", where)
    if refused is True and done.status == 0:
        yield Finding(
            "accepted", f"{shown(done.words)} ends with 0 over {what or 'this'}", f"{done.words[:1]} {what}"
        )
    if refused is False and done.status != 0:
        says = f"{shown(done.words)} ends with {done.status}: {_last(done.err)}"
        yield Finding("no recovery", says, f"{done.status} {_gist(_last(done.err))}")


def traceback(done: Done) -> Iterator[Finding]:
    """Nobody who uses the suite is shown a traceback."""
    text = done.out + done.err
    if "Traceback (most recent call last)" not in text:
        return
    frames = [
        found for found in _FRAME.finditer(text) if "/suite/" in found["file"] or "/tasks/" in found["file"]
    ]
    where = f"{_tail(frames[-1]['file'])} in {frames[-1]['function']}" if frames else "elsewhere"
    last = _last(text.partition("Traceback (most recent call last)")[2])
    yield Finding("traceback", f"{shown(done.words)}: {last} ({where})", f"{last.partition(':')[0]} {where}")


def one_line(done: Done) -> Iterator[Finding]:
    """What ends with status 2 has said why: one line on standard error, of bearable length."""
    if done.hung or done.status != 2 or "Traceback" in done.err:
        return
    rest = [line for line in done.err.split("\n") if line.strip() and not _is_progress(line)]
    lines = [line for line in rest if line.startswith("suite: ")]
    if len(lines) != 1 or rest != lines:
        strange = next((line for line in rest if not line.startswith("suite: ")), _last(done.err))
        says = f"{shown(done.words)} ends with 2 and {len(rest)} lines: {strange[:200]!r}"
        yield Finding("message", says, f"lines {_gist(strange)}")
    elif len(lines[0]) > LONGEST:
        says = f"{shown(done.words)}: a line of {len(lines[0])} characters: {lines[0][:120]!r}"
        yield Finding("message", says, f"long {_gist(lines[0])}")


def printable(done: Done) -> Iterator[Finding]:
    """Nothing from a file or an argument reaches the terminal as a command to it."""
    for name, text in (("standard output", done.out), ("standard error", done.err)):
        if match := _OBEYED.search(text):
            near = text[max(0, match.start() - 60) : match.end() + 90]
            line = text[text.rfind("\n", 0, match.start()) + 1 :].partition("\n")[0]
            says = f"{shown(done.words)}: {match[0]!r} on {name}: {near!r}"
            yield Finding("control characters", says, _gist(line))


def _gist(text: str) -> str:
    """The last words of a line, without what differs from one sighting to the next."""
    return " ".join(re.findall(r"(?<![\w/'\"-])[A-Za-z][a-z]{2,}(?![\w/'\"-])", text)[-6:])


def _is_progress(line: str) -> bool:
    return bool(re.match(r"\d+ runs: |\[\d+/\d+\] |suite: \[\d+/\d+\] ", line))


def _tail(file: str) -> str:
    parts = Path(file).parts
    start = max(index for index, part in enumerate(parts) if part in ("suite", "tasks"))
    return "/".join(parts[start:])


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    unindented = [line for line in lines if not line[:1].isspace()]
    return (unindented or lines or [""])[-1][:200]


def shown(words: Iterable[str]) -> str:
    """A command line in bearable length."""
    text = " ".join(word if word.isprintable() and word else ascii(word) for word in words)
    return text if len(text) <= 200 else f"{text[:200]}..."


@dataclass
class Ledger:
    """Every record file that was ever seen in a store, to be held against it again and again.

    Attributes:
        store: the folder of records.
        seen: file name -> its bytes.
    """

    store: Path
    seen: dict[str, bytes] = field(default_factory=dict)

    def look(self) -> Iterator[Finding]:
        """Nothing that was recorded is lost or changed, and no run has finished twice."""
        now = {path.name: path.read_bytes() for path in sorted(self.store.glob("*.json")) if path.is_file()}
        for name, content in self.seen.items():
            if name not in now:
                yield Finding("record lost", f"{name} is gone", "")
            elif now[name] != content:
                yield Finding("record changed", f"{name} has other bytes", "")
        self.seen |= now
        finished: Counter[str] = Counter()
        for name, content in now.items():
            try:
                record = json.loads(content)
                finished[record["run_id"]] += record["status"] == "finished"
            except (ValueError, KeyError, TypeError) as error:
                yield Finding("record doubled", f"{name} cannot be read ({type(error).__name__})")
        for run_id, times in finished.items():
            if times > 1:
                yield Finding("record doubled", f"run {run_id} has {times} finished records")


@dataclass(frozen=True)
class Numbers:
    """What a run measured.

    Attributes:
        metrics: by name, as the record prints them.
        weights: SHA-256 of the weights, as recorded.
        series: SHA-256 of its scalars without times and memory, or what is wrong with them.
    """

    metrics: Mapping[str, float]
    weights: str | None
    series: str | None = None

    def agrees_with(self, other: Numbers) -> bool:
        """Whether all is the same; scalars that a full disk had no room for are no number changed."""
        same = (self.metrics, self.weights) == (other.metrics, other.weights)
        return same and self.series in (None, other.series)


def numbers_of(store: Path) -> dict[str, Numbers]:
    """Run id -> what its finished record says."""
    found = {}
    for path in sorted(store.glob("*.json")):
        record = json.loads(path.read_bytes())
        if record["status"] == "finished":
            weights = record["provenance"]["weights_sha256"]
            found[record["run_id"]] = Numbers(record["metrics"], weights, _series(store, record))
    return found


def _series(store: Path, record: Mapping[str, Any]) -> str | None:
    sha256 = record.get("scalars_sha256")
    if sha256 is None:
        return None
    path = store / f"{record['run_id']}-{sha256[:12]}.scalars.jsonl"
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        return "missing or altered"
    lines = [json.loads(line) for line in content.splitlines()]
    for line in lines:
        del line["seconds_per_step"], line["memory_mib"]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def numbers(
    results: Path, work: Path, undisturbed: Mapping[str, Numbers], complete: bool
) -> Iterator[Finding]:
    """Every finished run has metrics, weights and scalars of the undisturbed one, to the last bit.

    Args:
        results: the results folder.
        work: the work folder.
        undisturbed: what an undisturbed command measured.
        complete: whether every run of it has to be there, and so do its weights, if they are.
    """
    ours = numbers_of(results / "records")
    for run_id, expected in undisturbed.items():
        if run_id not in ours:
            if complete:
                yield Finding("number changed", f"run {run_id} has no finished record", "missing")
            continue
        if not ours[run_id].agrees_with(expected):
            yield Finding("number changed", f"run {run_id}: {ours[run_id]} instead of {expected}", "record")
        weights = work / "runs" / run_id / "weights.pth"
        if (
            complete
            and weights.is_file()
            and hashlib.sha256(weights.read_bytes()).hexdigest() != expected.weights
        ):
            yield Finding("number changed", f"run {run_id}: its weights are not the recorded ones", "weights")
    for run_id in ours.keys() - undisturbed.keys():
        yield Finding("number changed", f"run {run_id} is none of the undisturbed ones", "unknown")


@dataclass(frozen=True)
class Surroundings:
    """A folder as it was, but for the parts that a command may write to.

    Attributes:
        folder: the folder.
        allowed: paths below it that may change.
        before: path -> what it was.
    """

    folder: Path
    allowed: tuple[Path, ...]
    before: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path, *allowed: Path) -> Surroundings:
        """Looks at a folder."""
        return cls(folder, allowed, dict(_entries(folder, allowed)))

    def look(self) -> Iterator[Finding]:
        """Nothing around has appeared, changed or gone."""
        now = dict(_entries(self.folder, self.allowed))
        for path in sorted(now.keys() | self.before.keys()):
            if path not in self.before:
                yield Finding("outside", f"{path} has appeared", "appeared")
            elif path not in now:
                yield Finding("outside", f"{path} is gone", "gone")
            elif now[path] != self.before[path]:
                yield Finding("outside", f"{path} has changed", "changed")


def _entries(folder: Path, allowed: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    """Everything below a folder, links not followed, with what tells a change."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if path in allowed or entry.name == "__pycache__":
            continue
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            yield entry.path, "folder"
            yield from _entries(path, allowed)
        elif stat.S_ISLNK(found.st_mode):
            yield entry.path, f"link to {os.readlink(entry.path)}"
        else:
            yield entry.path, f"{found.st_mode} {found.st_size} {found.st_mtime_ns}"


def unmarked(mark: Path) -> Iterator[Finding]:
    """No code in a file ran: it would have left a mark."""
    if os.path.lexists(mark):
        yield Finding("code ran", f"{mark.name} is there", mark.name)
        mark.unlink()
