"""Records count for claims that came after them, where the training is the same, and for no others."""

from __future__ import annotations

import pytest

from suite.evidence.frame import rows_of
from suite.evidence.served import claims_served, find_trainings
from suite.planning.plan import make_plan
from suite.published.claims import Claim
from suite.published.finding import load_papers, select
from suite.published.recipes import Recipe
from suite.report import make_report, recorded_profiles


def made_of(student, teacher=None, method=None, task="classification", **more):
    """What a record keeps of its composed recipe, as far as it matters here."""
    parts = {"student": student, "teacher": teacher, "method": method}
    named = {key: {"name": name} if name else None for key, name in parts.items()}
    return {"task": task, "teacher_seed": 0} | named | more


def arms(record, paper=""):
    return {(claim, arm) for claim, arm, _ in claims_served(record) if claim.startswith(paper)}


def test_a_student_alone_serves_the_claims_of_another_paper_and_those_that_came_later(record):
    run = record("nkd-resnet18-student", "student", 1, top1=78.0, recipe=made_of("resnet18"))
    assert claims_served(run)[0] == ("nkd-resnet18-student", "student", ())
    assert arms(run, "mgd") == {
        ("mgd-resnet18-student", "student"),
        ("mgd-resnet18", "student"),
        ("mgd-resnet18-spatial-r0p5", "student"),
        ("mgd-resnet18-spatial-r0", "student"),
    }


def test_a_teacher_serves_every_claim_that_learns_from_it_and_a_distilled_student_its_own_claim(record):
    teacher = record("nkd-resnet18-nkd", "teacher", 0, recipe=made_of("resnet34"))
    assert arms(teacher, "mgd") == {
        (claim, "teacher")
        for claim in ("mgd-resnet18", "mgd-resnet18-spatial-r0p5", "mgd-resnet18-spatial-r0")
    }
    composed = made_of("resnet18", "resnet34", "mgd-channel")
    distilled = record("mgd-resnet18", "distilled", 0, recipe=composed)
    # The mask ratios of the other two are overrides of the same method.
    assert arms(distilled) == {("mgd-resnet18", "distilled")}


def test_a_model_alone_is_student_of_one_claim_and_teacher_of_another_at_the_teachers_seed(record):
    student, teacher = ("nkd-resnet50-student", "student"), ("nkd-resnet50-teacher", "teacher")
    learns = ("mgd-mobilenet-v1", "teacher")
    composed = made_of("resnet50")
    assert {student, teacher, learns} <= arms(record(*teacher, 0, recipe=composed))
    assert {student, teacher, learns} <= arms(record(*student, 0, recipe=composed))
    other = arms(record(*student, 1, recipe=composed))
    assert student in other
    assert not {arm for _, arm in other} - {"student"}
    second = arms(record(*student, 1, recipe=made_of("resnet50", teacher_seed=1)))
    assert {student, teacher, learns} <= second


def test_a_teacher_of_another_task_is_trained_on_its_own(record):
    name = "cascade-mask-rcnn-x101-dcn"
    composed = made_of(name, task="instance_segmentation")
    served = arms(record("mgd-mask-rcnn-r50", "teacher", 0, recipe=composed))
    # A detector learns from it as well.
    assert ("mgd-faster-rcnn-r50", "teacher") in served


def test_a_variant_serves_the_claims_it_lists_and_no_others(record):
    override = "schedule.optimizers.convnet.optimizer.lr=0.2"
    entry = {"claim": "nkd-resnet18-student", "arm": "student", "variant": (override,)}
    run = record("nkd-resnet18-student", "student", 0, recipe=made_of("resnet18"), claims=[entry])
    assert claims_served(run) == [("nkd-resnet18-student", "student", (override,))]
    own = record("nkd-resnet18-student", "student", 0, recipe=made_of("resnet18"))
    assert len(arms(own)) > 1


def test_a_run_that_is_one_claims_own_and_anothers_variant_serves_them_as_such(record):
    override = "method=nkd"
    entries = [
        {"claim": "nkd-resnet18-nkd", "arm": "distilled"},
        {"claim": "mgd-resnet18", "arm": "distilled", "variant": (override,)},
    ]
    composed = made_of("resnet18", "resnet34", "nkd")
    served = claims_served(record("nkd-resnet18-nkd", "distilled", 0, recipe=composed, claims=entries))
    assert ("nkd-resnet18-nkd", "distilled", ()) in served
    assert [variant for claim, _, variant in served if claim == "mgd-resnet18"] == [(override,)]


def test_what_a_record_lists_counts_whatever_became_of_the_claim(record):
    composed = made_of("resnet18")
    gone = record(["no-such-claim", "nkd-resnet18-student"], "student", 0, recipe=composed)
    assert ("no-such-claim", "student") in arms(gone)
    assert ("mgd-resnet18", "student") in arms(gone)
    # The claim has another recipe today: the run is none of a ResNet-50.
    moved = record("nkd-resnet50-student", "student", 0, recipe=composed)
    assert arms(moved) == {("nkd-resnet50-student", "student")}


def test_claims_with_equal_recipes_share_the_distilled_student_whatever_their_role(paper, record):
    claims = {claim.id: claim for claim in paper.claims}
    recipe = Recipe(task="classification", student="resnet18", teacher="resnet34", method="nkd")
    other = recipe.model_copy(update={"overrides": ("method.losses.nkd.arguments.gamma=1.0",)})
    recipes = {"tiny-kd": recipe, "tiny-plus": recipe.model_copy(), "tiny-less": other}
    run = record("tiny-kd", "distilled", 2, recipe=made_of("resnet18", "resnet34", "nkd"))

    def served(rival: Claim) -> list[str]:
        known = [claims["tiny-kd"], claims["tiny-plus"], claims["tiny-less"], rival]
        found = find_trainings(known, recipes).served_by(run)
        assert {(arm, variant) for _, arm, variant in found} == {("distilled", ())}
        return [claim for claim, _, _ in found]

    quoted = claims["tiny-rival"]
    assert served(quoted) == ["tiny-kd", "tiny-plus"]
    # A rival's number that a recipe makes is judged as any other.
    assert served(quoted.model_copy(update={"recipe": "tiny-kd"})) == ["tiny-kd", "tiny-plus", "tiny-rival"]


@pytest.mark.parametrize("claims", [["nkd-resnet50-student", "nkd-resnet50-teacher"], ["mgd-solo-r50"]])
def test_one_listed_claim_leads_to_all_that_a_plan_of_today_would_list(
    claims, record, shared_work, monkeypatch
):
    monkeypatch.setenv("SUITE_WORK", str(shared_work))
    plan = make_plan([claim for _, claim in select(claims=claims)], "smoke", 2)
    assert plan.runs
    for run in plan.runs.values():
        for entry in {served.arm: served for served in run.claims}.values():
            composed = run.recipe.model_dump()
            found = record(entry.claim, entry.arm, run.seed, recipe=composed, profile="smoke")
            # What starts from it is only known once it is composed.
            assert set(claims_served(found)) == {(entry.claim, entry.arm, ())} | {
                (served.claim, served.arm, ()) for served in run.claims if served.arm != "backbone"
            }


def test_the_report_of_a_paper_shows_what_was_recorded_for_another(record):
    runs = [
        record("nkd-resnet18-student", "student", seed, top1=78.0 + seed, recipe=made_of("resnet18"))
        for seed in range(3)
    ]
    runs.append(record("nkd-resnet18-nkd", "teacher", 0, top1=91.0, recipe=made_of("resnet34")))
    paper = load_papers()["mgd"]
    assert recorded_profiles(paper, runs) == ["mini"]
    rows = {row["claim"]: row for row in rows_of(make_report(paper, runs).frame)}
    assert (rows["mgd-resnet18-student"]["status"], rows["mgd-resnet18-student"]["reproduced"]) == (
        "finished",
        79.0,
    )
    late = rows["mgd-resnet18-spatial-r0p5"]
    assert (late["status"], late["reproduced"], late["gain"]) == ("not run", None, None)
    assert (late["teacher_measured"], late["student_mean"], late["student_n"]) == (91.0, 79.0, 3)


def test_status_counts_the_claims_that_the_report_calls_finished(record, tmp_path, monkeypatch, capsys):
    from suite.cli import main
    from suite.store.records import write_record

    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))
    run = record("nkd-resnet18-student", "student", 0, top1=78.0, recipe=made_of("resnet18"))
    write_record(tmp_path / "results" / "records", run)
    assert main(["status"]) == 0
    shown = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    for name in ("mgd", "nkd"):
        paper = load_papers()[name]
        judged = sum(claim.judged for claim in paper.claims)
        assert shown[name] == [name, "mini", "1", "0", "0", "1", "of", str(judged)]
        said = f"Profile `mini`: 1 of {judged} claims finished"
        assert said in make_report(paper, [run]).text("markdown")
