"""Writes the files of this folder. They are kept as the first version wrote them: do not run again.

    PYTHONPATH=THAT_VERSION python tests/compat/make_compat_files.py

Pictures, a manifest, a model of each head, a fine-tuned model, a cache folder, and what twenty
command lines said of them. Later versions must open the files and say the same.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load, save

from tlfeatures.backbones import BackboneRequest, load_network
from tlfeatures.demo import draw_digits
from tlfeatures.finetuning import FineTunedClassifier
from tlfeatures.pictures import load_pictures

HERE = Path(__file__).resolve().parent
CLASSES, PER_CLASS, TESTED = 4, 10, 4
CARRIED = "network."


def write_pictures() -> None:
    """Four classes of drawn digits as small JPEG files; the last four of each are a test."""
    digits, labels = draw_digits(7)
    rows = []
    for label in sorted(set(labels.tolist()))[:CLASSES]:
        folder = HERE / "pictures" / f"digit-{label}"
        folder.mkdir(parents=True)
        for i, row in enumerate(np.flatnonzero(labels == label)[:PER_CLASS]):
            Image.fromarray(digits[row]).save(folder / f"{i}.jpg", quality=80)
            side = "test" if i >= PER_CLASS - TESTED else "train"
            path = f"pictures/{folder.name}/{i}.jpg"
            rows.append([path, label, side, f"{label}-{i // 2}"])
    with (HERE / "manifest.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [["path", "label", "split", "group"], *rows]
        )


def run(*arguments: str) -> str:
    """What a command line prints on stdout."""
    command = [sys.executable, "-m", "tlfeatures", *arguments]
    done = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout


def write_models() -> None:
    """A model of each head by `fit`, and one whose new layer was trained."""
    options = [
        "--backbone",
        "embedded",
        "--precision",
        "float32",
        "--cache",
        "cache",
        "--jobs",
        "1",
    ]
    for head in ("svm", "logistic", "knn"):
        run("fit", "manifest.csv", *options, "--head", head, "--out", f"{head}.model")
    pictures = load_pictures(HERE / "manifest.csv")
    train = pictures[pictures.split == "train"]
    tuned = FineTunedClassifier(
        "embedded", recipe="head", epochs=20, lr=1e-2, augment="none", valid=0.4, random_state=1
    )
    os.environ["TLFEATURES_CACHE"] = str(HERE / "other")
    tuned.fit(train, train.labels).tuned_.save(HERE / "tuned.model")
    strip_network(HERE / "tuned.model")


def strip_network(path: Path) -> None:
    """Keep only what the package does not hold: the header and the tensors of the head.

    The recipe `head` trains the new layer alone, so the network inside is the embedded one;
    `whole_model` puts it back, byte for byte.
    """
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    with safe_open(path, "np") as file:
        own = {k: file.get_tensor(k) for k in file.keys() if not k.startswith(CARRIED)}  # noqa: SIM118
    (HERE / "tuned.header").write_bytes(data[: 8 + length])
    (HERE / "tuned.head").write_bytes(save(own))
    if whole_model() != data:
        raise SystemExit("the network inside is not the package's")
    path.unlink()
    shutil.rmtree(HERE / "other")


def write_figures() -> None:
    """What today's command lines say, in `lines.json`: {line: {key: value}}."""
    scratch = HERE / "scratch"
    (HERE / "tuned.model").write_bytes(whole_model())
    lines = json.loads((HERE / "lines.json").read_text())
    for line, figures in lines.items():
        shutil.copytree(HERE / "cache", scratch)
        found = json.loads(run(*line.replace("CACHE", "scratch").split()))
        lines[line] = {key: look_up(found, key) for key in figures}
        shutil.rmtree(scratch)
    (HERE / "lines.json").write_text(json.dumps(lines, indent=1) + "\n")
    (HERE / "tuned.model").unlink()


def look_up(found: Any, key: str) -> Any:
    """The value at "a.b.0.c"; "a.#" is the length of a."""
    for part in key.split("."):
        if part == "#":
            return len(found)
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found


def whole_model() -> bytes:
    """`tuned.model` as `save` wrote it: its own tensors, and the network's from the package."""
    header = (HERE / "tuned.header").read_bytes()
    facts = json.loads(header[8:])
    network = load_network(BackboneRequest("embedded")).module.state_dict()
    own = load((HERE / "tuned.head").read_bytes())
    places = sorted((v["data_offsets"], k) for k, v in facts.items() if k != "__metadata__")
    parts = [
        network[name.removeprefix(CARRIED)].numpy() if name.startswith(CARRIED) else own[name]
        for _, name in places
    ]
    return header + b"".join(part.tobytes() for part in parts)


if __name__ == "__main__":
    write_pictures()
    write_models()
    write_figures()
    shutil.rmtree(HERE / "cache" / "memo" / f"files-{platform.node()}")  # of this machine's files
    (HERE / "cache").rename(HERE / "cache_v2")  # by the version of its format
