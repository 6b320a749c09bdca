"""The site hangs together, every number leads to where it comes from, and nothing hostile gets in."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from suite.contract import Scalars, ServedClaim
from suite.errors import SuiteError
from suite.published.finding import load_papers
from suite.report.addresses import claim_page
from suite.report.site import write_site
from suite.store.records import read_all, write_record
from suite.store.run_folders import RunFolder
from suite.store.scalars import write_scalars
from suite.store.summaries import read_summaries
from tests import hostile_site
from tests.conftest import built_once
from tests.report.site.pages import Page, is_outside, pages_of

OLDER = Path(__file__).resolve().parents[2] / "store" / "older_records"
STUDENT, DISTILLED = [69.9, 70.1, 70.0], [71.0, 71.4, 71.1]
EVIL = (
    "<script>alert(1)</script> | \\| [a](javascript:x) \"'><img src=x onerror=y> =cmd() \x1b[31m\u202e\n"
    "second"
)
SCALARS = Scalars(
    iteration=1, learning_rate=0.1, loss=2.0, losses={"loss": 2.0}, seconds_per_step=0.5, memory_mib=100.0
)
RECIPE = {
    "task": "classification",
    "student": {"name": "resnet18", "kind": "convnet"},
    "teacher": {"name": "resnet34", "kind": "convnet"},
    "method": {"name": "kd", "title": "KD", "losses": {}},
    "teacher_seed": 0,
}


@pytest.fixture
def written(tmp_path, paper, monkeypatch):
    """Writes the site of the small paper; returns its folder."""
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))

    def write(records, name="site", papers=None, **more):
        store, work = tmp_path / "results" / "records", tmp_path / "work"
        for record in records:
            write_record(store, record)
        write_site(tmp_path / name, papers or [paper], read_summaries(store), store, work, **more)
        return tmp_path / name

    return write


def full(run, tmp_path):
    """The run with all that a record may have beside its numbers, and a log."""
    log = RunFolder(tmp_path / "work", run.run_id).log
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"the log of {run.run_id}\n", encoding="utf-8")
    provenance = {"command": f"python -m suite reproduce --seeds {run.seed}", "commit": "a" * 40}
    more: dict[str, Any] = {
        "recipe": RECIPE,
        "identity": {"seed": run.seed, "repetition": 0},
        "provenance": provenance,
    }
    more["scalars_sha256"] = write_scalars(tmp_path / "results" / "records", run.run_id, [SCALARS])
    return type(run).model_validate_json(json.dumps(run.model_dump(mode="json") | more))


@pytest.fixture
def complete(written, pair_records, tmp_path):
    """The site of a paper whose runs have left all that a run can leave."""
    return written([full(run, tmp_path) for run in pair_records(STUDENT, DISTILLED)])


def test_every_link_leads_to_a_file_of_the_folder_and_to_an_anchor_that_is_there(complete):
    pages = pages_of(complete)
    assert {path.relative_to(complete).parts[0] for path in pages} == {
        *("index.html", "tiny.html", "claims", "runs", "configs"),
    }
    for page in pages.values():
        assert len(set(page.ids)) == len(page.ids)
        for link in page.links:
            if is_outside(link):
                continue
            target, anchor = page.leads_to(link)
            assert target.is_relative_to(complete)
            assert target.is_file(), (page.path, link)
            assert not anchor or anchor in pages[target].ids, (page.path, link)


def test_no_page_is_left_that_no_link_leads_to(complete):
    pages = pages_of(complete)
    reached, waiting = set(), [complete / "index.html"]
    while waiting:
        page = pages.get(waiting.pop().resolve())
        if page is not None and page.path not in reached:
            reached.add(page.path)
            waiting += [page.leads_to(link)[0] for link in page.links if not is_outside(link)]
    assert {path.relative_to(complete) for path in pages} == {path.relative_to(complete) for path in reached}


def clicks(pages: dict[Path, Page], page: Page, link: str) -> set[Path]:
    """What is read by clicking a link, and what a second click leads to from there."""
    first, _ = page.leads_to(link)
    on = pages.get(first)
    return {first, *(on.leads_to(other)[0] for other in on.links if not is_outside(other))} if on else {first}


def numbers_of(page: Page):
    """The rows with a number that was measured, with the links of the row."""
    for table in page.tables:
        for name in ("measured", "gain measured", "gain measured (90 % interval)"):
            if name in table.headings:
                column = table.headings.index(name)
                yield from (line for line in table.lines if re.match(r"[+-]?\d", line.cells[column]))


def test_every_number_is_two_clicks_from_record_log_config_source_and_command(complete):
    pages = pages_of(complete)
    paper = pages[(complete / "tiny.html").resolve()]
    lines = list(numbers_of(paper))
    assert lines
    for line in lines:
        reached = set().union(
            *(clicks(pages, paper, link) for link in line.links if not link.startswith("#"))
        )
        kinds = {path.parent.name for path in reached}
        assert {"claims", "runs", "configs"} <= kinds
        claim = pages[paper.leads_to(next(link for link in line.links if link.startswith("claims/")))[0]]
        assert "python -m suite reproduce --claim tiny-" in claim.text
        assert "printed-in" in claim.ids
        (runs,) = [table for table in claim.tables if table.section == "Runs"][-1:]
        for row in runs.lines:
            seen = set().union(*(clicks(pages, claim, link) for link in row.links))
            assert {".txt", ".jsonl"} <= {path.suffix for path in seen}
            assert {"runs", "configs"} <= {path.parent.name for path in seen}


def test_a_run_page_has_every_field_of_the_record_or_leads_to_it(complete, tmp_path):
    pages = pages_of(complete)
    for path in sorted((tmp_path / "results" / "records").glob("*.json")):
        page = pages[(complete / "runs" / f"{path.stem}.html").resolve()]
        config = next(pages[page.leads_to(link)[0]] for link in page.links if "/configs/" in link)
        stored = json.loads(path.read_bytes())
        for name in stored:
            assert f'"{name}": ' in page.text or name in ("recipe", "protocol")
        assert "name: resnet34" in config.text
        assert stored["provenance"]["command"] in page.text
        log = next(page.leads_to(link)[0] for link in page.links if link.endswith(".txt"))
        assert log.read_text(encoding="utf-8").rstrip() == f"the log of {stored['run_id']}"


def test_of_a_long_log_the_end_is_kept(written, record, tmp_path):
    run = record("tiny-kd", "distilled", 0, top1=70.0)
    log = RunFolder(tmp_path / "work", run.run_id).log
    log.parent.mkdir(parents=True)
    log.write_text("early\n" * 100_000 + "\x1b[31mlate\n", encoding="utf-8")
    kept = (written([run]) / "runs" / f"{run.run_id}-01.txt").read_text(encoding="utf-8")
    assert len(kept) < 20_000
    assert kept.endswith("\\x1b[31mlate\n")


def test_altered_scalars_are_left_out_and_the_page_is_there(written, pair_records, tmp_path):
    runs = [full(run, tmp_path) for run in pair_records([70.0], [71.0])]
    for path in (tmp_path / "results" / "records").glob("*.jsonl"):
        path.write_text("altered", encoding="utf-8")
    folder = written(runs)
    assert not list(folder.rglob("*.jsonl"))
    assert "none recorded" in Page(next((folder / "runs").glob("*.html"))).text


def test_a_paper_shows_each_claim_in_one_table_alone_with_every_table_that_prints_it(
    written, dense_paper, record
):
    folder = written([record("dense-box", "distilled", 0, box_AP=30.0)], papers=[dense_paper])
    tables = [table for table in Page(folder / "dense.html").tables if "printed in" in table.headings]
    where: dict[str, set[str]] = {}
    for table in tables:
        for claim in table.column("claim"):
            where.setdefault(claim, set()).add(table.section)
    assert all(len(sections) == 1 for sections in where.values())
    assert set(where) == {claim.id for claim in dense_paper.claims}
    (first,) = [table for table in tables if table.section.startswith("Table 1")]
    printed = dict(zip(first.column("claim"), first.column("printed in"), strict=True))
    assert printed["dense-box-base"] == "Table 1, Table 2"
    assert "dense-box-base" in Page(folder / "dense.html").text.split("Table 2: Parts of it")[-1]


def test_a_paper_has_the_headings_of_a_reproducibility_report(complete):
    page = Page(complete / "tiny.html")
    wanted = ("scope-of-the-claims", "what-was-easy", "what-was-difficult", "what-is-contradicted", "contact")
    assert [anchor for anchor in page.ids if anchor in wanted] == list(wanted)
    assert "71.96 or 71.69. The abstract has the one, the table the other." in page.text
    assert "https://github.com/somebody/tiny/issues" in page.links


def test_the_page_of_a_claim_has_sources_contradictions_and_what_others_measured(complete):
    page = Page(complete / claim_page("tiny-kd"))
    assert {"result", "runs-mini", "command", "printed-in", "contradictions"} <= set(page.ids)
    assert "On one GPU." in page.text
    assert "https://arxiv.org/abs/0000.00000" in page.links
    assert "python -m suite reproduce --claim tiny-kd --profile mini --seeds 3" in page.text


def test_the_index_counts_what_holds_and_what_was_never_run(complete):
    (table,) = [table for table in Page(complete / "index.html").tables if table.section == "Papers"]
    counts = dict(zip(table.headings, table.lines[0].cells, strict=True))
    assert {
        name: counts[name]
        for name in ("judged", "hold", "deviate", "undecided", "alone", "never run", "by others")
    } == {
        "judged": "5",
        "hold": "0",
        "deviate": "0",
        "undecided": "1",
        "alone": "1",
        "never run": "3",
        "by others": "3",
    }


def test_every_profile_has_a_page_and_a_claim_has_all_of_them_on_one(written, pair_records):
    runs = pair_records(STUDENT, DISTILLED) + pair_records(STUDENT, DISTILLED, profile="paper")
    folder = written(runs)
    assert {path.name for path in folder.glob("*.html")} == {"index.html", "tiny.html", "tiny-paper.html"}
    claim = Page(folder / claim_page("tiny-kd"))
    assert {"runs-mini", "runs-paper"} <= set(claim.ids)


def test_the_same_records_give_the_same_bytes_in_any_order(written, pair_records, tmp_path, paper):
    runs = [full(run, tmp_path) for run in pair_records(STUDENT, DISTILLED)]
    first = written(runs)
    store = tmp_path / "results" / "records"
    write_site(tmp_path / "again", [paper], read_all(store)[::-1], store, tmp_path / "work")

    def content(folder):
        return {
            path.relative_to(folder): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    assert content(first) == content(tmp_path / "again")


def test_what_did_not_change_is_left_alone_and_what_nothing_leads_to_is_taken_away(
    written, pair_records, record, tmp_path
):
    folder = written(pair_records(STUDENT, DISTILLED))
    foreign = folder / "runs" / "mine.html"
    foreign.write_text("<p>mine</p>", encoding="utf-8")
    untouched = folder / claim_page("tiny-none")
    before = untouched.stat().st_mtime_ns, untouched.stat().st_ino
    (gone,) = (tmp_path / "results" / "records").glob(f"{pair_records(STUDENT, DISTILLED)[-1].run_id}-*.json")
    gone.unlink()
    written([])
    assert (untouched.stat().st_mtime_ns, untouched.stat().st_ino) == before
    assert not (folder / "runs" / f"{gone.stem}.html").exists()
    assert foreign.exists()


def test_hostile_text_is_text_on_every_page(written, paper, record, tmp_path):
    (claim,) = [claim for claim in paper.claims if claim.id == "tiny-kd"]
    evil = claim.model_copy(
        update={"id": f"tiny-{EVIL}", "note": EVIL, "upstream_config": EVIL, "method": EVIL}
    )
    world = paper.model_copy(update={"claims": [*paper.claims, evil], "title": EVIL, "code": EVIL})
    run = record(
        "tiny-kd",
        "distilled",
        0,
        top1=70.0,
        recipe={**RECIPE, "note": EVIL},
        identity={"seed": 0, EVIL: EVIL},
        protocol={"optimizer": EVIL, EVIL: [EVIL]},
        per_class={"IoU": {EVIL.replace("\n", " "): 1.0}},
        skipped={EVIL: 1},
        provenance={"host": {"hostname": EVIL, "cpu": EVIL}, "packages": {"torch": EVIL}, "command": EVIL},
    )
    run = run.model_copy(update={"claims": [*run.claims, ServedClaim(claim="tiny-rival", arm="distilled")]})
    failed = record("tiny-plus", "distilled", 0, status="failed", error=EVIL)
    log = RunFolder(tmp_path / "work", run.run_id).log
    log.parent.mkdir(parents=True)
    log.write_text(EVIL, encoding="utf-8")
    folder = written([run, failed], papers=[world])
    assert [path.resolve().is_relative_to(folder) for path in folder.rglob("*")]
    for page in pages_of(folder).values():
        scripts = [attributes for tag, attributes in page.tags if tag == "script"]
        assert [Path(str(script["src"])).name for script in scripts] == ["site.js"]
        assert not [tag for tag, attributes in page.tags if tag == "img" or "onerror" in attributes]
        assert not [link for link in page.links if link.startswith("javascript:")]
        for evil_text in ("<script>", "\x1b", "\u202e", "<img"):
            assert evil_text not in page.source.replace('<script src="', "")
    assert "alert(1)" in Page(folder / "index.html").text


def test_records_of_older_suites_have_their_pages(written, tmp_path):
    shutil.copytree(OLDER, tmp_path / "results" / "records")
    folder = written([], papers=list(load_papers().values()))
    runs = list((folder / "runs").glob("*.html"))
    assert runs
    assert all("Record as stored" in Page(path).text for path in runs)


def test_a_record_that_was_damaged_since_it_was_read_is_told_in_one_line(
    written, pair_records, tmp_path, paper
):
    written(pair_records([70.0], [71.0]))
    store = tmp_path / "results" / "records"
    records = read_summaries(store)
    damaged = next(store.glob("*.json"))
    damaged.write_text("[]", encoding="utf-8")
    with pytest.raises(SuiteError, match=re.escape(str(damaged))) as refused:
        write_site(tmp_path / "site", [paper], records, store, tmp_path / "work")
    assert "\n" not in str(refused.value)


def test_the_site_of_the_reference_hangs_together_and_no_page_is_large(common_folder):
    folder = built_once(common_folder / "site", hostile_site.build) / "site"
    pages = pages_of(folder)
    papers = {path.name for path in folder.glob("*.html")}
    assert papers == {"index.html", "evil.html", "fgd.html", "mgd.html", "nkd.html"}
    assert max(path.stat().st_size for path in pages) < 1_500_000
    for page in pages.values():
        for link in page.links:
            if not is_outside(link):
                target, anchor = page.leads_to(link)
                assert target.is_file()
                assert not anchor or anchor in pages[target].ids
    (compared,) = [
        table
        for table in pages[(folder / claim_page("mgd-retinanet-r50")).resolve()].tables
        if table.section == "Protocol"
    ]
    assert {"departure", "match"} <= set(compared.column("verdict"))


def test_curves_and_samples_stand_on_the_page_of_their_claim_alone(complete):
    claim, paper = Page(complete / claim_page("tiny-kd")), Page(complete / "tiny.html")
    assert "curves-tiny-kd" in claim.ids
    assert "curves-tiny-kd" not in paper.ids


def test_what_a_record_does_not_promise_may_be_anything(written, record):
    odd = "\x00 \u2028 \ufffe"
    recipe = {**RECIPE, "method": {"name": "kd", "title": [{"a": odd}]}, "schedule": odd}
    run = record("tiny-kd", "distilled", 0, top1=70.0, recipe=recipe).model_copy(
        update={
            "claims": [ServedClaim(claim=name, arm="distilled") for name in ("tiny-kd", "gone")],
            "protocol": {"optimizer": 10**400, "learning_rates": {"a": [odd]}},
            "timings": {"wall": float("inf")},
        }
    )
    folder = written([run])
    (page,) = [Page(path) for path in (folder / "runs").glob("*.html")]
    assert "gone" in page.text
    assert not any("gone" in link for link in page.links)
