"""Pictures drawn by rule, to pretrain on: stroke glyphs over textures; no photographs, no fonts.

Each picture has two labels: which glyph (a random stroke shape with per-picture wobble, thickness,
tilt, place, size, colour) and which texture. Textures are those that Baradad et al., "Learning to
see by looking at noise" (2021), found worth their cost: dead leaves and spectrum noise, besides
gratings, cells and checks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFilter

SIDE = 64
BANK_SIDE = 192
VARIANTS = 24  # drawings of each glyph class
SHEETS = 4  # large pictures of each texture class
VERSION = 1


@dataclass(frozen=True)
class Batch:
    """`pixels` (n, 3, 64, 64) float32 in 0..1; `glyph` and `texture` (n,) int64, glyph -1 if none."""

    pixels: torch.Tensor
    glyph: torch.Tensor
    texture: torch.Tensor


class Generator:
    """Draws batches; the whole sequence follows from the seed.

    Parameters
    ----------
    n_glyphs, n_textures : int
        Numbers of classes. The classes themselves depend on `class_seed`, the draws on `seed`.
    """

    def __init__(self, n_glyphs: int, n_textures: int, class_seed: int, seed: int) -> None:
        classes = np.random.default_rng(class_seed)
        glyphs = [draw_glyph_class(classes) for _ in range(n_glyphs)]
        self.glyphs = torch.from_numpy(np.array(glyphs)).float().div_(255)
        self.textures = np.array([draw_texture_class(classes, i) for i in range(n_textures)])
        self.rng = np.random.default_rng(seed)
        self.torch_rng = torch.Generator().manual_seed(seed)

    def batch(self, n: int, difficulty: float) -> Batch:
        """`difficulty` 0..1: from large, upright, high in contrast to small, tilted, faint."""
        texture = self.rng.integers(len(self.textures), size=n)
        background = self._backgrounds(texture)
        glyph = self.rng.integers(len(self.glyphs), size=n)
        variant = self.rng.integers(VARIANTS, size=n)
        mask = self._warp(self.glyphs[torch.from_numpy(glyph), torch.from_numpy(variant)], difficulty)
        ink = self._ink(background, mask, difficulty)
        bare = self.rng.random(n) < 0.2
        mask[torch.from_numpy(bare)] = 0
        pixels = background * (1 - mask) + ink * mask
        pixels += 0.02 * torch.randn(pixels.shape, generator=self.torch_rng)
        glyph[bare] = -1
        return Batch(pixels.clamp_(0, 1), torch.from_numpy(glyph), torch.from_numpy(texture))

    def _backgrounds(self, texture: np.ndarray) -> torch.Tensor:
        rng, crops = self.rng, np.empty((len(texture), SIDE, SIDE, 3), np.uint8)
        for row, label in enumerate(texture):
            y, x = rng.integers(BANK_SIDE - SIDE, size=2)
            crop = self.textures[label, rng.integers(SHEETS), y : y + SIDE, x : x + SIDE]
            crops[row] = crop[:, ::-1] if rng.random() < 0.5 else crop
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float().div_(255)
        gain = torch.from_numpy(rng.uniform(0.6, 1.2, (len(texture), 3, 1, 1))).float()
        shift = torch.from_numpy(rng.uniform(-0.15, 0.15, (len(texture), 3, 1, 1))).float()
        return ((pixels - 0.5) * gain + 0.5 + shift).clamp_(0, 1)

    def _warp(self, masks: torch.Tensor, difficulty: float) -> torch.Tensor:
        """Random size, tilt, shear, place and a smooth wobble; (n, 64, 64) -> (n, 1, 64, 64)."""
        n, rng = len(masks), self.rng
        size = rng.uniform(0.85 - 0.5 * difficulty, 0.95 - 0.25 * difficulty, n)
        angle = rng.uniform(-1, 1, n) * np.deg2rad(5 + 25 * difficulty)
        shear = rng.uniform(-0.2, 0.2, n)
        aspect = rng.uniform(0.85, 1.2, n)
        cos, sin = np.cos(angle) / size, np.sin(angle) / size
        place = rng.uniform(-1, 1, (2, n)) * (1 - size) * min(1.0, 0.3 + difficulty)
        theta = np.empty((n, 2, 3), np.float32)
        theta[:, 0, 0], theta[:, 0, 1] = cos * aspect, sin * aspect + shear * cos
        theta[:, 1, 0], theta[:, 1, 1] = -sin, cos
        theta[:, :, 2] = -np.einsum("nij,jn->ni", theta[:, :, :2], place)
        grid = F.affine_grid(torch.from_numpy(theta), [n, 1, SIDE, SIDE], align_corners=False)
        wobble = torch.randn((n, 2, 4, 4), generator=self.torch_rng) * 0.06
        wobble = F.interpolate(wobble, (SIDE, SIDE), mode="bicubic", align_corners=False)
        grid = grid + wobble.permute(0, 2, 3, 1)
        return F.grid_sample(masks[:, None], grid, align_corners=False)

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


def draw_glyph_class(rng: np.random.Generator) -> np.ndarray:
    """`VARIANTS` drawings (VARIANTS, 64, 64) uint8 of one random shape of one to three strokes."""
    strokes = [_stroke(rng) for _ in range(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))]
    drawings = np.empty((VARIANTS, SIDE, SIDE), np.uint8)
    for variant in range(VARIANTS):
        sheet = Image.new("L", (2 * SIDE, 2 * SIDE))
        pen, width = ImageDraw.Draw(sheet), int(rng.integers(7, 17))
        for stroke in strokes:
            points = (_smooth(stroke + rng.normal(0, 0.035, stroke.shape)) * 2 * SIDE).tolist()
            pen.line([tuple(p) for p in points], fill=255, width=width, joint="curve")
            for x, y in (points[0], points[-1]):
                pen.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=255)
        soft = sheet.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 3))))
        drawings[variant] = np.asarray(soft.resize((SIDE, SIDE), Image.Resampling.BOX))
    return drawings


def _stroke(rng: np.random.Generator) -> np.ndarray:
    """Control points of a stroke in 0.12..0.88; a third of the strokes are closed loops."""
    if rng.random() < 0.33:
        angles = np.linspace(0, 2 * np.pi, 7) + rng.uniform(0, 2 * np.pi)
        centre, radii = rng.uniform(0.32, 0.68, 2), rng.uniform(0.14, 0.32, 2)
        return np.clip(centre + radii * np.stack([np.cos(angles), np.sin(angles)], 1), 0.1, 0.9)
    return rng.uniform(0.12, 0.88, (int(rng.integers(2, 5)), 2))


def _smooth(points: np.ndarray) -> np.ndarray:
    """A Catmull-Rom curve through the control points, (m, 2)."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, 10)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        piece = 2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
        pieces.append(0.5 * (piece + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate(pieces)


def draw_texture_class(rng: np.random.Generator, index: int) -> np.ndarray:
    """`SHEETS` large pictures (SHEETS, 192, 192, 3) uint8 of one texture class."""
    kind = (_dead_leaves, _spectrum_noise, _grating, _cells)[index % 4]
    palette = rng.uniform(0, 255, (int(rng.integers(3, 7)), 3)) * 0.75 + 0.25 * rng.uniform(0, 255, 3)
    settings = rng.uniform(0, 1, 4)
    return np.array([kind(rng, palette, settings) for _ in range(SHEETS)])


def _dead_leaves(rng: np.random.Generator, palette: np.ndarray, s: np.ndarray) -> np.ndarray:
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
            corners = rng.normal(0, radius, (3 + int(3 * s[3]), 2)) + (x, y)
            pen.polygon([tuple(c) for c in corners.tolist()], fill=fill)
    return np.asarray(sheet)


def _spectrum_noise(rng: np.random.Generator, palette: np.ndarray, s: np.ndarray) -> np.ndarray:
    fy, fx = np.fft.fftfreq(BANK_SIDE)[:, None], np.fft.fftfreq(BANK_SIDE)[None]
    stretch = 1 + 3 * s[1]
    radius = np.hypot(fx * stretch, fy / stretch) if s[2] < 0.6 else np.hypot(fx, fy)
    amplitude = 1 / np.maximum(radius, 1 / BANK_SIDE) ** (0.6 + 1.6 * s[0])
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, BANK_SIDE, BANK_SIDE))) * amplitude).real
    noise /= noise.std(axis=(1, 2), keepdims=True)
    mixing = palette[:3] - palette.mean(0)
    pixels = palette.mean(0) + np.einsum("chw,cd->hwd", noise, mixing) * 0.5
    return np.clip(pixels + noise[0][..., None] * 30 * s[3], 0, 255).astype(np.uint8)


def _grating(rng: np.random.Generator, palette: np.ndarray, s: np.ndarray) -> np.ndarray:
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
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _cells(rng: np.random.Generator, palette: np.ndarray, s: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:BANK_SIDE, :BANK_SIDE]
    centres = rng.uniform(0, BANK_SIDE, (int(20 + 130 * s[0]), 2))
    distance = np.hypot(x[..., None] - centres[:, 0], (y[..., None] - centres[:, 1]) * (0.5 + s[1]))
    nearest = np.partition(distance, 1, axis=2)[..., :2]
    colours = palette[rng.integers(len(palette), size=len(centres))]
    pixels = colours[distance.argmin(axis=2)] * (0.55 + 0.45 * s[2])
    edge = np.clip((nearest[..., 1] - nearest[..., 0]) / (1.5 + 6 * s[3]), 0, 1)[..., None]
    return np.clip(pixels * edge + palette[0] * (1 - edge), 0, 255).astype(np.uint8)
