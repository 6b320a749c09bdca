"""Two and three commands at once on the same folders, some of them killed, while others read."""

from __future__ import annotations

import random
import time
from collections import Counter

from tests.campaign import oracles
from tests.campaign.experiment import Case, Drawn, Finding, Place, Tried, found
from tests.campaign.training import Scene, command, data_of, recovers, undisturbed

_READERS = (
    ("status",),
    ("report", "--paper", "nkd"),
    ("plan", "--claim", "nkd-resnet18-nkd", "--profile", "mini"),
)


class Commands(Drawn):
    """Starts trainings of the same runs side by side."""

    name = "commands"
    lane = "training"
    share = 1.75
    unit = "commands side by side"
    target = 60

    def prepare(self, place: Place) -> None:
        """Trains once, undisturbed."""
        undisturbed(place, "alone")

    def draw(self, random: random.Random) -> Case:
        """How many, how far apart, and which of them is killed when."""
        number = random.choice((2, 2, 3))
        return {
            "which": "distilled" if random.random() < 0.3 else "alone",
            "starts": [round(random.choice((0.0, random.uniform(0, 0.8))), 3) for _ in range(number)],
            "kill": random.choice(
                (
                    None,
                    {
                        "of": random.randrange(number),
                        "whom": random.choice(("engine", "all", "worker", "server")),
                    },
                )
            ),
            "at": round(random.uniform(0.1, 1.2), 3),
            "reader": random.choice((None, *range(len(_READERS)))),
        }

    def replay(self, case: Case, place: Place) -> Tried:
        """Runs them, waits for all, and lets one command more end."""
        which = str(case["which"])
        expected = undisturbed(place, which)
        scene = Scene.fresh(place, data_of(place))
        count: Counter[str] = Counter()
        running = []
        began = time.monotonic()
        for start in sorted(case["starts"]):
            time.sleep(max(0.0, began + float(start) * expected.seconds - time.monotonic()))
            running.append(scene.start(*command(which)))
            count[self.unit] += 1
        findings: list[Finding] = []
        kill = case["kill"]
        time.sleep(max(0.0, began + float(case["at"]) * expected.seconds - time.monotonic()))
        killed = kill is not None and running[int(kill["of"])].kill(str(kill["whom"]))
        if killed:
            count["kills"] += 1
        if case["reader"] is not None:
            reader = scene.start(*_READERS[int(case["reader"])])
            findings += oracles.ending(reader.end(expected.patience), refused=False)
        for number, one in enumerate(running):
            done = one.end(expected.patience)
            hit = killed and number == int(kill["of"])
            # A worker that dies fails its run, which another command may be waiting for.
            findings += [] if hit and done.status == -9 else oracles.ending(done, None if killed else False)
            findings += oracles.traceback(done)
            findings += one.left_behind()
        findings += scene.look()
        findings += recovers(scene, which, expected)
        return found(findings, case, count)
