"""Frames with true classes to train an ERnet on, and the phantom movies that give them. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNLABELLED = 255
"""Class value of a pixel that is never a target."""


@dataclass(frozen=True)
class LabelledFrame:
    """T consecutive frames and the classes of the middle one.

    `signal` (T, H, W) float32: of phantoms without noise or background, of recordings as the network would see them.
    `classes` (H, W) uint8, 0 to 3, or `UNLABELLED`.
    """

    signal: NDArray[np.float32]
    classes: NDArray[np.uint8]
    recorded: bool


def phantom_frames(
    seeds: Sequence[int], shape_yx: tuple[int, int] = (256, 256), frames: int = 1
) -> list[LabelledFrame]:
    """One clean frame, or window of `frames` frames, of one phantom movie a seed.

    Density, tubule width and PSF vary with the seed. In a movie the junctions sway and tubules come and go.
    """
    from cisterna.phantoms.er_movie import er_movie

    found = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 71])
        movie = er_movie(
            frames=frames,
            shape_yx=shape_yx,
            snr=float("inf"),
            seed=seed,
            seeds_per_um2=float(rng.uniform(0.05, 0.12)),
            tubule_width_px=float(rng.uniform(2.8, 4.2)),
            psf_sigma_px=float(rng.uniform(1.0, 1.4)),
            sheet=bool(rng.random() < 0.85),
            remodelling=0.0 if frames == 1 else 0.1,
        )
        signal = movie.frames.astype(np.float32)
        signal -= signal.min()
        signal /= max(float(signal.max()), 1e-9)
        found.append(LabelledFrame(signal, movie.classes[frames // 2], recorded=False))
    return found


def save_frames(path: Path, frames: Sequence[LabelledFrame]) -> None:
    """Keeps phantom frames of one shape as .npz, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new.npz")
    np.savez(fresh, signal=np.stack([f.signal for f in frames]), classes=np.stack([f.classes for f in frames]))
    fresh.replace(path)


def read_frames(path: Path) -> list[LabelledFrame]:
    """What `save_frames` kept."""
    with np.load(path) as kept:
        parts: list[NDArray[Any]] = [kept["signal"], kept["classes"]]
    return [LabelledFrame(signal, classes, recorded=False) for signal, classes in zip(*parts, strict=True)]
