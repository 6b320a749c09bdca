"""A request holds all of a run, and nothing that is not one is taken for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from suite.errors import SuiteError
from suite.planning.plan import Run, make_plan, plan_released
from suite.published.finding import find_claim, select
from suite.running.request import RunRequest, read_request, write_request
from suite.store.record import Provenance
from suite.store.run_folders import RunFolder


def requested(work: Path, run: Run) -> RunFolder:
    folder = RunFolder(work, run.run_id)
    write_request(folder, RunRequest.of(run, "cpu", 2, Provenance(command="a test")))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """The folder of a distilled run that was requested."""
    plan = make_plan([find_claim("mgd-resnet18")[1]], "mini", 1)
    return requested(tmp_path, next(run for run in plan.runs.values() if run.arm == "distilled"))


@pytest.mark.parametrize("profile", ["mini", "paper"])
def test_every_run_of_every_paper_comes_out_of_its_request_as_it_went_in(tmp_path: Path, profile: str):
    runs = list(make_plan([claim for _, claim in select()], profile, 1).runs.values())
    runs += plan_released(find_claim("nkd-resnet18-nkd")[1], profile, "a" * 64).runs.values()
    assert len(runs) > 50
    for run in runs:
        found = read_request(requested(tmp_path, run))
        assert found.run.as_json() == run.as_json()
        assert found.run.identity == run.identity
        assert found.title == f"{run.label} (a test)"


def change(folder: RunFolder, **values: Any) -> None:
    """Changes a request by hand; a key may be a path in dots."""
    content = json.loads(folder.request.read_text(encoding="utf-8"))
    for path, value in values.items():
        place = content
        *parents, last = path.split("__")
        for parent in parents:
            place = place[parent]
        place[last] = value
    folder.request.write_text(json.dumps(content), encoding="utf-8")


def refusal(folder: RunFolder) -> str:
    with pytest.raises(SuiteError) as caught:
        read_request(folder)
    message = str(caught.value)
    assert message.startswith(str(folder.request))
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read (is empty)"),
        (b'{"schema_version": 1', "damaged request (top level: Invalid JSON"),
        (b"[]", "damaged request (top level: Input should be an object"),
        (b"\xff\xfe", "damaged request (top level: Invalid JSON"),
        (b"[" * 100_000, "damaged request ("),
    ],
)
def test_a_damaged_request_is_refused_in_one_line_with_the_remedy(
    folder: RunFolder, content: bytes, says: str
):
    folder.request.write_bytes(content)
    message = refusal(folder)
    assert says in message
    assert message.endswith("run the command that requested it again, which rewrites it")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("schema_version", 2, "schema_version: Input should be 1"),
        ("surprise", 1, "surprise: Extra inputs are not permitted"),
        (
            "recipe__student__overrides",
            {"type": "os.system"},
            "student.type is 'os.system', which is not a name in",
        ),
        ("recipe__data__overrides", {"custom_imports": ["x"]}, "data.custom_imports would run Python"),
        ("recipe__schedule", {"hooks": ["evil.py"]}, "schedule.hooks.0 names a Python file"),
    ],
)
def test_a_request_holds_what_a_recipe_may_hold_and_nothing_else(folder: RunFolder, key, value, says):
    change(folder, **{key: value})
    assert says in refusal(folder)


def test_a_request_of_another_run_is_refused(folder: RunFolder, tmp_path: Path):
    other = RunFolder(tmp_path, "0123456789abcdef")
    other.path.mkdir()
    other.request.write_bytes(folder.request.read_bytes())
    assert f"is the request of another run, {folder.run_id}" in refusal(other)


@pytest.mark.parametrize("change_of", [{"recipe__schedule": {}}, {"identity__releases": {"torch": "1.0.0"}}])
def test_a_recipe_that_is_not_what_its_run_id_says_here_is_refused(folder: RunFolder, change_of):
    change(folder, **change_of)
    message = refusal(folder)
    assert "with the code and packages installed here, its recipe makes run" in message
    assert folder.run_id in message


def test_a_run_that_was_never_requested_is_told_so(tmp_path: Path):
    assert "was never requested here" in refusal(RunFolder(tmp_path, "0123456789abcdef"))
