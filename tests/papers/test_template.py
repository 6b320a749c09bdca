"""The template of a paper folder that the documentation offers: complete, and nothing in it is stale."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from suite.catalogue import ADDED, CLAIMS
from suite.cli import VERBS, main
from suite.paths import ROOT
from suite.planning.versions import loss_version
from suite.published.claims import Claim
from suite.published.finding import find_paper
from suite.published.protocols import load_protocols, published_training
from suite.published.recipes import Recipe, load_recipes

DOCS = ROOT / "docs"


@pytest.fixture(autouse=True)
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the template, as somebody makes one who starts from it."""
    folder = Path(shutil.copytree(DOCS / "template-paper", tmp_path / "template-paper"))
    monkeypatch.setenv("SUITE_PAPERS", str(tmp_path))
    return folder


def test_it_lists_and_shows(capsys):
    assert main(["list", "--paper", "template-paper"]) == 0
    assert "3 claims: 1 baseline, 1 ours, 1 rival" in capsys.readouterr().out
    assert main(["show", "template-resnet18-resnet34"]) == 0
    assert "gain +1.10" in capsys.readouterr().out


def test_a_copy_under_another_name_has_to_say_its_new_id(template, capsys):
    template.rename(template.with_name("sp"))
    assert main(["list"]) == 2
    assert "paper 'template-paper' is in folder 'sp'; name the folder" in capsys.readouterr().err


@pytest.mark.parametrize("profile", ["smoke", "mini", "paper"])
def test_it_plans(capsys, profile):
    assert main(["plan", "--paper", "template-paper", "--profile", profile, "--format", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [run["arm"] for run in plan["runs"]] == ["student", "teacher", "distilled"]
    assert loss_version("TemplateLoss") == 1


def test_its_protocol_and_its_transcript_speak_of_its_claims(template):
    recipe: Recipe = load_recipes()["resnet18-template-resnet34"]
    stated = published_training(load_protocols(), "resnet18-template-resnet34", recipe)
    assert stated["gradient_clip"].source == "arXiv 0000.00000, section 4"
    with (template / "rows.csv").open(encoding="utf-8", newline="") as lines:
        transcript = {line["row"]: line["value"] for line in csv.DictReader(lines)}
    claims: list[Claim] = find_paper("template-paper").claims
    assert transcript == {source.row: source.printed["top1"] for claim in claims for source in claim.sources}


@pytest.mark.train
def test_its_loss_is_a_loss():
    import torch

    from suite.contract import load

    loss = load("template-paper/loss.py:TemplateLoss")(weight=2.0)
    student = torch.tensor([[1.0, 0.0]], requires_grad=True)
    value = loss(student, torch.zeros(1, 2))
    value.backward()
    assert value == 1.0
    assert student.grad is not None
    assert student.grad.tolist() == [[2.0, 0.0]]


@pytest.mark.parametrize("page", ["adding-a-paper.md", "adding-a-task.md"])
def test_the_guides_name_files_and_commands_that_exist(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (DOCS / link).exists(), link
    for name in re.findall(r"`((?:baselines|suite|tests|tasks|docs)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name
    for verb in re.findall(r"python -m suite (\w+)", text):
        assert verb in VERBS
    known = {CLAIMS, "recipes.yaml", "rows.csv", *ADDED}
    assert set(re.findall(r"^\| `([\w-]+\.yaml)`", text, re.MULTILINE)) <= known
