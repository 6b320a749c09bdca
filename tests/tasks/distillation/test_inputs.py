"""What a loss may see: every kind of input reaches it, and what cannot be had is refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

import tests.tasks.distillation.seen  # noqa: F401  (registers the losses)
from suite.contract import BlockedError
from tasks.distillation.distiller import Distiller
from tasks.distillation.inputs import model_word


class Pyramid(nn.Module):
    """Two levels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(width, 6, 1)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        finest = self.lateral(feature)
        return finest, nn.functional.avg_pool2d(finest, 2)


class SharedHead(nn.Module):
    """Runs once a level; its ReLU works in place, as those of the zoo do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.predict = nn.Conv2d(6, 2, 1)
        self.idle = nn.Linear(2, 2)

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[list[Tensor], tuple[int, ...]]:
        maps = [self.predict(self.relu(self.conv(level))) for level in levels]
        return maps, tuple(one.shape[-1] for one in maps)


class Network(BaseModel):
    """A small detector: backbone, neck, shared head; counts its passes."""

    def __init__(self, width: int, trainable_twice: bool = False) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width))
        self.neck = Pyramid(width)
        self.bbox_head = SharedHead()
        self.passes = 0
        self.again = trainable_twice

    def extract_feat(self, inputs: Tensor) -> Any:
        self.passes += 1
        return self.neck(self.backbone(inputs))

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        found = self.bbox_head(self.extract_feat(inputs))
        if mode == "loss" and self.again:
            self.bbox_head.predict(torch.zeros(1, 6, 1, 1))
        return {"loss_own": found[0][0].square().mean()} if mode == "loss" else found


class HeadCount:
    """`features` of an adapter, which counts how often the heads ran."""

    def __init__(self) -> None:
        self.depths: list[str] = []

    def __call__(self, model: BaseModel, inputs: Tensor, depth: str) -> Any:
        self.depths.append(depth)
        return model.extract_feat(inputs) if depth == "neck" else model(inputs)


ANNOTATIONS: dict[str, Callable[[Any], Any]] = {
    "boxes": lambda samples: [sample["boxes"] for sample in samples],
    "sample_index": lambda samples: torch.tensor([sample["index"] for sample in samples]),
}
SAMPLES = [{"boxes": torch.ones(1, 4), "index": 7}, {"boxes": torch.zeros(0, 4), "index": 3}]
TAPS = {
    "neck": {"module": "neck"},
    "taken": {"module": "bbox_head.conv", "side": "input"},
    "pooled": {"module": "backbone.1", "pooling": "pooled"},
}


def distiller(
    *inputs: str,
    features: Any = None,
    taps: Any = None,
    student: Any = None,
    training_data: Any = None,
    **loss: Any,
) -> Distiller:
    torch.manual_seed(0)
    method = {
        "name": "trial",
        "task_loss_weight": 1.0,
        "losses": {"seen": {"type": "SeenByATest", "inputs": list(inputs), **loss}},
    }
    return Distiller(
        student or Network(4),
        taps or TAPS,
        method,
        example=torch.randn(1, 3, 8, 8),
        features=features or HeadCount(),
        annotations=ANNOTATIONS,
        teacher=Network(5),
        teacher_taps=TAPS,
        progress={"epoch": lambda: 2, "iteration": lambda: 31},
        training_data=training_data or {"labels": lambda: [0, 1]},
    )


def seen(model: Distiller) -> Any:
    """The loss that keeps what it was given."""
    return model.losses["seen"]


def given(*inputs: str, **others: Any) -> tuple[Distiller, tuple[Any, ...]]:
    """A training step on a batch of two images; what the loss was given."""
    model = distiller(*inputs, **others)
    model(torch.randn(2, 3, 8, 8), SAMPLES, mode="loss")
    return model, seen(model).given


def shapes(value: Any) -> Any:
    return [shapes(item) for item in value] if isinstance(value, list) else tuple(value.shape)


def test_taps_outputs_and_inputs_of_modules_reach_the_loss() -> None:
    words = ("student.neck", "student.pooled", "teacher.output:backbone.-1", "teacher.input:neck")
    _, (neck, pooled, output, taken) = given(*words)
    assert shapes(neck) == [(2, 6, 8, 8), (2, 6, 4, 4)]
    assert shapes(pooled) == (2, 4)
    assert shapes(output) == (2, 5, 8, 8)
    assert torch.equal(output, taken)


def test_a_shared_head_gives_an_entry_a_call_in_order() -> None:
    _, (taken, neck, predicted, whole) = given(
        "student.taken", "student.neck", "student.output:bbox_head.predict", "student.output:bbox_head"
    )
    assert all(torch.equal(one, other) for one, other in zip(taken, neck, strict=True))
    assert shapes(predicted) == [(2, 2, 8, 8), (2, 2, 4, 4)]
    # Beside the maps the head returns their widths, which are no tensors.
    assert all(torch.equal(one, other) for one, other in zip(whole, predicted, strict=True))


def test_of_a_module_that_runs_several_times_a_tap_may_take_the_last_call() -> None:
    taps = {
        "before": {"module": ["bbox_head.relu"], "side": "input", "calls": "last"},
        "behind": {"module": "bbox_head.relu", "calls": "last"},
    }
    model, (before, behind, every) = given(
        "student.before", "student.behind", "student.output:bbox_head.conv", taps=taps
    )
    assert torch.equal(before[0], every[-1])
    assert torch.equal(behind, every[-1].relu())
    # So it is in every pass.
    model(torch.randn(2, 3, 8, 8), SAMPLES, mode="loss")
    assert shapes(list(seen(model).given[:2])) == [[(2, 6, 4, 4)], (2, 6, 4, 4)]


def test_a_tap_in_front_of_a_layer_that_works_in_place_keeps_what_was_there() -> None:
    model, (before, behind) = given("student.output:bbox_head.conv", "student.output:bbox_head.relu")
    for one, other in zip(before, behind, strict=True):
        assert (one < 0).any()
        assert torch.equal(one.relu(), other)
    before[0].sum().backward()
    gradient = model.student.bbox_head.conv.weight.grad
    assert gradient is not None
    assert gradient.any()


def test_what_nothing_overwrites_is_not_copied() -> None:
    model = distiller("student.output:backbone")
    kept: list[Tensor] = []
    model.student.backbone.register_forward_hook(lambda module, inputs, output: kept.append(output))
    model(torch.randn(2, 3, 8, 8), SAMPLES, mode="loss")
    assert seen(model).given[0] is kept[0]


def test_modules_and_parameters_themselves_reach_the_loss_and_stay_where_they_are() -> None:
    words = ("teacher.module:bbox_head", "teacher.parameter:neck.lateral.weight", "student.module:bbox_head")
    model, (head, weight, own) = given(*words)
    assert model.teacher is not None
    assert head is model.teacher.bbox_head
    assert weight is model.teacher.neck.lateral.weight
    assert own is model.student.bbox_head
    assert not any("teacher" in name for name in model.state_dict())
    parameters = {id(parameter) for parameter in model.parameters()}
    assert not parameters & {id(parameter) for parameter in model.teacher.parameters()}
    model.train()
    assert not any(module.training for module in model.teacher.modules())


def test_annotations_and_progress_reach_the_loss() -> None:
    _, (boxes, index, epoch, iteration) = given("boxes", "sample_index", "epoch", "iteration")
    assert [len(of_image) for of_image in boxes] == [1, 0]
    assert index.tolist() == [7, 3]
    assert (epoch, iteration) == (2, 31)


def test_the_gradient_passes_through_a_module_of_the_teacher_to_the_student() -> None:
    torch.manual_seed(0)
    inputs = ["student.output:neck.lateral", "teacher.output:neck.lateral", "teacher.module:bbox_head.conv"]
    losses = {"through": {"type": "ThroughTheTeacherOfATest", "inputs": inputs}}
    # Its own tap on the module that the loss runs must not see the loss's calls.
    losses["seen"] = {"type": "SeenByATest", "inputs": ["teacher.output:bbox_head.conv"]}
    teacher = Network(5)
    model = Distiller(
        Network(4),
        {},
        {"name": "trial", "task_loss_weight": 0.0, "losses": losses},
        example=torch.randn(1, 3, 8, 8),
        features=HeadCount(),
        annotations={},
        teacher=teacher,
        teacher_taps={},
    )
    for _ in range(2):
        model.zero_grad()
        found = model(torch.randn(2, 3, 8, 8), SAMPLES, mode="loss")
        found["loss_through"].backward()
        gradient = model.student.backbone[0].weight.grad
        assert gradient is not None
        assert gradient.any()
        assert all(parameter.grad is None for parameter in teacher.parameters())
        assert len(seen(model).given[0]) == 2


@pytest.mark.parametrize(
    ("words", "depths"),
    [
        (("student.neck", "teacher.neck"), ["neck", "neck"]),
        (("student.output:backbone", "teacher.taken"), ["neck", "heads"]),
        (("student.taken", "teacher.output:backbone.0"), ["heads", "neck"]),
    ],
)
def test_a_model_is_run_as_deep_as_its_taps_need_and_the_student_once_a_step(
    words: tuple[str, ...], depths: list[str]
) -> None:
    features = HeadCount()
    model = distiller(*words, features=features, same_size=False)
    assert features.depths == depths
    assert model.teacher is not None
    before = model.student.passes, model.teacher.passes
    model(torch.randn(2, 3, 8, 8), SAMPLES, mode="loss")
    assert (model.student.passes, model.teacher.passes) == (before[0] + 1, before[1] + 1)
    # In the step, the student's own losses have run its heads already.
    assert features.depths == [*depths, depths[1]]


def test_a_teacher_of_which_only_a_parameter_is_asked_for_is_not_run() -> None:
    model, _ = given("student.neck", "teacher.parameter:neck.lateral.weight")
    assert model.teacher is not None
    assert model.teacher.passes == 0


def test_channels_may_come_from_any_feature_and_losses_may_be_one_a_level() -> None:
    channels = {"channels": "teacher.output:bbox_head.predict"}
    model = distiller("student.neck", each_level=True, channels=channels)
    assert [loss.channels for loss in seen(model)] == [2, 2]
    model(torch.randn(2, 3, 8, 8), SAMPLES, mode="loss")
    assert [shapes(loss.given[0]) for loss in seen(model)] == [
        (2, 6, 8, 8),
        (2, 6, 4, 4),
    ]


def test_a_loss_may_be_built_for_the_channels_of_all_stages_and_the_height_of_a_map() -> None:
    model = distiller(
        *("student.neck", "student.pooled", "teacher.neck"),
        channels={"channels": ["student.neck", "student.pooled"]},
        sizes={"scale": "teacher.neck"},
    )
    assert seen(model).channels == [6, 6, 4]
    assert seen(model).scale == 8


def test_a_loss_may_be_built_from_the_whole_training_data() -> None:
    def read_others() -> Any:
        pytest.fail("what no loss asks for was read, which may take long")

    offered = {"labels": lambda: [4, 2], "others": read_others}
    model = distiller("student.neck", data={"channels": "labels"}, training_data=offered)
    assert seen(model).channels == [4, 2]


def test_a_copy_has_weights_of_its_own_and_shares_what_is_around_the_student() -> None:
    model = distiller("student.neck", "teacher.neck", "epoch")
    copied = copy.deepcopy(model)
    assert copied.teacher is model.teacher
    assert copied.student.neck.lateral.weight is not model.student.neck.lateral.weight
    model(torch.randn(2, 3, 8, 8), SAMPLES, mode="loss")
    copied(torch.randn(2, 3, 8, 8), mode="tensor")


REFUSED = {
    "student.head": r"tap 'head' is not declared for Network, only neck, taken, pooled",
    "student.output:backbone.7": r"tap 'backbone\.7': Network\.backbone has no '7', only 0, 1",
    "teacher.module:box_head": r"module 'box_head': Network has no 'box_head', only .*bbox_head",
    "teacher.parameter:neck.lateral.weigth": (
        r"parameter 'neck\.lateral\.weigth': Network\.neck\.lateral has no 'weigth', only weight, bias"
    ),
    "teacher.parameter:neck": r"parameter 'neck': Network has no 'neck', only no parameters",
    "student.outputs:neck": r"input 'student\.outputs:neck': no kind 'outputs': did you mean 'output'",
    "student.output:": r"input 'student\.output:' names nothing",
    "box": r"loss 'seen': no input 'box': did you mean 'boxes'",
    "epochs": r"loss 'seen': no input 'epochs': did you mean 'epoch'",
    "student.output:bbox_head.idle": (
        r"tap 'output:bbox_head\.idle': module 'bbox_head\.idle' of Network never ran, so the tap never fired"
    ),
    "teacher.input:bbox_head.idle": (
        r"tap 'input:bbox_head\.idle': module 'bbox_head\.idle' of Network never ran, so the tap never fired"
    ),
}


@pytest.mark.parametrize("word", REFUSED)
def test_what_cannot_be_had_is_refused_by_name_in_one_line(word: str) -> None:
    with pytest.raises(BlockedError, match=REFUSED[word]) as refusal:
        distiller("student.neck", word)
    assert "\n" not in str(refusal.value)


BROKEN_TAPS = {
    r"tap 'neck': no key 'form': known: calls, module, pooling, side": {"module": "neck", "form": "pooled"},
    r"tap 'neck': no pooling 'poled': did you mean 'pooled'": {"module": "neck", "pooling": "poled"},
    r"tap 'neck': no side 'inputs': did you mean 'input'": {"module": "neck", "side": "inputs"},
    r"tap 'neck': no calls 'lats': did you mean 'last'": {"module": "neck", "calls": "lats"},
    r"module 'bbox_head\.conv' of Network ran 2 times in one pass; a tap of several modules": {
        "module": ["bbox_head.conv", "bbox_head.predict"]
    },
}


@pytest.mark.parametrize("text", BROKEN_TAPS)
def test_a_tap_that_is_declared_wrongly_is_refused_by_name(text: str) -> None:
    with pytest.raises(BlockedError, match=text):
        distiller("student.neck", taps={"neck": BROKEN_TAPS[text]})


BROKEN_LOSSES: dict[str, dict[str, Any]] = {
    r"levels found: student\.neck has 2, student\.pooled has 1; list as many modules": {
        "each_level": True,
        "channels": {"channels": "student.pooled"},
    },
    r"loss 'seen': no key 'argument': did you mean 'arguments'": {"argument": {}},
    r"loss 'seen' of type SeenByATset: no loss 'SeenByATset' .* did you mean 'SeenByATest'": {
        "type": "SeenByATset"
    },
    r"loss 'seen' of type SeenByATest: .*unexpected keyword argument 'weight'": {
        "arguments": {"weight": 1.0}
    },
    r"loss 'seen': scaled 'weight'": {"scaled": {"weight": "map"}},
    r"loss 'seen': channels of 'channels' .* 'teacher\.module:neck'": {
        "channels": {"channels": "teacher.module:neck"}
    },
    r"loss 'seen': channels of 'channels' .* 'teacher\.module:bbox_head'": {
        "channels": {"channels": ["student.neck", "teacher.module:bbox_head"]}
    },
    r"loss 'seen': sizes of 'scale' are those of 'student\.pooled', which is not a map": {
        "sizes": {"scale": "student.pooled"}
    },
    r"loss 'seen': no data 'label': did you mean 'labels'": {"data": {"channels": "label"}},
    r"loss 'seen': no input 'studnt\.neck': .*begins with 'student\.' or 'teacher\.'": {
        "channels": {"channels": "studnt.neck"}
    },
    r"loss 'seen': Through takes student, teacher, module, but the method names 1 inputs: student\.neck": {
        "type": "ThroughTheTeacherOfATest"
    },
}


@pytest.mark.parametrize("text", BROKEN_LOSSES)
def test_a_loss_that_is_described_wrongly_is_refused_by_name(text: str) -> None:
    with pytest.raises(BlockedError, match=text):
        distiller("student.neck", **BROKEN_LOSSES[text])


def test_a_module_that_runs_more_often_in_training_is_refused() -> None:
    model = distiller("student.output:bbox_head.predict", student=Network(4, trainable_twice=True))
    with pytest.raises(BlockedError, match=r"'bbox_head\.predict' of Network ran 3 times .* and 2 times in"):
        model(torch.randn(2, 3, 8, 8), SAMPLES, mode="loss")


def test_a_method_that_asks_for_a_teacher_is_refused_without_one() -> None:
    method = {
        "name": "trial",
        "task_loss_weight": 1.0,
        "losses": {"seen": {"type": "SeenByATest", "inputs": ["teacher.parameter:neck.lateral.weight"]}},
    }
    with pytest.raises(BlockedError, match="method trial needs a teacher, but the recipe names none"):
        Distiller(Network(4), TAPS, method, torch.zeros(1, 3, 8, 8), HeadCount(), ANNOTATIONS)


def test_words_are_read_into_side_kind_and_name() -> None:
    found = [model_word(text) for text in ("student.neck", "teacher.input:a.b", "boxes", "epoch")]
    assert [word and (word.side, word.kind, word.name) for word in found] == [
        ("student", "tap", "neck"),
        ("teacher", "input", "a.b"),
        None,
        None,
    ]


class Coarse(Network):
    """The same network on maps of half the size."""

    def extract_feat(self, inputs: Tensor) -> Any:
        return super().extract_feat(nn.functional.avg_pool2d(inputs, 2))


def test_every_pair_of_features_of_one_name_must_have_the_same_sizes() -> None:
    words = ("student.neck", "student.output:bbox_head", "teacher.neck", "teacher.output:bbox_head")
    text = r"'seen': level 0 of student\.neck is 4 x 4 and of teacher\.neck 8 x 8; tap modules of the same"
    with pytest.raises(BlockedError, match=text):
        distiller(*words, student=Coarse(4))
    # Maps that nobody compares may differ.
    distiller("student.neck", "student.pooled", "teacher.output:bbox_head", student=Coarse(4))
    distiller(*words, student=Coarse(4), same_size=False)
