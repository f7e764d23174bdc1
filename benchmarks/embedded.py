#!/usr/bin/env python3
"""What pretraining the embedded network is worth: paired with its own random initialisation.

The demo's digits with 10 and with 130 training pictures a class, and a folder of photographs with
class folders (--photographs), half for training. Logistic regression on L2-normalised codes, its C
chosen by cross-validation inside the training part or held at 100; the same seeded splits for both
networks. Writes the table, and the training curve that the weights file carries, to
benchmarks/results/embedded.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler, normalize

from tlfeatures.backbones import BackboneRequest, load_backbone, weights_file
from tlfeatures.demo._digits import draw_digits

SUFFIXES = {".jpg", ".jpeg", ".png"}
RESULTS = Path(__file__).parent / "results" / "embedded.md"
CHOSEN_C = (1.0, 10.0, 100.0, 1000.0)
FIXED_C = (100.0,)
HEAD = """\
| pictures | C | splits | pretrained, % | random initialisation, % | paired gain, points (95 %) |
|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Task:
    """Labelled pictures; `per_class` are trained on (None: half of each class) in each split."""

    name: str
    pictures: list[Image.Image]
    labels: NDArray[np.str_]
    per_class: int | None
    n_splits: int


def extract(weights: str | None, pictures: list[Image.Image]) -> NDArray[np.float32]:
    """Codes (n, d) of the pictures, L2-normalised."""
    backbone = load_backbone(BackboneRequest("embedded", weights))
    prepared = np.array([backbone.preprocessing.prepare(p) for p in pictures])
    codes = [backbone.codes(prepared[i : i + 64])[0] for i in range(0, len(prepared), 64)]
    unit: NDArray[np.float32] = normalize(np.concatenate(codes))
    return unit


def draw(labels: NDArray[np.str_], per_class: int | None, seed: int) -> NDArray[np.bool_]:
    """A mask of `per_class` training pictures a class, or half of each class."""
    rng, mask = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        mask[rows[: per_class or len(rows) // 2]] = True
    return mask


def accuracy(
    codes: NDArray[np.float32],
    labels: NDArray[np.str_],
    train: NDArray[np.bool_],
    grid: tuple[float, ...],
) -> float:
    """Held-out accuracy of logistic regression, in percent; C by 4 folds of the training part."""
    centre = StandardScaler(with_std=False).fit(codes[train])
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    head = LogisticRegression(C=grid[0], max_iter=2000)
    if len(grid) > 1:
        head = GridSearchCV(head, {"C": grid}, cv=folds)
    head.fit(centre.transform(codes[train]), labels[train])
    return 100 * float(head.score(centre.transform(codes[~train]), labels[~train]))


def compare(task: Task, weights: str | None) -> list[str]:
    """Lines of the table: both means, and the paired gain with its interval over splits."""
    both = extract(weights, task.pictures), extract("random:0", task.pictures)
    splits = [draw(task.labels, task.per_class, seed) for seed in range(task.n_splits)]
    lines = []
    for name, grid in (("chosen", CHOSEN_C), ("100", FIXED_C)):
        trained, untrained = (
            np.array([accuracy(codes, task.labels, split, grid) for split in splits])
            for codes in both
        )
        lines.append(f"| {task.name} | {name} {describe_gain(trained, untrained)}")
    return lines


def describe_gain(trained: NDArray[np.float64], untrained: NDArray[np.float64]) -> str:
    """The figures of a line."""
    gain = trained - untrained
    half = stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
    return (
        f"| {len(gain)} | {trained.mean():.1f} | {untrained.mean():.1f} "
        f"| {gain.mean():+.1f} ({gain.mean() - half:+.1f} to {gain.mean() + half:+.1f}) |"
    )


def list_tasks(photographs: Path | None) -> list[Task]:
    """The demo's digits, and the folder of photographs where one is given."""
    pixels, labels = draw_digits(0)
    digits = [Image.fromarray(p) for p in pixels]
    tasks = [
        Task("demo digits, 10 a class", digits, labels, 10, 10),
        Task("demo digits, 130 a class", digits, labels, 130, 5),
    ]
    if photographs is not None:
        paths = sorted(p for p in photographs.rglob("*") if p.suffix.lower() in SUFFIXES)
        loaded = [Image.open(p).convert("RGB") for p in paths]
        classes = np.array([p.parent.name for p in paths])
        name = f"{photographs.name}, half of {len(paths)} photographs"
        tasks.append(Task(name, loaded, classes, None, 5))
    return tasks


def describe_training(weights: str | None) -> str:
    """The facts and the curve that the weights file carries, as Markdown."""
    with safe_open(str(weights_file("embedded", weights)), "np") as file:
        facts = json.loads(file.metadata()["pretraining"])
    curve = facts.pop("curve", [])
    lines = [", ".join(f"{key} {value}" for key, value in facts.items()) + ".", ""]
    if curve:
        lines += ["| " + " | ".join(curve[0]) + " |", "|---" * len(curve[0]) + "|"]
    lines += ["| " + " | ".join(str(v) for v in report.values()) + " |" for report in curve]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photographs", type=Path, help="a folder of class folders; splits pooled")
    parser.add_argument("--weights", help="another file than the shipped one")
    parser.add_argument("--log", type=Path, help="what the training printed, to be kept verbatim")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    lines = [HEAD]
    print(HEAD)
    for task in list_tasks(args.photographs):
        lines += (found := compare(task, args.weights))
        print("\n".join(found), flush=True)
    parts = [
        "# The embedded network",
        (__doc__ or "").split("\n\n", 1)[1].strip(),
        "\n".join(lines),
    ]
    parts += ["## Its training", describe_training(args.weights)]
    if args.log is not None:
        parts += ["What the run printed:", f"```\n{args.log.read_text().strip()}\n```"]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
