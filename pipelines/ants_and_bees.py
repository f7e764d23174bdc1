#!/usr/bin/env python3
"""Ants and bees, split 10 % train, 10 % validation, 80 % test, several seeds.

Baseline (linear head on codes) and fine-tuned network on the same test pictures, each with its
Wilson interval, compared by the exact McNemar test. Published: 60.13 % and 86.71 %.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from _tuning import make_codes, make_parser, percent, run_once

from tlfeatures import Pictures, load_pictures
from tlfeatures.finetuning import FineTunedClassifier, evaluate_finetuning

PUBLISHED = "published: base 60.13, fine-tuned 86.71"


def main(arguments: list[str] | None = None) -> None:
    """One line a seed, then the means."""
    parser = make_parser((__doc__ or "").splitlines()[0], input_size=224)
    parser.add_argument("--recipe", default="full")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args(arguments)
    pictures, codes = load_pictures(args.images), make_codes(args)
    kept = codes.extract(pictures).pictures  # bad ones left out
    pictures = Pictures(kept.items, kept.labels, names=kept.paths)  # the folders are no split here
    runs = []
    for seed in range(args.seeds):
        key = {"experiment": "ants and bees", "recipe": args.recipe, "epochs": args.epochs,
               "backbone": args.backbone, "input_size": args.input_size, "seed": seed}  # fmt: skip

        def run(seed: int = seed) -> dict[str, Any]:
            model = FineTunedClassifier(
                codes, args.recipe, epochs=args.epochs, valid=0.5, batch_size=16, random_state=seed
            )
            done = evaluate_finetuning(pictures, model, test=0.8)
            return {
                "n": [done.n_train, done.n_valid, done.n_test],
                "baseline": asdict(done.baseline),
                "tuned": asdict(done.tuned),
                "final": asdict(done.final),
                "kept": done.kept,
                "p_value": done.p_value,
                "seconds": round(sum(done.seconds.values()), 1),
            }

        done = run_once(args.out, key, run)
        runs.append(done)
        print(
            f"seed {seed}: {'/'.join(map(str, done['n']))} train/validation/test; baseline "
            f"{percent(done['baseline']['accuracy'], done['baseline']['ci95'])}, fine-tuned "
            f"{percent(done['tuned']['accuracy'], done['tuned']['ci95'])}, "
            f"p {done['p_value']:.2g}, kept {done['kept']}; {done['seconds']:.0f} s",
            flush=True,
        )
    for name in ("baseline", "tuned", "final"):
        mean = sum(run[name]["accuracy"] for run in runs) / len(runs)
        print(f"mean {name:<9} {percent(mean)}")
    print(PUBLISHED)


if __name__ == "__main__":
    main()
