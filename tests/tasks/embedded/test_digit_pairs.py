import hashlib

import numpy as np
import pytest

from suite.planning.composing import compose
from suite.published.recipes import load_recipes
from tasks.embedded.digit_pairs import IMAGES_PER_CLASS, prepare
from tasks.embedded.digit_pairs import compose as draw_pair
from tasks.embedded.glyphs import Dice, Placement, draw, load_glyphs
from tasks.embedded.store import WrongFingerprintError, ensure, fingerprint

FIRST_42 = "0512239f6fe6b7808f7b7d2a28d73203f0b2dfd06dda6a354a97e86fde77f5a7"


def test_one_image_has_the_same_bytes_on_every_machine():
    pixels = draw_pair(42, load_glyphs("train"), Dice("digit-pairs", "train", 42, 0))
    assert hashlib.sha256(pixels).hexdigest() == FIRST_42


def test_the_data_set_is_built_once_and_is_the_one_the_recipe_names(digit_pairs):
    expected = compose(load_recipes()["resnet18"], "mini").data.fingerprint
    assert fingerprint(digit_pairs) == expected
    files = {path: path.stat().st_mtime_ns for path in digit_pairs.rglob("*.ppm")}
    assert len(files) == 100 * sum(IMAGES_PER_CLASS.values())
    prepare(digit_pairs, expected)
    assert files == {path: path.stat().st_mtime_ns for path in digit_pairs.rglob("*.ppm")}


def test_a_changed_file_is_noticed(tmp_path):
    def build(folder):
        (folder / "image.ppm").write_bytes(b"as it was built")

    folder = tmp_path / "data"
    build_expected = tmp_path / "expected"
    build_expected.mkdir()
    build(build_expected)
    expected = fingerprint(build_expected)
    assert ensure(folder, build, expected) == expected
    (folder / "image.ppm").write_bytes(b"as somebody left it")
    with pytest.raises(WrongFingerprintError, match="delete the folder"):
        ensure(folder, build, expected)


def test_a_build_that_was_killed_leaves_nothing_that_counts_as_data(tmp_path):
    def killed(folder):
        (folder / "half.ppm").write_bytes(b"half")
        raise KeyboardInterrupt

    def whole(folder):
        (folder / "whole.ppm").write_bytes(b"whole")

    folder = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        ensure(folder, killed, "irrelevant")
    assert not folder.exists()
    with pytest.raises(WrongFingerprintError):
        ensure(folder, whole, "something else")
    assert [path.name for path in folder.iterdir()] == ["whole.ppm"]


def test_a_glyph_lies_where_it_is_placed():
    ink = np.full((8, 8), 16, dtype=np.int64)
    coverage = draw(ink, Placement(left=4, top=6, width=10, height=12), (32, 32))
    rows, columns = np.nonzero(coverage > 127)
    assert (rows.min(), rows.max() + 1) == (6, 18)
    assert (columns.min(), columns.max() + 1) == (4, 14)
    assert coverage.max() == 255


def test_noise_is_centred_and_bounded():
    noise = Dice("noise").noise((64, 64, 3), 12)
    assert noise.min() == -12
    assert noise.max() == 12
    assert abs(noise.mean()) < 0.5
