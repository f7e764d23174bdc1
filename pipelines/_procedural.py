"""Pictures drawn by rule, to pretrain on: stroke glyphs over textures; no photographs, no fonts.

Each picture has three labels: which glyph (a random stroke shape with per-picture wobble,
thickness, tilt, place, size, colour), which texture, and a sketch: the glyph small, upright and
centred. Textures are those that Baradad et al., "Learning to see by looking at noise" (2021),
found worth their cost: dead leaves and spectrum noise, besides gratings and cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.spatial import KDTree
from torch.nn import functional

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

SIDE = 64
BANK_SIDE = 192
SKETCH_SIDE = 12
VARIANTS = 32  # drawings of each glyph class
SHEETS = 4  # large pictures of each texture class
BARE_SHARE = 0.2  # of the pictures show a texture only
VERSION = 2


@dataclass(frozen=True)
class Batch:
    """`n` pictures and what they show.

    Attributes
    ----------
    pixels : Tensor of shape (n, 3, 64, 64), float32, 0..1
    glyph, texture : Tensor of shape (n,), int64
        `glyph` is -1 where a picture has none.
    sketch : Tensor of shape (n, SKETCH_SIDE ** 2), float32, 0..1
    """

    pixels: torch.Tensor
    glyph: torch.Tensor
    texture: torch.Tensor
    sketch: torch.Tensor


class Generator:
    """Draws batches; the whole sequence follows from the seeds.

    Parameters
    ----------
    n_glyphs, n_textures : int
        Numbers of classes. The classes themselves depend on `class_seed`, the draws on `seed`.
    """

    def __init__(self, n_glyphs: int, n_textures: int, class_seed: int, seed: int) -> None:
        classes = np.random.default_rng(class_seed)
        self.glyphs = torch.from_numpy(
            np.array([draw_glyph_class(classes) for _ in range(n_glyphs)])
        )
        sketches = functional.interpolate(
            self.glyphs.float(), (SKETCH_SIDE, SKETCH_SIDE), mode="area"
        )
        self.sketches = sketches.flatten(2).div_(255)
        self.textures = np.array([draw_texture_class(classes, i) for i in range(n_textures)])
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Start the sequence of draws that belongs to `seed`; the classes stay."""
        self.rng = np.random.default_rng(seed)
        self.torch_rng = torch.Generator().manual_seed(seed)

    def batch(self, n: int, difficulty: float) -> Batch:
        """`difficulty` 0..1: from large, upright, high in contrast to small, tilted, faint."""
        rng = self.rng
        texture = rng.integers(len(self.textures), size=n)
        glyph = torch.from_numpy(rng.integers(len(self.glyphs), size=n))
        variant = torch.from_numpy(rng.integers(VARIANTS, size=n))
        bare = rng.random(n) < BARE_SHARE
        background = self._backgrounds(texture, bare, difficulty)
        mask = self._warp(self.glyphs[glyph, variant].float().div_(255), difficulty)
        ink = self._ink(background, mask, difficulty)
        mask[torch.from_numpy(bare)] = 0
        pixels = torch.lerp(background, ink.expand_as(background), mask)
        noise = torch.from_numpy(rng.uniform(0, 0.05, (n, 1, 1, 1))).float()
        pixels += noise * torch.randn(pixels.shape, generator=self.torch_rng)
        sketch = self.sketches[glyph, variant]
        glyph[torch.from_numpy(bare)] = -1
        return Batch(pixels.clamp_(0, 1), glyph, torch.from_numpy(texture), sketch)

    def _backgrounds(
        self, texture: NDArray[np.int64], bare: NDArray[np.bool_], difficulty: float
    ) -> torch.Tensor:
        """Crops of the sheets with their contrast and tint changed; quieter behind glyphs."""
        rng, n = self.rng, len(texture)
        crops = np.empty((n, SIDE, SIDE, 3), np.uint8)
        for row, label in enumerate(texture):
            y, x = rng.integers(BANK_SIDE - SIDE, size=2)
            crop = self.textures[label, rng.integers(SHEETS), y : y + SIDE, x : x + SIDE]
            crops[row] = crop[:, ::-1] if rng.random() < 0.5 else crop
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float().div_(255)
        loudest = np.where(bare, 1.2, 0.4 + 0.7 * difficulty)
        quietest = np.where(bare, 0.6, 0.1)
        gain = quietest + (loudest - quietest) * rng.random(n) ** 1.5
        mean = pixels.mean((2, 3), keepdim=True)
        tint = torch.from_numpy(rng.uniform(0, 1, (n, 3, 1, 1))).float()
        away = torch.from_numpy(np.where(bare, 0.25, rng.uniform(0, 1, n))).float().view(n, 1, 1, 1)
        gains = torch.from_numpy(gain).float().view(n, 1, 1, 1)
        return ((pixels - mean) * gains + torch.lerp(mean, tint, away)).clamp_(0, 1)

    def _warp(self, masks: torch.Tensor, difficulty: float) -> torch.Tensor:
        """Random size, tilt, shear, place and a smooth wobble; (n, 64, 64) -> (n, 1, 64, 64)."""
        n, rng = len(masks), self.rng
        size = rng.uniform(0.85 - 0.43 * difficulty, 0.95 - 0.1 * difficulty, n)
        angle = rng.uniform(-1, 1, n) * np.deg2rad(5 + 23 * difficulty)
        shear = rng.uniform(-0.2, 0.2, n)
        aspect = rng.uniform(0.85, 1.2, n)
        cos, sin = np.cos(angle) / size, np.sin(angle) / size
        place = rng.uniform(-1, 1, (2, n)) * (1 - size) * min(1.0, 0.3 + difficulty)
        theta = np.empty((n, 2, 3), np.float32)
        theta[:, 0, 0], theta[:, 0, 1] = cos * aspect, sin * aspect + shear * cos
        theta[:, 1, 0], theta[:, 1, 1] = -sin, cos
        theta[:, :, 2] = -np.einsum("nij,jn->ni", theta[:, :, :2], place)
        grid = functional.affine_grid(
            torch.from_numpy(theta), [n, 1, SIDE, SIDE], align_corners=False
        )
        wobble = torch.randn((n, 2, 4, 4), generator=self.torch_rng) * 0.05
        wobble = functional.interpolate(wobble, (SIDE, SIDE), mode="bicubic", align_corners=False)
        grid = grid + wobble.permute(0, 2, 3, 1)
        return functional.grid_sample(masks[:, None], grid, align_corners=False)

    def _ink(self, background: torch.Tensor, mask: torch.Tensor, difficulty: float) -> torch.Tensor:
        """A colour at least so far from the background's mean under the glyph."""
        n = len(background)
        mean = (background * mask).sum((2, 3)) / mask.sum((2, 3)).clamp(min=1e-3)
        least = 0.75 - 0.4 * difficulty
        candidates = torch.rand((n, 12, 3), generator=self.torch_rng)
        distance = (candidates - mean[:, None]).norm(dim=2)
        first = (distance > least).float().argmax(1)
        choice = torch.where(distance.amax(1) > least, first, distance.argmax(1))
        return candidates[torch.arange(n), choice][:, :, None, None]


def draw_glyph_class(rng: np.random.Generator) -> Bytes:
    """`VARIANTS` drawings (VARIANTS, 64, 64) uint8 of one random shape of one to three strokes."""
    strokes = _strokes(rng)
    drawings = np.empty((VARIANTS, SIDE, SIDE), np.uint8)
    for variant in range(VARIANTS):
        sheet = Image.new("L", (2 * SIDE, 2 * SIDE))
        pen, width = ImageDraw.Draw(sheet), int(rng.integers(8, 21))
        for points in _fit([s + rng.normal(0, 0.045, s.shape) for s in strokes], width):
            pen.line([tuple(p) for p in points], fill=255, width=width, joint="curve")
            for x, y in (points[0], points[-1]):
                pen.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=255)
        soft = sheet.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 4))))
        drawings[variant] = np.asarray(soft.resize((SIDE, SIDE), Image.Resampling.BOX))
    return drawings


def _strokes(rng: np.random.Generator) -> list[Floats]:
    """Control points of one to three strokes; most start where an earlier one passes."""
    strokes = [_stroke(rng)]
    for _ in range(rng.choice([0, 1, 2], p=[0.45, 0.4, 0.15])):
        stroke = _stroke(rng)
        if rng.random() < 0.75:
            earlier = strokes[-1]
            stroke = stroke - stroke[0] + earlier[rng.integers(len(earlier))]
        strokes.append(stroke)
    return strokes


def _stroke(rng: np.random.Generator) -> Floats:
    """Control points in about 0..1; a third of the strokes are closed loops."""
    if rng.random() < 0.33:
        angles = np.linspace(0, 2 * np.pi, 7) + rng.uniform(0, 2 * np.pi)
        centre, radii = rng.uniform(0.3, 0.7, 2), rng.uniform(0.14, 0.4, 2)
        loop: Floats = centre + radii * np.stack([np.cos(angles), np.sin(angles)], 1)
        return loop
    return rng.uniform(0.05, 0.95, (int(rng.integers(2, 6)), 2))


def _fit(strokes: list[Floats], width: int) -> list[list[list[float]]]:
    """Smooth curves, centred, the longer side filling the sheet but for a margin, in pixels."""
    curves = [_smooth(stroke) for stroke in strokes]
    low, high = np.min([c.min(0) for c in curves], 0), np.max([c.max(0) for c in curves], 0)
    scale = (0.88 * 2 * SIDE - width) / max(float((high - low).max()), 0.1)
    return [((c - (low + high) / 2) * scale + SIDE).tolist() for c in curves]


def _smooth(points: Floats) -> Floats:
    """A Catmull-Rom curve through the control points, (m, 2)."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, 10)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        piece = 2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
        pieces.append(0.5 * (piece + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate(pieces)


def draw_texture_class(rng: np.random.Generator, index: int) -> Bytes:
    """`SHEETS` large pictures (SHEETS, 192, 192, 3) uint8 of one texture class."""
    kind = (_dead_leaves, _spectrum_noise, _grating, _cells)[index % 4]
    n_colours = int(rng.integers(3, 7))
    palette = 0.75 * rng.uniform(0, 255, (n_colours, 3)) + 0.25 * rng.uniform(0, 255, 3)
    settings = rng.uniform(0, 1, 4)
    return np.array([kind(rng, palette, settings) for _ in range(SHEETS)])


def _dead_leaves(rng: np.random.Generator, palette: Floats, s: Floats) -> Bytes:
    sheet = Image.new("RGB", (BANK_SIDE, BANK_SIDE))
    pen, smallest = ImageDraw.Draw(sheet), 3 + 10 * s[0]
    for _ in range(int(1200 / (1 + 2 * s[0]))):
        radius = min(60.0, smallest * rng.random() ** (-1 / (1.5 + 1.5 * s[1])))
        x, y = rng.uniform(-10, BANK_SIDE + 10, 2)
        colour = palette[rng.integers(len(palette))] + rng.normal(0, 12, 3)
        fill = tuple(int(v) for v in np.clip(colour, 0, 255))
        if s[2] < 0.5:
            pen.ellipse([x - radius, y - radius * (0.4 + s[3]), x + radius, y + radius], fill=fill)
        else:
            corners = rng.normal((x, y), radius, (3 + int(3 * s[3]), 2))
            pen.polygon([tuple(c) for c in corners.tolist()], fill=fill)
    return np.asarray(sheet)


def _spectrum_noise(rng: np.random.Generator, palette: Floats, s: Floats) -> Bytes:
    fy, fx = np.fft.fftfreq(BANK_SIDE)[:, None], np.fft.fftfreq(BANK_SIDE)[None]
    stretch = 1 + 3 * s[1]
    radius = np.hypot(fx * stretch, fy / stretch) if s[2] < 0.6 else np.hypot(fx, fy)
    amplitude = 1 / np.maximum(radius, 1 / BANK_SIDE) ** (0.6 + 1.6 * s[0])
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, BANK_SIDE, BANK_SIDE))) * amplitude).real
    noise /= noise.std(axis=(1, 2), keepdims=True)
    mixing = palette[:3] - palette.mean(0)
    pixels = palette.mean(0) + np.einsum("chw,cd->hwd", noise, mixing) * 0.5
    return _bytes(pixels + noise[0][..., None] * 30 * s[3])


def _grating(rng: np.random.Generator, palette: Floats, s: Floats) -> Bytes:
    y, x = np.mgrid[:BANK_SIDE, :BANK_SIDE]
    angle, period = np.pi * s[0] + rng.normal(0, 0.1), 4 + 24 * s[1] ** 2
    along = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period
    across = (-x * np.sin(angle) + y * np.cos(angle)) * 2 * np.pi / (period * (1 + s[3]))
    phase = rng.uniform(0, 2 * np.pi, 2)
    wave = np.sin(along + phase[0])
    if s[2] > 0.5:
        wave = wave * np.sin(across + phase[1])
    level = np.clip(0.5 + wave * (0.5 + 2 * s[3]), 0, 1)[..., None]
    pixels = palette[0] * level + palette[1] * (1 - level) + rng.normal(0, 8, (*x.shape, 1))
    return _bytes(pixels)


def _cells(rng: np.random.Generator, palette: Floats, s: Floats) -> Bytes:
    """Voronoi cells with edges, after Worley (1996)."""
    stretch = (0.5 + s[1], 1.0)
    pixels = np.indices((BANK_SIDE, BANK_SIDE)).reshape(2, -1).T * stretch
    centres = rng.uniform(0, BANK_SIDE, (int(20 + 130 * s[0]), 2)) * stretch
    distance, nearest = KDTree(centres).query(pixels, k=2)
    colours = palette[rng.integers(len(palette), size=len(centres))]
    fill = colours[nearest[:, 0]] * (0.55 + 0.45 * s[2])
    edge = np.clip((distance[:, 1] - distance[:, 0]) / (1.5 + 6 * s[3]), 0, 1)[:, None]
    mixed = fill * edge + palette[0] * (1 - edge)
    return _bytes(mixed.reshape(BANK_SIDE, BANK_SIDE, 3))


def _bytes(pixels: Floats) -> Bytes:
    clipped: Bytes = np.clip(pixels, 0, 255).astype(np.uint8)
    return clipped
