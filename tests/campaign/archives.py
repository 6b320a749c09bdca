"""Archives and polygon files of data sets with odd content, and what prepares and verifies data sets."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import os
import re
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from suite.paths import BASELINES
from tests.campaign import hostile, oracles
from tests.campaign.calling import call
from tests.campaign.experiment import Case, Place, Tried, found
from tests.campaign.searching import Searched

_MEMBERS = ("train", "test", "meta")
_TYPES = {
    "file": tarfile.REGTYPE,
    "link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "folder": tarfile.DIRTYPE,
    "fifo": tarfile.FIFOTYPE,
    "device": tarfile.CHRTYPE,
}
_NAMES = (
    "cifar-100-python/{}",
    "../{}",
    "/{}",
    "cifar-100-python/../../{}",
    "{}",
    "cifar-100-python/{}/x",
    "\x1b[31m{}",
)
_TARGETS = ("../../outside/precious.txt", "/etc/passwd", "train", "nowhere", "", "../../outside")
_WHOLE = ("sound", "cut", "no gzip", "empty", "bomb", "fifo", "folder", "device", "text")
_CITY = "town"
_PHOTO = f"{_CITY}/{_CITY}_000000_000000"


class Archives(Searched):
    """Offers hostile archives under their publisher's checksum, and polygons that are none."""

    name = "archives"
    lane = "light"
    share = 0.5
    unit = "hostile archives"
    target = 300

    def cases(self) -> st.SearchStrategy[Case]:
        """An archive of CIFAR-100 by its members, or a polygon file of Cityscapes."""
        member = st.fixed_dictionaries(
            {
                "name": st.sampled_from(_MEMBERS),
                "path": st.sampled_from(_NAMES),
                "type": st.sampled_from(sorted(_TYPES)),
                "target": st.sampled_from(_TARGETS),
                "size": st.sampled_from([None, 0, 1, 2**33]),
            }
        )
        archive = st.builds(
            lambda members, whole: {
                "members": members,
                "whole": whole,
                "words": ["data", "prepare", "cifar-100"],
            },
            *(st.lists(member, max_size=4), st.sampled_from(_WHOLE)),
        )
        corner: st.SearchStrategy[Any] = st.one_of(
            st.sampled_from([0, -1, 7, 1e308, 10**30, None, "1", [1], {}]), st.integers(-9, 99)
        )
        thing = st.fixed_dictionaries(
            {
                "label": st.sampled_from(
                    ["road", "cargroup", "group", "", 3, None, "nothing", *hostile.TEXTS[-20:]]
                ),
                "polygon": st.one_of(
                    st.lists(st.lists(corner, max_size=3), max_size=4), st.sampled_from([None, 3, "x", {}])
                ),
            }
        )
        side = st.sampled_from([16, 0, -1, 2**31, 70_000, 1e9, None, "16", True])
        polygons = st.fixed_dictionaries(
            {
                "imgWidth": side,
                "imgHeight": side,
                "objects": st.one_of(
                    st.lists(thing, max_size=3), st.sampled_from([None, 3, {"a": 1}, [[]], ["x"]])
                ),
            }
        )
        raw = st.sampled_from(["", "[", "null", "3", "[" * 100_000, "{}", '{"imgWidth": NaN}', "\ufeff{}"])
        verbs = st.sampled_from([["data", "prepare", "cityscapes"], ["data", "verify", "cityscapes"]])
        drawn = st.builds(
            lambda content, words: {"polygons": content, "words": words},
            *(st.one_of(polygons, polygons, raw), verbs),
        )
        return st.one_of(archive, drawn)

    def replay(self, case: Case, place: Place) -> Tried:
        """Lays the files out, calls, and looks around."""
        folder = place.fresh()
        (folder / "outside").mkdir()
        (folder / "outside" / "precious.txt").write_text("precious\n", encoding="utf-8")
        data = folder / "data"
        facts = BASELINES / "datasets.yaml"
        before = facts.read_text(encoding="utf-8")
        try:
            if "members" in case:
                facts.write_text(_offer(data / "cifar100", case, before), encoding="utf-8")
            else:
                _draw(data / "cityscapes", case["polygons"])
            around = oracles.Surroundings.of(folder, data, folder / "work")
            environment = {"SUITE_DATA": str(data), "SUITE_WORK": str(folder / "work")}
            done = call(list(case["words"]), folder, environment, changed=True)
        finally:
            facts.write_text(before, encoding="utf-8")
        findings = [*oracles.ending(done), *oracles.one_line(done), *oracles.printable(done), *around.look()]
        return found(findings, case, Counter({self.unit: 1}))


def _offer(root: Path, case: Case, facts: str) -> str:
    """Puts an archive in its place; returns the facts with the checksums of what is in it."""
    root.mkdir(parents=True)
    path = root / "cifar-100-python.tar.gz"
    content = {name: name.encode() * 40 for name in _MEMBERS}
    whole = str(case["whole"])
    if whole == "fifo":
        os.mkfifo(path)
    elif whole == "folder":
        path.mkdir()
    elif whole == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(_bytes(case["members"], whole, content))
        facts = _with_checksum(facts, "file: cifar-100-python.tar.gz", path.read_bytes())
    for name in _MEMBERS:
        facts = _with_checksum(facts, f"file: cifar-100-python/{name}", content[name])
    return facts


def _with_checksum(facts: str, entry: str, content: bytes) -> str:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return re.sub(rf"({re.escape(entry)}, md5: )[0-9a-f]+", rf"\g<1>{digest}", facts)


def _bytes(members: list[dict[str, Any]], whole: str, content: dict[str, bytes]) -> bytes:
    if whole == "bomb":
        return _bomb()
    if whole in ("empty", "text"):
        return b"" if whole == "empty" else b"no archive\n"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members or [{"name": name, "path": _NAMES[0], "type": "file"} for name in _MEMBERS]:
            info = tarfile.TarInfo(str(member["path"]).format(member["name"]))
            info.type = _TYPES[str(member["type"])]
            info.linkname = str(member.get("target", ""))
            body = content[str(member["name"])] if info.type == tarfile.REGTYPE else b""
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    packed = gzip.compress(_with_sizes(buffer.getvalue(), members), mtime=0)
    return {"cut": packed[: len(packed) // 2], "no gzip": buffer.getvalue()}.get(whole, packed)


@functools.cache
def _bomb() -> bytes:
    """Two gibibytes of zeros in two megabytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        for _ in range(2**11):
            file.write(bytes(2**20))
    return buffer.getvalue()


def _with_sizes(packed: bytes, members: list[dict[str, Any]]) -> bytes:
    """An archive whose first header gives another size than what follows, where a member asks for it."""
    sizes = [member["size"] for member in members if member.get("size") is not None]
    if not sizes or len(packed) < 512:
        return packed
    header = bytearray(packed[:512])
    header[124:136] = f"{sizes[0]:011o}".encode()[:11] + b"\0"
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}".encode() + b"\0 "
    return bytes(header) + packed[512:]


def _draw(root: Path, polygons: Any) -> None:
    """One photo of Cityscapes and its polygons."""
    photo = root / "leftImg8bit" / "train" / f"{_PHOTO}_leftImg8bit.png"
    file = root / "gtFine" / "train" / f"{_PHOTO}_gtFine_polygons.json"
    for path in (photo, file):
        path.parent.mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(photo)
    file.write_text(polygons if isinstance(polygons, str) else json.dumps(polygons), encoding="utf-8")
