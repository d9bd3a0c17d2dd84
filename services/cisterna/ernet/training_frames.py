"""Frames with true classes to train an ERnet on: phantom movies, or labelled TIFF stacks. numpy and scipy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .frames import normalise_frame

PUBLISHED_GREY = {0: 0, 85: 3, 170: 1, 255: 2}
"""Grey values of published label images → class: 0 background, 85 sheet, 170 SBT, 255 tubule."""


@dataclass(frozen=True)
class LabelledFrame:
    """`signal` (H, W) float32 without noise or background (phantoms) or as recorded; `classes` (H, W) uint8, 0 to 3."""

    signal: NDArray[np.float32]
    classes: NDArray[np.uint8]
    recorded: bool


@dataclass(frozen=True)
class Degradation:
    """How a clean frame is made to look recorded; each pair is a range to draw from."""

    snr: tuple[float, float] = (2.0, 30.0)  # E[S²]/E[N²], drawn evenly in its logarithm
    blur_px: tuple[float, float] = (0.0, 0.7)  # added to the phantom's own PSF
    haze: tuple[float, float] = (0.0, 0.25)  # smooth background, share of the brightest signal
    gamma: tuple[float, float] = (0.8, 1.25)


def phantom_frames(seeds: Sequence[int], shape_yx: tuple[int, int] = (256, 256)) -> list[LabelledFrame]:
    """One clean frame of one phantom movie a seed; density, tubule width and PSF vary with the seed."""
    from cisterna.phantoms.er_movie import er_movie

    frames = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 71])
        movie = er_movie(
            frames=1,
            shape_yx=shape_yx,
            snr=float("inf"),
            seed=seed,
            seeds_per_um2=float(rng.uniform(0.05, 0.12)),
            tubule_width_px=float(rng.uniform(2.8, 4.2)),
            psf_sigma_px=float(rng.uniform(1.0, 1.4)),
            sheet=bool(rng.random() < 0.85),
        )
        signal = movie.frames[0].astype(np.float32)
        signal -= signal.min()
        frames.append(LabelledFrame(signal / max(float(signal.max()), 1e-9), movie.classes[0], recorded=False))
    return frames


def save_frames(path: Path, frames: Sequence[LabelledFrame]) -> None:
    """Keeps phantom frames of one shape as .npz, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new.npz")
    np.savez(fresh, signal=np.stack([f.signal for f in frames]), classes=np.stack([f.classes for f in frames]))
    fresh.replace(path)


def read_frames(path: Path) -> list[LabelledFrame]:
    """What `save_frames` kept."""
    with np.load(path) as kept:
        return [LabelledFrame(s, c, recorded=False) for s, c in zip(kept["signal"], kept["classes"], strict=True)]


def labelled_stack(images: Path, labels: Path) -> list[LabelledFrame]:
    """Frames of a TIFF stack (t, y, x) or single image, with labels of the same shape.

    Labels are class numbers 0 to 3 or the published grey values 0, 85, 170, 255. Raises ValueError otherwise.
    """
    import tifffile

    pictures, marks = (np.asarray(tifffile.imread(path)) for path in (images, labels))
    if pictures.shape != marks.shape or pictures.ndim not in (2, 3):
        raise ValueError(f"{images} is {pictures.shape}, {labels} is {marks.shape}: give (t, y, x) stacks of one shape")
    values = set(np.unique(marks).tolist())
    if not values <= {0, 1, 2, 3} and not values <= set(PUBLISHED_GREY):
        raise ValueError(
            f"{labels} holds the values {sorted(values)[:6]}; labels are 0 background, 1 SBT, 2 tubule, 3 sheet, "
            "or the published grey values 0, 85, 170, 255"
        )
    table = np.arange(256, dtype=np.uint8)
    if not values <= {0, 1, 2, 3}:
        for grey, number in PUBLISHED_GREY.items():
            table[grey] = number
    shape = (-1, *pictures.shape[-2:])
    low, high = float(np.nanmin(pictures)), float(np.nanmax(pictures))
    scale = max(high - low, 1e-9)
    return [
        LabelledFrame(((picture - low) / scale).astype(np.float32), table[mark.astype(np.uint8)], recorded=True)
        for picture, mark in zip(pictures.reshape(shape).astype(np.float64), marks.reshape(shape), strict=True)
    ]


def degraded(signal: NDArray[np.float32], how: Degradation, rng: np.random.Generator) -> NDArray[np.float64]:
    """A clean signal in [0, 1] with blur, gamma, haze and Gaussian noise at an SNR drawn from `how`."""
    image = gaussian_filter(signal.astype(np.float64), rng.uniform(*how.blur_px))
    image = np.clip(image, 0, None) ** rng.uniform(*how.gamma)
    power = float(np.mean(image**2))
    snr = float(np.exp(rng.uniform(*np.log(how.snr))))
    haze = gaussian_filter(rng.standard_normal(image.shape), min(image.shape) / 6)
    haze *= rng.uniform(*how.haze) * image.max() / max(float(np.abs(haze).max()), 1e-12)
    noise = rng.standard_normal(image.shape) * np.sqrt(power / snr)
    return np.asarray(image + haze + noise)


def training_crop(
    frame: LabelledFrame, crop_px: int, how: Degradation, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """One augmented crop (crop, crop) in [0, 1] and its classes: degraded, normalised as a whole frame, cut, turned."""
    image: NDArray[Any] = frame.signal if frame.recorded else degraded(frame.signal, how, rng)
    if frame.recorded:  # recorded frames carry their own noise: only brightness varies
        image = np.clip(image, 0, None).astype(np.float64) ** rng.uniform(*how.gamma)
    picture = normalise_frame(image, float(image.min()), float(image.max()))
    height, width = picture.shape
    if min(height, width) < crop_px:
        raise ValueError(
            f"a frame of {height}×{width} px is smaller than the crop of {crop_px} px; take a smaller crop"
        )
    y, x = int(rng.integers(height - crop_px + 1)), int(rng.integers(width - crop_px + 1))
    cut = (slice(y, y + crop_px), slice(x, x + crop_px))
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
    parts = [np.rot90(part[cut], turns) for part in (picture, frame.classes)]
    if mirror:
        parts = [part[:, ::-1] for part in parts]
    return np.ascontiguousarray(parts[0]), np.ascontiguousarray(parts[1])
