"""What the recipes share: their options, and the published figure beside ours."""

from __future__ import annotations

import argparse

from tlfeatures import CNNCodes, Pictures, evaluate_baseline, load_pictures
from tlfeatures.demo import write_digits

# As in docs/sources.md; none of them has an interval.
PUBLISHED = {
    frozenset({"ants", "bees"}): "ants/bees: 60.13 % base, 86.71 % fine-tuned (trained on 10 %, "
    "tested on 80 %: another protocol)",
    101: "Caltech-101: 19.78 % base, 38.2 % fine-tuned (trained on 1 %; DeCAF + SVM with "
    "30 a class: 86.9 %): other protocols",
    102: "Flowers-102: 91-94 % for codes + head, best epoch on its validation split",
}


def make_parser(description: str) -> argparse.ArgumentParser:
    """The options of every recipe."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--images", help="folder or CSV; default: the demo's digits")
    parser.add_argument("--backbone", help="default: resnet50, for the demo's digits embedded")
    parser.add_argument("--weights", help="entry, or .safetensors or .pth file")
    parser.add_argument("--preprocess", default="torchvision")
    parser.add_argument("--input-size", type=int)
    parser.add_argument("--resize", type=int)
    parser.add_argument("--cache", default="cache")
    return parser


def take(args: argparse.Namespace) -> tuple[Pictures, CNNCodes]:
    """Pictures and extractor that the options mean."""
    images = args.images or write_digits(f"{args.cache}/digits")
    codes = CNNCodes(
        args.backbone or ("resnet50" if args.images else "embedded"),
        weights=args.weights,
        preprocess=args.preprocess,
        input_size=args.input_size,
        resize=args.resize,
        cache=args.cache,
    )
    return load_pictures(images), codes


def run_head(head: str, description: str, arguments: list[str] | None = None) -> None:
    """Score one head and print the result beside what was published."""
    pictures, codes = take(make_parser(description).parse_args(arguments))
    result = evaluate_baseline(pictures, codes, heads=[head])
    score = result.heads[head]
    low, high = (100 * end for end in score.ci95)
    print(f"{head} on {result.backbone} codes, {result.protocol}")
    print(f"accuracy {100 * score.accuracy:.1f} % (95 %: {low:.1f} to {high:.1f}), C {score.C}")
    for name, control in result.controls.items():
        print(f"  control {name:<16} {100 * control.accuracy:5.1f} %")
    classes = frozenset(result.classes)
    known = PUBLISHED.get(classes) or PUBLISHED.get(len(classes))
    print(f"published: {known or 'nothing for these classes'}")
    for warning in result.warnings:
        print(f"note: {warning}")
