"""The campaign: experiments side by side within a time, their findings in folders, and a table of both."""

from __future__ import annotations

import functools
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TextIO

from rich.console import Console
from rich.table import Table

from tests.campaign.experiment import CHECKOUT, COPY, Case, Experiment, Finding, Place, Tried, size
from tests.campaign.oracles import ORACLES

MODULES = (
    "kills",
    "commands",
    "disks",
    "state",
    "checkpoints",
    "command_lines",
    "files",
    "records",
    "archives",
)
"""One module an experiment, named like it; the class in it as well, in its own spelling."""

LANES = ("training", "light")

_COPIED = (
    *("suite", "tasks", "baselines", "docs", "results/reference", "requirements.lock"),
    *("tests/campaign", "tests/papers", "tests/store"),
)
"""What the light lane runs from, and may change for a moment, beside what tests have in common."""

_FULL_MINUTES = 90


@functools.cache
def experiment(name: str) -> Experiment:
    """An experiment by its name."""
    module = importlib.import_module(f"tests.campaign.{name}")
    kind = getattr(module, "".join(part.capitalize() for part in name.split("_")))
    made: Experiment = kind()
    return made


@dataclass(frozen=True)
class Settings:
    """What a campaign is told.

    Attributes:
        minutes: how long it goes on; what has begun then is ended.
        seed: what is tried follows from it.
        only: names of experiments.
        first: number of the first attempt of each experiment.
        output: folder for work, findings and table.
    """

    minutes: float
    seed: int
    only: tuple[str, ...]
    first: int
    output: Path


@dataclass
class Row:
    """A line of the table: an experiment, and what came of it."""

    count: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    not_here: set[str] = field(default_factory=set)
    seconds: float = 0.0


def run(settings: Settings, out: Console) -> int:
    """Runs the lanes side by side, prints the table and writes it.

    Returns:
        How many different findings there were.
    """
    findings = settings.output / "findings"
    for folder in (findings, settings.output / "work"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    lanes = {lane: [name for name in settings.only if experiment(name).lane == lane] for lane in LANES}
    processes = {lane: _start(lane, names, settings) for lane, names in lanes.items() if names}
    broken = []
    try:
        for process in processes.values():
            process.wait()
        broken = [lane for lane, process in processes.items() if process.returncode]
    except KeyboardInterrupt:
        out.print("campaign: interrupted; this is what there is so far")
        for process in processes.values():
            process.send_signal(signal.SIGINT)
        for process in processes.values():
            process.wait()
    rows = table_rows(settings)
    text = print_table(rows, settings, out)
    for lane in broken:
        out.print(
            f"campaign: lane {lane} broke off; {settings.output / f'{lane}.log'} says why", soft_wrap=True
        )
    (settings.output / "table.txt").write_text(text, encoding="utf-8")
    return len(set().union(*(row.keys for row in rows.values()))) + len(broken)


def _start(lane: str, names: Sequence[str], settings: Settings) -> subprocess.Popen[bytes]:
    words = ["--lane", lane, "--minutes", str(settings.minutes), "--seed", str(settings.seed)]
    words += ["--only", ",".join(names), "--first", str(settings.first), "--output", str(settings.output)]
    with open(settings.output / f"{lane}.log", "wb") as log:
        return start_lane(lane, words, settings.output, log)


def start_lane(
    lane: str, words: Sequence[str], output: Path, errors: IO[bytes] | None
) -> subprocess.Popen[bytes]:
    """Starts a lane in a process of its own; the light one from a copy of the code that it may change."""
    folder = copy_of_the_code(output / "work" / "code") if lane == "light" else CHECKOUT
    return subprocess.Popen(
        [sys.executable, "-m", "tests.campaign", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdin=subprocess.DEVNULL,
        stderr=errors,
    )


def copy_of_the_code(folder: Path) -> Path:
    """Copies what the light lane runs from; returns the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    common = [path for path in (CHECKOUT / "tests").glob("*.py") if not path.name.startswith("test_")]
    for name in (*_COPIED, *(str(path.relative_to(CHECKOUT)) for path in common)):
        source, target = CHECKOUT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (folder / COPY).touch()
    return folder


def run_lane(lane: str, settings: Settings) -> None:
    """Tries the experiments of a lane in turn, each as long as its share says, until time is up.

    Every attempt leaves a line in ``LANE.jsonl``, and every new finding a folder.
    """
    until = time.monotonic() + settings.minutes * 60
    for name in [name for name in os.environ if name.startswith("SUITE_")]:
        del os.environ[name]
    ours = {name: experiment(name) for name in settings.only}
    _warm_up(lane)
    used = dict.fromkeys(ours, 0.0)
    longest = dict.fromkeys(ours, 0.0)
    numbers = dict.fromkeys(ours, settings.first)
    with open(settings.output / f"{lane}.jsonl", "w", encoding="utf-8") as journal:
        # What takes longer than there is time left is not begun; a search ends in time by itself.
        while fitting := [name for name in ours if time.monotonic() + longest[name] < until]:
            name = min(fitting, key=lambda name: used[name] / ours[name].share)
            place = Place(settings.output / "work" / name, settings.output / "work" / f"shared-{lane}")
            began = time.monotonic()
            if numbers[name] == settings.first:
                place.shared.mkdir(parents=True, exist_ok=True)
                ours[name].prepare(place)
            seed = f"{settings.seed}/{name}/{numbers[name]}"
            prepared = time.monotonic()
            tried = ours[name].attempt(seed, place, until)
            ended = time.monotonic()
            used[name] += ended - began
            longest[name] = max(longest[name], ended - prepared) if lane == "training" else 0.0
            _note(journal, name, numbers[name], tried, settings, ended - began)
            numbers[name] += 1


def _warm_up(lane: str) -> None:
    if lane == "light":
        from tests.campaign.calling import warm_up

        warm_up()


def _note(journal: TextIO, name: str, number: int, tried: Tried, settings: Settings, seconds: float) -> None:
    entry = {
        "experiment": name,
        "attempt": number,
        "count": dict(tried.count),
        "not_here": sorted(tried.not_here),
        "findings": sorted({finding.key for finding, _ in tried.found}),
        "seconds": round(seconds, 2),
    }
    journal.write(json.dumps(entry) + "\n")
    journal.flush()
    for finding, case in tried.found:
        keep(finding, case, name, number, settings)
        print(f"campaign: {name}: {finding.oracle}: {finding.says}"[:300], flush=True)


def keep(finding: Finding, case: Case, name: str, number: int, settings: Settings) -> Path:
    """Leaves the minimal case of a finding: a folder that says what was seen and how to see it again."""
    folder = settings.output / "findings" / f"{name}-{finding.name}"
    file = folder / "case.json"
    if file.exists() and size(json.loads(file.read_bytes())["case"]) <= size(case):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    content = {"experiment": name, "key": finding.key, "says": finding.says, "case": case}
    file.write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
    lines = [
        f"{finding.oracle}: {ORACLES[finding.oracle]}",
        ascii(finding.says)[1:-1],
        "",
        "The smallest case that showed it, once more:",
        f"    python -m tests.campaign --replay {folder}",
        "The attempt that found it:",
        f"    python -m tests.campaign --minutes 0.1 --seed {settings.seed} --only {name} --first {number}",
    ]
    (folder / "README.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def replay(folder: Path, output: Path) -> Tried:
    """Tries the case of a finding again, in the lane of its experiment."""
    content = json.loads((folder / "case.json").read_bytes())
    ours = experiment(content["experiment"])
    place = Place(output / "work" / "replay", output / "work" / "shared-replay")
    for path in (place.folder, place.shared):
        path.mkdir(parents=True, exist_ok=True)
    ours.prepare(place)
    return ours.replay(content["case"], place)


def lane_of(folder: Path) -> str:
    """The lane that a finding belongs to."""
    return experiment(json.loads((folder / "case.json").read_bytes())["experiment"]).lane


def table_rows(settings: Settings) -> dict[str, Row]:
    """The table, from what the lanes have noted."""
    rows = {name: Row() for name in settings.only}
    for lane in LANES:
        path = settings.output / f"{lane}.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            entry: dict[str, Any] = json.loads(line)
            row = rows.get(entry["experiment"])
            if row is not None:
                row.count.update(entry["count"])
                row.keys |= set(entry["findings"])
                row.not_here |= set(entry["not_here"])
                row.seconds += entry["seconds"]
    return rows


def print_table(rows: dict[str, Row], settings: Settings, out: Console) -> str:
    """Prints what was tried and what was found; returns the same text."""
    with out.capture() as captured:
        tried = Table(
            title=f"Tried in {settings.minutes:g} minutes, seed {settings.seed}",
            title_justify="left",
            box=None,
        )
        for heading in ("experiment", "tried", f"aim in {_FULL_MINUTES} min", "minutes", "findings"):
            tried.add_column(heading, justify="left" if heading in ("experiment", "tried") else "right")
        for name, row in rows.items():
            ours = experiment(name)
            first = f"{row.count[ours.unit]} {ours.unit}"
            others = [f"{number} {what}" for what, number in row.count.items() if what != ours.unit]
            tried.add_row(
                *(name, ", ".join([first, *others]), str(ours.target)),
                *(f"{row.seconds / 60:.1f}", str(len(row.keys))),
            )
        out.print(tried)
        out.print()
        found = Table(title="Found", title_justify="left", box=None)
        for heading in ("what", "times"):
            found.add_column(heading)
        keys = sorted(set().union(*(row.keys for row in rows.values())))
        for oracle, text in ORACLES.items():
            found.add_row(text, str(sum(key.startswith(f"{oracle}: ") for key in keys)))
        out.print(found)
        for key in keys:
            out.print(f"- {ascii(key)[1:-1]}", soft_wrap=True)
        for text in sorted(set().union(*(row.not_here for row in rows.values()))):
            out.print(f"Not tried here: {text}.", soft_wrap=True)
        if keys:
            out.print(f"Minimal cases: {settings.output / 'findings'}", soft_wrap=True)
    text = captured.get()
    print(text, end="", flush=True)
    return text


def known(names: Iterable[str]) -> tuple[str, ...]:
    """Names of experiments, all of them known.

    Raises:
        ValueError: one is not.
    """
    chosen = tuple(names)
    for name in chosen:
        if name not in MODULES:
            raise ValueError(f"unknown experiment {name!r}; known: {', '.join(MODULES)}")
    return chosen
