"""What the reports say, in Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import html.parser
import io
import re

import pytest

from suite.evidence.frame import COLUMNS
from suite.published.claims import Paper
from suite.report import make_report
from suite.report.page import environment
from suite.report.tables import ELSEWHERE
from suite.store.record import Distillation, Record

STUDENT, DISTILLED = [69.9, 70.1, 70.0], [71.0, 71.4, 71.1]


def table_rows(text: str, first_cell: str) -> list[list[str]]:
    """Cells of every Markdown table row that starts with this cell."""
    rows = [
        re.split(r"(?<!\\)\|", line)[1:-1]
        for line in text.splitlines()
        if line.startswith(f"| {first_cell} |")
    ]
    return [[cell.strip() for cell in row] for row in rows]


def cells_by_heading(text: str, claim: str) -> dict[str, str]:
    """The first row of a claim with a verdict, by the headings of the reports."""
    heading = next(row for row in table_rows(text, "claim") if "verdict" in row)
    rows = (row for row in table_rows(text, claim) if len(row) == len(heading))
    return dict(zip(heading, next(rows), strict=True))


def test_an_embedded_report_says_so_in_its_first_sentence(paper, pair_records):
    stores: list[list[Record]] = [[], pair_records(STUDENT, DISTILLED)]
    for records in stores:
        text = make_report(paper, records).text("markdown")
        opening = text.splitlines()[2].split(". ")[0]
        assert opening.startswith("These runs use embedded data")
        assert "not comparable" in opening
        assert "sign of a gain" in opening


def test_a_run_whose_method_did_not_act_is_told_and_one_that_did_is_not(paper, pair_records):
    shares = {"loss_kd": (0.5, 0.25, 0.25)}
    acted = {"steps": 2, "fired": {"student.logits": 2}, "shares": shares}
    idle = {"steps": 2, "fired": {"student.logits": 0}, "shares": {"loss_kd": (0.0, 0.0, 0.0)}}
    *alone, first, second, third = pair_records(STUDENT, DISTILLED)
    one, other = (Distillation.model_validate(content) for content in (acted, idle))
    runs = [first.model_copy(update={"distillation": one}), second, third]
    assert "did not act" not in make_report(paper, [*alone, *runs]).text("markdown")
    runs[1] = second.model_copy(update={"distillation": other})
    text = make_report(paper, [*alone, *runs]).text("markdown")
    assert "## Runs whose method did not act" in text
    assert [
        "tiny-kd",
        "1",
        "tap student.logits never fired; loss_kd contributes nothing to the total loss",
    ] in (table_rows(text, "tiny-kd"))


def test_a_report_on_published_data_does_not_say_that_they_are_embedded(paper, pair_records):
    text = make_report(paper, pair_records(STUDENT, DISTILLED, profile="paper"), "paper").text("markdown")
    assert "embedded" not in text
    assert "Noise priors: version " in text


def test_a_finished_row_shows_claim_runs_difference_interval_and_both_verdicts(paper, pair_records, record):
    records = pair_records(STUDENT, DISTILLED, profile="paper")
    records.append(record("tiny-kd", "teacher", 0, top1=73.6, profile="paper"))
    row = cells_by_heading(make_report(paper, records, "paper").text("markdown"), "tiny-kd")
    assert row.pop("notes").startswith("[^")
    assert row == {
        "claim": "tiny-kd",
        "method": "KD",
        "teacher → student": "resnet34 → resnet18",
        "teacher measured": "73.60",
        "metric": "top1",
        "claimed": "71.96",
        "reproduced": "71.17 ± 0.21 (n = 3)",
        "difference": "-0.79",
        "95 % interval": "70.80 to 71.53",
        "verdict": "DEVIATES_LOW (standard)",
        "gain claimed": "+2.06",
        "gain reproduced (90 % interval)": "+1.17 (+0.97 to +1.36), 57% of the claim",
        "gain verdict": "GAIN_SMALLER",
    }


def test_an_embedded_row_has_no_difference_and_no_interval(paper, pair_records):
    row = cells_by_heading(make_report(paper, pair_records(STUDENT, DISTILLED)).text("markdown"), "tiny-kd")
    assert (row["claimed"], row["reproduced"]) == ("71.96", "71.17 ± 0.21 (n = 3)")
    assert (row["difference"], row["95 % interval"], row["verdict"]) == ("—", "—", "NOT_COMPARABLE")
    assert (row["gain reproduced (90 % interval)"], row["gain verdict"]) == (
        "+1.17 (+0.97 to +1.36)",
        "NO_CHANGE",
    )


def test_rows_not_run_blocked_failed_and_quoted_appear_as_such(paper, record):
    runs = [
        record("tiny-kd", "distilled", 0, status="failed", error="out | of memory"),
        record("tiny-less", "distilled", 0, status="blocked", error="another learning rate"),
    ]
    text = make_report(paper, runs).text("markdown")
    shown = {
        claim: cells_by_heading(text, claim) for claim in ("tiny-base", "tiny-kd", "tiny-less", "tiny-rival")
    }
    assert [row["reproduced"] for row in shown.values()] == ["not run", "failed", "blocked", "quoted"]
    assert [row["verdict"] for row in shown.values()] == ["—", "BLOCKED", "BLOCKED", "—"]
    note = re.escape(shown["tiny-kd"]["notes"].split()[0])
    assert re.search(rf"^{note}: Distilled run, seed 0: failed: out \\\| of memory\.$", text, re.MULTILINE)
    assert "0 of 5 claims finished, 1 failed, 1 blocked, 3 not run, 1 number of rivals quoted" in text


def test_departures_become_footnotes_and_those_of_every_row_are_said_once(paper, pair_records, record):
    records = pair_records(STUDENT, DISTILLED, profile="paper", departures=["mixed precision"])
    records.append(
        record(
            "tiny-less", "distilled", 0, top1=70.9, profile="paper", departures=["mixed precision", "one GPU"]
        )
    )
    text = make_report(paper, records, "paper").text("markdown")
    assert text.count("mixed precision") == 1
    assert "- mixed precision" in text
    assert re.search(r"^\[\^\d+\]: Departure: one GPU$", text, re.MULTILINE)
    assert cells_by_heading(text, "tiny-less")["verdict"] == "REPRODUCED* (screen, equivalent)"
    assert cells_by_heading(text, "tiny-kd")["gain verdict"] == "GAIN_SMALLER*"


def test_discrepancies_are_footnotes_with_their_sources(paper):
    text = make_report(paper, []).text("markdown")
    note = cells_by_heading(text, "tiny-kd")["notes"]
    said = "71.96 or 71.69. The abstract has the one, the table the other. Sources: abstract; table 1."
    assert f"{note}: Discrepancy: {said}\n" in text


def test_every_footnote_that_is_referred_to_exists_and_the_other_way_round(paper, pair_records):
    text = make_report(paper, pair_records(STUDENT, DISTILLED, departures=["one"])).text("markdown")
    defined = set(re.findall(r"^\[\^(\d+)\]:", text, re.MULTILINE))
    used = set(re.findall(r"\[\^(\d+)\](?!:)", text))
    assert defined == used
    assert used


def test_sections_are_what_is_known_the_tables_that_print_a_claim_then_rivals_and_others(paper):
    text = make_report(paper, []).text("markdown")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "What is known",
        "Table 1: Students of ResNet-34",
        "With a \\| in its title",
        "The paper's methods and rivals on the same pair",
        "Numbers reported by others",
    ]
    assert "Source: the paper; the table has more rows than are known here." in text


UNRELEASED = "The weight; taken is that of another network."


def with_claims(paper: Paper, **changed: dict[str, object]) -> Paper:
    """The paper with some of its claims changed: id, with `_` for `-`, -> fields."""
    fields = {name.replace("_", "-"): new for name, new in changed.items()}
    claims = [claim.model_copy(update=fields.get(claim.id, {})) for claim in paper.claims]
    return paper.model_copy(update={"claims": claims})


def test_rows_whose_settings_no_release_states_are_marked_in_every_table_and_listed(paper):
    marked = with_claims(paper, tiny_rival={"unreleased": UNRELEASED, "recipe": "tiny-rival"})
    text = make_report(marked, []).text("markdown")
    assert "## Unreleased settings" in text
    assert ["tiny-rival", "Rival", "resnet34 → resnet18", UNRELEASED] in table_rows(text, "tiny-rival")
    assert cells_by_heading(text, "tiny-rival")["method"] == "Rival, settings unreleased"
    beside_rivals = [row for row in table_rows(text, "top1") if row[-1] == "tiny-rival"]
    assert [row[1] for row in beside_rivals] == ["Rival, settings unreleased"]
    unmarked = make_report(paper, []).text("markdown")
    assert "unreleased" not in unmarked
    assert "no release states" not in unmarked


def test_a_claim_that_no_table_of_the_paper_prints_stands_among_those_of_others(paper):
    (rival,) = (claim for claim in paper.claims if claim.id == "tiny-rival")
    source = rival.sources[0].model_copy(update={"table": "somewhere-else", "provenance": "secondary"})
    changed: dict[str, object] = {"sources": [source], "claimed_by": "its authors", "recipe": "tiny-rival"}
    report = make_report(with_claims(paper, tiny_rival=changed), [])
    found = {section.title: section for section in report.page.sections}
    (line,) = found[ELSEWHERE].grids[0].lines
    assert line.cells[:2] == ("tiny-rival", "Rival, claimed by its authors")
    assert ELSEWHERE not in {section.title for section in make_report(paper, []).page.sections}


def test_metrics_without_a_prior_stand_apart_once_they_are_measured(paper, record):
    assert "Further metrics" not in make_report(paper, []).text("markdown")
    runs = [record("tiny-kd", "distilled", 0, top1=71.0, top5=90.0, profile="paper")]
    text = make_report(paper, runs, "paper").text("markdown")
    further = cells_by_heading(text.split("Further metrics")[1], "tiny-kd")
    assert (further["metric"], further["verdict"]) == ("top5", "not judged")
    assert cells_by_heading(text, "tiny-kd")["metric"] == "top1"


def test_what_stands_beside_a_deviation(paper, pair_records, record):
    records = pair_records(STUDENT, DISTILLED, profile="paper")
    records.append(record("tiny-plus", "distilled", 0, top1=72.1, profile="paper"))
    text = make_report(paper, records, "paper").text("markdown").split("## Deviations and undecided rows")[1]
    heading = table_rows(text, "claim")[0]
    flagged = dict(zip(heading, table_rows(text, "tiny-kd")[0], strict=True))
    assert flagged["verdict"] == "DEVIATES_LOW (standard)"
    assert (flagged["survives 1.5 sigma0"], flagged["survives Benjamini-Hochberg"]) == ("yes", "yes")
    assert (flagged["best of k"], flagged["runs needed"]) == ("more than 100", "—")
    undecided = dict(zip(heading, table_rows(text, "tiny-plus")[0], strict=True))
    assert (undecided["verdict"], undecided["runs needed"]) == ("INCONCLUSIVE (screen)", "2")
    assert (undecided["survives 1.5 sigma0"], undecided["best of k"]) == ("—", "—")


def test_numbers_of_others_stand_in_their_own_table(paper):
    text = make_report(paper, []).text("markdown").split("## Numbers reported by others")[1]
    assert table_rows(text, "tiny-kd") == [
        ["tiny-kd", "reproduction", "KD", "—", "top1 71.50, top5 90.1", "—", "issue 7. On one GPU."]
    ]
    assert table_rows(text, "—") == [["—", "quotation", "—", "—", "—", "top1 +1.2", "the paper"]]


# --- commands and environment -------------------------------------------------------------------------


def test_the_commands_name_paper_profile_and_seeds(paper, pair_records):
    text = make_report(paper, pair_records(STUDENT[:2], [], profile="paper"), "paper").text("markdown")
    assert "\npython -m suite reproduce --paper tiny --profile paper --seeds 2\n" in text
    assert "\nmake reproduce PAPER=tiny PROFILE=paper SEEDS=2\n" in text
    assert "--profile mini --seeds 3" in make_report(paper, []).text("markdown")


def test_the_environment_is_the_distinct_values_of_the_records_that_count(paper, record):
    def run(seed, python, **fields):
        provenance = {
            "host": {"python": python},
            "gpu": None,
            "commit": "abc",
            "packages": {"torch": "2.10.0"},
        }
        return record("tiny-kd", "distilled", seed, top1=71.0, provenance=provenance, **fields)

    runs = [run(0, "3.12.1"), run(1, "3.10.2"), run(2, "3.10.2")]
    expected = [("Python", "3.10.2, 3.12.1"), ("torch", "2.10.0"), ("commit", "abc")]
    assert list(environment(runs)) == list(environment(runs[::-1])) == expected
    old = run(3, "3.9.0", recipe_version=0, finished_at="2020-01-01T00:00:00+00:00")
    text = make_report(paper, [*runs, old]).text("markdown").split("## Environment of the runs")[1]
    assert [(name, *table_rows(text, name)[0][1:]) for name, _ in expected] == expected
    assert "3.9.0" not in text


# --- formats ------------------------------------------------------------------------------------------


class _Outline(html.parser.HTMLParser):
    """Checks that elements nest, and keeps what the tests ask for."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(value or "")
            if name in {"href", "src"}:
                self.links.append(value or "")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def outline(text: str) -> _Outline:
    parsed = _Outline()
    parsed.feed(text)
    parsed.close()
    assert parsed.open == []
    return parsed


def test_the_html_page_stands_alone_and_its_footnotes_lead_somewhere(paper, pair_records):
    parsed = outline(make_report(paper, pair_records(STUDENT, DISTILLED, departures=["one"])).text("html"))
    assert parsed.links
    assert all(link.startswith("#") and link[1:] in parsed.ids for link in parsed.links)
    assert parsed.tags.isdisjoint({"script", "link", "img", "iframe"})


def test_html_and_markdown_show_the_same_cells(paper, pair_records):
    report = make_report(paper, pair_records(STUDENT, DISTILLED, profile="paper"), "paper")
    text = outline(report.text("html")).text
    for cell in cells_by_heading(report.text("markdown"), "tiny-kd").values():
        if not cell.startswith("[^"):
            assert cell in text


def test_html_shows_text_that_looks_like_html_as_text(paper, record):
    run = record("tiny-kd", "distilled", 0, status="failed", error="<b>torch.Size([2])</b> & more")
    report = make_report(paper, [run])
    assert "<b>torch.Size([2])</b> & more" in outline(report.text("html")).text
    assert "b" not in outline(report.text("html")).tags
    assert "<b>" not in report.text("markdown")


def test_csv_has_every_row_and_column_of_the_frame(paper, pair_records):
    report = make_report(paper, pair_records(STUDENT, DISTILLED, profile="paper"), "paper")
    rows = list(csv.DictReader(io.StringIO(report.text("csv"))))
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == len(report.frame)
    kd = next(row for row in rows if row["claim"] == "tiny-kd")
    assert (kd["verdict"], kd["claimed"], kd["n"], kd["best_of_k"]) == ("DEVIATES_LOW", "71.96", "3", "")
    assert float(kd["reproduced"]) == pytest.approx(71.1667, abs=1e-4)
