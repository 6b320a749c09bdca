"""A run id says what number it is: what must not change it does not, and what changes the number does."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.paths import ROOT
from suite.planning import versions
from suite.planning.composing import compose
from suite.planning.identity import LossIdentity, identify
from suite.planning.plan import Plan, Run, make_plan
from suite.published.finding import find_claim
from suite.published.recipes import Recipe

GOLDEN = Path(__file__).with_name("golden_ids.json")

RELEASES = {
    "torch": "2.10.0",
    "mmengine": "0.10.12",
    "mmcv": "2.3.6",
    "mmpretrain": "1.3.6",
    "mmdet": "3.5.1",
    "mmseg": "1.4.2",
}

CLAIMS = (
    "nkd-resnet18-nkd",
    "nkd-resnet18-uskd",
    "mgd-resnet18",
    "fgd-retinanet-r50-r101",
    "mgd-retinanet-r50",
    "mgd-mask-rcnn-r50",
    "fgd-solo-r50-r101-inherit",
    "mgd-pspnet-r18-logit",
)
"""One recipe each; together they are of every task."""

PROFILES = ("smoke", "mini", "paper")

IDS = """
import json, sys
from suite.planning import plan as planning
from suite.planning.plan import make_plan
from suite.published.finding import find_claim
releases, claims = json.loads(sys.argv[1]), json.loads(sys.argv[2])
planning._releases = lambda packages: {
    name: releases[name] for name in ("torch", "mmengine", "mmcv", *packages) if name in releases
}
found = {
    f"{claim} {profile}": {
        run.arm: run.run_id for run in make_plan([find_claim(claim)[1]], profile, 1).runs.values()
    }
    for claim in claims
    for profile in ("smoke", "mini", "paper")
}
print(json.dumps(found))
"""


def ids_in(tree: Path, releases: dict[str, str] = RELEASES) -> dict[str, dict[str, str]]:
    """The ids that the code of a tree gives to the recipes of `CLAIMS`."""
    command = [sys.executable, "-c", IDS, json.dumps(releases), json.dumps(CLAIMS)]
    environment = {"PYTHONPATH": str(tree), "PATH": ""}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the project's code and data."""
    for name in ("suite", "tasks", "baselines"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def rewrite(tree: Path, change: Callable[[str], str]) -> int:
    """Changes the text of every source and data file; returns how many it changed."""
    changed = 0
    for path in [*tree.rglob("*.py"), *tree.rglob("*.yaml")]:
        text = path.read_text(encoding="utf-8")
        if (new := change(text)) != text:
            path.write_text(new, encoding="utf-8")
            changed += 1
    return changed


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def golden() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_the_golden_ids_have_not_moved():
    assert ids_in(ROOT) == golden()


@pytest.mark.slow
def test_no_id_changes_with_names_of_modules_new_tasks_metrics_packages_keys_and_local_suffixes(tree: Path):
    renames = {
        "tasks.embedded": "tasks.drawn",
        "tasks.adapters": "tasks.fitting",
        "suite.datasets": "suite.disk",
    }
    for old, new in renames.items():
        (tree / old.replace(".", "/")).rename(tree / new.replace(".", "/"))
        assert rewrite(tree, functools.partial(re.sub, rf"\b{re.escape(old)}\b", new))
    assert rewrite(tree / "suite/conf", lambda text: text.replace("\ntitle: ", "\ntitle: Renamed ")) > 10
    append(
        tree / "baselines" / "tasks.yaml",
        "\npose: {title: pose estimation, adapter: 'tasks.pose:Adapter', version: 1, packages: [mmpose]}\n",
    )
    shutil.copy(tree / "suite/conf/task/detection.yaml", tree / "suite/conf/task/pose.yaml")
    metrics = tree / "baselines" / "metrics.yaml"
    first = metrics.read_text(encoding="utf-8").split("\ntop1:")[1].split("\ntop5:")[0]
    append(metrics, f"\nPCK:{first}\n")
    replace_in(
        tree / "suite/environment.py", '    "timm": "timm",\n', '    "timm": "timm",\n    "pip": "pip",\n'
    )
    replace_in(
        tree / "suite/planning/identity.py",
        "    repetition: NonNegativeInt = 0\n    releases",
        "    repetition: NonNegativeInt = 0\n    compiled: bool = False\n    releases",
    )
    devices = "    devices: Devices = 1\n"
    replace_in(tree / "suite/contract.py", devices, f"{devices}    nodes: int = 1\n")
    append(tree / "suite/conf/profile/mini.yaml", "remark: null\n")
    append(tree / "suite/conf/data/detection/mini.yaml", "remark: null\n")
    append(tree / "suite/conf/model/resnet18.yaml", "remark: null\n")
    local = {name: f"{release}+cpu" for name, release in RELEASES.items()}
    assert ids_in(tree, {**local, "pip": "26.0"}) == golden()


def planned(profile: str = "mini") -> dict[str, Run]:
    plan: Plan = make_plan([find_claim(claim)[1] for claim in CLAIMS], profile, 1)
    return plan.runs


def test_the_version_of_a_loss_changes_the_runs_that_use_it_and_no_other(monkeypatch: pytest.MonkeyPatch):
    before = planned()
    raised = {**versions.loss_versions(), "MGDLoss": 2}
    monkeypatch.setattr("suite.planning.versions.loss_versions", lambda: raised)
    after = planned()

    def uses_mgd(run: Run) -> bool:
        return run.recipe.method is not None and any(
            loss.type == "MGDLoss" for loss in run.recipe.method.losses.values()
        )

    gone = {run_id for run_id in before if run_id not in after}
    assert gone == {run_id for run_id, run in before.items() if uses_mgd(run)}
    assert gone
    assert {run_id for run_id in after if run_id not in before} == {
        run_id for run_id, run in after.items() if uses_mgd(run)
    }


def test_a_release_changes_the_runs_of_its_own_tasks_alone(monkeypatch: pytest.MonkeyPatch):
    before = planned()
    newer = {**RELEASES, "mmseg": "1.5.0"}
    monkeypatch.setattr(
        "suite.planning.plan._releases",
        lambda packages: {name: newer[name] for name in ("torch", "mmengine", "mmcv", *packages)},
    )
    changed = {run.recipe.task for run_id, run in planned().items() if run_id not in before}
    assert changed == {"semantic_segmentation"}


def test_a_run_knows_its_teacher_by_its_identity_and_its_seed_by_itself():
    runs = make_plan([find_claim("mgd-resnet18")[1]], "mini", 2).runs.values()
    distilled = [run for run in runs if run.arm == "distilled"]
    assert len({run.run_id for run in distilled}) == 2
    assert len({run.series for run in distilled}) == 1
    (teacher,) = {run.run_id for run in runs if run.arm == "teacher"}
    assert {run.identity.teacher.run for run in distilled if run.identity.teacher} == {teacher}


def test_measuring_again_is_the_next_repetition_of_the_same_series_and_keeps_the_teacher():
    claim = find_claim("mgd-resnet18")[1]
    first = make_plan([claim], "mini", 1).runs
    again = make_plan([claim], "mini", 1, again=first.__contains__).runs
    assert {run.series for run in first.values()} == {run.series for run in again.values()}
    new = {run.arm: run.repetition for run_id, run in again.items() if run_id not in first}
    assert new == {"student": 1, "distilled": 1}
    third = make_plan([claim], "mini", 1, again={**first, **again}.__contains__).runs
    assert {run.repetition for run in third.values() if run.arm != "teacher"} == {2}


def test_what_is_scaled_counts_by_its_value_and_a_tap_that_no_loss_reads_does_not_count():
    (run,) = [run for run in planned().values() if run.label.startswith("retinanet-r50 MGD")]
    assert run.identity.method is not None
    (loss,) = run.identity.method.losses
    assert loss.arguments["alpha"] == pytest.approx(2e-5 * 238)
    assert loss.inputs[0].startswith("student.output:neck.fpn_convs.0.conv|neck.fpn_convs.1.conv")
    recipe = run.recipe
    more = {**recipe.student.taps, "unused": next(iter(recipe.student.taps.values()))}
    widened = recipe.model_copy(update={"student": recipe.student.model_copy(update={"taps": more})})

    def id_of(composed: object) -> str:
        return identify(
            composed,  # type: ignore[arg-type]
            seed=0,
            adapter_version=1,
            loss_versions={"MGDLoss": 1},
            releases=RELEASES,
        ).run_id

    assert id_of(widened) == id_of(recipe)


def test_declarations_of_losses_are_read_without_importing_them():
    code = "import sys; from suite.planning.versions import loss_versions; loss_versions(); "
    code += "print([name for name in sys.modules if name in ('torch', 'tasks')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert versions.loss_versions()["FGDLoss"] == 1


def test_what_a_loss_is_built_for_counts_by_the_modules_that_its_taps_stand_for():
    def loss_of(method: str) -> LossIdentity:
        recipe = Recipe(task="classification", student="resnet18", teacher="resnet34", method=method)
        identity = identify(
            compose(recipe, "mini"),
            seed=0,
            adapter_version=1,
            loss_versions=versions.loss_versions(),
            releases=RELEASES,
        )
        assert identity.method is not None
        (loss,) = identity.method.losses
        return loss

    stages = "|".join(f"backbone.layer{stage}.-1.relu" for stage in (1, 2, 3, 4))
    ofd = loss_of("ofd")
    assert ofd.inputs[0] == f"student.input:{stages} last call"
    assert ofd.channels["student_channels"] == [ofd.inputs[0]]
    assert loss_of("fitnet").sizes["teacher_size"] == "teacher.output:backbone.layer2"
    assert loss_of("crd").data == {"labels": "training_labels"}
    assert not loss_of("kd").model_dump(exclude_defaults=True).keys() & {"channels", "sizes", "data"}
