"""``data``: verifying and preparing published data sets from the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from suite.cli import main
from suite.datasets import read_published
from suite.paths import ROOT


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Where the data sets belong, with nothing there."""
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def one_street(data):
    """Cityscapes' layout with a photo and its polygons for each part."""
    for split in ("train", "val"):
        stem = f"{split}/ulm/ulm_000000_000019"
        for kind in ("leftImg8bit", "gtFine"):
            (data / "cityscapes" / kind / split / "ulm").mkdir(parents=True)
        Image.new("RGB", (64, 32)).save(data / "cityscapes" / "leftImg8bit" / f"{stem}_leftImg8bit.png")
        sky = {"label": "sky", "polygon": [[0, 0], [63, 0], [63, 15], [0, 15]]}
        content = {"imgWidth": 64, "imgHeight": 32, "objects": [sky]}
        path = data / "cityscapes" / "gtFine" / f"{stem}_gtFine_polygons.json"
        path.write_text(json.dumps(content))
    return data / "cityscapes"


@pytest.mark.parametrize("name", ["imagenet", "coco", "cityscapes", "cifar-100"])
@pytest.mark.parametrize("action", ["verify", "prepare"])
def test_an_absent_data_set_is_one_line_that_says_all(data, capsys, action, name):
    assert main(["data", action, name]) == 2
    out, err = capsys.readouterr()
    dataset = read_published()[name]
    assert out == ""
    assert err.count("\n") == 1
    place = str(data / dataset.folder)
    for part in (dataset.title, dataset.obtained, place, f"{dataset.gigabytes:g} GB", "SUITE_DATA"):
        assert part in err


def test_preparing_draws_label_maps_and_verifying_says_what_is_wrong(one_street, capsys):
    assert main(["data", "verify", "cityscapes"]) == 2
    assert "labelTrainIds.png missing" in capsys.readouterr().err
    assert main(["data", "prepare", "cityscapes"]) == 0
    out, err = capsys.readouterr()
    assert out == "Cityscapes: 2 label maps drawn.\nNext: python -m suite data verify cityscapes\n"
    assert err == "preparing Cityscapes: 2 files\n"
    numbers = np.asarray(Image.open(next(one_street.glob("gtFine/val/ulm/*labelTrainIds.png"))))
    assert (numbers[:16] == 10).all()
    assert (numbers[16:] == 255).all()
    assert main(["data", "verify", "cityscapes"]) == 2
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"Cityscapes at {one_street}"
    wrong = [line.split("  ")[0] for line in lines if line.rstrip().endswith("WRONG")]
    assert "leftImg8bit/train: images" in wrong
    assert "leftImg8bit/train: pixels" in wrong
    assert "gtFine/train: label maps" not in wrong
    assert "Files: 4, 0.00 GB; 4 read." in lines
    assert err.startswith("reading Cityscapes: 4 files\nsuite: Cityscapes at ")
    assert "leftImg8bit/train: images: expected 2,975, found 1" in err


def test_a_second_call_reads_nothing_and_says_the_same(one_street, capsys):
    main(["data", "prepare", "cityscapes"])
    capsys.readouterr()
    reports = []
    for _ in range(2):
        assert main(["data", "verify", "cityscapes", "--format", "json"]) == 2
        reports.append(json.loads(capsys.readouterr().out))
    first, second = reports
    assert (first["read"], second["read"], first["verified"]) == (4, 0, False)
    assert {**first, "read": 0} == second
    (one_street / "leftImg8bit" / "val" / "ulm" / "ulm_000000_000019_leftImg8bit.png").unlink()
    assert main(["data", "verify", "cityscapes"]) == 2
    out, err = capsys.readouterr()
    assert "Since the last verification 1 missing, such as leftImg8bit/val/ulm/" in out
    assert first["fingerprint"] not in out
    assert err.count("\n") == 1


def test_unknown_words_are_refused_with_what_there_is(data, capsys):
    assert main(["data", "verify", "imagenette"]) == 2
    assert "unknown data set 'imagenette': did you mean 'imagenet'?" in capsys.readouterr().err
    assert main(["data", "verfy", "imagenet"]) == 2
    assert "no action 'verfy': did you mean 'verify'?" in capsys.readouterr().err
    assert main(["data", "verify"]) == 2
    assert "needs the name of a data set" in capsys.readouterr().err


def test_without_an_action_it_says_what_is_here(one_street, capsys):
    main(["data", "prepare", "cityscapes"])
    capsys.readouterr()
    assert main(["data"]) == 0
    out, err = capsys.readouterr()
    states = {line.split()[0]: line.split()[-2:] for line in out.splitlines()[1:]}
    assert states["cityscapes"] == ["unverified", str(one_street)]
    assert states["coco"] == ["absent", str(one_street.parent / "coco")]
    assert sorted(states) == sorted(read_published())
    assert err == ""


def test_verifying_imports_neither_pytorch_nor_mm(one_street):
    main(["data", "prepare", "cityscapes"])
    program = (
        "import sys; from suite.cli import main; main(['data', 'verify', 'cityscapes']); "
        "print([name for name in sys.modules if name.split('.')[0] in "
        "{'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'scipy'}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
