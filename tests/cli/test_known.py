"""``show --paper``: what is known of a paper, on a terminal and as data."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from suite.cli import main
from suite.paths import ROOT
from suite.published.finding import load_papers
from suite.store.records import write_record
from tests.cli.refusals import refusal_of

RUNS = "{} runs, {} data"


@pytest.fixture
def show(capsys, tmp_path, monkeypatch):
    """What the verb prints of a paper; the only own records are those that a test plants."""
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))

    def run(*words: str) -> str:
        assert main(["show", "--paper", *words]) == 0
        output = capsys.readouterr()
        assert output.err == ""
        return str(output.out)

    return run


@pytest.fixture
def plant(tmp_path, record):
    """Writes records of NKD on ResNet-18 and of its student alone, three seeds each."""

    def write(student: float, distilled: float, **more):
        for arm, value in (("student", student), ("distilled", distilled)):
            for seed in range(3):
                made = record("nkd-resnet18-nkd", arm, seed, top1=value + seed / 10, **more)
                write_record(tmp_path / "results" / "records", made)

    return write


def topics(text: str) -> dict[str, str]:
    return {fact["topic"]: fact["sentence"] for fact in json.loads(text)["facts"]}


@pytest.mark.parametrize("name", sorted(load_papers()))
def test_a_paper_is_shown_with_its_answer_first_and_everything_only_on_request(show, name):
    paper = load_papers()[name]
    text, whole = show(name), show(name, "--all")
    head = " ".join(text.split("\n\n")[0].split())
    arxiv = "".join(f" https://arxiv.org/abs/{number}" for number in paper.arxiv)
    assert head == f"{name}: {paper.title} ({paper.venue}){arxiv} https://github.com/{paper.code}"
    assert text.index("Open: ") < text.index("Printed by paper and README")
    words = " ".join(whole.split())
    assert all(found.title in words for found in paper.discrepancies)
    assert all(" ".join(gap.text.split()) in words for gap in paper.gaps)
    assert all(claim.id in words for claim in paper.claims if claim.unreleased)
    assert not any(found.title in text for found in paper.discrepancies)
    assert len(text.splitlines()) < 50


def test_data_have_the_answer_the_facts_and_what_they_count(show):
    content = json.loads(show("mgd", "--format", "json"))
    paper = load_papers()["mgd"]
    assert (content["id"], content["arxiv"], content["code"]) == ("mgd", paper.arxiv, paper.code)
    assert content["answer"].startswith("Open: ")
    entries = {fact["topic"]: fact["entries"] for fact in content["facts"]}
    assert [entry["contradiction"] for entry in entries["Contradictions"]] == [
        found.title for found in paper.discrepancies
    ]
    assert entries["Printed by paper and README"] == []


def test_own_runs_stand_beside_the_reference_and_the_answer_tells_the_own_ones(show, plant):
    reference = topics(show("nkd", "--format", "json"))
    assert reference[RUNS.format("Your", "embedded")] == "None of the 91 judged rows has been trained."
    plant(70.0, 79.0)
    content = json.loads(show("nkd", "--format", "json"))
    assert "1 of its 23 results, 1 gain, 0 losses, 0 undecided." in content["answer"]
    found = topics(json.dumps(content))
    assert found[RUNS.format("Your", "embedded")].startswith("1 of 91 judged rows trained (profile mini, ")
    for data in ("embedded", "published"):
        assert found[RUNS.format("Reference", data)] == reference[RUNS.format("Reference", data)]


def test_a_number_under_the_published_protocol_is_reproduced_and_embedded_ones_are_not(show, plant):
    plant(69.9, 71.9, profile="paper")
    content = json.loads(show("nkd", "--format", "json"))
    assert content["answer"].startswith("1 of 1 decided number reproduced. ")
    assert "embedded data, which can neither reproduce nor refute" in content["answer"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mgd-resnet18", "--paper", "mgd"], "--paper is shown instead of a claim; leave out the claim"),
        (["--paper", "mgd", "--pair", "a:b"], "--paper is shown instead of a claim; leave out --pair"),
        (["--paper", "mdg"], "unknown paper 'mdg'; did you mean 'mgd'?"),
        (["--paper", "mgd", "--format", "csv"], "unknown format 'csv'"),
        (["mgd-resnet18", "--all"], "--all lists what is known about a paper; name one with --paper"),
    ],
)
def test_wrong_words_are_answered_in_one_line_with_status_2(words, says):
    assert refusal_of(["show", *words]).startswith(says)


def test_neither_torch_nor_matplotlib_nor_an_mm_package_is_imported(tmp_path):
    code = """
import sys
from suite.cli import main
assert main(["show", "--paper", "mgd"]) == 0
heavy = "torch matplotlib hydra omegaconf mmengine mmcv mmdet mmseg mmpretrain".split()
print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""
    command = [sys.executable, "-c", code]
    environment = {"SUITE_RESULTS": str(tmp_path), "PATH": "", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"
