"""Checkpoints that run code, burst or lie, to be scored, to teach, or to go on from.

They are made of a true one without PyTorch: a checkpoint is a zip archive of a pickle and of the bytes of the
tensors.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.campaign import oracles
from tests.campaign.experiment import Case, Drawn, Finding, Place, Tried, found
from tests.campaign.training import CLAIMS, TINY, Scene, command, data_of, undisturbed

KINDS = (
    *("code in a pickle", "code in a zip", "code by a global", "code in an old checkpoint"),
    *("code on the stack", "zip bomb", "deep pickle", "huge pickle", "NaN", "infinity", "other shapes"),
    *("keys missing", "cut", "noise", "empty", "text", "folder", "fifo", "device", "dangling link"),
    *("link to itself", "no pickle", "two pickles", "tensor gone", "tensor short", "absolute names", "sound"),
)
"""What is wrong with a checkpoint; with `sound` nothing is, and it must not be refused."""

_HARMLESS = ("two pickles", "absolute names")
"""What is not to be read of them is beside the weights."""

_USES = ("evaluate", "evaluate", "teacher", "resume")


class Checkpoints(Drawn):
    """Offers a checkpoint that is not what it should be."""

    name = "checkpoints"
    lane = "training"
    share = 7.5
    unit = "hostile checkpoints"
    target = 100

    def prepare(self, place: Place) -> None:
        """Trains once, undisturbed."""
        undisturbed(place, "distilled")

    def draw(self, random: random.Random) -> Case:
        """What is wrong with it, and what it is offered as."""
        return {"kind": random.choice(KINDS), "as": random.choice(_USES), "at": round(random.random(), 4)}

    def replay(self, case: Case, place: Place) -> Tried:
        """Offers it; nothing of it may run, and no number come of it."""
        expected = undisturbed(place, "distilled")
        scene = Scene.fresh(place, data_of(place))
        scene.adopt(expected.suite)
        list(scene.look())
        by_arm = {record.arm: record for record in expected.suite.records.values()}
        kind, use = str(case["kind"]), str(case["as"])
        mark = scene.folder / "outside" / "mark"
        distilled = scene.suite.run_folder(by_arm["distilled"].run_id)
        if use == "evaluate":
            offered = scene.work / "offered.pth"
            make(offered, distilled.weights.read_bytes(), case, mark)
            claim = CLAIMS["distilled"]
            words: tuple[str, ...] = ("evaluate", "--claim", claim, "--checkpoint", str(offered), *TINY)
        else:
            path = (
                scene.suite.run_folder(by_arm["teacher"].run_id).weights
                if use == "teacher"
                else distilled.resume
            )
            for record in (scene.results / "records").glob(f"{by_arm['distilled'].run_id}-*.json"):
                record.unlink()
            scene.ledger.seen.pop(f"{by_arm['distilled'].run_id}-01.json")
            distilled.weights.unlink()
            content = path.read_bytes()
            path.unlink()
            make(path, content, case, mark)
            words = command("distilled")
        running = scene.start(*words)
        done = running.end(expected.patience)
        refused = _has_to_be_refused(kind, use)
        findings: list[Finding] = [
            *oracles.unmarked(mark),
            *oracles.ending(done, refused, kind),
            *oracles.one_line(done),
            *oracles.printable(done),
            *running.left_behind(),
            *scene.look(),
        ]
        if use != "evaluate":
            findings += oracles.numbers(
                scene.results, scene.work, expected.numbers, complete=done.status == 0
            )
        return found(findings, case, Counter({self.unit: 1, f"as {use}": 1}))


def _has_to_be_refused(kind: str, use: str) -> bool | None:
    """Whether a command may not, or must, end well over a checkpoint; None: either will do."""
    if kind == "sound":
        return False
    # Teachers and resume points may be made again, and what is left out of a file does no harm.
    return None if use != "evaluate" or kind in _HARMLESS else True


class _Leaves:
    """Pickled, it leaves a mark where it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (f"open({str(self.mark)!r}, 'w').close()",)


def make(path: Path, sound: bytes, case: Case, mark: Path) -> None:
    """Makes a hostile checkpoint of a sound one."""
    kind, at = str(case["kind"]), float(case["at"])
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind.endswith("link") or kind.startswith("link"):
        path.symlink_to(path.name if kind == "link to itself" else "/nowhere/at all")
    else:
        path.write_bytes(_content(kind, sound, at, mark))


def _content(kind: str, sound: bytes, at: float, mark: Path) -> bytes:
    code = pickle.dumps({"state_dict": {"weight": _Leaves(mark)}}, protocol=2)
    position = int(at * len(sound))
    system = b"cos\nsystem\n(S'" + f"touch {mark}".encode() + b"'\ntR."
    plain = {
        "code in a pickle": code,
        "code by a global": system,
        # The layout of PyTorch before 1.6: a magic number, a protocol and system information come first.
        "code in an old checkpoint": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + code,
        "deep pickle": b"\x80\x02" + b"(" * 500_000 + b"t" * 500_000 + b".",
        "huge pickle": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
        "cut": sound[:position],
        "noise": random.Random(position).randbytes(len(sound)),
        "empty": b"",
        "text": b"no checkpoint\n" * 100,
        "sound": sound,
    }
    if kind in plain:
        return plain[kind]
    names, members = _members(sound)
    pickled = next(name for name in names if name.endswith("/data.pkl"))
    tensors = [name for name in names if "/data/" in name]
    largest = max(tensors, key=lambda name: len(members[name]))
    value = {"NaN": b"\x00\x00\xc0\x7f", "infinity": b"\x00\x00\x80\x7f"}.get(kind)
    if value is not None:
        members |= {
            name: value * (len(members[name]) // 4) for name in tensors if len(members[name]) % 4 == 0
        }
    changed = {
        "code in a zip": {pickled: code},
        "code on the stack": {pickled: members[pickled][:2] + system[:-1] + b"0" + members[pickled][2:]},
        "other shapes": {pickled: members[pickled].replace(b"K@", b"K?")},
        "keys missing": {pickled: members[pickled].replace(b"layer2", b"layer9")},
        "no pickle": {pickled: b"no pickle"},
        "two pickles": {pickled: members[pickled] + code},
        "tensor short": {largest: members[largest][: len(members[largest]) // 2]},
    }.get(kind, {})
    members |= changed
    if kind == "tensor gone":
        del members[largest]
    if kind == "absolute names":
        members = {f"/../../{name}": content for name, content in members.items()}
    return _zipped(members, bomb=largest if kind == "zip bomb" else None)


def _members(sound: bytes) -> tuple[list[str], dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        names = archive.namelist()
        return names, {name: archive.read(name) for name in names}


def _zipped(members: dict[str, bytes], bomb: str | None) -> bytes:
    """An archive of these members; one of them, if asked for, grows by a gibibyte when it is read."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if bomb else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(content)
                for _ in range(2**10 if name == bomb else 0):
                    file.write(bytes(2**20))
    return buffer.getvalue()
