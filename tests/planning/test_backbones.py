"""Backbones that networks start from: one run for all, an id that tells of it, one line for what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.cli import main
from suite.contract import ServedClaim
from suite.errors import SuiteError
from suite.paths import ROOT
from suite.planning.composing import compose
from suite.planning.plan import Plan, Run, identity_here, make_plan
from suite.published.finding import find_claim
from suite.published.recipes import Recipe

R50 = "student.embedded.pretrained=classification/resnet50"
R101 = "teacher.embedded.pretrained=classification/resnet101"
RANDOM = "student.embedded.pretrained=null"
STUDENT, DISTILLED = "fgd-retinanet-r50-student", "fgd-retinanet-r50-r101"
FROM_SCRATCH = "fgd-yolox-m-yolox-l"


@pytest.fixture
def add_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Adds the file of a model to the folder of a paper."""
    folder = Path(shutil.copytree(ROOT / "docs" / "template-paper", tmp_path / "template-paper"))
    (folder / "conf" / "model").mkdir()
    monkeypatch.setenv("SUITE_PAPERS", str(folder))

    def add(name: str, text: str) -> None:
        (folder / "conf" / "model" / f"{name}.yaml").write_text(text, encoding="utf-8")
        with open(folder / "recipes.yaml", "a", encoding="utf-8") as recipes:
            recipes.write(f"alone-{name}: {{task: detection, student: {name}}}\n")

    return add


PRETRAINED = """\
defaults: [retinanet-r50@_here_, _self_]
name: pretrained
embedded: {pretrained: classification/resnet50}
"""


def plan(*claims: str, overrides: tuple[str, ...] = (R50,), seeds: int = 1, profile: str = "smoke") -> Plan:
    return make_plan([find_claim(claim)[1] for claim in claims], profile, seeds, overrides)


def by_arm(plan: Plan) -> dict[str, Run]:
    found: dict[str, Run] = {run.arm: run for run in plan.runs.values()}
    assert len(found) == len(plan.runs)
    return found


def test_a_network_without_a_backbone_to_start_from_needs_none():
    for profile in ("smoke", "mini", "paper"):
        runs = plan(FROM_SCRATCH, overrides=(), profile=profile).runs.values()
        assert "backbone" not in {run.arm for run in runs}
        for run in runs:
            assert run.start is None
            assert "start" not in run.identity.model_dump(exclude_defaults=True)
            assert run.needs == ((run.teacher,) if run.teacher else ())


def test_a_start_from_random_weights_can_be_asked_for():
    (student,) = plan(STUDENT, overrides=(RANDOM,)).runs.values()
    assert (student.start, student.needs) == (None, ())


def test_the_backbone_is_trained_alone_on_its_own_task_with_the_seed_of_teachers():
    runs = plan(STUDENT, seeds=2)
    backbone, *students = runs.runs.values()
    assert (backbone.arm, backbone.label) == ("backbone", "resnet50, seed 0")
    assert backbone.seed == backbone.recipe.teacher_seed
    alone = compose(Recipe(task="classification", student="resnet50"), "smoke")
    assert backbone.recipe == alone
    assert [(run.arm, run.start, run.needs) for run in students] == [
        ("student", backbone.run_id, (backbone.run_id,))
    ] * 2
    # Two students, each with a backbone of its own, are four trainings.
    assert (runs.trainings, runs.unshared) == (3, 4)
    assert ServedClaim(claim=STUDENT, arm="backbone", variant=(R50,)) in backbone.claims


def test_a_distilled_student_needs_its_teacher_and_its_backbone():
    runs = by_arm(plan(DISTILLED, overrides=("teacher.embedded.pretrained=null",)))
    backbone, student, teacher, distilled = runs.values()
    assert list(runs) == ["backbone", "student", "teacher", "distilled"]
    assert student.needs == (backbone.run_id,)
    assert teacher.needs == ()
    assert (distilled.start, distilled.teacher) == (backbone.run_id, teacher.run_id)
    assert distilled.needs == (backbone.run_id, teacher.run_id)


def test_a_teacher_that_is_trained_here_starts_from_its_own_backbone():
    runs = plan(DISTILLED, overrides=())
    teacher = next(run for run in runs.runs.values() if run.arm == "teacher")
    assert teacher.start is not None
    assert runs.runs[teacher.start].label == "resnet101, seed 0"
    alone = by_arm(plan(DISTILLED, overrides=("teacher.embedded.pretrained=null",)))["teacher"]
    assert alone.run_id != teacher.run_id
    assert alone.start is None


def test_every_run_stands_behind_all_that_it_needs():
    for claims in ((DISTILLED, "fgd-retinanet-r101-teacher"), (STUDENT, DISTILLED)):
        runs = plan(*claims, overrides=(R50, R101), seeds=2).runs
        place = {run_id: number for number, run_id in enumerate(runs)}
        assert any(len(run.needs) == 2 for run in runs.values())
        for run in runs.values():
            assert all(place[needed] < place[run.run_id] for needed in run.needs)


@pytest.mark.parametrize("backbone_first", [True, False])
def test_a_backbone_that_a_claim_trains_anyway_is_one_run_of_that_arm(add_model, backbone_first):
    add_model("pretrained", PRETRAINED)
    detector = find_claim(STUDENT)[1].model_copy(update={"recipe": "alone-pretrained"})
    classifier = find_claim("nkd-resnet50-student")[1]
    claims = [detector, classifier] if backbone_first else [classifier, detector]
    found = make_plan(claims, "smoke", 2)
    alone = next(iter(make_plan([classifier], "smoke", 1).runs))
    # Two detectors and two classifiers, one of which is the backbone.
    assert (len(found.runs), found.unshared) == (4, 6)
    assert {run.start for run in found.runs.values() if run.recipe.task == "detection"} == {alone}
    assert found.runs[alone].arm == "student"
    served = {(entry.claim, entry.arm, entry.variant) for entry in found.runs[alone].claims}
    assert {(STUDENT, "backbone", ()), ("nkd-resnet50-student", "student", ())} <= served


def test_a_file_of_a_model_may_name_what_it_starts_from(add_model):
    add_model("pretrained", PRETRAINED)
    claim = find_claim(STUDENT)[1].model_copy(update={"recipe": "alone-pretrained"})
    written = by_arm(make_plan([claim], "smoke", 1))
    overridden = by_arm(plan(STUDENT))
    assert list(written) == ["backbone", "student"]
    assert written["student"].run_id == overridden["student"].run_id
    random = by_arm(make_plan([claim], "smoke", 1, [RANDOM]))
    assert list(random) == ["student"]


def test_a_run_of_other_papers_counts_for_them_though_it_is_planned_as_a_backbone():
    backbone = by_arm(plan(STUDENT))["backbone"]
    assert ("nkd-resnet50-student", "student") in {(entry.claim, entry.arm) for entry in backbone.claims}


def test_what_is_overridden_of_a_detector_does_not_touch_its_backbone():
    before = by_arm(plan(STUDENT))
    for override in (
        "schedule.overrides.optim_wrapper.optimizer.lr=0.01",
        "student.embedded.overrides.neck=1",
    ):
        after = by_arm(plan(STUDENT, overrides=(R50, override)))
        assert after["backbone"].run_id == before["backbone"].run_id
        assert after["student"].run_id != before["student"].run_id


def test_measured_again_it_starts_from_the_same_backbone():
    first = by_arm(plan(STUDENT))
    again = by_arm(
        make_plan(
            [find_claim(STUDENT)[1]], "smoke", 1, [R50], {run.run_id for run in first.values()}.__contains__
        )
    )
    assert again["backbone"].run_id == first["backbone"].run_id
    assert again["student"].repetition == 1
    assert again["student"].start == first["student"].start


def test_what_a_network_starts_from_is_part_of_its_id_and_of_nothing_else():
    random, pretrained = (
        by_arm(plan(STUDENT, overrides=(RANDOM,)))["student"],
        by_arm(plan(STUDENT))["student"],
    )
    assert random.run_id != pretrained.run_id
    assert random.series != pretrained.series
    assert pretrained.identity.start is not None
    assert pretrained.identity.start.run == pretrained.start
    assert pretrained.identity.model_copy(update={"start": None}) == random.identity
    # The other backbone is another start.
    other = by_arm(plan(STUDENT, overrides=(R50.replace("resnet50", "resnet101"),)))["student"]
    assert other.run_id not in (random.run_id, pretrained.run_id)


def test_the_id_follows_from_a_run_that_was_written_down():
    for run in plan(DISTILLED, overrides=(R50, R101)).runs.values():
        assert identity_here(run) == run.identity


def test_a_published_training_starts_from_none_of_ours():
    for run in plan(STUDENT, profile="paper").runs.values():
        assert run.start is None
        assert run.recipe.student.pretrained is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("resnet50", "'resnet50' is not <task>/<model>; write classification/resnet50, say"),
        ("classification/", "'classification/' is not <task>/<model>"),
        ("", "'' is not <task>/<model>"),
        ("clasification/resnet50", "no task 'clasification'; did you mean 'classification'?"),
        ("classification/resnt50", "no model 'resnt50'; did you mean 'resnet50'"),
        ("detection/resnet50", "resnet50 is a model of classification; write classification/resnet50"),
        ("5", "student.embedded.pretrained cannot be 5: input should be a valid string"),
        ("[classification/resnet50]", "input should be a valid string"),
    ],
)
def test_what_names_no_network_is_one_line_with_exit_status_2(value, says, capsys):
    override = f"student.embedded.pretrained={value}"
    assert main(["plan", "--claim", STUDENT, "--profile", "smoke", override]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"suite: override '{override}': ")
    assert says in line


def test_a_backbone_that_starts_from_another_is_refused(add_model):
    add_model("pretrained", PRETRAINED)
    with pytest.raises(
        SuiteError,
        match=r"^retinanet-r50 cannot start from detection/pretrained, which starts from "
        r"classification/resnet50 itself; name a network that starts from random weights$",
    ):
        plan(STUDENT, overrides=("student.embedded.pretrained=detection/pretrained",))


def test_a_file_that_names_no_network_is_told_with_its_line(add_model):
    text = PRETRAINED.replace("name: pretrained", "name: wrong").replace("classification/", "")
    add_model("wrong", text)
    with pytest.raises(
        SuiteError, match=r"wrong\.yaml:3: student\.embedded\.pretrained: 'resnet50' is not <task>"
    ):
        compose(Recipe(task="detection", student="wrong"), "smoke")


def test_the_plan_tells_what_each_run_starts_from(capsys):
    words = ["plan", "--claim", STUDENT, "--profile", "smoke", R50]
    assert main([*words, "--format", "json"]) == 0
    backbone, student = json.loads(capsys.readouterr().out)["runs"]
    assert (backbone["arm"], backbone["start"]) == ("backbone", None)
    assert student["start"] == backbone["run_id"]
    assert student["recipe"]["student"]["pretrained"] == "classification/resnet50"
    assert main(words) == 0
    assert f"{backbone['run_id']}  backbone  resnet50, seed 0" in capsys.readouterr().out
