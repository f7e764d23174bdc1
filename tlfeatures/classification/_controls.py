"""What trivial methods reach on the same split: pixels, colours, random weights, plain guessing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import clone

from tlfeatures.classification._result import Control
from tlfeatures.evaluation import Score, Split, majority, score, shuffled_labels
from tlfeatures.extraction import CNNCodes
from tlfeatures.heads import make_head
from tlfeatures.pictures import DecodeOptions, Pictures, decode
from tlfeatures.store import CodeSpec

CONTROL_LIMIT = 2000  # pictures; a control is a rough measure
GEOMETRY = ("resize", "input_size", "crop", "interpolation")
PIXEL_SIDE = 16
COLOUR_LEVELS = 8


def score_controls(
    codes_of: CNNCodes,
    pictures: Pictures,
    X: NDArray[np.float32],
    split: Split,
    chosen: Any,
    spec: CodeSpec,
    random_state: int,
    notes: list[str],
) -> dict[str, Control]:
    """The controls of a split by name, on about 2,000 pictures.

    Parameters
    ----------
    codes_of : CNNCodes
        What gave the codes.
    pictures : Pictures of length n
        With labels.
    X : ndarray of shape (n, n_features), float32
        Their codes.
    split : Split
    chosen : classifier
        The head that was chosen.
    spec : CodeSpec
        Of the codes.
    random_state : int
    notes : list of str
        Given a line where not all pictures are used.
    """
    train, held_out = _thin_out(split, np.asarray(pictures.labels), random_state)
    if len(train) + len(held_out) < len(split.train) + len(split.test):
        notes.append(f"controls use {len(train)} training and {len(held_out)} test pictures.")
    labels: Any = pictures.labels
    y_train, y_test = labels[train], labels[held_out]
    rows = np.concatenate([train, held_out])
    both, n = pictures[rows], len(train)
    groups = None if pictures.groups is None else pictures.groups[train]

    def judged(codes: NDArray[np.float32], head: Any) -> Control:
        fitted = head.fit(codes[:n], y_train, groups=groups)
        return _control(score(y_test, fitted.predict(codes[n:])))

    random_codes = _at_random(codes_of, spec)
    options = codes_of.decode_options()
    linear = make_head("logistic", random_state=random_state)
    controls = {
        "pixels": judged(pixel_codes(both, options), clone(linear)),
        "histogram": judged(histogram_codes(both, options), clone(linear)),
        "random_weights": judged(random_codes.transform(both), clone(chosen)),
        "majority": _control(majority(y_train, y_test)),
    }
    if len(set(y_train.tolist())) > 1:
        orders = shuffled_labels(X[train], y_train, X[held_out], y_test, groups, random_state)
        low, high = np.quantile(orders, (0.025, 0.975))
        controls["shuffled_labels"] = Control(float(orders.mean()), (float(low), float(high)))
    return controls


def _at_random(codes_of: CNNCodes, spec: CodeSpec) -> CNNCodes:
    """The same network on the same squares, with weights that were drawn."""
    made: CNNCodes = clone(codes_of).set_params(weights="random", weights_id=None, on_bad="raise")
    if "resize" in spec.preprocessing:  # else one's own function, which has them in itself
        made.set_params(**{name: spec.preprocessing[name] for name in GEOMETRY})
    return made


def _thin_out(
    split: Split, y: NDArray[Any], random_state: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """About 2,000 pictures, both sides in proportion; all where there are fewer.

    Of the training side 1,000 at least, so that controls learn from as many as the heads where
    these have few, and two of each class.
    """
    n_train, n_test = len(split.train), len(split.test)
    if n_train + n_test <= CONTROL_LIMIT:
        return split.train, split.test
    rng = np.random.default_rng(random_state)
    share = round(CONTROL_LIMIT * n_train / (n_train + n_test))
    most = max(CONTROL_LIMIT // 2, CONTROL_LIMIT - n_test, share)
    train = split.train if n_train <= most else _draw_evenly(split.train, y, most, rng)
    most = min(n_test, max(CONTROL_LIMIT // 4, CONTROL_LIMIT - len(train)))
    return train, np.sort(rng.choice(split.test, most, replace=False))


def _draw_evenly(
    rows: NDArray[np.intp], y: NDArray[Any], n: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """About n of the rows: of each class its share, and two at least where it has them."""
    drawn: list[NDArray[np.intp]] = []
    for label in np.unique(y[rows]):
        of_class = rows[y[rows] == label]
        wanted = max(2, n * len(of_class) // len(rows))
        drawn.append(rng.permutation(of_class)[:wanted])
    return np.sort(np.concatenate(drawn))


def _control(result: Score) -> Control:
    return Control(result.accuracy, result.ci95)


def pixel_codes(pictures: Pictures, options: DecodeOptions | None = None) -> NDArray[np.float32]:
    """The pictures shrunk to 16x16, shape (n, 768), float32."""
    return _map(_shrink, pictures, options)


def histogram_codes(
    pictures: Pictures, options: DecodeOptions | None = None
) -> NDArray[np.float32]:
    """Square roots of joint RGB histograms, 8 levels a channel, shape (n, 512), float32."""
    return _map(_histogram, pictures, options)


def _map(
    call: Callable[[Image.Image], NDArray[np.float32]],
    pictures: Pictures,
    options: DecodeOptions | None,
) -> NDArray[np.float32]:
    def code(item: Any) -> NDArray[np.float32]:
        return call(decode(item, options, check=False))

    return np.stack(Parallel(n_jobs=-1, prefer="threads")(delayed(code)(i) for i in pictures))


def _shrink(picture: Image.Image) -> NDArray[np.float32]:
    small = picture.resize((PIXEL_SIDE, PIXEL_SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32).ravel() / np.float32(255)


def _histogram(picture: Image.Image) -> NDArray[np.float32]:
    picture.thumbnail((128, 128))
    levels = np.asarray(picture).reshape(-1, 3).astype(np.intp) * COLOUR_LEVELS // 256
    places = levels @ np.array([COLOUR_LEVELS**2, COLOUR_LEVELS, 1])
    counts = np.bincount(places, minlength=COLOUR_LEVELS**3)
    shares: NDArray[np.float32] = np.sqrt(counts / counts.sum()).astype(np.float32)
    return shares
