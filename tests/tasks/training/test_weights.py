"""Checkpoints of strangers: none runs code, every layout in use is understood, every key is accounted for."""

from __future__ import annotations

import functools
import os
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from suite.contract import BlockedError, Job, load
from suite.planning.composing import compose
from suite.published.models import load_models
from suite.published.recipes import Recipe, load_recipes
from suite.store.files import sha256_of
from tasks.training.safe_reading import RefusedCheckpointError
from tasks.training.weights import load_all_weights, load_weights, read_checkpoint

LEGACY = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@functools.cache
def adapter_of(name: str) -> Any:
    recipe = compose(Recipe(task=load_models()[name].task, student=name), "smoke")
    adapter = load(recipe.adapter)(Job(recipe=recipe, seed=0, run_dir=Path(), data_dir=Path()))
    init_default_scope(adapter.scope)
    return adapter


def network(name: str) -> Any:
    """A model of the zoo as the embedded data have it, with weights of its own."""
    adapter = adapter_of(name)
    return adapter.network(adapter.job.recipe.student)


def small() -> Any:
    return nn.Sequential(
        OrderedDict(stem=nn.Conv2d(3, 4, 1), norm=nn.BatchNorm2d(4), head=nn.Conv2d(4, 2, 1))
    )


@pytest.fixture
def save(tmp_path: Path) -> Any:
    def write(content: Any, **options: Any) -> Path:
        path = tmp_path / "checkpoint.pth"
        torch.save(content, path, **options)
        return path

    return write


def prefixed(prefix: str, model: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in model.state_dict().items()}


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())


# Reading


class Malice:
    """A pickle of it calls a function when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def leave_trace(folder: str) -> None:
    (Path(folder) / "trace").touch()


@LEGACY
@pytest.mark.parametrize("hidden", ["as weights", "beside the weights"])
def test_a_file_that_would_run_code_is_refused_by_the_name_of_it_and_nothing_runs(
    save, tmp_path, hidden, zipped
):
    bad = Malice(exec, f"import pathlib; pathlib.Path({str(tmp_path / 'trace')!r}).touch()")
    weights = small().state_dict()
    content = (
        {"state_dict": {"w": bad}} if hidden == "as weights" else {"state_dict": weights, "meta": {"x": bad}}
    )
    path = save(content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        RefusedCheckpointError, match=r"^checkpoint\.pth is refused: reading it would run exec, which weights"
    ):
        read_checkpoint(path)
    assert not (tmp_path / "trace").exists()
    # It is no dud: read without care it does what it was made for.
    torch.load(path, weights_only=False)
    assert (tmp_path / "trace").exists()


def test_calls_of_the_system_and_of_any_module_are_refused_by_name(save, tmp_path):
    for bad, name in [
        (Malice(os.system, "true"), r"posix\.system"),
        (Malice(leave_trace, str(tmp_path)), rf"{__name__}\.leave_trace"),
        (Malice(getattr, Malice(__import__, "os"), "system"), "__import__"),
    ]:
        with pytest.raises(RefusedCheckpointError, match=f"would run {name}, which"):
            read_checkpoint(save({"state_dict": {}, "optimizer": bad}))
    assert not (tmp_path / "trace").exists()


@LEGACY
def test_what_the_zoo_saves_beside_its_weights_does_no_harm(save, zipped):
    hub = MessageHub.get_instance("a test of checkpoints")
    hub.update_scalar("train/loss", 0.5)
    meta = {
        "seed": np.int64(3),
        "best": np.float32(0.5),
        "CLASSES": ("one", "two"),
        "palette": np.zeros((2, 3)),
    }
    content = {"meta": meta, "message_hub": hub.state_dict(), "state_dict": small().state_dict()}
    found = read_checkpoint(save(content, _use_new_zipfile_serialization=zipped))
    assert list(found) == list(small().state_dict())


def test_reading_allows_nothing_to_those_who_read_afterwards(save):
    # torch keeps a set and hands it out as a list, whose order is another after a change and its undoing.
    before = set(torch.serialization.get_safe_globals())
    read_checkpoint(save({"state_dict": small().state_dict(), "meta": np.float64(1)}))
    assert set(torch.serialization.get_safe_globals()) == before


@LEGACY
def test_a_truncated_file_is_refused(save, zipped):
    path = save(small().state_dict(), _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RefusedCheckpointError, match=r"^checkpoint\.pth is damaged, no checkpoint, or needs"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"PK\x03\x04", b"\x80\x02abc", bytes(64)]
)
def test_a_file_of_something_else_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(content)
    with pytest.raises(RefusedCheckpointError) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([torch.zeros(2)], "but a list"),
        ({"state_dict": [1]}, "but a list"),
        ({}, "nothing is in it"),
        ({"epoch": 3, "model": {"weight": torch.zeros(2)}}, "'epoch' is not a tensor"),
        ({"state_dict": {"weight": np.zeros(2)}}, "'weight' is not a tensor"),
        ({"state_dict": {1: torch.zeros(2)}}, "but a dict"),
    ],
)
def test_a_file_without_weights_says_what_it_holds(save, content, text):
    with pytest.raises(RefusedCheckpointError, match=f"holds no weights.*{text}"):
        read_checkpoint(save(content))


def test_a_file_that_would_unpack_to_more_than_it_has_is_refused_before_it_does(save):
    path = save({"state_dict": {"w": torch.zeros(2**22)}})
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert path.stat().st_size < 2**17
    # Any version of PyTorch would take it.
    assert torch.load(path, weights_only=True)["state_dict"]["w"].shape == (2**22,)
    with pytest.raises(
        RefusedCheckpointError, match=r"^checkpoint\.pth is refused: it has .* and would unpack to"
    ):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("make", "says"),
    [(Path.mkdir, "is a folder"), (os.mkfifo, "is a named pipe"), (Path.touch, "is empty")],
    ids=["folder", "pipe", "empty"],
)
def test_what_is_no_file_is_refused_by_what_it_is(tmp_path, make, says):
    make(tmp_path / "weights.pth")
    with pytest.raises(RefusedCheckpointError, match=rf"^weights\.pth {says}"):
        read_checkpoint(tmp_path / "weights.pth")


def test_what_is_loaded_is_what_was_checked(save):
    path = save(small().state_dict())
    checked = sha256_of(path)
    assert load_all_weights(small(), path, "the model", checked).faults == []
    assert load_all_weights(small(), path, "the model", checked[:8]).faults == []
    save(small().state_dict())
    with pytest.raises(
        BlockedError, match=rf"checkpoint\.pth has changed since it was checked.*{checked[:12]}"
    ):
        load_all_weights(small(), path, "the model", checked)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_refused_by_key(save, value):
    state = small().state_dict()
    state["head.weight"][1, 2] = value
    with pytest.raises(
        BlockedError, match=r"does not fit the model: NaN or infinite values in head\.weight$"
    ):
        load_all_weights(small(), save(state), "the model")


# Layouts


@pytest.mark.parametrize(
    "lay_out",
    [
        lambda model: model.state_dict(),
        lambda model: {"meta": {"epoch": 3}, "state_dict": model.state_dict()},
        lambda model: {"state_dict": prefixed("module.", model)},
    ],
    ids=["bare", "mmengine", "distributed"],
)
def test_every_layout_of_a_plain_model_fills_it_whole(save, lay_out):
    trained, fresh = small(), small()
    report = load_weights(fresh, save(lay_out(trained)))
    assert report.faults == []
    assert report.loaded == tuple(fresh.state_dict())
    assert same(fresh, trained)


@pytest.mark.parametrize("wrapped", ["", "module."], ids=["plain", "distributed"])
def test_the_student_of_a_distiller_fills_the_plain_model_and_the_rest_is_counted(save, wrapped):
    student, teacher, fresh = network("retinanet-r50"), network("retinanet-r101"), network("retinanet-r50")
    generation = nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    content = {
        **prefixed(f"{wrapped}student.", student),
        **prefixed(f"{wrapped}teacher.", teacher),
        **prefixed(f"{wrapped}distill_losses.loss_mgd_fpn_0.generation.", generation),
        # What forward hooks of the released code leave in the module.
        f"{wrapped}student_neck_fpn_convs_0_conv": torch.zeros(1, 8, 4, 4),
    }
    report = load_weights(fresh, save({"state_dict": content}))
    assert report.faults == []
    assert report.left_out == {
        "teacher": len(teacher.state_dict()),
        "distill_losses": 4,
        "student_neck_fpn_convs_0_conv": 1,
    }
    assert same(fresh, student)
    assert not same(fresh, network("retinanet-r50"))


def test_what_averaged_weights_were_made_of_is_left_out_and_counted(save):
    model = small()
    state = model.state_dict()
    doubles = {f"ema_{key.replace('.', '_')}": torch.zeros_like(value) for key, value in state.items()}
    other = small()
    report = load_weights(other, save({"state_dict": {**state, **doubles}}))
    assert report.faults == []
    assert report.left_out == {"averages": len(doubles)}
    assert same(model, other)


def test_the_versions_of_modules_survive_their_prefixes(save):
    def distilled(version: int) -> dict[str, Any]:
        wrapped = nn.ModuleDict({"student": small(), "teacher": small()})
        state: Any = nn.ModuleDict({"module": wrapped}).state_dict()
        del state["module.student.norm.num_batches_tracked"]
        state._metadata["module.student.norm"]["version"] = version
        return {"state_dict": state}

    # Batch norm counts batches since version 2; an older file is complete without the count.
    assert load_weights(small(), save(distilled(1))).faults == []
    assert load_weights(small(), save(distilled(2))).faults == ["missing norm.num_batches_tracked"]


def test_names_that_the_zoo_has_given_up_are_understood(save):
    fcos, fresh = network("fcos-r50"), network("fcos-r50")
    old = {key.replace(".conv_", ".fcos_"): value for key, value in fcos.state_dict().items()}
    assert "bbox_head.fcos_cls.weight" in old
    assert load_weights(fresh, save({"state_dict": old})).faults == []
    assert same(fresh, fcos)

    swin, fresh = network("swin-tiny"), network("swin-tiny")
    last = max(key for key in swin.state_dict() if key.startswith("backbone.norm")).split(".")[1]
    old = {
        key.replace(f"backbone.{last}.", "backbone.norm."): value for key, value in swin.state_dict().items()
    }
    assert "backbone.norm.weight" in old
    old["backbone.stages.0.blocks.1.attn.attn_mask"] = torch.zeros(4, 49, 49)
    assert load_weights(fresh, save({"state_dict": old})).faults == []
    assert same(fresh, swin)


@pytest.mark.parametrize("name", ["mobilenet-v1", "deit-tiny", "pspnet-r18", "reppoints-x101-dcn", "yolox-m"])
def test_what_a_zoo_model_saves_it_loads(save, name):
    trained, fresh = network(name), network(name)
    report = load_all_weights(fresh, save({"state_dict": trained.state_dict()}), name)
    assert report.summary() == {"loaded": len(trained.state_dict()), "left_out": {}, "faults": []}
    assert same(fresh, trained)


# The report


def test_a_checkpoint_with_one_layer_missing_says_which_keys_are_not_loaded(save):
    trained, fresh = network("resnet18"), network("resnet18")
    layer = "backbone.layer2.0.conv1."
    state = {key: value for key, value in trained.state_dict().items() if not key.startswith(layer)}
    report = load_weights(fresh, save(state))
    assert report.missing == (f"{layer}weight",)
    assert (report.unknown, report.wrong_shape) == ((), {})
    assert set(report.loaded) == set(state)


def test_missing_unknown_and_misshapen_keys_are_told_apart_and_the_rest_is_loaded(save):
    trained, fresh = small(), small()
    before = fresh.head.weight.clone()
    state = trained.state_dict()
    del state["stem.bias"]
    state["head.weight"] = torch.zeros(5, 4, 1, 1)
    state["neck.weight"] = torch.zeros(1)
    report = load_weights(fresh, save(state))
    assert report.missing == ("stem.bias",)
    assert report.unknown == ("neck.weight",)
    assert report.wrong_shape == {"head.weight": "(5, 4, 1, 1) instead of (2, 4, 1, 1)"}
    assert set(report.loaded) == set(fresh.state_dict()) - {"stem.bias", "head.weight"}
    assert report.summary()["faults"] == [
        "missing stem.bias",
        "unknown neck.weight",
        "(5, 4, 1, 1) instead of (2, 4, 1, 1) in head.weight",
    ]
    assert torch.equal(fresh.stem.weight, trained.stem.weight)
    assert torch.equal(fresh.head.weight, before)


def test_loading_leaves_no_hook_in_the_model(save):
    model = small()
    load_weights(model, save(model.state_dict()))
    assert not any(part._load_state_dict_pre_hooks for part in model.modules())


def test_a_checkpoint_that_has_to_fit_is_refused_with_its_first_faults(save):
    with pytest.raises(
        BlockedError, match=r"^checkpoint\.pth does not fit the model: missing .* and \d+ more$"
    ):
        load_all_weights(network("resnet34"), save(network("resnet18").state_dict()), "the model")


# The teacher of a published protocol


@pytest.fixture
def paper_adapter(tmp_path: Path) -> Any:
    """Makes an adapter of the published protocol of NKD's ResNet-18, before it builds anything."""

    def make(weights: Path | None) -> Any:
        recipe = compose(load_recipes()["resnet18-nkd-resnet34"], "paper")
        job = Job(recipe=recipe, seed=0, run_dir=tmp_path, data_dir=tmp_path, teacher_weights=weights)
        adapter = load(recipe.adapter)(job)
        init_default_scope(adapter.scope)
        return adapter

    return make


def test_without_the_published_weights_the_teacher_names_the_command_that_fetches_them(paper_adapter):
    with pytest.raises(
        BlockedError, match=r"the teacher resnet34: fetch them with 'python -m suite weights fetch resnet34'$"
    ):
        paper_adapter(None)._teacher()


def test_the_teacher_of_the_published_size_takes_a_zoo_checkpoint_whole_or_not_at_all(paper_adapter, save):
    adapter = paper_adapter(None)
    trained = adapter.network(adapter.job.recipe.teacher)
    state = trained.state_dict()
    assert state["head.fc.weight"].shape == (1000, 512)
    assert same(paper_adapter(save({"meta": {"epoch": 100}, "state_dict": state}))._teacher(), trained)
    del state["backbone.layer3.5.conv2.weight"]
    with pytest.raises(
        BlockedError, match=r"does not fit the teacher resnet34: missing backbone\.layer3\.5\.conv2\.weight$"
    ):
        paper_adapter(save({"state_dict": state}))._teacher()
