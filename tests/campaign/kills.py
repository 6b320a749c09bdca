"""SIGKILL, of one process or of all, at any moment; then the same command goes on."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.campaign import oracles
from tests.campaign.experiment import Case, Drawn, Finding, Place, Tried, found
from tests.campaign.training import (
    WRITES,
    Planted,
    Running,
    Scene,
    Undisturbed,
    command,
    data_of,
    recovers,
    undisturbed,
    wait_until,
)

_APPEARING = (
    *("results/records/.*", "results/records/*.json", "work/runs/*/owner", "work/runs/*/resume.pth"),
    *("work/runs/*/.*", "work/runs/*/weights.pth", "results/*.md", "work/workers.log"),
)
"""What tells a moment: as soon as it is there, a process dies."""


class Kills(Drawn):
    """Kills three to five commands, each of which goes on from the last, and lets another one end.

    A training that ends before its kill is looked at, and begun anew for the next one.
    """

    name = "kills"
    lane = "training"
    share = 9.5
    unit = "kills"
    target = 100

    def __init__(self) -> None:
        """Knows no command yet that ended before its kill."""
        self._lengths: list[float] = []

    def prepare(self, place: Place) -> None:
        """Trains once, undisturbed."""
        undisturbed(place, "alone")

    def draw(self, random: random.Random) -> Case:
        """Who is killed, and when."""
        kills = [_draw_kill(random) for _ in range(random.choice((3, 4, 4, 5)))]
        return {
            "which": "distilled" if random.random() < 0.15 else "alone",
            "kills": sorted(kills, key=_is_late),
            "builds data": random.random() < 0.05,
        }

    def replay(self, case: Case, place: Place) -> Tried:
        """Kills as the case says."""
        which = str(case["which"])
        measured = undisturbed(place, which)
        expected = replace(measured, seconds=min([measured.seconds, *self._lengths]))
        data = None if case["builds data"] else data_of(place)
        scene = Scene.fresh(place, data)
        count: Counter[str] = Counter()
        findings: list[Finding] = []
        for kill in case["kills"]:
            if scene.has_finished(measured):
                # The last kill came too late, and there is nothing left to be killed in.
                findings += recovers(scene, which, measured)
                scene = Scene.fresh(place, data)
            findings += _killed(scene, which, kill, expected, count, self._lengths)
        findings += recovers(scene, which, measured)
        return found(findings, case, count)


def _draw_kill(random: random.Random) -> dict[str, Any]:
    whom = random.choice(("engine", "worker", "server", "all"))
    how = random.random()
    if how < 0.4:
        return {"whom": whom, "at": round(random.uniform(0.0, 1.0), 3)}
    if how < 0.65:
        return {
            "whom": whom,
            "appears": random.choice(_APPEARING),
            "after": random.choice((0, 0, 0.002, 0.01, 0.1)),
        }
    role = random.choice(("worker", "worker", "engine"))
    # A worker that goes on from a resume point has fewer left than the 52 of a whole run.
    write = random.randint(1, 36 if role == "worker" else 19)
    return {"role": role, "write": write, "all": random.random() < 0.5}


def _is_late(kill: dict[str, Any]) -> bool:
    """Whether a run may be through when the kill comes: after it there is nothing left to be killed in."""
    return (
        kill.get("whom") == "server"
        or str(kill.get("appears", "")).startswith("results/")
        or (kill.get("role") == "engine" and kill["write"] > 7)
        or kill.get("at", 0.0) > 0.8
    )


def _killed(
    scene: Scene,
    which: str,
    kill: dict[str, Any],
    expected: Undisturbed,
    count: Counter[str],
    lengths: list[float],
) -> Iterator[Finding]:
    """One command that a process of is killed."""
    planted = None
    if "write" in kill:
        planted = Planted(
            str(kill["role"]), WRITES, int(kill["write"]), "kill all" if kill["all"] else "kill"
        )
    running = scene.start(*command(which), planted=planted)
    if planted is None and _its_moment(scene, running, kill, expected, lengths):
        whom = str(kill["whom"])
        # One that is not there yet is killed as soon as it is.
        happened = wait_until(lambda: running.kill(whom), running, expected.patience)
    else:
        happened, whom = False, str(kill.get("role", ""))
    done = running.end(expected.patience)
    happened = happened or running.happened()
    if happened:
        count["kills"] += 1
        count[f"of {whom}"] += 1
        if "write" in kill:
            count["between writes"] += 1
    if not (happened and done.status == -9):
        # Nobody is to notice that the server had to be started again.
        yield from oracles.ending(done, refused=False if whom == "server" else None)
    yield from oracles.traceback(done)
    yield from running.left_behind()
    yield from scene.look()


def _there(scene: Scene, pattern: str) -> set[tuple[str, int]]:
    """Files of a pattern; one that is replaced is another."""
    found = set()
    for path in scene.suite.folder.glob(pattern):
        with contextlib.suppress(OSError):
            found.add((str(path), path.stat().st_ino))
    return found


def _its_moment(
    scene: Scene, running: Running, kill: dict[str, Any], expected: Undisturbed, lengths: list[float]
) -> bool:
    """Waits for the moment of a kill; returns whether it came before the command ended.

    Where it did not, the next ones have to come earlier: data sets are built, or the machine is faster now.
    """
    if "at" in kill:
        began = time.monotonic()
        moment = began + float(kill["at"]) * expected.seconds
        if wait_until(lambda: time.monotonic() > moment, running, expected.patience):
            return True
        if (length := time.monotonic() - began) > 0.3 * expected.seconds:
            lengths.append(length)
        return False
    pattern = str(kill["appears"])
    before = _there(scene, pattern)
    if not wait_until(lambda: _there(scene, pattern) - before, running, expected.patience):
        return False
    time.sleep(float(kill["after"]))
    return True
