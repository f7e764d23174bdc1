#!/usr/bin/env python3
"""Train the embedded network on pictures drawn by rule; write the weights that the package ships.

Needs no data and no network. Everything follows from --seed: the classes, the pictures, the
initial weights, the order. Three tasks share the codes: which glyph, which texture, and a sketch
of the glyph, small, upright and centred; the sketch's layer is left behind after training. Prints a
training curve; the last line says where the weights are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from _procedural import SKETCH_SIDE, VERSION, Batch, Generator
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from tlfeatures.backbones.sources._embedded import (
    N_GLYPHS,
    N_TEXTURES,
    PREPROCESSING,
    EmbeddedNet,
    make_embedded,
)

SEED, STEPS, BATCH_SIZE = 0, 7000, 128
PEAK_RATE, WEIGHT_DECAY, LARGEST_GRADIENT = 4e-3, 0.05, 5.0
RAMP = 0.45  # the share of the steps after which pictures are as hard as they get
TEXTURE_SHARE, SKETCH_SHARE = 0.75, 12.0  # of the loss; the glyph's is 1
N_HELD_OUT = 1024
N_REPORTS = 28


@dataclass(frozen=True)
class Report:
    """A line of the training curve; accuracies are of pictures drawn for nothing else."""

    step: int
    loss: float
    glyph_accuracy: float
    texture_accuracy: float
    sketch_loss: float


class Trainee(nn.Module):
    """The embedded network with a layer for the sketch beside its last one."""

    def __init__(self) -> None:
        super().__init__()
        self.network: EmbeddedNet = make_embedded().to(memory_format=torch.channels_last)
        self.to_sketch = nn.Linear(self.network.fc.in_features, SKETCH_SIDE**2)
        self._codes = torch.empty(0)
        self.network.fc.register_forward_pre_hook(self._keep_codes)

    def _keep_codes(self, _: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self._codes = inputs[0]

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores of glyphs, of textures, and of sketch pixels, float32."""
        mean, std = (
            torch.tensor(values).view(1, 3, 1, 1)
            for values in (PREPROCESSING.mean, PREPROCESSING.std)
        )
        x = ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            classes, sketch = self.network(x), self.to_sketch(self._codes)
        glyph, texture = classes.float().split([N_GLYPHS, N_TEXTURES], dim=1)
        return glyph, texture, sketch.float()


def sketch_loss(sketch: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy a sketch pixel, over the pictures with a glyph."""
    drawn = batch.glyph >= 0
    return functional.binary_cross_entropy_with_logits(sketch[drawn], batch.sketch[drawn])


def training_loss(trainee: Trainee, batch: Batch) -> torch.Tensor:
    """The weighted sum of the three tasks' losses."""
    glyph, texture, sketch = trainee(batch.pixels)
    return (
        functional.cross_entropy(glyph, batch.glyph, ignore_index=-1, label_smoothing=0.05)
        + TEXTURE_SHARE * functional.cross_entropy(texture, batch.texture, label_smoothing=0.05)
        + SKETCH_SHARE * sketch_loss(sketch, batch)
    )


@torch.no_grad()
def evaluate(trainee: Trainee, batch: Batch) -> tuple[float, float, float]:
    """Shares of right glyphs and of right textures, and the sketch loss, in eval mode."""
    trainee.eval()
    glyph, texture, sketch = trainee(batch.pixels)
    trainee.train()
    right_glyph = (glyph.argmax(1) == batch.glyph)[batch.glyph >= 0].float().mean()
    right_texture = (texture.argmax(1) == batch.texture).float().mean()
    return (
        round(float(right_glyph), 4),
        round(float(right_texture), 4),
        round(float(sketch_loss(sketch, batch)), 4),
    )


def iter_batches(pictures: Generator, steps: int) -> Iterator[Batch]:
    """Batches of rising difficulty, each drawn in a thread while the one before it is used."""
    levels = [min(1.0, step / (RAMP * steps)) for step in range(1, steps + 1)]
    one_thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
    with one_thread as pool:
        ahead = pool.submit(pictures.batch, BATCH_SIZE, levels[0])
        for level in levels[1:]:
            batch, ahead = ahead.result(), pool.submit(pictures.batch, BATCH_SIZE, level)
            yield batch
        yield ahead.result()


def make_optimizer(
    trainee: Trainee, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, one cycle; no weight decay on biases and batch norm."""
    weights = [p for p in trainee.parameters() if p.ndim > 1]
    rest = [p for p in trainee.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, steps, pct_start=0.15)
    return optimizer, cycle


def train(steps: int, seed: int, n_reports: int, n_held_out: int) -> tuple[Trainee, list[Report]]:
    """The trained network and its curve; prints the curve as it grows."""
    torch.manual_seed(seed)
    trainee = Trainee().train()
    pictures = Generator(N_GLYPHS, N_TEXTURES, class_seed=seed, seed=seed + 1)
    held_out = pictures.batch(n_held_out, 1.0)
    pictures.reseed(seed + 2)
    optimizer, cycle = make_optimizer(trainee, steps)
    every, losses, curve, started = -(-steps // n_reports), [], [], time.perf_counter()
    for step, batch in enumerate(iter_batches(pictures, steps), start=1):
        loss = training_loss(trainee, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trainee.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        cycle.step()
        losses.append(loss.item())
        if step % every == 0 or step == steps:
            mean = sum(losses) / len(losses)
            losses.clear()
            curve.append(Report(step, round(mean, 4), *evaluate(trainee, held_out)))
            print_report(curve[-1], time.perf_counter() - started)
    return trainee, curve


def print_report(report: Report, seconds: float) -> None:
    """One line of the training curve."""
    print(
        f"step {report.step:6d}  loss {report.loss:6.3f}  glyphs {report.glyph_accuracy:.3f}"
        f"  textures {report.texture_accuracy:.3f}  sketch {report.sketch_loss:.4f}"
        f"  {report.step * BATCH_SIZE / seconds:.0f} pictures/s"
        f"  {seconds:.0f} s, {time.process_time():.0f} s CPU",
        flush=True,
    )


def save(network: nn.Module, out: Path, facts: dict[str, object]) -> None:
    """float16 tensors, batch norm statistics float32; the file appears only when complete."""
    state = {
        name: (tensor if "running" in name else tensor.half()).contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    save_file(state, part, metadata={"pretraining": json.dumps(facts, sort_keys=True)})
    part.chmod(0o644)
    part.replace(out)


def main(arguments: list[str] | None = None) -> None:
    """Parse, train, save, say so."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("embedded.safetensors"))
    parser.add_argument("--seed", type=int, default=SEED, help="default %(default)s")
    parser.add_argument("--steps", type=int, default=STEPS, help="default %(default)s")
    parser.add_argument("--reports", type=int, default=N_REPORTS, help="lines of the curve")
    parser.add_argument("--held-out", type=int, default=N_HELD_OUT, help="pictures of each line")
    parser.add_argument("--threads", type=int, default=1, help="default 1; changes the last bits")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    trainee, curve = train(args.steps, args.seed, args.reports, args.held_out)
    facts = {
        "generator": VERSION,
        "seed": args.seed,
        "steps": args.steps,
        "batch_size": BATCH_SIZE,
        "torch": torch.__version__,
        "curve": [asdict(report) for report in curve],
    }
    save(trainee.network, args.out, facts)
    print(f"weights written to {args.out} ({args.out.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
