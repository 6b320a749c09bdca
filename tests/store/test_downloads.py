"""Published checkpoints: the registry is as the zoo says, a file is fetched whole and right or not at all."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from suite.errors import SuiteError
from suite.paths import BASELINES, ROOT, weights_dir
from suite.planning.composing import compose
from suite.published.finding import load_papers
from suite.published.models import load_models
from suite.published.protocols import load_protocols, published_training
from suite.published.recipes import Recipe, load_recipes
from suite.published.weights import (
    Weights,
    claims_taught,
    find_checkpoint,
    how_to_get,
    read_backbones,
    read_registry,
    read_weights,
    weights_of,
)
from suite.store.downloads import DownloadError, cached, fetch
from suite.strict_yaml import read_yaml

CONTENT = bytes(range(256)) * 8192
"""Two megabytes: more than one block of a download."""

OTHER = CONTENT[::-1]

METRICS = {
    "box AP": "box_AP",
    "mask AP": "mask_AP",
    "Top 1 Accuracy": "top1",
    "Top 5 Accuracy": "top5",
    "mIoU": "mIoU",
}
DATASETS = {"COCO": "coco-2017", "ImageNet-1k": "imagenet-1k", "Cityscapes": "cityscapes"}
PUBLISHED = [weights for weights in read_weights().values() if weights.published]


# The registry


@pytest.fixture(scope="module")
def zoo() -> dict[str, dict[str, Any]]:
    """`<package>::<name>` -> its entry in the model index that the package ships."""
    found: dict[str, dict[str, Any]] = {}
    for package in ("mmdet", "mmseg", "mmpretrain"):
        spec = find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        folder = Path(spec.submodule_search_locations[0]) / ".mim"
        for part in read_yaml(folder / "model-index.yml")["Import"]:
            content = read_yaml(folder / part)
            models = content.get("Models") or [] if isinstance(content, dict) else content
            found |= {f"{package}::{model['Name']}": model for model in models}
    return found


def results_of(model: dict[str, Any]) -> list[dict[str, Any]]:
    results = model["Results"]
    return results if isinstance(results, list) else [results]


@pytest.mark.train
@pytest.mark.parametrize("weights", PUBLISHED, ids=lambda weights: weights.id)
def test_every_entry_says_what_the_index_of_its_package_says(weights, zoo):
    model = zoo[weights.zoo]
    assert weights.address == model["Weights"]
    numbers = [
        (METRICS.get(name), number) for row in results_of(model) for name, number in row["Metrics"].items()
    ]
    assert weights.accuracy == {
        name: getattr(number, "text", str(number)) for name, number in numbers if name
    }
    assert {DATASETS[row["Dataset"]] for row in results_of(model)} == {weights.dataset}
    epochs = model.get("Metadata", {}).get("Epochs")
    if epochs is not None:
        assert weights.schedule.startswith(f"{epochs} epochs")


@pytest.mark.train
@pytest.mark.parametrize(
    "weights", [weights for weights in PUBLISHED if claims_taught(weights)], ids=lambda w: w.id
)
def test_a_teacher_is_loaded_into_the_network_that_it_was_trained_as(weights, zoo):
    config = read_yaml(ROOT / "suite" / "conf" / "model" / f"{weights.model}.yaml")["zoo"]
    package = weights.zoo.partition("::")[0]
    assert zoo[weights.zoo]["Config"].replace("configs/", f"{package}::") == config


@pytest.mark.parametrize(
    "weights", [weights for weights in PUBLISHED if weights.teaches], ids=lambda of: of.id
)
def test_the_network_of_a_released_teacher_is_the_zoos_own(weights):
    """Whatever a model's file changes of the zoo's network, the released weights do not know of."""
    task = load_models()[weights.model].task
    recipe = compose(Recipe(task=task, student=weights.model), "paper")
    if weights.model in {recipe.teacher for recipe in load_recipes().values()}:
        assert recipe.student.overrides == {}


def test_every_teacher_of_the_papers_own_rows_has_an_entry_which_knows_whom_it_teaches():
    recipes = load_recipes()
    claims = [claim for paper in load_papers().values() for claim in paper.claims]
    teachers = {claim.id: str(recipes[str(claim.recipe)].teacher) for claim in claims if claim.recipe}
    own = {teachers[claim.id] for claim in claims if claim.teacher and claim.role in ("ours", "ablation")}
    assert len(own) >= 16
    entries = [read_weights()[teacher] for teacher in own]
    assert entries == [weights_of(teacher) for teacher in own]
    assert {weights.id for weights in entries if not weights.published} == {"solo-r101"}
    taught = {claim for weights in entries for claim in claims_taught(weights)}
    # Of rivals, those with one of these teachers; the networks of the common CIFAR-100 protocol are trained.
    assert taught == {claim for claim, teacher in teachers.items() if teacher in own}
    others = set(teachers.values()) - own - {"None"}
    on_cifar = {name for name, model in load_models().items() if model.dataset == "cifar-100"}
    assert others <= {*read_weights(), *on_cifar}


def test_the_teacher_of_retinanet_is_the_one_of_the_paper_and_not_of_the_released_config():
    teacher, variant = (read_weights()[name] for name in ("retinanet-x101", "retinanet-x101-3x"))
    assert weights_of("retinanet-x101") == teacher
    assert teacher.accuracy == {"box_AP": "41.0"}
    assert (variant.model, variant.accuracy) == ("retinanet-x101", {"box_AP": "41.6"})
    assert "mgd-retinanet-r50" in claims_taught(teacher)
    assert claims_taught(variant) == []


def test_a_message_says_how_to_get_the_weights_of_a_model():
    assert how_to_get("resnet34") == "fetch them with 'python -m suite weights fetch resnet34'"
    for model in ("solo-r101", "mask-rcnn-r101"):
        assert how_to_get(model).startswith(f"no checkpoint of {model} is published: it has to be trained")


@pytest.mark.parametrize(
    ("old", "new", "below", "text"),
    [
        ("schedule: 100 epochs", "schedul: 100 epochs", 4, "unknown key 'schedul'; did you mean 'schedule'"),
        ("resnet34:", "resnet34x:", 0, "no model 'resnet34x' in models.yaml; did you mean 'resnet34'"),
        ("-f257d4e6.pth", ".pth", 2, "address: "),
        ("  accuracy: {top1: 73.62, top5: 91.59}\n", "", 0, "resnet34: needs address and accuracy"),
        ("{top1: 73.62", "{top2: 73.62", 5, "unknown metric 'top2'; did you mean"),
        (
            "schedule: 100 epochs",
            "schedule: 100 epochs\n  unpublished: lost",
            0,
            "resnet34: said to be unpublished",
        ),
    ],
)
def test_a_broken_entry_is_refused_with_its_line(old, new, below, text, tmp_path):
    shutil.copytree(BASELINES, tmp_path / "baselines")
    path = tmp_path / "baselines" / "weights.yaml"
    whole = path.read_text(encoding="utf-8")
    line = whole.partition("\nresnet34:")[0].count("\n") + 2 + below
    assert old in whole
    path.write_text(whole.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SuiteError) as caught:
        read_registry(tmp_path / "baselines")
    assert f"weights.yaml:{line}: {text}" in str(caught.value)


def test_the_registry_and_the_cache_need_no_torch():
    code = "import suite.published.weights as w, suite.store.downloads as d, sys; "
    code += "d.cached(w.find_checkpoint('resnet34')); "
    code += "print([name for name in sys.modules if name in ('torch', 'mmengine')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


# Backbones to start from


def test_every_backbone_lies_where_the_zoos_own_tables_say():
    from mmengine.runner.checkpoint import get_external_models, get_torchvision_models

    tables = {"torchvision": get_torchvision_models(), "open-mmlab": get_external_models()}
    for name, backbone in read_backbones().items():
        scheme, _, key = name.partition("://")
        assert backbone.address == tables[scheme][key]


def test_the_backbones_on_file_are_those_that_published_trainings_start_from():
    stated = {
        of.value
        for model in load_protocols().models
        for name, of in published_training(load_protocols(), "", Recipe(task="", student=model)).items()
        if name.startswith("initialised_from.")
    }
    assert stated == set(read_backbones())


def test_a_backbone_is_found_by_the_name_that_configs_give_it():
    assert find_checkpoint("torchvision://resnet50").file_name == "resnet50-0676ba61.pth"
    assert find_checkpoint("resnet34").id == "resnet34"
    with pytest.raises(SuiteError, match=r"no weights 'torchvision://resnet5': did you mean 'torchvision://"):
        find_checkpoint("torchvision://resnet5")


# The download


class Zoo(ThreadingHTTPServer):
    """Serves one file, with the faults that a test asks for.

    Attributes:
        content: the file.
        served: bytes of it that were sent.
        ranges: the `Range` headers of the requests.
        knows_ranges: whether it heeds them.
        shift: how far a range begins from where it was asked to.
        cut_at: position at which a connection is cut, once; None: never.
        status: what it answers instead of the file, if anything.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.served = 0
        self.ranges: list[str | None] = []
        self.knows_ranges = True
        self.shift = 0
        self.cut_at: int | None = None
        self.status: int | None = None

    def weights(self, expected: bytes = CONTENT) -> Weights:
        """An entry for the file at this server."""
        prefix = hashlib.sha256(expected).hexdigest()[:8]
        return Weights(
            id="tiny",
            model="resnet18",
            zoo="mmpretrain::tiny",
            address=f"http://127.0.0.1:{self.server_address[1]}/zoo/tiny%2Bnet_8xb32-{prefix}.pth",
            dataset="imagenet-1k",
            schedule="none",
            accuracy={"top1": "70.0"},
        )


class _Handler(BaseHTTPRequestHandler):
    server: Zoo
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Keeps the output of the tests clean."""

    def do_GET(self) -> None:
        zoo = self.server
        asked = self.headers.get("Range")
        zoo.ranges.append(asked)
        if zoo.status:
            self.send_error(zoo.status)
            return
        start = 0
        if asked and zoo.knows_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-")) + zoo.shift
            if start >= len(zoo.content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(zoo.content) - 1}/{len(zoo.content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(zoo.content) - start))
        self.end_headers()
        end, zoo.cut_at = zoo.cut_at, None
        body = zoo.content[start:end]
        self.wfile.write(body)
        zoo.served += len(body)
        self.close_connection = True


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zoo]:
    monkeypatch.setenv("SUITE_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Zoo() as zoo:
        threading.Thread(target=zoo.serve_forever, args=(0.01,), daemon=True).start()
        yield zoo
        zoo.shutdown()


def accept(path: Path) -> None:
    """Lets every file into the cache."""


def fetch_tiny(server: Zoo, **options: Any) -> Path:
    return fetch(server.weights(), **{"check": accept, "report": lambda done, total: None, **options})


def left_in_cache() -> dict[str, int]:
    """Name of a file -> its size."""
    # The empty file that commands lock stays: whoever took it away could take it from under another.
    kept = (path for path in weights_dir().iterdir() if path.suffix != ".owner")
    return {path.name: path.stat().st_size for path in kept}


def test_a_good_file_lands_whole_under_the_name_of_its_publisher(server):
    reports = []
    path = fetch_tiny(server, report=lambda done, total: reports.append((done, total)))
    assert path.name.startswith("tiny+net_8xb32-")
    assert path.read_bytes() == CONTENT
    assert cached(server.weights()) == path
    assert set(left_in_cache()) == {path.name, f"{path.name}.verified"}
    assert reports[-1] == (len(CONTENT), len(CONTENT))
    assert reports == sorted(reports)


def test_a_file_that_is_there_is_not_fetched_again(server):
    assert fetch_tiny(server) == fetch_tiny(server)
    assert server.served == len(CONTENT)


def test_an_interrupted_download_goes_on_where_it_stopped(server):
    server.cut_at = 700_000
    with pytest.raises(
        DownloadError, match=r"after 0\.7 MB of 2\.1 MB; 0\.7 MB are kept, and the same command"
    ):
        fetch_tiny(server)
    assert cached(server.weights()) is None
    assert list(left_in_cache().values()) == [700_000]
    assert fetch_tiny(server).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=700000-"]
    assert server.served == len(CONTENT)


def test_a_download_that_was_killed_between_the_last_byte_and_its_name_is_only_verified(server):
    name = server.weights().file_name
    weights_dir().mkdir()
    (weights_dir() / f"{name}.part").write_bytes(CONTENT)
    assert fetch_tiny(server).read_bytes() == CONTENT
    assert server.served == 0


@pytest.mark.parametrize("change", ["knows no ranges", "answers with another range"])
def test_a_server_that_cannot_go_on_sends_all_of_it(server, change):
    server.cut_at = 700_000
    with pytest.raises(DownloadError):
        fetch_tiny(server)
    server.knows_ranges = change != "knows no ranges"
    server.shift = 5
    assert fetch_tiny(server).read_bytes() == CONTENT
    assert set(left_in_cache()) == {server.weights().file_name, f"{server.weights().file_name}.verified"}


@pytest.mark.parametrize("before", [OTHER[:700_000], OTHER + b"longer than the file is now"])
def test_a_file_that_changed_since_the_interruption_is_fetched_anew(server, before):
    weights_dir().mkdir()
    (weights_dir() / f"{server.weights().file_name}.part").write_bytes(before)
    assert fetch_tiny(server).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(before)}-", None]


@pytest.mark.parametrize(
    "content",
    [CONTENT[:-1], OTHER, b"<html>Please log in</html>", b""],
    ids=["truncated", "tampered", "page", "empty"],
)
def test_another_file_than_the_name_stands_for_is_refused_and_leaves_nothing_behind(server, content):
    server.content = content
    with pytest.raises(DownloadError, match=r"sends a file that its name does not match .* nothing was kept"):
        fetch_tiny(server)
    assert left_in_cache() == {}


def test_a_file_that_the_check_refuses_leaves_nothing_behind(server):
    def refuse(path: Path) -> None:
        assert path.read_bytes() == CONTENT
        raise SuiteError("it would run code")

    with pytest.raises(SuiteError, match="it would run code"):
        fetch_tiny(server, check=refuse)
    assert left_in_cache() == {}


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_refuses_is_one_line_and_leaves_nothing_behind(server, status):
    server.status = status
    with pytest.raises(
        DownloadError, match=rf"-[0-9a-f]{{8}}\.pth: the server answers {status} .*; try again later$"
    ):
        fetch_tiny(server)
    assert left_in_cache() == {}


def test_a_server_that_refuses_to_go_on_costs_nothing_that_is_there(server):
    server.cut_at = 700_000
    with pytest.raises(DownloadError):
        fetch_tiny(server)
    server.status = 503
    with pytest.raises(DownloadError):
        fetch_tiny(server)
    assert list(left_in_cache().values()) == [700_000]


def test_a_server_that_is_not_there_is_one_line(server):
    weights = server.weights()
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match=r"pth: .*refused; 0\.0 MB are kept") as caught:
        fetch(weights, accept, lambda done, total: None)
    assert "\n" not in str(caught.value)
    assert left_in_cache() == {}


def test_two_commands_at_once_fetch_a_file_once(server):
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch_tiny(server))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == CONTENT for path in found] == [True] * 4
    assert server.served == len(CONTENT)
    assert set(left_in_cache()) == {found[0].name, f"{found[0].name}.verified"}


def test_when_the_first_of_two_commands_fails_the_second_fetches_by_itself(server):
    started, go_on = threading.Event(), threading.Event()
    failures = []

    def refuse_late(path: Path) -> None:
        started.set()
        go_on.wait()
        raise SuiteError("refused")

    def first() -> None:
        with pytest.raises(SuiteError, match="refused"):
            fetch_tiny(server, check=refuse_late)
        failures.append("first")

    one = threading.Thread(target=first)
    one.start()
    started.wait()
    other = threading.Thread(target=lambda: fetch_tiny(server))
    other.start()
    go_on.set()
    one.join()
    other.join()
    assert failures == ["first"]
    assert cached(server.weights()) is not None
    assert set(left_in_cache()) == {server.weights().file_name, f"{server.weights().file_name}.verified"}


def test_a_file_copied_by_hand_counts_when_its_hash_is_right(server):
    path = weights_dir() / server.weights().file_name
    weights_dir().mkdir()
    path.write_bytes(OTHER)
    assert cached(server.weights()) is None
    path.write_bytes(CONTENT)
    assert cached(server.weights()) == path
    assert server.served == 0


def test_a_cached_file_that_was_changed_is_noticed_and_fetched_again(server):
    path = fetch_tiny(server)
    path.write_bytes(CONTENT[:-1])
    assert cached(server.weights()) is None
    assert fetch_tiny(server).read_bytes() == CONTENT


def test_what_is_not_published_cannot_be_fetched():
    weights = read_weights()["solo-r101"]
    assert cached(weights) is None
    with pytest.raises(
        SuiteError, match=r"solo-r101 is not published \(The zoo has no SOLO .*\): it has to be trained"
    ):
        fetch(weights, accept, lambda done, total: None)
