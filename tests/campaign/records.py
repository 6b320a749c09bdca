"""Record stores with a record in them that nobody wrote in good faith, and what reads stores."""

from __future__ import annotations

import copy
import functools
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from suite.paths import REFERENCE
from tests.campaign import hostile, oracles
from tests.campaign.calling import call
from tests.campaign.experiment import Case, Finding, Place, Tried, found
from tests.campaign.searching import Searched

OLDER = Path(__file__).resolve().parents[1] / "store" / "older_records"
"""Records of older layouts."""

VERBS = (
    ["report"],
    ["report", "--format", "html"],
    ["status"],
    ["plan", "--claim", "nkd-resnet18-nkd"],
    ["reproduce", "--claim", "nkd-resnet18-nkd", "--dry-run"],
    ["archive", "upgrade"],
)

_RAW = (
    *(b"", b"{", b"null", b"[]", b"3", b'"text"', b"\xff\xfe\x00", b"\xef\xbb\xbf{}", b"{}\0"),
    *(b'{"schema_version": ' + text for text in (b"3", b"9" * 20 + b"}", b"-1}", b"null}", b"1}", b"2}")),
    *(b'{"a": ' * 20_000, b'{"schema_version": 3, "schema_version": 2}', b'{"schema_version": 1e999}'),
    *(b"[" * 100_000, b'{"run_id": "' + b"x" * 10_000_000 + b'"}'),
)
"""In place of a record."""

_NAMES = (
    *("0123456789abcdef-01.json", "0123456789abcdef-1.json", "..json", "-01.json", "x.json"),
    *("\x1b[31m-01.json",),
    *("0123456789abcdef-99999999999999999999.json", "a b.json", "[bold]-01.json", "é-01.json"),
)
_BECOMES = ("folder", "fifo", "dangling link", "link to itself", "device")


class Records(Searched):
    """Adds a hostile record to a few true ones and calls what reads them."""

    name = "records"
    lane = "light"
    share = 1.2
    unit = "hostile records"
    target = 1500

    def cases(self) -> st.SearchStrategy[Case]:
        """A record of ours, what is done to it, and a verb."""
        verbs = st.sampled_from([list(words) for words in VERBS])
        value = st.one_of(
            st.sampled_from(hostile.TEXTS),
            st.sampled_from(hostile.JSON_VALUES),
            st.text(max_size=6),
            st.integers(),
        )
        fields = st.lists(
            st.fixed_dictionaries({"at": st.integers(0, 9999), "value": value}), min_size=1, max_size=2
        ).map(lambda edits: {"fields": edits})
        top = st.builds(
            lambda key, value: {"set": {key: value}}, st.sampled_from(sorted(_documents("3")[0])), value
        )
        older = st.builds(
            lambda edits, schema: {**edits, "schema": schema}, fields, st.sampled_from(["1", "2"])
        )
        text = st.builds(
            lambda how, at, text: {"text": {"how": how, "at": at, "text": text}},
            *(st.sampled_from(["insert", "repeat", "cut"]), st.integers(0, 9999)),
            st.sampled_from(
                ['"', "NaN", "Infinity", "-", "\\ud800", "\0", "1e999", "{", '"run_id": "x",', "\x1b"]
            ),
        )
        raw = st.integers(0, len(_RAW) - 1).map(lambda number: {"raw": number})
        names = st.sampled_from(_NAMES).map(lambda name: {"name": name})
        becomes = st.sampled_from(_BECOMES).map(lambda kind: {"becomes": kind})
        changes = st.one_of(fields, fields, top, top, older, text, raw, names, becomes)
        number = st.integers(0, 3)
        return st.builds(
            lambda change, number, words: {**change, "of": number, "words": words}, *(changes, number), verbs
        )

    def replay(self, case: Case, place: Place) -> Tried:
        """Lays out the store, calls, and looks around."""
        folder = place.fresh()
        store = folder / "inside" / "results" / "records"
        store.mkdir(parents=True)
        (folder / "outside").mkdir()
        (folder / "outside" / "precious.txt").write_text("precious\n", encoding="utf-8")
        sound = _documents(str(case.get("schema", "3")))
        for document in sound:
            _write(store, document)
        _plant(store, case)
        results, work = store.parent, folder / "inside" / "work"
        around = oracles.Surroundings.of(folder, results, work)
        records = oracles.Surroundings.of(store)
        environment = {"SUITE_RESULTS": str(results), "SUITE_WORK": str(work)}
        done = call(list(case["words"]), folder / "inside", environment)
        findings = [*oracles.ending(done), *oracles.one_line(done), *oracles.printable(done), *around.look()]
        upgrades = "archive" in case["words"]
        findings += _kept(store, records) if upgrades else records.look()
        findings += _unescaped(results)
        return found(findings, case, Counter({self.unit: 1}))


@functools.cache
def _documents(schema: str) -> tuple[dict[str, Any], ...]:
    """A few true records of a layout."""
    if schema == "3":
        paths = sorted((REFERENCE / "records").glob("*.json"))[::80]
        return tuple(json.loads(path.read_bytes()) for path in paths)
    documents = [json.loads(path.read_bytes()) for path in sorted(OLDER.rglob("*.json"))]
    chosen = [document for document in documents if str(document.get("schema_version")) == schema][:4]
    return tuple(chosen or documents[:4])


def _write(store: Path, document: dict[str, Any]) -> Path:
    path = store / f"{document['run_id']}-{document.get('attempt', 1):02d}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def _plant(store: Path, case: Case) -> None:
    """Spoils one record of the store, or adds one."""
    documents = _documents(str(case.get("schema", "3")))
    document = copy.deepcopy(documents[int(case["of"]) % len(documents)])
    path = store / f"{document['run_id']}-{document.get('attempt', 1):02d}.json"
    for edit in case.get("fields", ()):
        _set(document, int(edit["at"]), edit["value"])
    document |= case.get("set", {})
    if "raw" in case:
        path.write_bytes(_RAW[int(case["raw"])])
    elif "name" in case:
        shutil.copyfile(path, store / str(case["name"]))
    elif "becomes" in case:
        path.unlink()
        _become(path, str(case["becomes"]))
    else:
        text = json.dumps(document, indent=1)
        if "text" in case:
            text = _spoilt(text, **case["text"])
        path.write_bytes(text.encode("utf-8", "surrogatepass"))


def _spoilt(content: str, how: str, at: int, text: str) -> str:
    position = len(content) * at // 10_000
    if how == "cut":
        return content[:position]
    if how == "repeat":
        lines = content.splitlines(keepends=True)
        number = len(lines) * at // 10_000
        return "".join([*lines[: number + 1], *lines[number:]])
    return content[:position] + text + content[position:]


def _become(path: Path, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(
            {"dangling link": "nowhere", "link to itself": path.name, "device": "/dev/zero"}[kind]
        )


def _set(document: dict[str, Any], at: int, value: Any) -> None:
    """Gives one place of a document, wherever in the tree, another value."""
    places = list(_places(document))
    holder, key = places[len(places) * at // 10_000]
    # The same value may be put into itself.
    holder[key] = copy.deepcopy(value)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def _kept(store: Path, before: oracles.Surroundings) -> Iterator[Finding]:
    """An upgrade moves older files to ``former/`` and keeps everything else."""
    now = {path.name for path in (*store.glob("*"), *store.glob("former/*"))}
    for path in before.before:
        if Path(path).name not in now:
            yield Finding(
                "record lost", f"{Path(path).name} is neither in the store nor in former/", "upgrade"
            )


def _unescaped(results: Path) -> Iterator[Finding]:
    """No page holds markup that came from a record."""
    for page in results.rglob("*.html"):
        if hostile.MARKUP in page.read_text(encoding="utf-8", errors="replace"):
            yield Finding("code ran", f"{page.name} has markup of a record as it is", "markup")
