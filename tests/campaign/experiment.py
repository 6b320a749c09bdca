"""What an experiment is: a family of disturbances that draws cases, tries them and says what did not hold."""

from __future__ import annotations

import json
import random
import re
import shutil
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

CHECKOUT = Path(__file__).resolve().parents[2]
"""The code whose campaign this is."""

COPY = ".copy"
"""A file at the root of a copy of it, for experiments that change its files for a moment."""

Case = dict[str, Any]
"""What is tried once, in plain JSON: a finding is tried again from it, without the seed."""

Lane = Literal["training", "light"]
"""Experiments that train and those that do not run side by side, one lane each."""

_CHANGING = re.compile(r"0x[0-9a-f]+|[0-9a-f]{12,}|\d+|'[^']*'|\"[^\"]*\"|/[^\s:;,)]+")


@dataclass(frozen=True)
class Finding:
    """Something that did not hold.

    Attributes:
        oracle: name of what did not hold, such as `traceback` (`tests.campaign.oracles.ORACLES`).
        says: what was seen, in one line.
        where: what tells it from others of the same oracle; by default what it says, without its numbers,
            paths and quotations.
    """

    oracle: str
    says: str
    where: str = ""

    @property
    def key(self) -> str:
        """The same for two sightings of one fault."""
        return f"{self.oracle}: {self.where or _CHANGING.sub('_', self.says)}"

    @property
    def name(self) -> str:
        """A name for its folder."""
        return f"{self.oracle.replace(' ', '-')}-{zlib.crc32(self.key.encode()):08x}"


@dataclass
class Tried:
    """What came of one case, or of several.

    Attributes:
        count: how often what was tried, such as `kills`.
        found: findings, each with its case.
        not_here: what this machine did not allow, in words.
    """

    count: Counter[str] = field(default_factory=Counter)
    found: list[tuple[Finding, Case]] = field(default_factory=list)
    not_here: set[str] = field(default_factory=set)

    def add(self, other: Tried) -> None:
        """Counts another in."""
        self.count += other.count
        self.found += other.found
        self.not_here |= other.not_here


@dataclass(frozen=True)
class Place:
    """Where an experiment works.

    Attributes:
        folder: its own; whatever is in it may go.
        shared: what the experiments of a lane build once: trainings to compare with, data sets.
    """

    folder: Path
    shared: Path

    def fresh(self) -> Path:
        """An empty folder for the next case; what the last one left goes."""
        case = self.folder / "case"
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir(parents=True)
        return case


class Experiment(ABC):
    """A family of disturbances.

    Attributes:
        name: as ``--only`` has it.
        lane: which other experiments it waits for.
        share: its part of the lane's time, against the shares of the others.
        unit: what it counts.
        target: how many of them a campaign of 90 minutes on two cores should try.
    """

    name: ClassVar[str]
    lane: ClassVar[Lane]
    share: ClassVar[float]
    unit: ClassVar[str]
    target: ClassVar[int]

    def prepare(self, place: Place) -> None:  # noqa: B027  (most have nothing to prepare)
        """Builds what all of its cases need; called once, before the first."""

    @abstractmethod
    def attempt(self, seed: str, place: Place, until: float) -> Tried:
        """Tries one case or a few, drawn from a seed.

        Args:
            seed: the same one draws the same.
            place: where to work.
            until: when to stop, on the clock of `time.monotonic`; a case that has begun is ended.
        """

    @abstractmethod
    def replay(self, case: Case, place: Place) -> Tried:
        """Tries a case once more."""


class Drawn(Experiment):
    """An experiment whose cases are too dear to be searched: one is drawn and tried."""

    @abstractmethod
    def draw(self, random: random.Random) -> Case:
        """A case."""

    def attempt(self, seed: str, place: Place, until: float) -> Tried:
        """Draws a case and tries it."""
        return self.replay(self.draw(random.Random(seed)), place)


def found(findings: Iterable[Finding], case: Case, count: Counter[str]) -> Tried:
    """What came of one case."""
    return Tried(count, [(finding, case) for finding in findings])


def size(case: Case) -> int:
    """How large a case is; of two that show the same fault the smaller one is kept."""
    return len(json.dumps(case))
