"""The per-layer table, against published numbers and by hand."""

from __future__ import annotations

import pytest

from tlfeatures.backbones import BackboneRequest, Description, describe_backbone


@pytest.fixture(scope="module")
def vgg16() -> Description:
    return describe_backbone(BackboneRequest("vgg16"))


def test_vgg16_has_the_sums_that_follow_from_its_rows(vgg16: Description) -> None:
    # the CS231n slide's "24M x 4 bytes, about 93 MB" does not follow from its own rows
    totals = vgg16.totals
    assert totals.values == 15_237_608
    assert totals.memory_bytes == 60_950_432
    assert totals.parameters == 138_357_544
    assert totals.weights == 138_344_128


def test_vgg16_has_the_rows_of_the_documents(vgg16: Description) -> None:
    rows = [(step.shape, step.values, step.parameters) for step in vgg16.layers]
    for row in (
        ((3, 224, 224), 150_528, 0),
        ((64, 224, 224), 3_211_264, 1_728 + 64),
        ((64, 112, 112), 802_816, 0),
        ((512, 14, 14), 100_352, 2_359_296 + 512),
        ((512, 7, 7), 25_088, 0),
        ((4096,), 4_096, 102_760_448 + 4_096),
        ((1000,), 1_000, 4_096_000 + 1_000),
    ):
        assert row in rows, row


def test_vgg16_says_what_is_heavy_where(vgg16: Description) -> None:
    assert vgg16.heavy["parameters"][0] == (
        "classifier.0",
        pytest.approx(102_764_544 / 138_357_544),
    )
    assert vgg16.heavy["values"][0][0] == "features.0"
    assert vgg16.totals.multiply_adds == 15_470_264_320
    assert vgg16.aliases["fc7"] == ("classifier.4", 4096)
    assert vgg16.aliases["pool5"] == ("features.30", 512)
    assert vgg16.head[-1] == "classifier.6: Linear -> 1000"
    assert (vgg16.default_layer, vgg16.dim) == ("classifier.4", 4096)


def test_resnet50_does_the_work_that_torchvision_publishes() -> None:
    made = describe_backbone(BackboneRequest("resnet50"))
    assert made.totals.multiply_adds / 1e9 == pytest.approx(4.089, abs=0.001)
    assert made.totals.parameters == 25_557_032


def test_the_picture_size_follows_the_weights_entry() -> None:
    small = describe_backbone(BackboneRequest("regnet_y_16gf"))
    large = describe_backbone(BackboneRequest("regnet_y_16gf", "IMAGENET1K_SWAG_E2E_V1"))
    assert (small.input_shape, large.input_shape) == ((3, 224, 224), (3, 384, 384))
    assert large.totals.parameters == small.totals.parameters


def test_auxiliary_heads_are_counted_as_not_computed() -> None:
    made = describe_backbone(BackboneRequest("googlenet"))
    assert made.unused == 6_379_984
    assert made.totals.parameters == 13_004_888  # with the auxiliary classifiers
