"""Own results beside their rivals on the same pair: both orders, Kendall's tau, and what is not said."""

from __future__ import annotations

import dataclasses

import pytest

from suite.evidence.frame import build_frame, rows_of
from suite.published.claims import Paper
from suite.published.finding import load_papers
from suite.report import make_report
from suite.report.cells import agreement_sentence
from suite.report.layout import Grid, Section
from suite.report.rivals import HEADINGS, REFERENCE, TITLE, contests, rival_sections
from suite.verdicts import RankAgreement
from tests.report.test_tables import tables

GID, OWN, INHERIT = METHODS = ("dense-gid", "dense-box", "dense-box-inherit")
"""Claimed are 39.1, 39.6 and 39.7 box AP."""


@pytest.fixture
def world(dense_paper) -> Paper:
    """The paper of the detectors, with a rival that somebody has written a recipe for."""
    return _with(dense_paper, GID, recipe=GID)


def _with(paper: Paper, claim: str, **changed: object) -> Paper:
    claims = [each.model_copy(update=changed) if each.id == claim else each for each in paper.claims]
    return paper.model_copy(update={"claims": claims})


@pytest.fixture
def measured(seeds):
    """Three seeds of each named method around a mean: ``measured({GID: 30.0})``."""

    def make(means: dict[str, float], **fields: object):
        return [
            run
            for claim, mean in means.items()
            for run in seeds(claim, "distilled", box_AP=[mean - 0.5, mean, mean + 0.5], **fields)
        ]

    return make


def _section(paper: Paper, records, profile: str = "mini") -> Section:
    (found,) = rival_sections(rows_of(build_frame([paper], records, profile)))
    return found


def _rows(grid: Grid) -> dict[str, dict[str, str]]:
    """Claim, or method of a line without one -> cells by heading."""
    lines = [dict(zip(HEADINGS, line.cells, strict=True)) for line in grid.lines]
    return {line["method"] if line["claim"] == "—" else line["claim"]: line for line in lines}


def _column(grid: Grid, heading: str) -> list[str]:
    rows = _rows(grid)
    return [rows[claim][heading] for claim in METHODS]


@pytest.mark.parametrize(
    ("means", "order", "said"),
    [
        ((30.0, 31.0, 32.0), (3, 2, 1), "tau +1.00 over 3 of 3 methods (exact p = 0.333)"),
        ((32.0, 31.0, 30.0), (1, 2, 3), "tau -1.00 over 3 of 3 methods (exact p = 0.333)"),
        ((30.0, 32.0, 31.0), (3, 1, 2), "tau +0.33 over 3 of 3 methods (exact p = 1.000)"),
        (
            (30.0, 31.0, 31.0),
            (3, 1, 1),
            "tau-b (for ties) +0.82 over 3 of 3 methods (exact p = 0.667)",
        ),
        ((31.0, 31.0, 31.0), (1, 1, 1), "no tau, 3 of 3 methods measured, all tied in claim or result"),
    ],
)
def test_measured_orders_that_equal_reverse_mix_and_tie_the_claimed_one(world, measured, means, order, said):
    grid = _section(world, measured(dict(zip(METHODS, means, strict=True)))).grids[0]
    assert _column(grid, "claimed rank") == ["3 of 3", "2 of 3", "1 of 3"]
    assert _column(grid, "measured rank") == [f"{rank} of 3" for rank in order]
    assert grid.note == f"box_AP: {said}."


def test_a_table_has_teacher_methods_from_the_best_claim_on_and_student(world, measured, seeds):
    records = measured(dict(zip(METHODS, (30.0, 31.0, 32.0), strict=True)))
    records += seeds(["dense-box-base", *METHODS], "student", box_AP=[28.0, 28.0, 28.0])
    records += seeds(["dense-box-teacher", *METHODS], "teacher", box_AP=[35.0])
    grid = _section(world, records).grids[0]
    assert grid.title == "retinanet-r101 → retinanet-r50: box_AP"
    assert not grid.folded
    assert [list(row.values()) for row in _rows(grid).values()] == [
        ["box_AP", "teacher alone", REFERENCE, "38.9", "—", "35.00", "—", "—", "—", "—"],
        [
            *("box_AP", "Ours+", "ours", "39.7", "1 of 3", "32.00", "31.16 to 32.84", "1 of 3"),
            *("n = 3", INHERIT),
        ],
        [
            *("box_AP", "Ours", "ours", "39.6", "2 of 3", "31.00", "30.16 to 31.84", "2 of 3"),
            *("n = 3", OWN),
        ],
        ["box_AP", "GID", "rival", "39.1", "3 of 3", "30.00", "29.16 to 30.84", "3 of 3", "n = 3", GID],
        ["box_AP", "student alone", REFERENCE, "37.4", "—", "28.00", "—", "—", "n = 3", "—"],
    ]


def test_a_quoted_rival_has_its_claimed_rank_and_nothing_measured(dense_paper, measured):
    grid = _section(dense_paper, measured({OWN: 31.0, INHERIT: 30.0})).grids[0]
    assert list(_rows(grid)[GID].values())[3:] == ["39.1", "3 of 3", "—", "—", "—", "quoted", GID]
    assert _column(grid, "measured rank") == ["—", "1 of 2", "2 of 2"]
    assert grid.note == "box_AP: tau -1.00 over 2 of 3 methods (exact p = 1.000), no rival among them."


def test_a_rival_among_the_measured_is_not_said_to_be_missing(world, measured):
    note = _section(world, measured({GID: 30.0, INHERIT: 31.0})).grids[0].note
    assert note == "box_AP: tau +1.00 over 2 of 3 methods (exact p = 1.000)."


@pytest.mark.parametrize(("means", "count"), [({}, "none"), ({OWN: 31.0}, "1")])
def test_fewer_than_two_measured_methods_have_no_tau_and_no_rank(world, measured, means, count):
    grid = _section(world, measured(means)).grids[0]
    assert _column(grid, "measured rank") == ["—", "—", "—"]
    assert grid.note == f"box_AP: no tau, {count} of 3 methods measured."


def test_equal_claims_share_a_rank(world, measured):
    metric = world.claims[0].metrics["box_AP"].model_copy(update={"value": 39.7, "decimals": 1})
    even = _with(world, OWN, metrics={"box_AP": metric})
    grid = _section(even, measured(dict(zip(METHODS, (30.0, 31.0, 32.0), strict=True)))).grids[0]
    assert _column(grid, "claimed rank") == ["3 of 3", "1 of 3", "1 of 3"]
    assert grid.note == "box_AP: tau-b (for ties) +0.82 over 3 of 3 methods (exact p = 0.667)."


def test_a_blocked_method_has_no_rank(world, measured, record):
    records = measured({GID: 33.0, OWN: 31.0, INHERIT: 32.0})
    records.append(record(GID, "distilled", 3, status="failed", error="out of memory"))
    grid = _section(world, records).grids[0]
    assert _column(grid, "measured rank") == ["BLOCKED", "2 of 2", "1 of 2"]
    assert _rows(grid)[GID]["runs"] == "n = 3, failed"
    assert "over 2 of 3 methods" in grid.note


def test_further_metrics_are_folded_and_say_alike_outcomes_once(world, seeds):
    records = [
        *seeds(GID, "distilled", box_AP=[30, 30, 30], box_AP_S=[14, 14, 14]),
        *seeds(OWN, "distilled", box_AP=[31, 31, 31], box_AP_S=[12, 12, 12]),
    ]
    main, further = _section(world, records).grids
    assert [line.cells[0] for line in main.lines if line.cells[2] != REFERENCE] == ["box_AP"] * 3
    assert (further.folded, further.title) == (True, "retinanet-r101 → retinanet-r50: further metrics")
    # The rival has no box AR: by that metric there is nobody to be beside.
    assert {line.cells[0] for line in further.lines} == {"box_AP_S"}
    assert further.note == "box_AP_S: tau -1.00 over 2 of 2 methods (exact p = 1.000)."
    fewer = _with(world, GID, metrics=dict(world.claims[3].metrics))
    note = _section(fewer, []).grids[1].note
    assert note == "box_AP_S, box_AR: no tau, none of 2 methods measured."


def test_ablations_variants_other_students_and_papers_without_rivals_are_no_contest(dense_paper, paper):
    found = contests(rows_of(build_frame([dense_paper], [], "mini")))
    assert list(found) == [("retinanet-r101", "retinanet-r50", "coco-2017")]
    shown = {row["claim"] for group in found.values() for contest in group for row in contest.rows}
    assert shown == set(METHODS)
    lonely = dense_paper.model_copy(
        update={"claims": [claim for claim in dense_paper.claims if claim.id != GID]}
    )
    assert TITLE not in make_report(lonely, []).text("markdown")


def test_methods_without_a_teacher_are_a_pair_of_their_own(world):
    for claim in METHODS:
        world = _with(world, claim, teacher=None, teacher_claim=None)
    grid = _section(world, []).grids[0]
    assert grid.title == "retinanet-r50: box_AP"
    assert list(_rows(grid)) == [INHERIT, OWN, GID, "student alone"]


def test_on_published_data_the_interval_has_the_prior(world, measured):
    grid = _section(world, measured({OWN: 39.6}, profile="paper"), "paper").grids[0]
    # s_p = sqrt((8 * 0.12^2 + 2 * 0.5^2) / 10) = 0.248, and 1.812 * 0.248 / sqrt(3) = 0.26.
    assert _rows(grid)[OWN]["90 % interval"] == "39.34 to 39.86"


def test_where_less_is_better_the_least_is_first(world, seeds, tmp_path, monkeypatch):
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "claims.yaml").write_text(
        "{id: more, title: M, venue: V, arxiv: [], code: a/b, versions: {}, tables: [], claims: []}",
        encoding="utf-8",
    )
    error = "error: {title: error rate, unit: percent, better: lower}\n"
    (folder / "metrics.yaml").write_text(error, encoding="utf-8")
    monkeypatch.setenv("SUITE_PAPERS", str(folder))
    for claim in world.claims:
        if claim.id in METHODS:
            world = _with(world, claim.id, metrics={"error": claim.metrics["box_AP"]})
    records = [
        run
        for claim, mean in zip(METHODS, (30.0, 31.0, 32.0), strict=True)
        for run in seeds(claim, "distilled", error=[mean - 1, mean, mean + 1])
    ]
    grid = _section(world, records).grids[0]
    assert list(_rows(grid)) == list(METHODS)
    assert _column(grid, "claimed rank") == _column(grid, "measured rank") == ["1 of 3", "2 of 3", "3 of 3"]
    assert grid.note == "error: tau +1.00 over 3 of 3 methods (exact p = 0.333)."


def test_markdown_and_html_say_the_tau_below_its_table(world, measured):
    report = make_report(world, measured(dict(zip(METHODS, (30.0, 31.0, 32.0), strict=True))))
    text = report.text("markdown")
    (shown, folded) = tables(text, TITLE)
    assert [row["measured rank"] for row in shown.rows if row["role"] != REFERENCE] == [
        *("1 of 3", "2 of 3", "3 of 3")
    ]
    assert folded.folded
    said = "box_AP: tau +1.00 over 3 of 3 methods (exact p = 0.333)."
    lines = text.splitlines()
    assert lines[lines.index(said) - 2].startswith("| box_AP | student alone |")
    assert f"</table></div>\n<p>{said}</p>" in report.text("html")


def test_an_approximate_p_value_is_called_so():
    agreement = RankAgreement(12, 0.5, 0.03, ties=True, exact=False)
    assert "(approximate p = 0.030)" in agreement_sentence(agreement, 12, "methods")
    exact = dataclasses.replace(agreement, exact=True)
    assert "(exact p = 0.030)" in agreement_sentence(exact, 12, "methods")


def test_every_published_pair_with_a_rival_has_its_table():
    shown = {
        (paper.id, line.cells[HEADINGS.index("claim")])
        for paper in load_papers().values()
        for section in rival_sections(rows_of(build_frame([paper], [], "mini")))
        for grid in section.grids
        for line in grid.lines
    }
    rivals = {
        (paper.id, claim.id)
        for paper in load_papers().values()
        for claim in paper.claims
        if claim.role == "rival"
        and any(
            (own.teacher, own.student, own.dataset) == (claim.teacher, claim.student, claim.dataset)
            and own.kind.own
            for own in paper.claims
        )
    }
    assert rivals
    assert rivals <= shown
