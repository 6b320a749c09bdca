"""Disks that are full, read-only or without hard links or locks, and files in the way of folders.

Most are planted: the system answers one call of a process with the error that it would get. Where this
machine lets us mount, small disks are real.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import random
import resource
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.campaign import oracles
from tests.campaign.calling import Done
from tests.campaign.experiment import Case, Drawn, Finding, Place, Tried, found
from tests.campaign.training import (
    WRITES,
    Planted,
    Scene,
    Undisturbed,
    command,
    data_of,
    recovers,
    undisturbed,
)

_REFUSALS = (errno.ENOSPC, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.EDQUOT, errno.EMFILE)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_IN_THE_WAY = (
    *("results", "results/records", "results/nkd.md", "results/nkd.csv", "work/runs", "work/workers.log"),
    *("work/runs/{run}", "work/runs/{run}/owner", "work/runs/{run}/log.txt", "work/runs/{run}/resume.pth"),
    *("work/runs/{run}/weights.pth", "work/data"),
)
_OWN_MOUNTS = (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"])
"""Ways to mounts that are nobody else's: as root, and as anybody where user name spaces are allowed."""


class Disks(Drawn):
    """A training whose disk refuses; then the same without."""

    name = "disks"
    lane = "training"
    share = 1.75
    unit = "disks that refuse"
    target = 50

    def prepare(self, place: Place) -> None:
        """Trains once, undisturbed."""
        undisturbed(place, "alone")

    def draw(self, random: random.Random) -> Case:
        """What the disk does."""
        kind = random.choices(
            ("refuses", "no links", "no locks", "file size", "in the way", "small disk", "read-only"),
            (5, 1, 1, 2, 3, 2, 1),
        )[0]
        return {
            "kind": kind,
            "role": random.choice(("worker", "engine")),
            "number": random.choice({"no links": _NO_LINKS, "no locks": _NO_LOCKS}.get(kind, _REFUSALS)),
            "count": random.randint(1, 52),
            "forever": random.random() < 0.5,
            "kilobytes": random.choice((1, 4, 16, 64, 256, 600, 1000, 1800, 3000)),
            "path": random.choice(_IN_THE_WAY),
            "is": random.choice(("file", "folder", "dangling link", "link to itself", "fifo")),
            "folder": random.choice(("results", "work", "work/runs")),
        }

    def replay(self, case: Case, place: Place) -> Tried:
        """Runs the command on such a disk, and again on a sound one."""
        kind = str(case["kind"])
        expected = undisturbed(place, "alone")
        scene = Scene.fresh(place, data_of(place))
        count = Counter({self.unit: 1})
        if kind in ("small disk", "read-only"):
            if _own_mounts() is None:
                return Tried(not_here={"disks that are mounted: this machine lets nobody mount"})
            findings = list(_mounted(scene, case, expected, count))
        else:
            findings = list(_refused(scene, case, expected, count))
        findings += recovers(scene, "alone", expected)
        return found(findings, case, count)


def _refused(scene: Scene, case: Case, expected: Undisturbed, count: Counter[str]) -> Iterator[Finding]:
    """A command that is refused something, then nothing is in its way any more."""
    kind = str(case["kind"])
    planted, options = None, {}
    if kind == "refuses":
        planted = Planted(
            str(case["role"]), WRITES, int(case["count"]), int(case["number"]), bool(case["forever"])
        )
    elif kind == "no links":
        planted = Planted("worker", ("os.link",), 1, int(case["number"]), forever=True)
    elif kind == "no locks":
        planted = Planted("worker", ("fcntl.flock",), 1, int(case["number"]), forever=True)
    elif kind == "file size":
        limit = int(case["kilobytes"]) * 1024
        options["preexec_fn"] = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
    else:
        _put_in_the_way(scene, case, expected)
    running = scene.start(*command("alone"), planted=planted, **options)
    done = running.end(expected.patience)
    count["felt"] += running.happened() or done.status != 0
    # Without hard links or locks a file system is as good as with them.
    yield from oracles.ending(done, refused=False if kind in ("no links", "no locks") else None)
    yield from oracles.one_line(done)
    yield from running.left_behind()
    yield from scene.look()
    yield from oracles.numbers(scene.results, scene.work, expected.numbers, complete=done.status == 0)
    if kind == "in the way":
        _clear(scene.suite.folder / _path_of(case, expected))


def _path_of(case: Case, expected: Undisturbed) -> str:
    return str(case["path"]).format(run=next(iter(expected.numbers)))


def _put_in_the_way(scene: Scene, case: Case, expected: Undisturbed) -> None:
    path = scene.suite.folder / _path_of(case, expected)
    _clear(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if case["is"] == "file":
        path.write_text("in the way\n", encoding="utf-8")
    elif case["is"] == "folder":
        (path / "with something in it").mkdir(parents=True)
    elif case["is"] == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name if case["is"] == "link to itself" else "/nowhere/at all")


def _clear(path: Path) -> None:
    """Removes what is in the way, and nothing that the suite has put there in its place."""
    records = path if path.name == "records" else path / "records"
    if path.is_dir() and not path.is_symlink():
        if not any(records.glob("*.json")):
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@functools.cache
def _own_mounts() -> tuple[str, ...] | None:
    """How to run a script that may mount; None where nothing can be mounted."""
    for words in _OWN_MOUNTS:
        script = [*words, "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
        with contextlib.suppress(OSError):
            if subprocess.run(script, capture_output=True, check=False).returncode == 0:
                return tuple(words)
    return None


def _mounted(scene: Scene, case: Case, expected: Undisturbed, count: Counter[str]) -> Iterator[Finding]:
    """A command whose folder is a disk of its own, small or read-only, in a name space that ends with it.

    On the small one it runs twice: full, then with room. What is on the disk is copied out before it goes.
    """
    target = scene.suite.folder / str(case["folder"])
    target.mkdir(parents=True, exist_ok=True)
    disk, copied = shlex.quote(str(target)), shlex.quote(str(scene.folder / "inside" / "copied"))
    patience = f"{expected.patience:.0f}"
    suite = shlex.join(
        ["timeout", "--signal", "KILL", patience, sys.executable, "-m", "suite", *command("alone")]
    )
    outputs = [scene.suite.folder / f"{name}{number}" for number in (1, 2) for name in ("out", "err")]
    first, second = (
        f"{suite} >{shlex.quote(str(outputs[at]))} 2>{shlex.quote(str(outputs[at + 1]))}; echo $?"
        for at in (0, 2)
    )
    link = f"ln -s {shlex.quote(str(_data_of(scene)))} {disk}/data;" if case["folder"] == "work" else ""
    if case["kind"] == "small disk":
        size = f"size={case['kilobytes']}k"
        script = (
            f"mount -t tmpfs -o {size} tmpfs {disk} && {link} {first}; "
            f"mount -o remount,size=1g {disk}; {second}; cp -a {disk} {copied}"
        )
    else:
        script = f"mount -t tmpfs -o size=1g tmpfs {disk} && {link} mount -o remount,ro {disk}; {first}"
    done = subprocess.run(
        [*(_own_mounts() or ()), "sh", "-c", script],
        env=scene.suite.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    statuses = [int(line) for line in done.stdout.split() if line.isdecimal()]
    count["felt"] += any(statuses)
    for number, status in enumerate(statuses):
        texts = [
            path.read_text(encoding="utf-8", errors="replace")
            for path in outputs[2 * number : 2 * number + 2]
        ]
        one = Done(command("alone"), status, texts[0], texts[1])
        yield from oracles.ending(one, refused=False if number else None)
        yield from oracles.one_line(one)
    # What lay on the disk is where the disk was.
    if (scene.suite.folder / "copied").exists():
        shutil.rmtree(target)
        (scene.suite.folder / "copied").rename(target)
    for path in outputs:
        path.unlink(missing_ok=True)
    yield from scene.look()
    yield from oracles.numbers(scene.results, scene.work, expected.numbers, complete=len(statuses) > 1)


def _data_of(scene: Scene) -> Path:
    """Where the link to built data sets of a scene leads."""
    return (scene.work / "data").resolve()
