"""``status`` and ``plan``; what verbs import; and arguments that are wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from suite.cli import VERBS, main
from suite.cli.runs import in_words
from suite.contract import Step
from suite.errors import printable
from suite.paths import ROOT
from suite.planning.plan import make_plan
from suite.published.finding import find_claim
from suite.running.heartbeats import Journal
from suite.running.request import RunRequest, write_request
from suite.store.ownership import owned, this_process
from suite.store.record import Provenance, Record
from suite.store.records import write_record
from suite.store.run_folders import RunFolder


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Folders with nothing in them."""
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))
    return tmp_path


def record_of(claim: str, **fields) -> Record:
    from suite.published.finding import select

    ((_, chosen),) = select(claims=[claim])
    run = next(iter(make_plan([chosen], "smoke", 1).runs.values()))
    content = {
        "run_id": run.run_id,
        "series": run.series,
        "claims": run.claims,
        "task": "classification",
        "arm": run.arm,
        "profile": "smoke",
        "seed": 0,
        "status": "finished",
        "metrics": {"top1": 70.0},
        "comparable": False,
        "finished_at": "2026-11-01T10:00:00+00:00",
    }
    return Record.model_validate(content | fields)


def test_the_plan_shows_runs_states_and_what_sharing_saves(folders, capsys):
    write_record(folders / "results" / "records", record_of("nkd-resnet18-student"))
    assert main(["plan", "--claim", "mgd-resnet18", "nkd-resnet18-nkd", "--profile", "smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:5]] == ["student", "teacher", "distilled", "distilled"]
    assert [line.rstrip().endswith("finished") for line in lines[1:5]] == [True, False, False, False]
    assert "Claims: 2; trainings they need: 4; sharing arms saves 2; not finished yet: 3." in lines
    assert any(
        line.endswith("mgd 3, nkd 3 trainings; together 4: sharing between papers saves 2.") for line in lines
    )


def test_the_plan_as_json_has_everything_a_run_is_made_of(folders, capsys):
    assert main(["plan", "--claim", "mgd-resnet18", "--profile", "smoke", "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["profile"], content["unshared"], content["left_out"]) == ("smoke", 3, {})
    student, teacher, distilled = content["runs"]
    assert distilled["teacher"] == teacher["run_id"]
    assert distilled["recipe"]["method"]["name"] == "mgd-channel"
    assert {"claim": "nkd-resnet18-student", "arm": "student", "variant": []} in student["claims"]
    assert [run["state"] for run in content["runs"]] == ["to do"] * 3


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    """Nothing but empty folders for data sets and weights."""
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "datasets"))
    monkeypatch.setenv("SUITE_WEIGHTS", str(tmp_path / "weights"))


THREE = ["mgd-resnet18", "nkd-resnet18-tf-nkd", "fgd-yolox-m-student"]
PUBLISHED = ["plan", "--claim", *THREE, "--profile", "paper"]


def test_the_plan_says_what_claims_cost_and_what_they_need(folders, no_data, capsys):
    assert main(PUBLISHED) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    rows = [" ".join(line.split()) for line in lines if line.startswith(("mgd-", "nkd-", "fgd-"))]
    assert sorted(rows) == [
        "fgd-yolox-m-student baseline 1 0 0 unknown unknown coco absent",
        "mgd-resnet18 ours 2 1 0 33.1 published, estimated imagenet absent released, absent",
        "nkd-resnet18-tf-nkd ours 2 1 0 25.7 published, estimated imagenet absent",
    ]
    text = "\n".join(lines)
    assert (
        "In total: 45.9 + unknown GPU-hours for 4 remaining trainings; not counted: 1 of unknown cost."
        in text
    )
    assert "  published, 1 training, 12.9 GPU-hours: training benchmark of timm, images a second, on" in text
    assert "  unknown, 1 training: no published training step of yolox-m" in lines
    assert "Data: COCO 2017 (21 GB, absent), ImageNet-1k (155 GB, absent)." in lines
    assert "Disk: 176 GB of data sets, 176 GB of them still missing; " in text
    fetched = "Released teachers missing: resnet34; 'python -m suite weights fetch resnet34'"
    assert fetched in lines


def test_claims_named_one_by_one_are_chosen_together(folders, no_data, capsys):
    def planned(words):
        assert main(["plan", *words, "--format", "json"]) == 0
        return [run["run_id"] for run in json.loads(capsys.readouterr().out)["runs"]]

    assert planned(["--claim", *THREE]) == planned(word for claim in THREE for word in ("--claim", claim))


def test_a_plan_for_a_small_data_set_fits_into_few_hours_and_says_what_they_follow_from(
    folders, no_data, capsys
):
    claim = "nkd-resnet18-cifar-uskd"
    assert main(["plan", "--claim", claim, "--profile", "paper", "--budget", "3"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert f"{claim} ours 2 0 0 2.86 estimated cifar-100 absent" in lines
    assert "Data: CIFAR-100 (0.2 GB, absent)." in lines
    assert any(line.startswith("Disk: 0.2 GB of data sets, 0.2 GB of them still") for line in lines)
    source = "minutes of training on CIFAR-10 turned into images a second, on 1 x GeForce GTX 1080 Ti"
    assert any(
        line.startswith("estimated, 2 trainings, 2.86 GPU-hours:") and source in line for line in lines
    )
    reason = "the paper's own result; no source prints a gain that could show"
    assert f"pick {claim} 2.86 {reason}" in lines


def test_the_plan_as_json_has_every_cost(folders, no_data, capsys):
    assert main([*PUBLISHED, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["unit"] == "GPU-hours"
    costs = {run["label"]: run["cost"] for run in content["runs"]}
    assert costs["yolox-m, seed 0"] == {
        "hours": None,
        "basis": "unknown",
        "source": "no published training step of yolox-m",
        "how": None,
    }
    assert costs["resnet18, seed 0"]["basis"] == "published"
    assert {row["claim"]: row["cost"]["trainings"] for row in content["claims"]} == {
        "fgd-yolox-m-student": 1,
        "mgd-resnet18": 2,
        "nkd-resnet18-tf-nkd": 2,
    }
    assert (content["total"]["trainings"], content["total"]["unknown"]) == (4, 1)
    assert (content["saved_by_sharing"], content["saved_between_papers"]) == (1, 1)
    assert {dataset["name"]: dataset["presence"] for dataset in content["data_sets"]} == {
        "coco": "absent",
        "imagenet": "absent",
    }
    (teacher,) = content["teacher_weights"]
    assert (teacher["model"], teacher["released"], teacher["present"]) == ("resnet34", "resnet34", False)
    assert content["disk"]["needed"] == content["disk"]["missing"] == 176
    assert content["budget"] is None


def test_a_budget_lists_what_is_picked_and_what_is_left_with_reasons(folders, no_data, capsys):
    assert main([*PUBLISHED, "--budget", "30"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    start = lines.index("Budget of 30 GPU-hours: 1 of 3 claims fit, for 25.7.")
    assert [line.split()[:3] for line in lines[start + 2 : start + 5]] == [
        ["pick", "nkd-resnet18-tf-nkd", "25.7"],
        ["leave", "fgd-yolox-m-student", "unknown"],
        ["leave", "mgd-resnet18", "20.2"],
    ]
    assert lines[start + 4].endswith("needs 20.2 GPU-hours more, but 4.25 are left")
    command = "python -m suite reproduce --claim nkd-resnet18-tf-nkd --profile paper --seeds 1"
    assert lines[-1] == f"To execute them: {command}"
    assert main([*PUBLISHED, "--budget", "30", "--format", "json"]) == 0
    budget = json.loads(capsys.readouterr().out)["budget"]
    assert budget["hours"] == 30
    assert [choice["claim"] for choice in budget["choices"] if choice["picked"]] == ["nkd-resnet18-tf-nkd"]


def test_embedded_trainings_are_paid_in_core_hours_of_the_reference_records(folders, capsys):
    assert main(["plan", "--claim", "nkd-resnet18-nkd", "--profile", "mini"]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"  measured, 3 trainings, 0\.\d+ CPU core-hours: seconds a step of the reference records on ", out
    )
    assert "Data: digit-pairs (built on first use)." in out


def test_the_plan_names_what_is_left_out(folders, capsys):
    from suite.published.finding import select

    rivals = [claim.id for _, claim in select("fgd") if not claim.judged]
    assert rivals
    assert main(["plan", "--claim", *rivals, "--profile", "smoke"]) == 0
    out = capsys.readouterr().out
    assert f"Claims left out: {len(rivals)}, quoted only: no recipe makes its number." in out


def test_status_of_nothing_says_how_to_start(folders, capsys):
    assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "No records yet: start with 'make reproduce PAPER=nkd'.",
        "",
        "In progress: nothing.",
    ]


def test_status_counts_by_paper_and_prints_errors_in_one_line(folders, capsys):
    store = folders / "results" / "records"
    write_record(store, record_of("nkd-resnet18-student"))
    error = "RuntimeError: [enforce fail at a.cc:3] . [/red] " + "very \x1b[31mlong " * 40 + "end"
    failed = record_of("nkd-resnet50-teacher", status="failed", metrics={}, error=error)
    write_record(store, failed)
    write_record(store, failed)
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # Both runs serve claims of both papers; two attempts at one run are one failure.
    counts = {line.split()[0]: line.split()[1:5] for line in lines[1:3]}
    assert counts == {"mgd": ["smoke", "1", "1", "0"], "nkd": ["smoke", "1", "1", "0"]}
    (at,) = [number for number, line in enumerate(lines) if line.startswith("  failed: ")]
    assert lines[at].endswith(f", seed 0: {printable(error)}")
    assert lines[at + 1].startswith(f"    run {failed.run_id}; needed for ")
    assert "nkd-resnet50-teacher" in lines[at + 1]


def requested(folders, claim: str) -> RunFolder:
    """The folder of a run that was requested, with a log."""
    plan = make_plan([find_claim(claim)[1]], "smoke", 1)
    run = list(plan.runs.values())[-1]
    folder = RunFolder(folders / "work", run.run_id)
    write_request(
        folder, RunRequest.of(run, "cpu", 1, Provenance(command=f"python -m suite reproduce {claim}"))
    )
    folder.log.write_text("loss\n", encoding="utf-8")
    return folder


def status_as_data(capsys) -> dict[str, Any]:
    assert main(["status", "--format", "json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_status_names_the_runs_that_are_being_trained_with_how_far_they_are_and_where(folders, capsys):
    here, away = requested(folders, "nkd-resnet18-nkd"), RunFolder(folders / "work", "0123456789abcdef")
    away.path.mkdir(parents=True)
    there = this_process().model_copy(update={"host": "node7", "boot": "another"})
    with owned(here.ownership), owned(away.ownership, me=there):
        assert main(["status"]) == 0
        lines = capsys.readouterr().out.splitlines()
        # Without a request nobody knows what it trains.
        assert "  0123456789abcdef: running, on node7" in lines
        assert "  resnet18 NKD from resnet34, seed 0: running" in lines
        journal = Journal(here.events, "cpu:0")
        journal.step(Step(done=0.3, epoch=2, epochs=4, loss=1.25, iteration=30))
        journal.state("running")
        assert main(["status"]) == 0
        lines = capsys.readouterr().out.splitlines()
        (at,) = [number for number, line in enumerate(lines) if "resnet18 NKD" in line]
        assert lines[at].startswith("  resnet18 NKD from resnet34, seed 0: epoch 2/4, loss 1.250, for ")
        assert lines[at + 1] == f"    run {here.run_id}, log: {here.log}"
        data = status_as_data(capsys)
        assert data["interrupted"] == []
        (one, other) = data["running"]
        assert (one["host"], other["host"]) == ("node7", None)
        assert (other["epoch"], other["epochs"], other["loss"]) == (2, 4, 1.25)
        assert 0 <= other["seconds"] < 60
    assert status_as_data(capsys)["running"] == []


def test_status_names_the_runs_that_were_interrupted_until_a_record_tells_their_end(folders, capsys):
    folder = requested(folders, "nkd-resnet18-student")
    then = datetime.now(timezone.utc) - timedelta(hours=3, minutes=4, seconds=5)

    def beat(state: str) -> None:
        facts = {"at": then.isoformat(timespec="seconds"), "host": "here", "pid": 1, "state": state}
        folder.events.write_text(json.dumps(facts | {"epoch": 2, "epochs": 4}) + "\n", encoding="utf-8")

    for state in ("waiting", "ended"):
        beat(state)
        assert status_as_data(capsys)["interrupted"] == []
    for state in ("running", "stopped"):
        beat(state)
        assert main(["status"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert "  resnet18, seed 0: in epoch 2/4, 3 h 4 min ago" in lines
        assert lines[-1] == (
            "The same command resumes from there: python -m suite reproduce nkd-resnet18-student"
        )
    earlier, later = ((then + timedelta(seconds=by)).isoformat() for by in (-1, 1))
    store = folders / "results" / "records"
    write_record(store, record_of("nkd-resnet18-student", status="failed", metrics={}, finished_at=earlier))
    assert [run["run_id"] for run in status_as_data(capsys)["interrupted"]] == [folder.run_id]
    write_record(store, record_of("nkd-resnet18-student", finished_at=later))
    assert status_as_data(capsys)["interrupted"] == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3660, "1 h 1 min"), (3 * 86400, "3 days")],
)
def test_an_age_is_told_in_its_largest_units(seconds, words):
    assert in_words(seconds) == words


HEAVY = {
    "torch",
    "torchvision",
    "mmengine",
    "mmcv",
    "mmdet",
    "mmseg",
    "mmpretrain",
    "matplotlib",
    "scipy.stats",
}
IMPORTED = """
import sys
from suite.cli import main
status = main(sys.argv[1:])
print("\\n", status, sorted(sys.modules))
"""


def imported_by(*words: str) -> set[str]:
    command = [sys.executable, "-c", IMPORTED, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    status, _, modules = done.stdout.splitlines()[-1].strip().partition(" ")
    assert status == "0"
    found: list[str] = json.loads(modules.replace("'", '"'))
    return set(found)


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("show", "mgd-resnet18"),
        ("plan", "--claim", "mgd-resnet18"),
        ("plan", "--claim", "mgd-resnet18", "--profile", "paper", "--budget", "50", "--format", "json"),
        ("reproduce", "--claim", "mgd-resnet18", "--dry-run"),
        ("status",),
        ("report", "--paper", "nkd"),
    ],
)
def test_verbs_that_train_nothing_import_nothing_that_trains(folders, words):
    assert not HEAVY & imported_by(*words)


def test_list_needs_neither_pandas_nor_hydra(folders):
    assert not {"pandas", "hydra"} & imported_by("list")


ASK_FOR_THEIR_OWN = {"show", "weights", "evaluate", "archive", "compare", "nightly", "work"}
"""Verbs with arguments that have to be there: that one is missing is said first."""


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("words", [["--papr", "mgd"], ["--papr=mgd"]])
def test_an_unknown_option_is_one_line_with_a_suggestion(capsys, verb, words):
    assert main([verb, *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    if verb in ASK_FOR_THEIR_OWN:
        assert err.startswith("suite: ")
    else:
        assert err.startswith("suite: unknown option --papr: ")
    assert f"python -m suite {verb} --help" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["plan", "--paper"], "argument --paper: expected one argument"),
        (["plan", "--claim"], "argument --claim: expected at least one argument"),
        (["plan", "--format", "yaml"], "argument --format: invalid choice: 'yaml'"),
        (
            ["plan", "--seeds", "none"],
            "argument --seeds: must be a whole number from 1 to 100, got 'none'; each seed",
        ),
        (
            ["plan", "--seeds", "0"],
            "argument --seeds: must be a whole number from 1 to 100, got '0'; each seed",
        ),
        (["plan", "--budget", "none"], "argument --budget: 'none' is not a number of hours above 0"),
        (["plan", "--budget", "-3"], "argument --budget: '-3' is not a number of hours above 0"),
        (["plan", "--budget", "nan"], "argument --budget: 'nan' is not a number of hours above 0"),
        (["plan", "mgd"], "unexpected argument 'mgd'"),
        (["plan", "--papr", "mgd"], "unknown option --papr: did you mean '--paper'"),
        (["show"], "no claim was named"),
        (["status", "a.b=c"], "'status' takes no overrides, but was given 'a.b=c'"),
        (["reprodcue"], "unknown verb 'reprodcue': did you mean 'reproduce'"),
        ([], "the following arguments are required: VERB"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_two(capsys, words, says):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"suite: {says}")
    assert err.count("\n") == 1


def test_help_is_no_error(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["plan", "--help"])
    assert caught.value.code == 0
    assert "--seeds N" in capsys.readouterr().out
