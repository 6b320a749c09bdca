"""``list`` and ``show``: nothing published is lost, wrong words get one line, and both start fast."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import subprocess
import sys
from collections import Counter

import pytest

from suite.catalogue import papers_folders
from suite.cli import main
from suite.paths import ROOT
from suite.published.finding import find_claim, load_papers, select
from suite.published.literature import load_literature
from suite.published.roles import load_roles


@pytest.fixture
def run(capsys):
    def run_verb(*words: str) -> str:
        assert main(words) == 0
        output = capsys.readouterr()
        assert output.err == ""
        return str(output.out)

    return run_verb


def test_json_accounts_for_every_row_of_the_source_files(run):
    content = json.loads(run("list", "--format", "json"))
    assert list(content) == ["claims", "protocols", "quoted", "discrepancies", "gaps"]
    literature = {row.row for _, _, row in load_literature().rows()}
    sources = [source["row"] for claim in content["claims"] for source in claim["sources"]]
    sources = [row for row in sources if row not in literature]
    rows = [*sources, *(row["row"] for group in ("protocols", "quoted") for row in content[group])]
    transcripts = [folder / "rows.csv" for folder in papers_folders()]
    published = {
        line["row"]
        for path in transcripts
        for line in csv.DictReader(path.open(encoding="utf-8", newline=""))
    }
    assert sorted(rows) == sorted(published)


def test_json_gives_every_claim_with_value_decimals_role_and_source(run):
    listed = {claim["id"]: claim for claim in json.loads(run("list", "--format", "json"))["claims"]}
    assert list(listed) == [claim.id for _, claim in select()]
    assert all(claim["sources"] and claim["role"] and claim["metrics"] for claim in listed.values())
    claim = listed["nkd-resnet18-nkd"]
    assert claim["metrics"] == {"top1": {"value": 71.96, "decimals": 2, "gain": 2.06}}
    assert {
        key: claim[key] for key in ("paper", "role", "method", "task", "dataset", "teacher", "student")
    } == {
        "paper": "nkd",
        "role": "ours",
        "method": "NKD",
        "task": "classification",
        "dataset": "imagenet-1k",
        "teacher": "resnet34",
        "student": "resnet18",
    }
    assert (claim["recipe"], claim["baseline"]) == ("resnet18-nkd-resnet34", "nkd-resnet18-student")
    assert claim["sources"][0]["printed"] == {"top1": "71.96"}
    assert "unmasked-target" in claim["discrepancies"]


def test_json_names_the_document_of_every_quoted_number_and_the_claims_of_every_discrepancy(run):
    content = json.loads(run("list", "--format", "json"))
    assert all(row["source"] for group in ("protocols", "quoted") for row in content[group])
    quoted = {row["row"]: row["source"] for row in content["quoted"]}
    assert quoted["mgd-repro-issue8"] == "yzd-v/MGD issue 8"
    assert quoted["nkd-wttm-r18-kd"].startswith("WTTM (ICLR 2024")
    discrepancies = {row["id"]: row["claims"] for row in content["discrepancies"]}
    assert discrepancies["retinanet-ap-small"] == ["fgd-retinanet-r50-student"]
    assert {gap["paper"] for gap in content["gaps"]} == set(load_papers())


def test_filters_narrow_claims_and_what_stands_around_them(run):
    content = json.loads(run("list", "--paper", "mgd", "--role", "ours", "--format", "json"))
    assert {(claim["paper"], claim["role"]) for claim in content["claims"]} == {("mgd", "ours")}
    ids = {claim["id"] for claim in content["claims"]}
    assert content["protocols"]
    assert all(ids & set(protocol["applies_to"]) for protocol in content["protocols"])
    assert {quoted["about"] for quoted in content["quoted"]} <= ids
    assert {gap["paper"] for gap in content["gaps"]} == {"mgd"}


def test_csv_has_one_line_a_claim_and_metric_with_numbers_as_printed(run):
    lines = list(csv.DictReader(io.StringIO(run("list", "--format", "csv"))))
    expected = [(claim.id, name) for _, claim in select() for name in claim.metrics]
    assert [(line["claim"], line["metric"]) for line in lines] == expected
    line = next(line for line in lines if line["claim"] == "nkd-deit-base-nkd")
    assert (line["value"], line["gain"], line["decimals"]) == ("84.96", "3.20", "2")
    line = next(line for line in lines if line["claim"] == "nkd-resnet18-student")
    assert (line["value"], line["gain"], line["provenance"]) == ("69.90", "", "paper readme")
    assert line["rows"].split()[0] == "nkd-abs1-r18-base"


def test_csv_has_no_formula_whatever_a_method_is_called(run, monkeypatch):
    paper, claim = find_claim("nkd-deit-base-nkd")
    evil = claim.model_copy(update={"method": "=cmd()"})
    monkeypatch.setattr("suite.cli.list_.select", lambda *_, **__: [(paper, evil)])
    lines = list(csv.DictReader(io.StringIO(run("list", "--format", "csv"))))
    assert {line["method"] for line in lines} == {"'=cmd()"}


def test_the_table_shows_every_claim_the_counts_and_the_gaps(run):
    output = run("list")
    for paper in load_papers().values():
        assert f"{paper.id}: {paper.title}" in output
        assert all(gap.text in output for gap in paper.gaps)
    assert all(claim.id in output for _, claim in select())
    assert "box_AP 42.1 (+2.9), mask_AP 37.8 (+2.4), 6 more" in " ".join(output.split())
    counts = Counter(claim.role for _, claim in select()).most_common()
    split = ", ".join(f"{count} {role}" for role, count in counts)
    assert f"{len(select())} claims: {split};" in output
    papers = load_papers().values()
    protocols, quoted = (
        sum(len(getattr(paper, name)) for paper in papers) for name in ("protocols", "quoted")
    )
    assert f"{protocols} protocols; {quoted} quoted numbers." in output


def test_a_selection_without_claims_is_an_empty_list(run):
    empty = [(p, role) for p in load_papers() for role in load_roles() if not select(p, role=role)]
    for paper, role in empty:
        assert run("list", "--paper", paper, "--role", role).startswith("0 claims; ")
    assert empty


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "--paper", "mdg"], "unknown paper 'mdg'; did you mean 'mgd'?"),
        (["list", "--role", "abaltion"], "unknown role 'abaltion'; did you mean 'ablation'"),
        (["list", "--format", "jsn"], "unknown format 'jsn'; did you mean 'json'?"),
        (["list", "--paper", "mgd", "seed=3"], "'list' takes no overrides, but was given 'seed=3'"),
        (["show", "mgd-resnet81"], "unknown claim 'mgd-resnet81'; did you mean 'mgd-resnet18'"),
        (["show"], "no claim was named; 'python -m suite list' shows their ids"),
    ],
)
def test_wrong_words_are_answered_in_one_line_with_status_2(capsys, words, message):
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"suite: {message}")
    assert output.err.count("\n") == 1


@pytest.mark.parametrize("claim", [claim.id for _, claim in select()])
def test_show_tells_numbers_sources_and_context_of_every_claim(run, claim):
    paper, found = find_claim(claim)
    output = run("show", claim)
    words = " ".join(output.split())
    assert output.startswith(f"{claim} ({found.role})")
    assert all(f"{name} {metric}" in words for name, metric in found.metrics.items())
    for source in found.sources:
        assert f"{source.row}: {source.provenance}, {source.where}" in words
        assert all(f"{name} {number}" in words for name, number in source.printed.items())
    assert all(protocol.row in output for protocol in paper.protocols_of(claim))
    assert all(quoted.row in output for quoted in paper.quoted_about(claim))
    assert all(paper.discrepancy(name).text in words for name in found.discrepancies)
    assert found.note is None or found.note in words
    assert max(map(len, output.splitlines())) <= 120


def test_show_sets_contradicting_sources_side_by_side(run):
    words = " ".join(run("show", "fgd-retinanet-r50-student").split())
    assert "box_AP_S 20.6" in words
    assert "paper, upper part of table 3 [arxiv]: box_AP 37.4, box_AP_S 20.6" in words
    assert "paper, table 4 [arxiv]: box_AP 37.4, box_AP_S 20.0" in words
    assert "retinanet-ap-small: AP_S of the RetinaNet-R50 student: 20.6 or 20.0" in words
    words = " ".join(run("show", "mgd-deeplabv3-r18-logit").split())
    assert "readme, seg/README.md [readme]: mIoU 76.31" in words
    assert "baseline mgd-deeplabv3-r18-student (mIoU 73.20)" in words
    assert "use_logit True, logit_weight 3, logit_T 4" in words
    assert "segmentation-logits: Segmentation with or without the logit term" in words
    words = " ".join(run("show", "mgd-deeplabv3-r18").split())
    assert "Claimed mIoU 76.02 Printed in" in words
    assert "paper, abstract [arxiv]: mIoU 76.02" in words
    assert "mgd-sec-dlv3: quotation, study note" in words


def test_show_says_whose_settings_the_recipe_takes(run):
    assert "settings those of the released config" in " ".join(run("show", "fgd-fcos-r50-r101").split())
    words = " ".join(run("show", "fgd-retinanet-r50-x101-t0p3").split())
    assert "settings those of fgd-retinanet-r50-x101, except for what this row varies" in words
    assert "settings" not in run("show", "mgd-resnet18").split("Claimed")[0]


def test_show_tells_gains_reproductions_and_why_there_is_no_recipe(run):
    words = " ".join(run("show", "nkd-mobilenet-v1-uskd").split())
    assert "top1 70.38 gain +1.17" in words
    assert "paper, abstract [iccv-2023]: gain top1 1.17" in words
    words = " ".join(run("show", "mgd-retinanet-r50").split())
    assert (
        "mgd-repro-issue8: reproduction, yzd-v/MGD issue 8: MGD: box_AP 41.4 (teacher box_AP 41.6)" in words
    )
    assert "none: the number is only quoted" in " ".join(run("show", "fgd-fcos-r50-r101-gid").split())


@pytest.mark.parametrize("words", [["list"], ["list", "--format", "json"], ["show", "mgd-resnet18"]])
def test_neither_torch_nor_pandas_nor_hydra_nor_mm_is_imported(words):
    code = f"""
import sys
from suite.cli import main
assert main({words!r}) == 0
heavy = "torch pandas numpy hydra omegaconf mmengine mmcv mmdet mmseg mmpretrain".split()
print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"


@pytest.mark.slow
def test_list_takes_at_most_one_fifth_longer_than_pandas_pydantic_and_the_same_yaml():
    # PyYAML's fastest loader stands for reading: the files grow with the claims, and so may the time.
    reading = """
import pandas, pydantic, yaml
from pathlib import Path
files = [*Path("baselines").rglob("claims.yaml"), Path("baselines/literature.yaml")]
assert len(files) >= 4
for file in files:
    yaml.load(file.read_bytes(), yaml.CSafeLoader)
"""
    # Threads that spin while they wait would count as processor time of whoever starts them.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    def seconds(*words: str) -> float:
        """Processor time, which what runs beside it changes least."""
        before = used()
        command = [sys.executable, *words]
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
        return used() - before

    # In turns, so that a busy machine is busy for both.
    pairs = [(seconds("-m", "suite", "list"), seconds("-c", reading)) for _ in range(5)]
    ours, theirs = (min(times) for times in zip(*pairs, strict=True))
    assert ours <= 1.2 * theirs
