"""`CNNCodes` takes numpy's numbers and text, and refuses in one line what cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from tlfeatures import CNNCodes, load_pictures
from tlfeatures.errors import UsageError

SAME: list[tuple[str, Any, Any]] = [
    ("input_size", np.int64(48), 48),
    ("resize", np.int32(72), 72),
    ("batch_size", np.int16(4), 4),
    ("n_jobs", np.int64(1), 1),
    ("exif", np.False_, False),
    ("exif", 0, False),
    ("max_pixels", np.int64(10**6), 10**6),
    ("range", np.array([0.0, 0.5]), (0.0, 0.5)),
    ("range", [np.float32(0), np.float32(0.5)], (0.0, 0.5)),
    ("backbone", np.str_("embedded"), "embedded"),
    ("layer", np.str_("layer4"), "layer4"),
    ("pooling", np.str_("max"), "max"),
    ("weights", np.str_("random:3"), "random:3"),
    ("crop", np.str_("squash"), "squash"),
]


@pytest.mark.parametrize(("name", "given", "plain"), SAME, ids=str)
def test_numpys_forms_mean_the_same_codes_under_the_same_keys(
    name: str, given: Any, plain: Any, folder: Path, cache: Path
) -> None:
    some = load_pictures(folder)[:3]
    layer = {"layer": "layer4"} if name == "pooling" else {}  # one that there is something to pool
    one, other = (
        CNNCodes(**{"backbone": "embedded", "cache": cache, **layer, name: value}).fit(some)
        for value in (given, plain)
    )
    one = clone(one).fit(some)
    np.testing.assert_array_equal(one.transform(some), other.transform(some))
    assert one.spec_ == other.spec_
    assert one.extract(some).codes.keys == other.extract(some).codes.keys


WRONG: list[tuple[str, Any, str]] = [
    ("input_size", 0, "input_size is 0; it must be at least 1"),
    ("input_size", 64.0, "give a whole number"),
    ("input_size", 10**30, "must be at most"),
    ("resize", "64", "give a whole number"),
    ("batch_size", 4.0, "give a whole number"),
    ("batch_size", 0, "batch_size is 0; it must be at least 1"),
    ("n_jobs", 0, "n_jobs is 0; give a number of processes, -1 for all cores, or None"),
    ("n_jobs", 1.0, "n_jobs is 1.0"),
    ("n_jobs", "2", "n_jobs is '2'"),
    ("exif", "off", "exif is 'off'; give True or False"),
    ("exif", None, "exif is None"),
    ("max_pixels", "9", "max_pixels is '9'"),
    ("range", None, "range is None; give"),
    ("range", np.array([1.0, 0.0]), "is empty"),
    ("store_dtype", "int8", "store_dtype 'int8' is unknown"),
    ("cache", 5, "cache is 5; give a folder"),
    ("weights", "random:-1", "SEED a number up to"),
    ("weights", "random:" + "9" * 30, "SEED a number up to"),
]


@pytest.mark.parametrize(("name", "value", "reason"), WRONG, ids=lambda v: str(v)[:30])
def test_what_cannot_be_meant_is_refused_in_one_line(
    name: str, value: Any, reason: str, folder: Path, cache: Path
) -> None:
    codes = CNNCodes(**{"backbone": "embedded", "cache": cache, name: value})
    with pytest.raises(UsageError, match=reason) as caught:
        codes.fit([]).transform(load_pictures(folder)[:1])
    assert len(str(caught.value)) < 300
    assert len(str(caught.value).splitlines()) == 1


def test_an_extraction_knows_its_pictures_by_their_content(folder: Path, cache: Path) -> None:
    from tlfeatures.pictures import content_digest

    some = load_pictures(folder)[:4]
    done = CNNCodes("embedded", cache=cache, exif=False).extract(some)
    assert list(done.digests) == [content_digest(path) for path in some.paths]
