#!/usr/bin/env python3
"""Train the embedded network on pictures drawn by rule; write the weights that the package ships.

Needs no data and no network. Everything follows from --seed: the classes, the pictures, the
initial weights, the order. Prints a training curve; the last line says where the weights are.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from _procedural import VERSION, Batch, Generator
from safetensors.torch import save_file
from torch import nn

from tlfeatures.backbones._embedded import N_GLYPHS, N_TEXTURES, PREPROCESSING, make_embedded

STEPS, BATCH_SIZE, PEAK_RATE, WEIGHT_DECAY = 7000, 128, 4e-3, 0.05
RAMP = 0.45  # the share of the steps after which pictures are as hard as they get


def scores(network: nn.Module, batch: Batch) -> torch.Tensor:
    """Scores (n, N_GLYPHS + N_TEXTURES), float32."""
    x = (batch.pixels - PREPROCESSING.mean[0]) / PREPROCESSING.std[0]
    with torch.autocast("cpu", torch.bfloat16):
        answer: torch.Tensor = network(x.contiguous(memory_format=torch.channels_last))
    return answer.float()


def loss_of(answer: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy of the glyph (where there is one) plus that of the texture."""
    glyph = F.cross_entropy(answer[:, :N_GLYPHS], batch.glyph, ignore_index=-1, label_smoothing=0.05)
    texture = F.cross_entropy(answer[:, N_GLYPHS:], batch.texture, label_smoothing=0.05)
    return glyph + 0.5 * texture


@torch.no_grad()
def held_out_accuracy(network: nn.Module, batch: Batch) -> tuple[float, float]:
    """Shares of right glyphs and right textures, in eval mode, at full difficulty."""
    network.eval()
    answer, has_glyph = scores(network, batch), batch.glyph >= 0
    network.train()
    glyph = (answer[:, :N_GLYPHS].argmax(1) == batch.glyph)[has_glyph].float().mean()
    texture = (answer[:, N_GLYPHS:].argmax(1) == batch.texture).float().mean()
    return round(float(glyph), 4), round(float(texture), 4)


def train(steps: int, seed: int, report_every: int) -> tuple[nn.Module, list[dict[str, float]]]:
    """The trained network and its curve: step, loss, held-out accuracies, pictures/s."""
    torch.manual_seed(seed)
    network = make_embedded().to(memory_format=torch.channels_last).train()
    drawn = Generator(N_GLYPHS, N_TEXTURES, class_seed=seed, seed=seed + 1)
    drawn.rng, fresh = np.random.default_rng(seed + 2), drawn.rng
    held_out = drawn.batch(1024, 1.0)
    drawn.rng = fresh
    decayed = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, steps, pct_start=0.15)
    curve, losses, started = [], [], time.perf_counter()
    for step in range(1, steps + 1):
        batch = drawn.batch(BATCH_SIZE, min(1.0, step / (RAMP * steps)))
        loss = loss_of(scores(network, batch), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % report_every == 0 or step == steps:
            glyph, texture = held_out_accuracy(network, held_out)
            rate = step * BATCH_SIZE / (time.perf_counter() - started)
            mean = sum(losses[-report_every:]) / len(losses[-report_every:])
            curve.append({"step": step, "loss": mean, "glyph": glyph, "texture": texture})
            print(
                f"step {step:6d}  loss {mean:.3f}  glyphs {glyph:.3f}  textures {texture:.3f}"
                f"  {rate:.0f} pictures/s  {time.process_time():.0f} s CPU",
                flush=True,
            )
    return network, curve


def save(network: nn.Module, out: Path, facts: dict[str, object]) -> None:
    """float16 tensors; batch norm statistics stay float32."""
    state = {
        name: (t if "running" in name or not t.is_floating_point() else t.half()).contiguous()
        for name, t in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    save_file(state, part, metadata={"pretraining": json.dumps(facts, sort_keys=True)})
    part.replace(out)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("embedded.safetensors"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"default {STEPS}")
    args = parser.parse_args(arguments)
    network, curve = train(args.steps, args.seed, max(1, math.ceil(args.steps / 30)))
    facts = {
        "generator": VERSION,
        "seed": args.seed,
        "steps": args.steps,
        "batch_size": BATCH_SIZE,
        "glyph_accuracy": curve[-1]["glyph"],
        "texture_accuracy": curve[-1]["texture"],
    }
    save(network, args.out, facts)
    print(f"weights written to {args.out} ({args.out.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
