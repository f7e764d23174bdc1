"""One way to get codes that is not tlfeatures, run alone: prints its rate as JSON.

    python benchmarks/_contenders.py tutorials --network resnet50 --weights FILE --pictures FOLDER

Each is written as its users write it, in batches of 32. The rate is that from the first batch's end
to the last one's; with one batch only, of the whole loop. With --endless it works until it is told
to end, for others to stop it and let it go on, see `_endless`.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import torchvision
from _crops import list_crops
from _endless import Steps, loop, wait_until_told
from _networks import load_network, transforms_of, use_weights
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder

BATCH = 32
WORKERS = 2


def main() -> None:
    """Run one contender."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--network", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--endless", action="store_true")
    given = parser.parse_args()
    use_weights(given.weights)
    if given.endless:
        batches = repeat(given)
        steps: Steps = {"codes": lambda: len(next(batches))}
        wait_until_told(steps)
        print(json.dumps(loop(steps)), flush=True)
    else:
        print(json.dumps(measure(WAYS[given.way](given))))


def repeat(given: Any) -> Iterator[Any]:
    """All of it again and again."""
    while True:
        yield from WAYS[given.way](given)


def measure(batches: Iterable[Any]) -> dict[str, float]:
    """Use up an iterator over batches of codes (n, d); the rate, and the number of codes."""
    codes, ends = [], [time.perf_counter()]
    for batch in batches:
        codes.append(batch)
        ends.append(time.perf_counter())
    sizes = [len(batch) for batch in codes]
    if len(sizes) > 1:
        ends.pop(0)
        counted = sum(sizes[1:])
    else:
        counted = sum(sizes)
    return {"images_per_s": counted / (ends[-1] - ends[0]), "codes": sum(sizes)}


def tutorials(given: Any) -> Iterator[Any]:
    """Float32, the preset of the weights, a DataLoader with two workers."""
    network = load_network(given.network)
    with torch.no_grad():
        for pictures, _ in load_batches(given, transforms_of(given.network)):
            yield network(pictures)


def expert(given: Any) -> Iterator[Any]:
    """The same with channels_last and bf16 autocast."""
    network = load_network(given.network).to(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for pictures, _ in load_batches(given, transforms_of(given.network)):
            yield network(pictures.to(memory_format=torch.channels_last)).float()


def img2vec(given: Any) -> Iterator[Any]:
    """Lists of pictures for `Img2Vec.get_vec`."""
    from img2vec_pytorch import img_to_vec

    # its "vgg16" loads vgg16_bn, another network
    img_to_vec.vgg16_bn = lambda weights: torchvision.models.vgg16(weights="IMAGENET1K_V1")
    encoder = img_to_vec.Img2Vec(model=given.network)
    for paths in chunks(given):
        yield encoder.get_vec([Image.open(path).convert("RGB") for path in paths])


def embetter(given: Any) -> Iterator[Any]:
    """The pipeline of embetter's page on `TimmEncoder`, from paths on."""
    import timm
    from embetter.vision import ImageLoader, TimmEncoder
    from sklearn.pipeline import make_pipeline

    timm.create_model = functools.partial(timm.create_model, **timm_file(given))
    pipeline = make_pipeline(ImageLoader(), TimmEncoder(given.network))
    for paths in chunks(given):
        yield pipeline.fit_transform(paths)


def timm_loader(given: Any) -> Iterator[Any]:
    """Network and transform of timm in float32, a DataLoader with two workers."""
    import timm
    from timm.data import create_transform, resolve_data_config

    network = timm.create_model(given.network, pretrained=True, num_classes=0, **timm_file(given))
    network.eval()
    transform = create_transform(**resolve_data_config({}, model=network))
    with torch.no_grad():
        for pictures, _ in load_batches(given, transform):
            yield network(pictures)


def load_batches(given: Any, transform: Callable[[Any], Any]) -> DataLoader:
    """Batches of the slice, as tutorials load them."""
    folder = ImageFolder(given.pictures, transform)
    part = Subset(folder, range(given.start, given.start + given.count))
    return DataLoader(part, batch_size=BATCH, num_workers=WORKERS)


def chunks(given: Any) -> Iterator[list[str]]:
    """The slice's paths, a batch at a time."""
    paths = [str(path) for path in list_crops(given.pictures)]
    paths = paths[given.start : given.start + given.count]
    return (paths[i : i + BATCH] for i in range(0, len(paths), BATCH))


def timm_file(given: Any) -> dict[str, Any]:
    """What makes timm take the weights from the file; it knows torchvision's names."""
    return {"pretrained_cfg_overlay": {"file": str(given.weights)}}


WAYS: dict[str, Callable[[Any], Iterator[Any]]] = {
    "tutorials": tutorials,
    "expert": expert,
    "img2vec": img2vec,
    "embetter": embetter,
    "timm": timm_loader,
}

if __name__ == "__main__":
    main()
