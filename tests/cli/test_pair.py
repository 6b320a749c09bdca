"""``show --pair``: one pair across the literature, our own numbers in lines of their own."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest

from suite.cli import main
from suite.paths import REFERENCE, ROOT
from suite.published.pairs import known_pairs, values_of
from suite.store.records import write_record
from tests.cli.refusals import refusal_of

MOBILENET = "resnet50:mobilenet-v1"
RESNET = "resnet34:resnet18"


@pytest.fixture
def show(capsys, tmp_path, monkeypatch):
    """What the verb prints of a pair; there are no records but those that a test plants."""
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))

    def run(*words: str) -> str:
        assert main(["show", "--pair", *words]) == 0
        output = capsys.readouterr()
        assert output.err == ""
        return str(output.out)

    return run


@pytest.fixture
def measured(tmp_path, record):
    """Plants records of NKD on ResNet-18, with its student and teacher, one a value."""

    def plant(values, profile="paper", **more):
        arms = {"teacher": [73.62], "student": [69.9] * len(values), "distilled": values}
        for arm, numbers in arms.items():
            for seed, value in enumerate(numbers):
                claim = {"teacher": "nkd-resnet34-teacher"}.get(arm, "nkd-resnet18-nkd")
                made = record(claim, arm, seed, profile=profile, top1=value, **more)
                write_record(tmp_path / "results" / "records", made)

    return plant


def lines_with(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]


@pytest.mark.parametrize("pair", known_pairs(), ids=lambda pair: f"{pair.name}-{pair.dataset}")
def test_every_pair_has_a_table_that_fits_80_columns(show, pair):
    output = show(pair.name, "--dataset", pair.dataset)
    assert max(map(len, output.splitlines())) <= 80
    words = " ".join(output.split())
    assert all(
        value.source in words for value in values_of(pair) if value.metric in {"top1", "box_AP", "mIoU"}
    )
    assert output.splitlines()[0].endswith(f", on {pair.dataset}")


def test_the_table_has_value_gain_models_alone_and_whose_run_it_is(show):
    output = show(RESNET)
    assert output.startswith("resnet18 from resnet34, on imagenet-1k\n")
    assert lines_with(output, "student alone", "69.90", "own")
    (line,) = lines_with(output, "WSLD", " 72.04  +")
    assert line.split()[:6] == ["WSLD", "72.04", "+2.29", "69.75", "-", "own"]
    (line,) = lines_with(output, "WSLD", " 71.54  +")
    assert line.split()[1:6] == ["71.54", "+1.64", "69.90", "73.62", "re-run"]
    number = line.split()[-1]
    words = " ".join(output.split())
    assert f"{number} open-mmlab/mmrazor configs/distill/mmcls, READMEs and metafiles (90c7af1)" in words
    (line,) = lines_with(output, "target loss only", "quoted")
    assert line.split()[3:6] == ["-", "+1.16", "69.90"]
    assert "Ours" not in output


def test_contradictions_and_notes_of_the_pair_are_told(show):
    words = " ".join(show(MOBILENET).split())
    assert "Sources that contradict each other" in words
    assert "DKD on MobileNet: beta 2.0 or 0.5" in words
    assert "MobileNet alone: 68.87, 69.21 or 70.13" in words
    assert "The student is 1.26 above the 68.87 that others start from." in words
    # What holds of a whole document is told once, with its source.
    assert words.count("The column of accuracies is headed mIOU there.") == 1
    assert "(67820dd). The column of accuracies" in words
    assert "ImageNet/README.md (cede6ea). 100 epochs, 4 x 64 images, learning rate 0.1 divided" in words


def test_data_has_every_metric_and_whose_each_number_is(show):
    content = json.loads(show("retinanet-x101:retinanet-r50", "--format", "json"))
    about = (content["teacher"], content["student"], content["dataset"])
    assert about == ("retinanet-x101", "retinanet-r50", "coco-2017")
    assert content["ours"] == []
    by_row = {(value["row"], value["metric"]): value for value in content["published"]}
    assert by_row["fgd-t3-retina-fkd", "box_AR"]["printed"] == "56.1"
    assert by_row["mgd-sec-retina-cwd", "box_AP"]["provenance"] == "quoted"
    assert by_row["pkd-retinanet-r50", "box_AP"]["settings"] == {"loss_weight": 10}
    assert {value["provenance"] for value in content["published"]} == {"own", "quoted", "re-run"}
    assert json.loads(show("resnet18", "--format", "json"))["teacher"] is None


def test_metrics_that_the_table_leaves_out_are_counted(show):
    published = values_of(next(pair for pair in known_pairs() if pair.name == "retinanet-x101:retinanet-r50"))
    others = sum(value.metric != "box_AP" for value in published)
    assert f"{others} numbers of other metrics: --format json has them." in show(
        "retinanet-x101:retinanet-r50"
    )


def test_our_runs_on_published_data_stand_among_the_numbers_with_their_interval(show, measured):
    measured([71.9, 72.0, 72.1])
    output = show(RESNET)
    at = output.splitlines().index(*lines_with(output, "NKD, ours"))
    before, ours, interval = output.splitlines()[at - 1 : at + 2]
    assert before.startswith("NKD  ")
    assert ours.split()[2:5] == ["72.00", "+2.10", "69.90"]
    assert ours.split()[-2:] == ["measured", "ours"]
    low, high = (float(interval.split()[i]) for i in (0, 2))
    assert low < 72.0 < high
    assert interval.endswith("for one more run")
    words = " ".join(output.split("Ours")[1].split())
    assert words.startswith("- profile paper: NKD (nkd-resnet18-nkd) top1 72.00 (")
    (entry,) = json.loads(show(RESNET, "--format", "json"))["ours"]
    assert (entry["comparable"], entry["profile"], entry["n"]) == (True, "paper", 3)
    assert (round(entry["lower"], 2), round(entry["upper"], 2)) == (low, high)


def test_our_runs_on_embedded_data_are_kept_apart_and_named_with_their_profile(show, measured):
    measured([81.0, 82.0, 83.0], profile="mini", comparable=False)
    output = show(RESNET)
    table, _, ours = output.partition("\nOurs\n")
    assert "ours" not in table
    words = " ".join(ours.split())
    assert words.startswith("- profile mini: NKD (nkd-resnet18-nkd) top1 82.00, gain +12.10 (")
    assert "3 seeds; not comparable with the published numbers" in words
    content = json.loads(show(RESNET, "--format", "json"))
    assert [entry["comparable"] for entry in content["ours"]] == [False]
    assert all(value["printed"] != "82.00" for value in content["published"])


def test_what_the_reference_records_have_of_a_pair_is_shown(show, monkeypatch):
    monkeypatch.setenv("SUITE_RESULTS", str(REFERENCE))
    words = " ".join(show("retinanet-x101:retinanet-r50").partition("\nOurs\n")[2].split())
    frame = pd.read_csv(REFERENCE / "mgd.csv")
    of_claim = (frame["claim"] == "mgd-retinanet-r50") & (frame["metric"] == "box_AP")
    (row,) = frame[of_claim].to_dict("records")
    # The interval borrows from all rows of detection: it moves as rows are added.
    interval = f"({row['gain_lower']:+.2f} to {row['gain_upper']:+.2f})"
    assert f"MGD (mgd-retinanet-r50) box_AP 62.80, gain +14.33 {interval}, 3 seeds" in words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--pair", "resnet34:resnet81"],
         "no number is known for a pair 'resnet34:resnet81' (TEACHER:STUDENT); did you mean 'resnet34:"),
        (["--pair", "a:b:c"], "no number is known for a pair 'a:b:c' (TEACHER:STUDENT); "),
        (["--pair", "vgg13:vgg8"],
         "vgg13:vgg8 has numbers on cifar-100 and cub-200; choose one with --dataset"),
        (["--pair", RESNET, "--dataset", "cifar"],
         "resnet34:resnet18 has no number on 'cifar'; known: imagenet-1k"),
        (["--pair", RESNET, "--format", "csv"], "unknown format 'csv'; known: json, table"),
        (["mgd-resnet18", "--pair", RESNET],
         "--pair is shown instead of a claim; leave out 'mgd-resnet18', or --pair"),
        (["mgd-resnet18", "--dataset", "cifar-100"],
         "--dataset chooses among the numbers of a pair; name one with --pair"),
        (["mgd-resnet18", "--format", "json"],
         "a claim is shown as text; 'python -m suite list --format json' has claims as data"),
    ],
)  # fmt: skip
def test_wrong_words_are_answered_in_one_line_with_status_2(words, says):
    assert refusal_of(["show", *words]).startswith(says)


def test_without_records_a_pair_needs_neither_torch_nor_pandas(tmp_path):
    code = f"""
import sys
from suite.cli import main
assert main(["show", "--pair", {RESNET!r}]) == 0
heavy = "torch pandas numpy hydra mmengine".split()
print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""
    command = [sys.executable, "-c", code]
    environment = {"SUITE_RESULTS": str(tmp_path), "PATH": "", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"
