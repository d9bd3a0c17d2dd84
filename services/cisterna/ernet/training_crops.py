"""What a training step sees: crops of phantoms made to look recorded, and of recordings made to look like others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from .frames import normalise_frame
from .training_frames import UNLABELLED, LabelledFrame


@dataclass(frozen=True)
class Degradation:
    """How a clean phantom frame is made to look recorded; each pair is a range to draw from."""

    snr: tuple[float, float] = (2.0, 30.0)  # E[S²]/E[N²], drawn evenly in its logarithm
    blur_px: tuple[float, float] = (0.0, 0.7)  # added to the phantom's own PSF
    haze: tuple[float, float] = (0.0, 0.25)  # smooth background, share of the brightest signal
    gamma: tuple[float, float] = (0.8, 1.25)


@dataclass(frozen=True)
class Augmentation:
    """How a recorded frame, normalised to [0, 1], is made to look like that of another cell or another day.

    Each pair is a range to draw from; `scale` and `gain` are drawn evenly in their logarithm. The standard changes
    little. `ANOTHER_CELL` is for labels of one or two cells.
    """

    scale: tuple[float, float] = (1.0, 1.0)  # magnification
    gain: tuple[float, float] = (1.0, 1.0)  # factor of the grey values
    gamma: tuple[float, float] = (0.8, 1.25)
    blur_px: tuple[float, float] = (0.0, 0.0)
    haze: tuple[float, float] = (0.0, 0.0)  # height of a smooth background added
    offset: tuple[float, float] = (0.0, 0.0)  # added to all grey values
    noise: tuple[float, float] = (0.0, 0.0)  # standard deviation of Gaussian noise added

    def __post_init__(self) -> None:
        for setting in fields(self):
            low, high = getattr(self, setting.name)
            least = -1.0 if setting.name == "offset" else 0.0
            if not least <= low <= high or (setting.name in ("scale", "gain", "gamma") and low <= 0):
                raise ValueError(f"{setting.name} is a range (low, high) to draw from; got {low} to {high}")


ANOTHER_CELL = Augmentation(
    scale=(0.8, 1.25),
    gain=(0.4, 2.0),
    gamma=(0.85, 1.2),
    blur_px=(0.0, 0.8),
    haze=(0.0, 0.3),
    offset=(-0.03, 0.03),
    noise=(0.0, 0.04),
)
AUGMENTATIONS = {"standard": Augmentation(), "another-cell": ANOTHER_CELL}


def batch_of_crops(
    frames: Sequence[LabelledFrame],
    count: int,
    crop_px: int,
    how: Degradation,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images (count, T, crop, crop) in [0, 1] and classes (count, crop, crop), 0 to 3 or `UNLABELLED`."""
    chosen = [
        training_crop(frames[int(rng.integers(len(frames)))], crop_px, how, augmentation, rng) for _ in range(count)
    ]
    return np.stack([image for image, _ in chosen]), np.stack([classes for _, classes in chosen]).astype(np.int64)


def training_crop(
    frame: LabelledFrame, crop_px: int, how: Degradation, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """One crop (T, crop, crop) in [0, 1] and its classes (crop, crop), turned and mirrored at random.

    A phantom is degraded and normalised as a whole frame, then cut; a recorded frame is cut where it has targets.
    """
    height, width = frame.classes.shape
    if min(height, width) < crop_px:
        raise ValueError(
            f"a frame of {height}×{width} px is smaller than the crop of {crop_px} px; take a smaller crop"
        )
    if frame.recorded:
        signal, classes = cut_with_targets(frame, crop_px, augmentation, rng)
        picture = augmented(signal, augmentation, rng)
    else:
        recorded = degraded(frame.signal, how, rng)
        low, high = float(recorded.min()), float(recorded.max())
        y, x = int(rng.integers(height - crop_px + 1)), int(rng.integers(width - crop_px + 1))
        cut = (slice(y, y + crop_px), slice(x, x + crop_px))
        picture = np.stack([normalise_frame(image, low, high)[cut] for image in recorded])
        classes = frame.classes[cut]
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
    picture, classes = np.rot90(picture, turns, (1, 2)), np.rot90(classes, turns)
    if mirror:
        picture, classes = picture[:, :, ::-1], classes[:, ::-1]
    return np.ascontiguousarray(picture), np.ascontiguousarray(classes)


def cut_with_targets(
    frame: LabelledFrame, crop_px: int, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A crop (T, crop, crop) around a random target, magnified by a factor drawn from `augmentation`, and classes."""
    height, width = frame.classes.shape
    scale = evenly_in_logarithm(augmentation.scale, rng)
    # One pixel more than needed, so that a crop of another scale is never short of one.
    edge = crop_px if scale == 1.0 else min(int(np.ceil(crop_px / scale)) + 1, height, width)
    targets = np.flatnonzero(frame.classes != UNLABELLED)
    middle = divmod(int(targets[rng.integers(len(targets))]), width)
    # The target may stand anywhere in the crop, so that pixels at a frame's edge are as often seen as others.
    start = [
        int(np.clip(place - rng.integers(edge), 0, size - edge))
        for place, size in zip(middle, (height, width), strict=True)
    ]
    cut = tuple(slice(first, first + edge) for first in start)
    signal, classes = frame.signal[:, *cut], frame.classes[cut]
    if edge == crop_px:
        return signal, classes
    by = crop_px / edge
    signal = np.stack([zoom(image, by, order=1, mode="nearest", grid_mode=True) for image in signal])
    return signal, zoom(classes, by, order=0, mode="nearest", grid_mode=True)


def augmented(signal: NDArray[np.float32], augmentation: Augmentation, rng: np.random.Generator) -> NDArray[np.float32]:
    """Frames (T, H, W) in [0, 1], blurred, changed in brightness, with haze and noise, in steps of 1/255 again.

    All frames of a window change alike; noise is each frame's own.
    """
    a = augmentation
    image = signal.astype(np.float64)
    blur = rng.uniform(*a.blur_px)
    if blur > 0:
        image = gaussian_filter(image, (0, blur, blur), mode="nearest")
    image = (image * evenly_in_logarithm(a.gain, rng)) ** rng.uniform(*a.gamma)
    height = rng.uniform(*a.haze)
    if height > 0:
        haze = gaussian_filter(rng.standard_normal(image.shape[1:]), min(image.shape[1:]) / 5)
        haze -= haze.min()
        image = image + height * haze / max(float(haze.max()), 1e-12)
    image = image + rng.uniform(*a.offset)
    noise = rng.uniform(*a.noise)
    if noise > 0:
        image = image + noise * rng.standard_normal(image.shape)
    return (np.floor(np.clip(image, 0, 1) * 255 + 1e-6) / 255).astype(np.float32)


def degraded(signal: NDArray[np.float32], how: Degradation, rng: np.random.Generator) -> NDArray[np.float64]:
    """Clean frames (T, H, W) in [0, 1] with blur, gamma, haze and Gaussian noise at an SNR drawn from `how`.

    All frames of a window change alike; noise is each frame's own.
    """
    blur = rng.uniform(*how.blur_px)
    image = gaussian_filter(signal.astype(np.float64), (0, blur, blur))
    image = np.clip(image, 0, None) ** rng.uniform(*how.gamma)
    power = float(np.mean(image**2))
    snr = evenly_in_logarithm(how.snr, rng)
    haze = gaussian_filter(rng.standard_normal(image.shape[1:]), min(image.shape[1:]) / 6)
    haze *= rng.uniform(*how.haze) * image.max() / max(float(np.abs(haze).max()), 1e-12)
    noise = rng.standard_normal(image.shape) * np.sqrt(power / snr)
    return np.asarray(image + haze + noise)


def evenly_in_logarithm(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))
