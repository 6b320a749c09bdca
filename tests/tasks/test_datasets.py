import pytest

from suite.recipes import compose, load_recipes
from tasks.adapter import BlockedError, load


def test_an_absent_imagenet_is_named_with_what_to_do(tmp_path):
    prepare = load(compose(load_recipes()["resnet18"], "paper")["data"]["prepare"])
    (tmp_path / "imagenet" / "train").mkdir(parents=True)
    with pytest.raises(BlockedError, match=r"val missing.*image-net\.org.*SUITE_DATA"):
        prepare(tmp_path / "imagenet", None)
    (tmp_path / "imagenet" / "val").mkdir()
    assert prepare(tmp_path / "imagenet", None).startswith("imagenet-1k")
