"""Augmentation: the words for it, what it does to pixels, and its sheet."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import _get_inverse_affine_matrix

from tlfeatures import Pictures, load_pictures
from tlfeatures.backbones import OwnPreprocessing, Preprocessing
from tlfeatures.errors import PicturesError, UsageError
from tlfeatures.finetuning import (
    PRESETS,
    Augmentation,
    draw_augmentation,
    make_transform,
    parse_augmentation,
)
from tlfeatures.finetuning.augmentation._distort import _margins, _mirrored

SMALL = Preprocessing(resize=40, input_size=32)
NONE = PRESETS["none"]


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def as_picture(pixels: torch.Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("name", PRESETS)
def test_the_words_of_a_preset_lead_back_to_it(name: str) -> None:
    assert parse_augmentation(name) == PRESETS[name]
    assert parse_augmentation(PRESETS[name].words) == PRESETS[name]


def test_presets_say_what_the_documents_name() -> None:
    standard = PRESETS["standard"]
    assert standard.flip
    for name in ("rotation", "zoom", "shear", "brightness", "contrast", "saturation", "hue"):
        assert getattr(standard, name), name
    assert PRESETS["none"].words == "none"
    assert PRESETS["flip"].words == "flip"


def test_single_variations_are_added_to_nothing_and_changes_to_a_preset() -> None:
    single = parse_augmentation("flip, rotation=15,zoom=0.7:1 ,shear=10,jitter=0.2")
    assert (single.flip, single.rotation, single.zoom, single.shear) == (True, 15, (0.7, 1), 10)
    assert (single.brightness, single.contrast, single.saturation) == (0.2, 0.2, 0.2)
    assert single.hue == pytest.approx(0.02)
    assert parse_augmentation("rotation=15") == Augmentation(flip=False, rotation=15)
    changed = parse_augmentation("strong,flip=off,zoom=off,hue=0")
    assert (changed.flip, changed.zoom, changed.hue) == (False, None, 0)
    assert changed.rotation == PRESETS["strong"].rotation


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("lihgt", "did you mean 'light'"),
        ("flip,rotate=15", "'rotate' is unknown; did you mean 'rotation'? Write"),
        ("", "'' is unknown; write a preset"),
        ("flip,light", "'light' is a preset; write it first"),
        ("rotation", "'rotation' has no number; write it as rotation=15"),
        ("rotation=a lot", "'rotation=a lot' has no number"),
        ("rotation=181", "rotation=181 is out of range; give 0 to 180"),
        ("rotation=nan", "out of range"),
        ("shear=-5", "shear=-5 is out of range"),
        ("jitter=2", "jitter=2 is out of range; give 0 to 1"),
        ("hue=0.6", "give 0 to 0.5"),
        ("zoom=0.7", "as in zoom=0.7:1, or zoom=off"),
        ("zoom=1:0.7", "zoom=1:0.7 is no range of shares"),
        ("zoom=0:1", "0 < LO"),
        ("zoom=nan:1", "is no range"),
        ("flip=maybe", "flip=on or flip=off"),
        ("shear=5,shear=6", "says shear twice"),
        ("jitter=0.2,hue=0.1", "says hue twice"),
    ],
)
def test_impossible_words_are_refused_in_one_line_that_says_the_way(words: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_augmentation(words)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_side_below_one_pixel_is_refused() -> None:
    with pytest.raises(UsageError, match="must be at least 1"):
        make_transform(NONE, 0)


@pytest.mark.parametrize("size", [(50, 40), (40, 53), (41, 41), (300, 45)])
@pytest.mark.parametrize("preprocessing", [SMALL, Preprocessing(resize=24, input_size=31)])
def test_without_variation_it_is_the_crop_of_evaluation(
    size: tuple[int, int], preprocessing: Preprocessing
) -> None:
    picture = as_picture(noise(*size))
    resized = torch.from_numpy(np.array(preprocessing.resized(picture))).permute(2, 0, 1)
    found = make_transform(NONE, preprocessing.input_size)(resized)
    assert np.array_equal(found.permute(1, 2, 0).numpy(), preprocessing.prepare(picture))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (200, 3), (20, 24), (40, 64)])
def test_any_size_becomes_the_square_and_the_picture_is_left_alone(
    name: str, size: tuple[int, int]
) -> None:
    picture = noise(*size)
    before = picture.clone()
    found = make_transform(PRESETS[name], 32)(picture)
    assert (found.shape, found.dtype) == ((3, 32, 32), torch.uint8)
    assert torch.equal(picture, before)


def test_torchs_seed_settles_what_comes() -> None:
    vary, picture = make_transform(PRESETS["strong"], 32), noise(40, 52)
    torch.manual_seed(3)
    first = [vary(picture) for _ in range(4)]
    torch.manual_seed(3)
    again = [vary(picture) for _ in range(4)]
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], first[1])


def test_it_can_be_sent_to_other_processes() -> None:
    vary = make_transform(PRESETS["standard"], 32)
    sent = pickle.loads(pickle.dumps(vary))
    torch.manual_seed(0)
    expected = vary(noise(40, 40))
    torch.manual_seed(0)
    assert torch.equal(sent(noise(40, 40)), expected)


def test_flip_shows_the_picture_and_its_mirror_image_about_as_often() -> None:
    picture = noise(32, 32)
    torch.manual_seed(0)
    vary = make_transform(PRESETS["flip"], 32)
    found = [vary(picture) for _ in range(200)]
    flipped = sum(torch.equal(one, picture.flip(2)) for one in found)
    assert flipped + sum(torch.equal(one, picture) for one in found) == 200
    assert 70 <= flipped <= 130


def test_zoom_cuts_out_the_share_that_was_asked_for() -> None:
    ramp = torch.arange(128, dtype=torch.uint8).expand(3, 128, 128)
    vary = make_transform(Augmentation(flip=False, zoom=(0.25, 0.25)), 64)
    torch.manual_seed(0)
    spans = [float(int(one.max()) - int(one.min())) for one in (vary(ramp) for _ in range(100))]
    sides = sorted(spans)
    assert sides[0] >= 127 / 2 * math.sqrt(3 / 4) - 3  # a quarter of the area, up to 4:3
    assert sides[-1] <= 127 / 2 * math.sqrt(4 / 3) + 3


def test_turned_and_sheared_borders_are_mirrored_not_filled() -> None:
    plain = torch.full((3, 40, 52), 180, dtype=torch.uint8)
    vary = make_transform(Augmentation(rotation=180, shear=40, zoom=(0.3, 1)), 32)
    torch.manual_seed(0)
    assert all(bool((vary(plain) == 180).all()) for _ in range(50))


def test_a_turned_crop_shows_what_lies_around_it() -> None:
    picture = torch.full((3, 60, 60), 255, dtype=torch.uint8)
    picture[:, 14:46, 14:46] = 0
    torch.manual_seed(0)
    found = [make_transform(Augmentation(rotation=45), 32)(picture) for _ in range(10)]
    assert sum(bool((one[:, :2, :2] > 200).any()) for one in found) >= 5


def test_mirroring_goes_on_as_often_as_it_takes() -> None:
    assert _mirrored(-3, 7, 4).tolist() == [2, 1, 0, 0, 1, 2, 3, 3, 2, 1]
    assert set(_mirrored(-50, 50, 1).tolist()) == {0}


def test_margins_reach_as_far_as_torchvision_looks() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width = rng.integers(1, 200, 2)
        angle, shear = rng.uniform(-180, 180), rng.uniform(-60, 60)
        matrix = _get_inverse_affine_matrix([0.0, 0.0], angle, [0.0, 0.0], 1.0, [shear, 0.0])
        corners = np.array(
            [[x, y] for x in (-width / 2, width / 2) for y in (-height / 2, height / 2)]
        )
        looked_at = corners @ np.reshape(matrix, (2, 3))[:, :2].T
        down, across = _margins(height, width, angle, shear)
        assert np.abs(looked_at[:, 0]).max() <= width / 2 + across
        assert np.abs(looked_at[:, 1]).max() <= height / 2 + down
    assert _margins(100, 80, 0.001, 0) == (2, 2)


def test_colours_are_changed_without_moving_anything() -> None:
    picture = torch.zeros(3, 32, 32, dtype=torch.uint8)
    picture[0, :, 16:] = 200
    picture[1, :16] = 90
    torch.manual_seed(0)
    found = make_transform(parse_augmentation("jitter=0.5"), 32)(picture)
    assert not torch.equal(found, picture)
    corners = found[:, ::31, ::31]
    assert torch.equal(found, corners.repeat_interleave(16, 1).repeat_interleave(16, 2))


def test_the_words_need_no_torch() -> None:
    code = (
        "import sys\nfrom tlfeatures.finetuning import parse_augmentation\n"
        "parse_augmentation('standard')\nsys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_sheet_shows_each_class_before_any_twice(folder: Path) -> None:
    pictures = load_pictures(folder)
    sheet = draw_augmentation(pictures, PRESETS["standard"], SMALL, n_rows=3, n_columns=2)
    assert sorted(label for _, label in sheet.shown) == ["checks", "disks", "stripes"]
    assert sheet.bad == []
    taller = draw_augmentation(pictures, PRESETS["standard"], SMALL, n_rows=50, n_columns=2)
    assert len(taller.shown) == len(pictures)
    assert taller.picture.height > 10 * sheet.picture.height


def test_the_first_of_a_row_is_as_evaluation_sees_it(folder: Path) -> None:
    pictures = load_pictures(folder)[:1]
    side = Preprocessing(resize=128, input_size=112)
    sheet = draw_augmentation(pictures, NONE, side, n_rows=1, n_columns=1)
    expected = side.prepare(Image.open(pictures.paths[0]).convert("RGB"))
    pixels = np.asarray(sheet.picture)
    starts = [
        (y, x)
        for y in range(60)
        for x in range(pixels.shape[1] - 111)
        if np.array_equal(pixels[y : y + 112, x : x + 112], expected)
    ]
    assert len(starts) == 2  # framed, and the one sample of no augmentation


def test_the_sheet_depends_on_the_seed_alone(folder: Path) -> None:
    state = torch.random.get_rng_state()
    first, again, other = (
        draw_augmentation(folder, PRESETS["strong"], SMALL, n_rows=2, random_state=seed)
        for seed in (1, 1, 2)
    )
    assert first.picture.tobytes() == again.picture.tobytes()
    assert first.picture.tobytes() != other.picture.tobytes()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_bad_pictures_are_named_and_others_take_their_place(folder: Path, tmp_path: Path) -> None:
    good = load_pictures(folder).paths[:2]
    (tmp_path / "bad.png").write_bytes(b"no picture")
    mixed = [str(tmp_path / "bad.png"), *good]
    sheet = draw_augmentation(mixed, NONE, SMALL, n_rows=3)
    assert [path for path, _ in sheet.shown] == good
    assert [path for path, _ in sheet.bad] == mixed[:1]
    with pytest.raises(PicturesError, match="none of the 1 pictures can be read; the first: "):
        draw_augmentation(mixed[:1], NONE, SMALL)


def test_only_training_pictures_are_shown(folder: Path) -> None:
    paths = load_pictures(folder).paths[:4]
    pictures = Pictures(paths, split=["test", "train", "val", "train"])
    shown = draw_augmentation(pictures, NONE, SMALL).shown
    assert [path for path, _ in shown] == [paths[1], paths[3]]


def test_a_function_of_ones_own_leaves_nothing_to_augment(folder: Path) -> None:
    with pytest.raises(UsageError, match="give `preprocess` by name"):
        draw_augmentation(folder, NONE, OwnPreprocessing(np.asarray))
