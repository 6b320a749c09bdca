"""What is known of a paper: what it prints, what contradicts itself, what others measured, what we did."""

from __future__ import annotations

import pytest

from suite.evidence.frame import build_frame, rows_of
from suite.published.claims import Paper
from suite.published.finding import load_papers
from suite.published.literature import Literature, load_literature
from suite.report import make_report
from suite.report.known import Fact, answer, facts, in_brief, trained
from suite.report.reruns import elsewhere, reruns, silent_reports

NOTHING_ELSE = Literature()


def changed(paper: Paper, **quoted: object) -> Paper:
    """The paper with its reproduction changed in these fields."""
    issue, *others = paper.quoted
    return paper.model_copy(update={"quoted": [issue.model_copy(update=quoted), *others]})


def rows(paper: Paper, records, profile="mini"):
    return rows_of(build_frame([paper], records, profile))


def told(paper: Paper, literature: Literature = NOTHING_ELSE) -> dict[str, Fact]:
    return {fact.topic: fact for fact in facts(paper, literature)}


def literature_with(**row: object) -> Literature:
    """A document that has one number of KD from ResNet-34 to ResNet-18."""
    pair = {"teacher": row.pop("teacher", "resnet34"), "student": "resnet18"}
    pair["rows"] = [{"row": "lit-kd", "method": "KD", "metrics": {"top1": "71.00"}} | row]
    document = {"title": "A list", "document": "somebody/list", "dataset": "imagenet-1k", "pairs": [pair]}
    return Literature.model_validate({"documents": {"list": document | {"provenance": "re-run"}}})


def test_what_a_paper_prints_is_counted_by_role_and_what_others_print_apart(paper):
    sentence = told(paper)["Printed by paper and README"].sentence
    assert sentence == (
        "7 rows with 9 numbers: results of the paper (3), teachers (1), students alone (1), ablations (1), "
        "rivals (1). 5 of the 7 are judged, the others quoted."
    )
    claims = [
        claim.model_copy(update={"claimed_by": "a README"} if claim.id == "tiny-rival" else {})
        for claim in paper.claims
    ]
    sentence = told(paper.model_copy(update={"claims": claims}))["Printed by paper and README"].sentence
    assert sentence.startswith("6 rows with 8 numbers: ")
    assert "For comparison, 1 row from other documents." in sentence


def test_contradictions_are_counted_with_what_they_concern(paper):
    fact = told(paper)["Contradictions"]
    assert fact.sentence == (
        "Published sources contradict each other on 1 point; this affects 1 of its 3 results."
    )
    assert fact.grid is not None
    assert [line.cells for line in fact.grid.lines] == [
        ("71.96 or 71.69", "results of the paper (1)", "abstract; table 1")
    ]
    without = paper.model_copy(update={"discrepancies": []})
    assert told(without)["Contradictions"].grid is None


@pytest.mark.parametrize(
    ("printed", "standing", "difference"),
    [("71.50", "below", "-0.46"), ("71.66", "within", "-0.30"), ("72.26", "within", "0.30"),
     ("72.27", "above", "0.31")],
)  # fmt: skip
def test_a_rerun_is_held_against_its_claim_with_the_practical_margin(paper, printed, standing, difference):
    (rerun,) = reruns(changed(paper, metrics={"top5": "95.0", "top1": printed}), NOTHING_ELSE)
    assert (rerun.metric, rerun.standing, rerun.difference) == ("top1", standing, difference)


def test_only_reproductions_are_measurements_and_one_without_a_number_is_told_apart(paper):
    fact = told(paper)["Measured by others"]
    assert fact.sentence == (
        "Others report 1 re-run of 1 of its rows: 0 within the practical margin of the claim, 0 above, "
        "1 below. 1 quotation of its numbers without a new run."
    )
    assert fact.grid is not None
    assert [line.cells for line in fact.grid.lines] == [
        ("KD", "resnet34 → resnet18", "top1 71.50, claimed 71.96 (-0.46)", "issue 7", "On one GPU.")
    ]
    words = changed(paper, metrics={}, gains={})
    assert reruns(words, NOTHING_ELSE) == ()
    assert told(words)["Measured by others"].sentence.startswith(
        "No re-run by others was found. 1 further report without a number for one of its rows."
    )


def test_a_rerun_of_the_literature_counts_where_method_and_models_are_those_of_an_own_result(paper):
    *_, found = reruns(paper, literature_with())
    assert (found.claim.id, found.printed, found.standing) == ("tiny-kd", "71.00", "below")
    for other in ({"teacher": "resnet50"}, {"method": "Rival"}, {"provenance": "quoted"}):
        assert len(reruns(paper, literature_with(**other))) == 1
    assert len(elsewhere(paper, literature_with(teacher="resnet50"))) == 1
    assert elsewhere(paper, literature_with()) == []


@pytest.mark.parametrize("name", sorted(load_papers()))
def test_no_reproduction_of_a_paper_is_lost(name):
    paper = load_papers()[name]
    quoted = [row for row in paper.quoted if row.kind == "reproduction"]
    found = reruns(paper, NOTHING_ELSE)
    assert len(found) + len(silent_reports(paper)) == len(quoted) > 0
    assert len(reruns(paper, load_literature())) >= len(found)


def test_settings_that_no_release_states_are_named_with_their_rows(paper):
    assert told(paper)["Settings in no release"].grid is None
    claims = [
        claim.model_copy(update={"unreleased": "The weight."} if claim.id == "tiny-less" else {})
        for claim in paper.claims
    ]
    fact = told(paper.model_copy(update={"claims": claims}))["Settings in no release"]
    assert fact.sentence == "Needed by 1 judged row: ablations (1)."
    assert fact.grid is not None
    assert fact.grid.lines[0].cells == ("tiny-less", "KD, half of it", "resnet34 → resnet18", "The weight.")


def test_on_embedded_data_gains_are_counted_and_nothing_is_called_a_reproduction(paper, pair_records):
    store = pair_records([69.9, 70.1, 70.0], [79.0, 79.4, 79.1])
    embedded = rows(paper, store)
    assert answer((), embedded=embedded) == (
        "No re-run by others was found. Trained here on embedded data, which can neither reproduce nor "
        "refute a published number: 1 of its 3 results, 1 gain, 0 losses, 0 undecided."
    )
    fact = trained(embedded, embedded=True)
    assert fact.topic == "Our runs, embedded data"
    assert fact.sentence == (
        "2 of 5 judged rows trained (profile mini, 3 seeds each). Results of the paper: 1 gain, 0 losses, "
        "0 undecided. None of them is a reproduction: data, networks and schedules are not the paper's."
    )


def test_a_loss_and_an_undecided_gain_are_told_apart(paper, pair_records):
    worse = rows(paper, pair_records([79.0, 79.4, 79.1], [69.9, 70.1, 70.0]))
    assert "0 gains, 1 loss, 0 undecided" in answer((), embedded=worse)
    single = rows(paper, pair_records([70.0], [79.0]))
    assert "0 gains, 0 losses, 1 undecided" in answer((), embedded=single)


def test_under_the_published_protocol_numbers_are_judged_and_until_then_the_question_is_open(
    paper, pair_records
):
    nothing = rows(paper, [], "paper")
    assert answer((), published=nothing).startswith(
        "Open: none of its results has been trained here under the published protocol."
    )
    store = pair_records([69.9, 69.8, 70.0], [71.9, 72.0, 71.95], profile="paper")
    published = rows(paper, store, "paper")
    assert answer((), published=published).startswith(
        "1 of 1 decided number reproduced. Trained here under the published protocol: 1 of its 3 results, "
        "1 reproduced."
    )
    fact = trained(published, embedded=False)
    assert fact.topic == "Our runs, published data"
    assert fact.sentence.startswith(
        "2 of 5 judged rows trained (profile paper, 3 seeds each). Numbers: 2 repro"
    )
    assert "Results of the paper: 1 gain of the claimed size." in fact.sentence
    assert trained(nothing, embedded=False).sentence == "None of the 5 judged rows has been trained."


def test_a_number_that_is_too_low_is_no_reproduction(paper, pair_records):
    store = pair_records([69.9, 69.8, 70.0], [69.9, 70.0, 69.95], profile="paper")
    brief = in_brief(paper, NOTHING_ELSE, rows(paper, []), rows(paper, store, "paper"))
    told_of = "can it be reproduced?"
    assert brief[told_of] == "0 of 1 decided number reproduced, 1 of 3 results trained"
    assert brief["the paper's results on embedded data"] == "0 gains, 0 losses, 0 undecided"
    assert brief["re-runs by others, versus the claims"] == "1: 0 within the margin, 0 above, 1 below"
    open_yet = in_brief(paper, NOTHING_ELSE, rows(paper, []), rows(paper, [], "paper"))
    assert open_yet[told_of] == "open, 0 of 3 results trained"


def test_what_is_known_is_the_first_section_of_the_page_of_either_profile(paper, pair_records):
    for profile, data in (("mini", "embedded"), ("paper", "published")):
        store = pair_records([69.9, 70.1, 70.0], [71.9, 72.0, 71.95], profile=profile)
        first, *_ = make_report(paper, store, profile).page.sections
        assert first.title == "What is known"
        topics = [line.cells[0] for line in first.grids[0].lines]
        assert topics[-1] == f"Our runs, {data} data"
        assert ("published protocol" in first.remark) == (profile == "paper")
        assert [grid.title.split()[-1] for grid in first.grids[1:]] == ["contradiction", "re-runs"]
