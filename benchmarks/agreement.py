#!/usr/bin/env python3
"""What precision and decoding do to codes, to neighbours and to accuracy.

The reference is the plain network in float32, one picture after the other as torchvision's own
transform prepares it. Each way of extracting is compared with it on real photographs with real
weights: cosine of the codes, agreement of the ten nearest neighbours, accuracy of one linear head.
"""

from __future__ import annotations

import argparse
import io
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _machine import describe_run
from joblib import Parallel, delayed
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from tlfeatures import CNNCodes, Pictures, load_pictures
from tlfeatures.backbones import BackboneRequest, is_depthwise, load_backbone, share_3x3_of
from tlfeatures.engine._settings import single_threaded
from tlfeatures.engine.kernels._kernels import WINOGRAD, make_ready
from tlfeatures.engine.kernels._winograd import WinogradConv2d
from tlfeatures.extraction import RunOptions, open_engine
from tlfeatures.machine import BF16_VECTORS, cpu_flags
from tlfeatures.pictures import decode

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = {  # file of the shared weights: network, preprocessing, input size
    "resnet18-imagenet-pqf": ("resnet18", "imagenet", 224),
    "resnet50-imagenet-pqf": ("resnet50", "imagenet", 224),
    "mobilenet_v2-imagenet-tf": ("mobilenet_v2", "tf", 225),
    "squeezenet1_0-imagenet-caffe": ("squeezenet1_0", "caffe", 227),
}
OF_TIMM = ("timm:resnet18", "timm:resnet50")  # they take the same files
WAYS: dict[str, dict[str, str]] = {
    "float32": {"precision": "float32", "kernels": "off"},
    "bf16": {"precision": "bf16", "kernels": "off"},
    "bf16, stored in float32": {"precision": "bf16", "kernels": "off", "store_dtype": "float32"},
}
FAST: dict[str, dict[str, str]] = {
    "exact": {"precision": "float32", "decode": "exact"},
    "fast": {"precision": "float32", "decode": "fast"},
}
REDUCED = "decode fast"
LARGE_SIDE = 1536  # of the enlarged photographs, pixels
OWN_BF16 = "bf16, own convolutions"
OWN = {"float32, own convolutions": "float32", OWN_BF16: "bf16"}
C = 10.0
COLOURS = [
    (0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 200, 200), (240, 240, 240), (30, 120, 220),
    (200, 30, 30), (30, 160, 60),
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of a table; fractions are 0..1."""

    data: str
    network: str
    way: str
    least_cosine: float
    median_cosine: float
    neighbours: float
    accuracy: float
    reference: float


def least_of_colours(args: argparse.Namespace, cache: Path) -> dict[str, float]:
    """Least cosine of pictures of one colour each, the hardest there are; by network and way."""
    found: dict[str, float] = {}
    asked = [way for way in ("bf16", OWN_BF16) if way in args.ways]
    for request in requests_of(args) if asked else []:
        side = request.input_size
        assert side is not None
        pictures = Pictures([Image.new("RGB", (side, side), colour) for colour in COLOURS])
        backbone = load_backbone(request)
        squares = [backbone.preprocessing.prepare(picture)[None] for picture in pictures]
        wanted = np.concatenate([backbone.codes(square)[0] for square in squares])
        for way in asked:
            if (codes := codes_by(way, pictures, request, cache / "colours")) is not None:
                found[f"{request.backbone}, {way}"] = float(cosines(codes, wanted).min())
    return found


def requests_of(args: argparse.Namespace) -> list[BackboneRequest]:
    """The networks asked for, with their weights and the preprocessing that belongs to these."""
    return [
        BackboneRequest(
            name,
            weights=str(args.weights / f"{stem}.safetensors"),
            preprocess=preprocess,
            input_size=side,
        )
        for stem, (network, preprocess, side) in NETWORKS.items()
        for name in (network, f"timm:{network}")
        if name in args.networks
    ]


def enlarge(pictures: Pictures, folder: Path) -> Pictures:
    """JPEG files of the pictures with a short side of LARGE_SIDE."""
    for path, label in zip(pictures.paths, pictures.labels, strict=True):
        target = folder / str(label) / f"{Path(path).stem}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture = decode(path)
        scale = LARGE_SIDE / min(picture.size)
        size = (round(picture.width * scale), round(picture.height * scale))
        data = io.BytesIO()
        picture.resize(size, Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
        target.write_bytes(data.getvalue())
    return load_pictures(folder)


def cosines(found: Any, wanted: Any) -> Any:
    """Of each row with the other's, shape (n,), float64."""
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def plain_codes(pictures: Pictures, request: BackboneRequest) -> Any:
    """Codes (n, d), float32, of the network as it is, one picture at a time."""
    backbone = load_backbone(request)
    prepare = backbone.preprocessing.prepare
    return np.concatenate(
        [backbone.codes(prepare(decode(path))[None])[0] for path in pictures.paths]
    )


def can_own(network: str, precision: str) -> bool:
    """Whether it has such convolutions, and this processor and its compiler can do them."""
    if not share_3x3_of(network, is_wide=precision == "bf16"):
        return False
    if precision == "bf16" and BF16_VECTORS not in cpu_flags():
        return False
    try:
        make_ready(WINOGRAD[precision])
    except (RuntimeError, OSError) as error:
        print(f"without our own convolutions in {precision}: {error}", file=sys.stderr)
        return False
    return True


def own_codes(pictures: Pictures, request: BackboneRequest, precision: str) -> Any:
    """Codes (n, d), float32, with 3 x 3 convolutions by Winograd's method; None without any."""
    with single_threaded():
        run = RunOptions(device="cpu", precision=precision)
        engine = open_engine(request, run, with_kernels=True)
        if not any(isinstance(each, WinogradConv2d) for each in engine.backbone.cut.modules()):
            print(f"{request.backbone} runs without our own in {precision}", file=sys.stderr)
            return None
        size, prepare, each = engine.batch_size, engine.prepare, list(pictures)
        batches = (each[start : start + size] for start in range(0, len(each), size))
        codes = [engine.codes(np.stack([prepare(decode(one)) for one in some])) for some in batches]
    return np.concatenate([layers[0] for layers in codes])


def score(codes: Any, labels: Any, n_splits: int) -> float:
    """Mean accuracy of a linear SVM over splits in which half of each class is for training."""
    X = normalize(codes)
    splits = (delayed(score_split)(X, labels, seed) for seed in range(n_splits))
    return float(np.mean(Parallel(n_jobs=-1)(splits)))


def score_split(X: Any, labels: Any, seed: int) -> float:
    """Accuracy of one split."""
    train = draw_half(labels, seed)
    test = np.setdiff1d(np.arange(len(labels)), train)
    head = LinearSVC(C=C, dual=False).fit(X[train], labels[train])
    return float(head.score(X[test], labels[test]))


def draw_half(labels: Any, seed: int) -> Any:
    """Rows for training: half of each class, shuffled by one generator in order of the labels."""
    rng, chosen = np.random.default_rng(seed), []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rng.shuffle(rows)
        chosen.extend(rows[: len(rows) // 2])
    return np.sort(chosen)


def neighbours(codes: Any, k: int = 10) -> Any:
    """Rows of the k nearest others, shape (n, k)."""
    X = normalize(codes.astype(np.float64))
    return NearestNeighbors(n_neighbors=k + 1).fit(X).kneighbors(X, return_distance=False)[:, 1:]


@dataclass(frozen=True)
class Reference:
    """Codes (n, d) to compare with, and what the head makes of them."""

    codes: Any
    labels: Any
    n_splits: int
    neighbours: Any
    accuracy: float


def refer(codes: Any, labels: Any, n_splits: int) -> Reference:
    """Neighbours and accuracy, found once for all ways."""
    return Reference(codes, labels, n_splits, neighbours(codes), score(codes, labels, n_splits))


def compare(found: Any, wanted: Reference, **names: str) -> Row:
    """One line of the table."""
    of_rows = cosines(found, wanted.codes)
    pairs = zip(neighbours(found), wanted.neighbours, strict=True)
    shared = np.mean([len(set(mine) & set(theirs)) / len(mine) for mine, theirs in pairs])
    return Row(
        **names,
        least_cosine=float(of_rows.min()),
        median_cosine=float(np.median(of_rows)),
        neighbours=float(shared),
        accuracy=score(found, wanted.labels, wanted.n_splits),
        reference=wanted.accuracy,
    )


def compare_ways(
    pictures: Pictures, data: str, n_splits: int, args: argparse.Namespace, cache: Path
) -> Iterator[Row]:
    """The ways asked for, with each network."""
    labels = np.asarray(pictures.labels)
    for request in requests_of(args):
        wanted = refer(plain_codes(pictures, request), labels, n_splits)
        for way in (way for way in args.ways if way != REDUCED):
            if (found := codes_by(way, pictures, request, cache / f"{data}-{way}")) is not None:
                yield compare(found, wanted, data=data, network=request.backbone, way=way)


def codes_by(way: str, pictures: Pictures, request: BackboneRequest, cache: Path) -> Any:
    """Codes (n, d); None if it is not for this network or this processor."""
    if way in OWN:
        is_possible = can_own(request.backbone, OWN[way])
        return own_codes(pictures, request, OWN[way]) if is_possible else None
    # A cache a way: with own operations or without share a key, and stored rows would be served.
    words = {"weights": request.weights, "preprocess": request.preprocess}
    codes = CNNCodes(
        request.backbone, input_size=request.input_size, cache=cache, **words, **WAYS[way]
    )
    return codes.transform(pictures)


def compare_reduced(pictures: Pictures, args: argparse.Namespace, cache: Path) -> Iterator[Row]:
    """Reduced decoding of enlarged photographs, against exact decoding of the same files."""
    if REDUCED not in args.ways or "resnet18" not in args.networks:
        return
    large = enlarge(pictures, cache / "large")
    labels = np.asarray(large.labels)
    words = {"weights": str(args.weights / "resnet18-imagenet-pqf.safetensors")}
    codes = {
        way: CNNCodes("resnet18", preprocess="imagenet", cache=cache, **words, **options).transform(
            large
        )
        for way, options in FAST.items()
    }
    data = f"hymenoptera enlarged to {LARGE_SIDE} px"
    names = {"data": data, "network": "resnet18", "way": REDUCED}
    yield compare(codes["fast"], refer(codes["exact"], labels, 10), **names)


def pooled(root: Path) -> Pictures:
    """The pictures of train and val together."""
    found = load_pictures(root)
    return Pictures(found.paths, found.labels)


def as_markdown(rows: list[Row]) -> str:
    """The table."""
    lines = [
        "| data | network | way | least cosine | median cosine | same 10 neighbours | accuracy % "
        "| reference % | difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        difference = 100 * (row.accuracy - row.reference)
        lines.append(
            f"| {row.data} | {row.network} | {row.way} | {row.least_cosine:.6f} | "
            f"{row.median_cosine:.6f} | {row.neighbours:.1%} | {100 * row.accuracy:.2f} | "
            f"{100 * row.reference:.2f} | {difference:+.2f} |"
        )
    return "\n".join(lines)


def is_only_asked_for(row: Row) -> bool:
    """Whether precision auto would not choose this."""
    return row.way.startswith("bf16") and is_depthwise(row.network)


def write(rows: list[Row], colours: dict[str, float], out: Path) -> None:
    """The page, with the bars."""
    out.write_text(
        "# What precision and decoding do to codes\n\n"
        f"{describe_run()}"
        f"- `{shlex.join(['python', 'benchmarks/agreement.py', *sys.argv[1:]])}`\n"
        "- Reference: the plain network in float32, one picture at a time. Real photographs, real "
        "ImageNet weights.\n"
        f"- Accuracy: linear SVM (C = {C:g}) on L2-normalised codes; caltech101 the mean of 5 "
        "splits, hymenoptera (train and val pooled) of 10, half of each class for training.\n"
        f"{describe_bars(rows)}{describe_colours(colours)}\n{as_markdown(rows)}\n",
        encoding="utf-8",
    )


def describe_bars(rows: list[Row]) -> str:
    """The line of the bars; empty where nothing was measured that they are for."""
    ways = [row for row in rows if row.way in {**WAYS, **OWN}]
    chosen = [row.least_cosine for row in ways if not is_only_asked_for(row)]
    coarse = [row.least_cosine for row in ways if is_only_asked_for(row)]
    if not chosen:
        return ""
    least, most = min(chosen), max(abs(row.accuracy - row.reference) for row in ways)
    apart = (
        " (bf16 for networks with depthwise convolutions, for which precision auto is float32, "
        f"is not among them: {min(coarse):.6f})"
        if coarse
        else ""
    )
    return (
        f"- Bars: cosine >= 0.9995, found {least:.6f}: {'yes' if least >= 0.9995 else 'no'}"
        f"{apart}; accuracy within 0.5 points, found {100 * most:.2f}: "
        f"{'yes' if most <= 0.005 else 'no'}.\n"
    )


def describe_colours(colours: dict[str, float]) -> str:
    """The line of pictures of one colour each; empty where none were measured."""
    words = "; ".join(f"{what} {least:.5f}" for what, least in colours.items())
    said = f"- Least cosine of {len(COLOURS)} pictures of one colour each: {words}.\n"
    return said if colours else ""


def main() -> None:
    """Compare all ways and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument(
        "--weights", type=Path, default=Path.home() / ".cache/tlfeatures-shared-weights"
    )
    names = [network for network, _, _ in NETWORKS.values()]
    parser.add_argument("--networks", nargs="+", choices=[*names, *OF_TIMM], default=names)
    ways = [REDUCED, *WAYS, *OWN]
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways)
    parser.add_argument("--out", type=Path, help="needed for some networks or ways alone")
    args = parser.parse_args()
    if args.out is None:
        if (args.networks, args.ways) != (names, ways):
            parser.error("some networks or ways alone need --out; the whole table stays")
        args.out = ROOT / "benchmarks/results/agreement.md"
    ants_and_bees = pooled(args.data / "hymenoptera")
    caltech = load_pictures(args.data / "caltech101")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch)
        colours = least_of_colours(args, cache)
        for tables in (
            compare_reduced(ants_and_bees, args, cache),
            compare_ways(ants_and_bees, "hymenoptera", 10, args, cache),
            compare_ways(caltech, "caltech101", 5, args, cache),
        ):
            for row in tables:
                rows.append(row)
                print(as_markdown([row]).splitlines()[-1], file=sys.stderr, flush=True)
                write(rows, colours, args.out)


if __name__ == "__main__":
    main()
