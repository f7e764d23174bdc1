#!/usr/bin/env python3
"""What pretraining the embedded network is worth: paired with its own random initialisation.

The demo's digits with 10 training pictures a class over 10 seeded splits, and a folder of
photographs with class folders (--photographs), half for training over 5 splits. Logistic
regression on L2-normalised codes, the same splits for both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler, normalize

from tlfeatures.backbones import BackboneRequest, load_backbone
from tlfeatures.demo._digits import draw_digits

SUFFIXES = {".jpg", ".jpeg", ".png", ".gif"}


def extract(weights: str | None, pictures: list[Image.Image]) -> np.ndarray:
    """Codes (n, d) of the pictures, L2-normalised."""
    backbone = load_backbone(BackboneRequest("embedded", weights))
    prepared = np.array([backbone.preprocessing.prepare(p) for p in pictures])
    codes = [backbone.codes(prepared[i : i + 64]) for i in range(0, len(prepared), 64)]
    return normalize(np.concatenate(codes))


def draw(labels: np.ndarray, n: int | None, seed: int) -> np.ndarray:
    """A mask of `n` training pictures a class, or half of each class."""
    rng, mask = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        mask[rows[: n or len(rows) // 2]] = True
    return mask


def accuracy(codes: np.ndarray, labels: np.ndarray, train: np.ndarray) -> float:
    """Held-out accuracy of logistic regression, in percent."""
    scaler = StandardScaler(with_std=False).fit(codes[train])
    head = LogisticRegression(C=100.0, max_iter=2000).fit(
        scaler.transform(codes[train]), labels[train]
    )
    return 100 * head.score(scaler.transform(codes[~train]), labels[~train])


def compare(name: str, pictures: list[Image.Image], labels: np.ndarray, n: int | None, seeds: int, weights: str | None) -> str:
    """One line of the table: both means, and the paired gain with its 95 % interval."""
    trained, untrained = extract(weights, pictures), extract("random", pictures)
    splits = [draw(labels, n, seed) for seed in range(seeds)]
    a = np.array([accuracy(trained, labels, s) for s in splits])
    b = np.array([accuracy(untrained, labels, s) for s in splits])
    gain = a - b
    half = stats.t.ppf(0.975, seeds - 1) * gain.std(ddof=1) / np.sqrt(seeds)
    return (
        f"| {name} | {seeds} | {a.mean():.1f} | {b.mean():.1f} | {gain.mean():+.1f} "
        f"({gain.mean() - half:+.1f} to {gain.mean() + half:+.1f}) |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, help="a folder of class folders, pooled over splits")
    parser.add_argument("--weights", help="another file than the shipped one")
    args = parser.parse_args()
    print("| pictures | splits | pretrained | random | paired gain (95 %) |\n|---|---|---|---|---|")
    pixels, labels = draw_digits(0)
    digits = [Image.fromarray(p) for p in pixels]
    print(compare("demo digits, 10 a class", digits, labels, 10, 10, args.weights), flush=True)
    print(compare("demo digits, 130 a class", digits, labels, 130, 3, args.weights), flush=True)
    if args.photographs:
        paths = sorted(p for p in args.photographs.rglob("*") if p.suffix.lower() in SUFFIXES)
        photographs = [Image.open(p).convert("RGB") for p in paths]
        classes = np.array([p.parent.name for p in paths])
        name = f"{args.photographs.name}, half of {len(paths)}"
        print(compare(name, photographs, classes, None, 5, args.weights))


if __name__ == "__main__":
    main()
