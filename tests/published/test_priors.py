"""The noise priors: what the file says, where it comes from, and how a broken one is refused."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

import pytest

from suite import paths
from suite.errors import SuiteError
from suite.evidence.frame import main_metric
from suite.published.finding import load_papers
from suite.published.priors import find_margin, find_prior, load_priors, read_priors, why_absent


@pytest.fixture
def baselines(tmp_path: Path) -> Path:
    return Path(shutil.copytree(paths.BASELINES, tmp_path / "baselines"))


@pytest.mark.parametrize(
    ("dataset", "metric", "sigma0", "delta"),
    [
        ("imagenet-1k", "top1", 0.12, 0.3),
        ("coco-2017", "box_AP", 0.12, 0.3),
        ("coco-2017", "mask_AP", 0.12, 0.3),
        ("cityscapes", "mIoU", 0.5, 1.0),
        ("cifar-100", "top1", 0.25, 0.6),
    ],
)
def test_priors_of_the_judged_metrics(dataset, metric, sigma0, delta):
    prior = find_prior(dataset, metric)
    assert prior is not None
    assert (prior.sigma0, prior.delta) == (sigma0, delta)


@pytest.mark.parametrize("metric", ["box_AP_S", "box_AP_M", "box_AP_L", "box_AR", "mask_AP_S"])
def test_metrics_without_published_scatter_have_no_prior_and_say_why(metric):
    assert find_prior("coco-2017", metric) is None
    assert "known" in why_absent("coco-2017", metric)


def test_an_unlisted_pair_is_named():
    assert find_prior("cityscapes", "top1") is None
    assert why_absent("cityscapes", "top1") == "no noise prior for top1 on cityscapes is on file"


def test_every_prior_has_evidence_or_says_that_it_is_an_assumption():
    for prior in load_priors().priors:
        assert prior.evidence or "assumption" in (prior.note or ""), prior.dataset


def test_the_published_sds_are_those_of_the_published_runs():
    evidence = [item for prior in load_priors().priors for item in prior.evidence if item.values is not None]
    assert evidence
    for item in evidence:
        assert round(statistics.stdev(item.values or []), 2) == item.sd, item.source


@pytest.mark.parametrize(
    ("good", "bad", "says"),
    [
        ("sigma0: 0.12", "sigma0: -0.12", "sigma0: .*greater than 0"),
        ("sigma0: 0.5", "sigma0: '0.5'", "sigma0: .*number"),
        ("runs: 5", "runs: none", "runs: .*integer"),
        ("version: 2", "version: one", "version: .*integer"),
        ("note: no published sd", "remark: no published sd", "unknown key 'remark'"),
        ("runs: 3", "runs: 4", "runs is 4, but 3 values are listed"),
        ("box_AR, box_AR_S", "box_AP, box_AR_S", "box_AP on coco-2017 is listed in .*priors.yaml:[0-9]+ too"),
        ("mask_AP, mIoU", "mask_AP, box_AP", "a margin of box_AP is listed in .*priors.yaml:[0-9]+ too"),
        ("margin: 2.0", "margin: 0.0", "margin: .*greater than 0"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(baselines, good, bad, says):
    path = baselines / "priors.yaml"
    text = path.read_text(encoding="utf-8")
    broken = text.replace(good, bad, 1)
    path.write_text(broken, encoding="utf-8")
    with pytest.raises(SuiteError, match=says) as caught:
        read_priors(baselines)
    message = str(caught.value)
    line = int(message.removeprefix(f"{path}:").partition(":")[0])
    # A fault of a whole entry is shown at the start of that entry.
    changed = next(at for at, row in enumerate(broken.splitlines(), start=1) if bad in row)
    assert changed - 4 <= line <= changed
    assert "\n" not in message


def test_evidence_has_to_say_something(baselines):
    path = baselines / "priors.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("        bound: 0.2\n", ""), encoding="utf-8")
    with pytest.raises(SuiteError, match="needs an sd or a bound"):
        read_priors(baselines)


def test_a_missing_file_is_refused(baselines):
    (baselines / "priors.yaml").unlink()
    with pytest.raises(SuiteError, match="no such file"):
        read_priors(baselines)


# --- margins on embedded data -------------------------------------------------------------------------


def test_the_main_metric_of_every_judged_claim_has_a_margin():
    mains = {main_metric(claim) for paper in load_papers().values() for claim in paper.claims if claim.judged}
    assert mains
    assert all(find_margin(metric) > 0 for metric in mains)


def test_a_metric_without_a_margin_has_none():
    assert find_margin("box_AR_S") == 0


def test_every_margin_says_what_it_was_chosen_from():
    assert load_priors().margins
    assert all(row.why for row in load_priors().margins)
