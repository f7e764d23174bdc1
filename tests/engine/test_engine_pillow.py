"""What Pillow does not document is there, and Pillow resizes where it has gone."""

from __future__ import annotations

from types import SimpleNamespace

import PIL
import pytest
from PIL import Image

from tlfeatures.engine.kernels._pillow import LEAST_PILLOW, NEEDED, hands_out, is_plain

VERSION = tuple(int(part) for part in PIL.__version__.split(".")[:2])


@pytest.mark.parametrize("name", NEEDED)
def test_each_private_name_is_there(name: str) -> None:
    core = getattr(Image, "core", None)
    assert hasattr(core, name), (
        f"Pillow {PIL.__version__} has no Image.core.{name} any more: it resizes all pictures"
    )


def test_a_pictures_memory_is_known_to_be_its_own() -> None:
    assert is_plain(Image.new("RGB", (4, 4))), (
        f"Pillow {PIL.__version__} says otherwise whose memory a picture is: it resizes all"
    )


@pytest.mark.skipif(VERSION < LEAST_PILLOW, reason="an older Pillow has no such protocol")
def test_a_picture_hands_out_its_memory() -> None:
    assert hasattr(Image.Image, "__arrow_c_array__"), (
        f"Pillow {PIL.__version__} has no Image.__arrow_c_array__ any more: resizing fails"
    )


def test_without_one_of_the_names_it_is_left_to_pillow() -> None:
    whole = dict.fromkeys(NEEDED)
    assert hands_out(SimpleNamespace(**whole), "13.0.0")
    assert not hands_out(SimpleNamespace(**whole), "11.2.1")
    assert not hands_out(None, "13.0.0")
    for name in NEEDED:
        rest = {each: None for each in NEEDED if each != name}
        assert not hands_out(SimpleNamespace(**rest), "13.0.0")
