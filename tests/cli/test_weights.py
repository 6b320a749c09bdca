"""``weights``: what is published is listed, what is fetched can be read without running code from it."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from suite import paths
from suite.cli import main
from suite.published.weights import claims_taught, read_weights


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Keeps the output of the tests clean."""


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Puts the file of `resnet18` on a server, under the right name unless another content is expected."""
    monkeypatch.setenv("SUITE_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (zoo := tmp_path / "zoo").mkdir()
    baselines = tmp_path / "baselines"
    shutil.copytree(paths.BASELINES, baselines)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(zoo)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def put(content: bytes, expected: bytes | None = None) -> Path:
        name = f"resnet18-{hashlib.sha256(expected or content).hexdigest()[:8]}.pth"
        (zoo / name).write_bytes(content)
        registry = baselines / "weights.yaml"
        address = f"http://127.0.0.1:{server.server_address[1]}/{name}"
        text = registry.read_text(encoding="utf-8")
        registry.write_text(re.sub(r"https\S+resnet18_\S+", address, text), encoding="utf-8")
        monkeypatch.setattr(paths, "BASELINES", baselines)
        return tmp_path / "cache" / name

    yield put
    server.shutdown()
    server.server_close()


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


GOOD = saved({"state_dict": {"weight": torch.arange(64.0)}})


class RunsCode:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (self.code,)


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["weights", "fetch", "resnet18"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return str(output.err)


def states(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main(["weights", "list", "--format", "json"]) == 0
    return {entry["id"]: entry["state"] for entry in json.loads(capsys.readouterr().out)}


def test_a_good_file_is_fetched_and_listed_as_fetched(publish, capsys):
    path = publish(GOOD)
    assert states(capsys)["resnet18"] == "not fetched"
    assert main(["weights", "fetch", "resnet18"]) == 0
    output = capsys.readouterr()
    assert output.out == f"resnet18: {path}\n"
    assert output.err == ""
    assert torch.load(path, weights_only=True)["state_dict"]["weight"].sum() == 2016
    assert states(capsys)["resnet18"] == "fetched"


def test_a_tampered_file_is_refused_and_leaves_nothing_behind(publish, capsys):
    path = publish(GOOD.replace(b"weight", b"height"), expected=GOOD)
    assert "sends a file that its name does not match" in refusal(capsys)
    assert [left.suffix for left in path.parent.iterdir()] == [".owner"]


def test_a_truncated_file_is_refused_and_leaves_nothing_behind(publish, capsys):
    # Published like that: the name has the hash of what is left.
    path = publish(GOOD[:-100])
    assert "is damaged, no checkpoint, or needs more" in refusal(capsys)
    assert [left.suffix for left in path.parent.iterdir()] == [".owner"]


def test_a_file_that_would_run_code_is_refused_and_leaves_nothing_behind(publish, capsys, tmp_path):
    trace = tmp_path / "trace"
    path = publish(saved({"state_dict": {}, "meta": RunsCode(f"open({str(trace)!r}, 'w').close()")}))
    assert "reading it would run exec" in refusal(capsys)
    assert not trace.exists()
    assert [left.suffix for left in path.parent.iterdir()] == [".owner"]


def test_the_table_tells_published_from_lost(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_WEIGHTS", str(tmp_path))
    assert main(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.rstrip() for line in lines if line}
    taught = len(claims_taught(read_weights()["resnet34"]))
    assert re.search(rf" {taught} claims +not fetched$", rows["resnet34"])
    assert "top1 73.62, top5 91.59" in rows["resnet34"]
    assert rows["solo-r101"].endswith("train it")
    assert lines[-1] == f"Fetched files are kept in {tmp_path}."


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["weights", "fetch", "resnet43"], "no weights 'resnet43': did you mean 'resnet34'"),
        (["weights", "fetch", "solo-r101"], "solo-r101 is not published (The zoo has no SOLO of this depth"),
        (["weights"], "the following arguments are required: ACTION"),
        (
            ["weights", "fetch"],
            "weights fetch: no checkpoint is named; give ids from 'weights list', or --teachers",
        ),
    ],
)
def test_a_wrong_request_is_one_line_with_status_2(words, text, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_WEIGHTS", str(tmp_path / "cache"))
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"suite: {text}")
    assert output.err.count("\n") == 1
    assert not (tmp_path / "cache").exists()


def test_teachers_are_fetched_together_and_nothing_named_is_refused(monkeypatch, capsys):
    asked: list[str] = []

    def fetch(checkpoint: Any, check: Any, report: Any) -> Path:
        asked.append(checkpoint.id)
        return Path("somewhere")

    monkeypatch.setattr("suite.store.downloads.fetch", fetch)
    assert main(["weights", "fetch", "--teachers"]) == 0
    assert {"resnet34", "torchvision://resnet50"} <= set(asked)
    assert len(asked) == len(set(asked))
    assert main(["weights", "fetch"]) == 2
    assert "no checkpoint is named" in capsys.readouterr().err
