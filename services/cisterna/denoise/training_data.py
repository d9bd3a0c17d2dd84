"""What FastFIB is trained on: volumes of one or two detectors, contrast-matched, cut into random patches.

Volumes may be memory-mapped; nothing here holds a float copy of one.  Two detectors of a pair are never averaged: their
independent noise is what teaches the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cisterna.denoise.apply import IntensityRange, intensity_range
from cisterna.denoise.trust import noise_sigma

Image = NDArray[Any]
Patch = NDArray[np.float32]
MATCHING_BOXES = 12
MATCHING_EDGE = 48
LEAST_CORRELATION = 0.2


@dataclass(frozen=True)
class TrainingVolume:
    """One or two detectors of the same piece, (z, y, x) each; `planes` are those that training may read.

    `clean`, where known, is the noise-free picture in the grey values of the first detector (phantoms).
    """

    name: str
    detectors: tuple[Image, ...]
    planes: tuple[int, int]
    ranges: tuple[IntensityRange, ...]
    clean: Image | None = None
    #: (slope, offset) that bring detector 2 to the grey values of detector 1; its inverse does the other direction.
    to_first: tuple[float, float] = field(default=(1.0, 0.0))
    #: Standard deviation of the noise of the first detector, grey values; what recorruption works with.
    noise_sigma: float = 0.0


def training_volume(
    name: str,
    detectors: Sequence[Image],
    *,
    held_out: float = 0.0,
    match_contrast: bool = True,
    clean: Image | None = None,
) -> TrainingVolume:
    """Checks the detectors of a volume and measures their ranges, their relative contrast and the noise of the first.

    `held_out`: share of the planes, at the far end of z, that training never reads.
    Raises ValueError if shapes differ, or if the detectors do not show the same structure.
    """
    arrays = tuple(detectors)
    if len(arrays) not in (1, 2):
        raise ValueError(f"{name}: {len(arrays)} detectors given; training takes one or two")
    if any(a.ndim != 3 or a.shape != arrays[0].shape for a in arrays):
        raise ValueError(f"{name}: detectors must be volumes (z, y, x) of one shape, not {[a.shape for a in arrays]}")
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is {held_out}; give a share of the planes, 0 to under 1")
    stop = arrays[0].shape[0] - round(held_out * arrays[0].shape[0])
    seen = [a[:stop] for a in arrays]
    ranges = tuple(intensity_range(a) for a in seen)
    if any(not r.high > r.low for r in ranges):
        raise ValueError(f"{name}: a detector is constant; there is nothing to learn from it")
    to_first = contrast_match(seen[0], seen[1], name) if len(arrays) == 2 and match_contrast else (1.0, 0.0)
    return TrainingVolume(name, arrays, (0, stop), ranges, clean, to_first, measured_noise(seen[0]))


def measured_noise(volume: Image) -> float:
    """Median over random boxes of `trust.noise_sigma`, grey values; 0 where no box says anything."""
    found = np.array([noise_sigma(box) for box in random_boxes(volume)])
    found = found[np.isfinite(found)]
    return float(np.median(found)) if found.size else 0.0


def random_boxes(volume: Image) -> Iterator[Image]:
    """Boxes at repeatable random places, so that a memory-mapped volume is hardly read."""
    rng = np.random.default_rng(0)
    for _ in range(MATCHING_BOXES):
        edge = [min(MATCHING_EDGE, n) for n in volume.shape]
        start = [int(rng.integers(0, n - e + 1)) for n, e in zip(volume.shape, edge, strict=True)]
        yield volume[tuple(slice(s, s + e) for s, e in zip(start, edge, strict=True))]


def contrast_match(first: Image, second: Image, name: str = "pair") -> tuple[float, float]:
    """(slope, offset) of the line that brings `second` to the grey values of `first`.

    Means and deviations are taken after a Gaussian of 2 voxels, which removes most of the noise: raw deviations would
    match noise + structure of one detector to noise + structure of the other, and their noise differs.
    Raises ValueError if the two are hardly correlated, which means that they are not the same piece or one is inverted.
    """
    a, b = (
        np.concatenate([gaussian_filter(np.nan_to_num(x.astype(np.float64)), 2.0).ravel() for x in random_boxes(d)])
        for d in (first, second)
    )
    correlation = float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0
    if not correlation > LEAST_CORRELATION:
        raise ValueError(
            f"{name}: the two detectors correlate by only {correlation:.2f} after smoothing; give aligned detectors "
            "of one piece with the same polarity"
        )
    slope = float(a.std() / b.std())
    return slope, float(a.mean() - slope * b.mean())


def draw_pair(
    volumes: Sequence[TrainingVolume],
    patch: int,
    rng: np.random.Generator,
    *,
    both_directions: bool = True,
    recorruption: float = 0.0,
) -> tuple[Patch, Patch]:
    """A random patch as (input, target), float32 in [-1, 1] of the input detector's range.

    With one detector the two are the same patch, or, where `recorruption` is positive, the pair of `recorrupted`.
    Volumes are drawn by their size; NaN becomes 0.
    """
    sizes = np.array([float(np.prod(v.detectors[0].shape[1:])) * (v.planes[1] - v.planes[0]) for v in volumes])
    volume = volumes[int(rng.choice(len(volumes), p=sizes / sizes.sum()))]
    low = (volume.planes[0], 0, 0)
    high = (volume.planes[1], *volume.detectors[0].shape[1:])
    room = tuple(stop - start for start, stop in zip(low, high, strict=True))
    if min(room) < patch:
        raise ValueError(f"{volume.name} offers {room} voxels for training, less than a patch of {patch}")
    corner = [first + int(rng.integers(0, n - patch + 1)) for first, n in zip(low, room, strict=True)]
    cut = tuple(slice(c, c + patch) for c in corner)
    backwards = len(volume.detectors) == 2 and both_directions and bool(rng.random() < 0.5)
    source, target = cut_pair(volume, cut, backwards)
    if len(volume.detectors) == 1 and recorruption:
        return recorrupted(source, volume.noise_sigma * scale_of(volume.ranges[0]), recorruption, rng)
    return source, target


def recorrupted(noisy: Patch, sigma: float, strength: float, rng: np.random.Generator) -> tuple[Patch, Patch]:
    """Two pictures of one scene with independent noise, made of one (Pang et al., CVPR 2021, "R2R").

    With z white, Gaussian and as strong as the noise itself (`sigma`, in the units of `noisy`), y + a z and y - z / a
    have noise that does not correlate, so the second teaches the first as another detector would.  `strength` is a:
    small, the input hardly changes and the target is noisy; 0.5 makes the input 12 % noisier and the target 124 %.
    """
    if not strength > 0:
        raise ValueError(f"the strength of recorruption is {strength}; give a positive number")
    z = rng.standard_normal(noisy.shape, np.float32) * np.float32(sigma)
    return noisy + np.float32(strength) * z, noisy - z / np.float32(strength)


def cut_pair(volume: TrainingVolume, cut: tuple[slice, ...], backwards: bool = False) -> tuple[Patch, Patch]:
    """The box `cut` as (input, target) in the input detector's range; `backwards` learns detector 1 from detector 2."""
    slope, offset = volume.to_first
    grey = [np.asarray(d[cut], dtype=np.float32) for d in volume.detectors]
    if len(grey) == 1:
        source, target, span = grey[0], grey[0], volume.ranges[0]
    elif backwards:
        source, target, span = grey[1], (grey[0] - offset) / slope, volume.ranges[1]
    else:
        source, target, span = grey[0], grey[1] * slope + offset, volume.ranges[0]
    return _normalise(source, span), _normalise(target, span)


def _normalise(grey: Patch, span: IntensityRange) -> Patch:
    unit = (grey - span.low) * scale_of(span) - 1.0
    patch: Patch = np.nan_to_num(unit, nan=0.0, posinf=1.0, neginf=-1.0).astype(np.float32)
    return patch


def scale_of(span: IntensityRange) -> float:
    """Units of [-1, 1] a grey value."""
    return 2.0 / (span.high - span.low)


def augment(
    source: Patch, target: Patch, rng: np.random.Generator, *, rotate: bool, scale: float, shift: float
) -> tuple[Patch, Patch]:
    """Mirrors and, if `rotate`, exchanges axes; then one random gain (1 +- `scale`) and offset (+- `shift`) for both.

    The gain and offset make up for intensity ranges that are taken differently elsewhere.
    """
    for axis in range(3):
        if rng.random() < 0.5:
            source, target = np.flip(source, axis), np.flip(target, axis)
    if rotate:
        order = tuple(int(i) for i in rng.permutation(3))
        source, target = source.transpose(order), target.transpose(order)
    gain = np.float32(1.0 + scale * rng.uniform(-1, 1))
    offset = np.float32(shift * rng.uniform(-1, 1))
    return source * gain + offset, target * gain + offset


def blind_spots(source: Patch, share: float, window: int, rng: np.random.Generator) -> tuple[Patch, NDArray[np.bool_]]:
    """Replaces a random `share` of the voxels by a random other voxel of the window around each (Noise2Void).

    Krull et al., CVPR 2019.  Returns the altered patch and the mask of replaced voxels.  `window` is the half width.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share of blind voxels is {share}; give a number between 0 and 1")
    mask = rng.random(source.shape) < share
    at = np.argwhere(mask)
    step = rng.integers(-window, window + 1, size=at.shape)
    still = ~step.any(axis=1)
    step[still, rng.integers(0, 3, size=int(still.sum()))] = 1
    # Mirrored at the faces, so that a voxel never takes its own value.
    size = np.array(source.shape)
    there = at + step
    there = np.where((there < 0) | (there >= size), at - step, there)
    altered = source.copy()
    altered[tuple(at.T)] = source[tuple(np.clip(there, 0, size - 1).T)]
    return altered, mask


def phantom_volumes(
    count: int, shape: tuple[int, int, int], voxel_size_nm: float, seed: int, noise: tuple[float, float]
) -> list[TrainingVolume]:
    """Phantom cells with two detectors; their noise is spread geometrically over `noise` (relative to the default)."""
    from cisterna.phantoms.cell import fibsem_cell

    levels = np.geomspace(noise[0], noise[1], count) if count > 1 else np.array([(noise[0] * noise[1]) ** 0.5])
    volumes = []
    for n, level in enumerate(levels):
        cell = fibsem_cell(shape, voxel_size_nm, seed + n, noise=float(level))
        volumes.append(
            training_volume(f"phantom {seed + n}, noise {level:.2f}", [cell.inlens, cell.esb], clean=cell.clean)
        )
    return volumes


def read_volume(path: str | Path) -> Image:
    """A TIFF stack or a .npy file, memory-mapped where the file allows it."""
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist; give a TIFF stack or a .npy file")
    if path.suffix == ".npy":
        return np.asarray(np.load(path, mmap_mode="r"))
    import tifffile

    volume: Image
    try:
        volume = tifffile.memmap(path, mode="r")
    except ValueError:
        volume = tifffile.imread(path)
    if volume.ndim != 3:
        raise ValueError(f"{path} holds an array of {volume.shape}; training needs a stack (z, y, x)")
    return np.asarray(volume)
