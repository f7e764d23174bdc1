"""The demo's pictures: seeded, labelled, readable, written whole."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlfeatures.demo import _digits
from tlfeatures.demo._digits import (
    MIN_DISTANCE,
    choose_ink,
    colour_distance,
    draw_background,
    draw_digit,
    draw_digits,
    draw_mask,
    write_digits,
)
from tlfeatures.errors import OutputError


@pytest.fixture(scope="module")
def digits():
    return draw_digits()


@pytest.fixture(scope="module")
def strokes():
    from sklearn.datasets import load_digits

    return load_digits().images / 16.0


@pytest.fixture
def cheap_digits(monkeypatch):
    """The whole set in a cheap drawing: one flat grey that depends on index and seed."""
    calls = []

    def draw(random_state=0):
        calls.append(random_state)
        grey = (np.arange(1797) + 7 * random_state) % 256
        pictures = np.broadcast_to(grey[:, None, None, None], (1797, 4, 4, 3))
        return pictures.astype(np.uint8), (np.arange(1797) % 10).astype(str)

    monkeypatch.setattr(_digits, "draw_digits", draw)
    return calls


def snapshot(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_shapes_types_and_labels_are_those_of_scikit_learn(digits):
    from sklearn.datasets import load_digits

    pictures, labels = digits
    assert pictures.shape == (1797, 64, 64, 3)
    assert pictures.dtype == np.uint8
    np.testing.assert_array_equal(labels, load_digits().target.astype(str))
    assert sorted(set(labels.tolist())) == list("0123456789")


@pytest.mark.parametrize("index", [0, 41, 1796])
def test_the_same_seed_draws_the_same_pixels_even_alone(digits, strokes, index):
    alone = draw_digit(strokes[index], np.random.default_rng([0, index]))
    np.testing.assert_array_equal(alone, digits[0][index])


def test_another_seed_draws_other_pixels(digits, strokes):
    other = draw_digit(strokes[3], np.random.default_rng([1, 3]))
    assert np.mean(other != digits[0][3]) > 0.5


def test_no_two_pictures_are_equal(digits):
    assert len({picture.tobytes() for picture in digits[0]}) == 1797


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [((0, 0, 0), (255, 255, 255), 255), ((9, 8, 7), (9, 8, 7), 0), ((100,) * 3, (150,) * 3, 50)],
)
def test_colour_distance_is_the_luminance_difference_between_greys(a, b, expected):
    assert colour_distance(np.array(a), np.array(b)) == pytest.approx(expected, abs=1e-9)


def test_ink_is_far_from_what_lies_under_it_in_every_picture(strokes):
    for index, stroke in enumerate(strokes):
        rng = np.random.default_rng([0, index])
        mask, background = draw_mask(stroke, rng), draw_background(rng)
        under = background[mask > 0.5]
        distance = colour_distance(choose_ink(under, rng), under)
        assert np.quantile(distance, 0.05) >= MIN_DISTANCE, index


@pytest.mark.parametrize(("grey", "expected"), [(60.0, 255.0), (190.0, 0.0)])
def test_ink_falls_back_to_the_farther_of_black_and_white(monkeypatch, grey, expected):
    monkeypatch.setattr(_digits, "MIN_DISTANCE", 300.0)  # farther than any colour can be
    ink = choose_ink(np.full((50, 3), grey), np.random.default_rng(0))
    np.testing.assert_array_equal(ink, [expected] * 3)


def test_masks_lie_inside_the_picture_and_have_ink(strokes):
    for index, stroke in enumerate(strokes[:300]):
        mask = draw_mask(stroke, np.random.default_rng([0, index]))
        assert mask.min() == 0.0
        assert mask.max() == 1.0
        ink = (mask > 0.5).sum()
        assert 40 < ink < 900, index
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert (border > 0.5).sum() < 0.1 * ink, index  # wide strokes may touch it


def test_written_pictures_are_the_drawn_ones_in_class_folders(tmp_path, digits, monkeypatch):
    monkeypatch.setattr(_digits, "draw_digits", lambda random_state: digits)
    folder = write_digits(tmp_path / "new" / "digits")
    assert folder == tmp_path / "new" / "digits"
    assert len(list(folder.rglob("*.png"))) == 1797
    for index in (0, 500, 1796):
        with Image.open(folder / digits[1][index] / f"{index:04d}.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), digits[0][index])


def test_a_complete_folder_is_left_alone(tmp_path, cheap_digits):
    folder = write_digits(tmp_path / "digits")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    write_digits(folder)
    assert cheap_digits == [0]
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}


def test_the_same_bytes_are_written_each_time(tmp_path, cheap_digits):
    first = snapshot(write_digits(tmp_path / "a"))
    assert first == snapshot(write_digits(tmp_path / "b"))


def test_missing_and_changed_files_come_back_and_others_stay(tmp_path, cheap_digits):
    folder = write_digits(tmp_path / "digits")
    before = snapshot(folder)
    (folder / "3" / "0003.png").unlink()
    (folder / "5" / "0005.png").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    write_digits(folder)
    assert snapshot(folder) == before | {"notes.txt": b"mine"}


def test_another_seed_replaces_the_pictures(tmp_path, cheap_digits):
    write_digits(tmp_path / "digits", random_state=1)
    write_digits(tmp_path / "digits", random_state=12)
    assert cheap_digits == [1, 12]
    assert snapshot(tmp_path / "digits") == snapshot(write_digits(tmp_path / "b", random_state=12))


def test_an_interrupted_first_run_leaves_nothing(tmp_path, cheap_digits, monkeypatch):
    write = Path.write_bytes

    def interrupted(self, data):
        if self.name.startswith("0100"):
            raise KeyboardInterrupt
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_digits(tmp_path / "digits")
    assert list(tmp_path.iterdir()) == []
    assert len(snapshot(write_digits(tmp_path / "digits"))) == 1797


def test_a_place_that_cannot_be_written_is_named(tmp_path, cheap_digits):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/digits.*name a folder that can be written"):
        write_digits(tmp_path / "file" / "digits")
