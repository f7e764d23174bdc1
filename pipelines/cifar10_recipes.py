#!/usr/bin/env python3
"""CIFAR-10: six trainings on 4,000 pictures with published figures, reduced to what a CPU can do.

The published ones are of a ResNet-18 after 100 epochs; here pictures are smaller and epochs fewer
(--input-size, --epochs), so that figures are lower and only their order can be compared. A seventh
run is our own recipe, and every run stands beside the linear head on codes of the same pictures.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from _tuning import make_codes, make_parser, percent, run_once

from tlfeatures import load_pictures
from tlfeatures.finetuning import FineTunedClassifier, evaluate_finetuning

# name: recipe, highest rate, published test accuracy in percent
RUNS: dict[str, tuple[str, float | None, float | None]] = {
    "A 1e-1": ("teh-A", 1e-1, 76.34),
    "A 1e-4": ("teh-A", 1e-4, 41.89),
    "B 1e-1": ("teh-B", 1e-1, 66.10),
    "B 1e-4": ("teh-B", 1e-4, 87.14),
    "C": ("teh-C", None, 88.72),
    "D": ("teh-D", None, 89.65),
    "full": ("full", None, None),
}


def main(arguments: list[str] | None = None) -> None:
    """One line a run, then the order beside the published one."""
    parser = make_parser((__doc__ or "").splitlines()[0], input_size=64)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    pictures, codes = load_pictures(args.images), make_codes(args)
    found: dict[str, dict[str, Any]] = {}
    for name in args.runs:
        recipe, lr, published = RUNS[name]
        key = {"experiment": "cifar10", "run": name, "epochs": args.epochs,
               "backbone": args.backbone, "input_size": args.input_size,
               "seed": args.seed}  # fmt: skip

        def run(recipe: str = recipe, lr: float | None = lr) -> dict[str, Any]:
            model = FineTunedClassifier(
                codes,
                recipe,
                lr=lr,
                epochs=args.epochs,
                valid=0.1,
                batch_size=64,
                random_state=args.seed,
            )
            done = evaluate_finetuning(pictures, model)
            return {
                "n": [done.n_train, done.n_valid, done.n_test],
                "baseline": asdict(done.baseline),
                "tuned": asdict(done.tuned),
                "last_training_accuracy": done.epochs[-1].train_accuracy,
                "best_epoch": done.best_epoch,
                "kept": done.kept,
                "p_value": done.p_value,
                "seconds": round(sum(done.seconds.values()), 1),
            }

        done = found[name] = run_once(args.out, key, run)
        tuned, codes_alone = (
            percent(done[which]["accuracy"], done[which]["ci95"]) for which in ("tuned", "baseline")
        )
        print(
            f"{name:<7} fine-tuned {tuned}, linear head on codes {codes_alone},"
            f" published {published or '-'}; epoch {done['best_epoch']}, {done['seconds']:.0f} s",
            flush=True,
        )
    ours = sorted(found, key=lambda name: -found[name]["tuned"]["accuracy"])
    theirs = sorted((n for n in found if RUNS[n][2]), key=lambda name: -(RUNS[name][2] or 0))
    print(f"order here: {' > '.join(ours)}\norder there: {' > '.join(theirs)}")


if __name__ == "__main__":
    main()
