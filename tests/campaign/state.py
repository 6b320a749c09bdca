"""Damage to what lies in the work folder: weights, resume points, locks, logs and data."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

from tests.campaign import oracles
from tests.campaign.experiment import Case, Drawn, Finding, Place, Tried, found
from tests.campaign.training import Scene, Undisturbed, command, data_of, undisturbed

DAMAGES = (
    *("bit", "bit", "bit", "cut", "emptied", "gone", "noise"),
    *("folder", "fifo", "dangling link", "link to itself", "link outside"),
)
"""What happens to a file; a bit is flipped, noise replaces all bytes."""

_TARGETS = (
    *("teacher/weights.pth", "teacher/weights.pth", "teacher/resume.pth"),
    *("student/resume.pth", "student/resume.pth", "student/weights.pth", "student/owner", "student/log.txt"),
    *("student", "data/image", "data/image", "data.owner"),
)
_TEACHER, _STUDENT = "teacher", "distilled"


class State(Drawn):
    """Damages a file of a half finished reproduction and lets it go on."""

    name = "state"
    lane = "training"
    share = 3.0
    unit = "damaged files"
    target = 100

    def prepare(self, place: Place) -> None:
        """Trains once, undisturbed."""
        undisturbed(place, "distilled")

    def draw(self, random: random.Random) -> Case:
        """Which file, and what happens to it."""
        return {
            "target": random.choice(_TARGETS),
            "damage": random.choice(DAMAGES),
            "at": round(random.random(), 4),
            "bit": random.randrange(8),
        }

    def replay(self, case: Case, place: Place) -> Tried:
        """Lets the distilled student be trained again over the damage."""
        expected = undisturbed(place, "distilled")
        target = str(case["target"])
        scene = Scene.fresh(place, None if target.startswith("data/") else data_of(place))
        scene.adopt(expected.suite)
        if target.startswith("data/"):
            shutil.copytree(data_of(place), scene.work / "data")
        _forget(scene, expected, _STUDENT)
        if target == "teacher/resume.pth":
            _forget(scene, expected, _TEACHER)
        list(scene.look())
        path = _path(scene, expected, target, float(case["at"]))
        damage(path, case, scene.folder / "outside" / "precious.txt")
        running = scene.start(*command("distilled"))
        # The runs that are left and, where the damage was dropped, their teacher again.
        done = running.end(expected.patience)
        findings: list[Finding] = [
            *oracles.ending(done),
            *oracles.one_line(done),
            *running.left_behind(),
            *scene.look(),
        ]
        findings += oracles.numbers(scene.results, scene.work, expected.numbers, complete=done.status == 0)
        return found(findings, case, Counter({self.unit: 1, "refused" if done.status else "gone on over": 1}))


def _run(expected: Undisturbed, arm: str) -> str:
    return next(record.run_id for record in expected.suite.records.values() if record.arm == arm)


def _forget(scene: Scene, expected: Undisturbed, arm: str) -> None:
    """Takes a run back to its last resume point: no record, no weights."""
    run_id = _run(expected, arm)
    for path in (scene.results / "records").glob(f"{run_id}-*.json"):
        path.unlink()
    scene.suite.run_folder(run_id).weights.unlink(missing_ok=True)


def _path(scene: Scene, expected: Undisturbed, target: str, at: float) -> Path:
    """The file that a case is about."""
    if target == "data.owner":
        # Beside the data of the lane; what a case leaves there is of no other's concern.
        path = scene.work / "data"
        content = path.resolve()
        path.unlink()
        path.mkdir()
        for entry in content.iterdir():
            if entry.name != "digit-pairs.owner":
                (path / entry.name).symlink_to(entry)
        return path / "digit-pairs.owner"
    if target == "data/image":
        images = sorted((scene.work / "data").rglob("*.ppm"))
        return images[int(at * len(images))]
    arm, _, name = target.partition("/")
    folder = scene.suite.run_folder(_run(expected, _TEACHER if arm == "teacher" else _STUDENT)).path
    return folder / name if name else folder


def damage(path: Path, case: Case, outside: Path) -> None:
    """Damages a file as a case says; one that is not there yet is put there."""
    kind = str(case["damage"])
    content = path.read_bytes() if path.is_file() else b"content\n" * 100
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    position = int(float(case["at"]) * len(content))
    if kind == "folder":
        (path / "with something in it").mkdir(parents=True)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind.endswith("link") or kind.startswith("link"):
        path.symlink_to(
            {"link outside": outside, "link to itself": Path(path.name)}.get(kind, Path("/nowhere/at all"))
        )
    elif kind == "bit":
        flipped = bytearray(content or b"\0")
        flipped[min(position, len(flipped) - 1)] ^= 1 << int(case["bit"])
        path.write_bytes(flipped)
    elif kind == "noise":
        path.write_bytes(random.Random(position).randbytes(len(content)))
    elif kind != "gone":
        path.write_bytes(content[:position] if kind == "cut" else b"")
