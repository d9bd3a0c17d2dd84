"""One lattice of voxels beside another of other spacing: where its voxels lie, and which voxels around make them.

`factor` is voxels of the other lattice per voxel of the volume, one per axis: above 1 the other is finer.  Voxel k of
the other lies at k / factor of the volume, whoever computes it: both lattices share their first voxel, so blocks, tiles
and regions agree.  Values between voxels are interpolated linearly; towards a coarser lattice a Gaussian of
(1 / factor − 1) / 2 voxels comes first, as scikit-image's `resize` does against aliasing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.chunks import Box

Floats = NDArray[np.float32]
Factor = Sequence[float]

TRUNCATE = 4.0
"""Standard deviations at which the Gaussian ends, as in scipy."""


MODES = ("auto", "always", "never")
"""When a volume is resampled: where an axis is off by more than `NEAR`, where it is off at all, or not."""

NEAR = 1.1
"""Ratio of voxel sizes up to which networks work as well on the voxels as they are (measured: docs/segment.md)."""

SAME = 1.001
"""Ratio of voxel sizes that is none: what writing 7.999 for 8 makes."""

LARGEST = 8.0
"""Largest ratio that is resampled."""


def factor_between(voxel_size_nm: Factor, wanted_nm: Factor, mode: str = "auto") -> tuple[float, ...]:
    """Voxels of a lattice of `wanted_nm` per voxel and axis; nothing where the volume shall stay as it is.

    An axis that is near enough (`mode`) keeps its voxels, factor 1.

    Raises ValueError for an unknown mode, or a ratio above `LARGEST`.
    """
    if mode not in MODES:
        raise ValueError(f"unknown resampling mode {mode!r}; use one of {', '.join(MODES)}")
    if mode == "never":
        return ()
    near = NEAR if mode == "auto" else SAME
    ratios = [a / b for a, b in zip(voxel_size_nm, wanted_nm, strict=True)]
    factor = tuple(1.0 if max(r, 1 / r) <= near * (1 + 1e-9) else r for r in ratios)
    if any(max(f, 1 / f) > LARGEST for f in factor):
        raise ValueError(
            f"voxels of {_sizes(voxel_size_nm)} nm are more than {LARGEST:g} times larger or smaller along an axis "
            f"than {_sizes(wanted_nm)} nm"
        )
    return factor if any(f != 1 for f in factor) else ()


def _sizes(nm: Factor) -> str:
    return " × ".join(f"{n:g}" for n in nm)


def blur_sigma(factor: float) -> float:
    """Standard deviation, in voxels of the volume, of the Gaussian before a coarser lattice; 0 before a finer one."""
    return max(0.0, (1 / factor - 1) / 2)


def blur_radius(factor: float) -> int:
    """Voxels on each side that the Gaussian takes in."""
    return int(TRUNCATE * blur_sigma(factor) + 0.5)


def halo(reach: int, factor: Factor) -> tuple[int, ...]:
    """Voxels of the volume to read on each side of any block, whose values on the other lattice depend on `reach` more.

    Enough for every block: what one needs is less by up to two, and `box_there` and `box_here` say it exactly.
    """
    return tuple(math.ceil((reach + 1) / f) + 1 + blur_radius(f) for f in factor)


def box_there(box: Box, factor: Factor) -> Box:
    """Voxels of the other lattice that interpolation at the voxels of `box` takes in."""
    return Box.from_bounds(
        [math.floor(o * f) for o, f in zip(box.offset, factor, strict=True)],
        [math.floor((e - 1) * f) + (1 if f == 1 else 2) for e, f in zip(box.end, factor, strict=True)],
    )


def box_here(box: Box, factor: Factor) -> Box:
    """Voxels of the volume that the voxels of `box`, on the other lattice, are made of."""
    return Box.from_bounds(
        [math.floor(o / f) - blur_radius(f) for o, f in zip(box.offset, factor, strict=True)],
        [math.floor((e - 1) / f) + blur_radius(f) + (1 if f == 1 else 2) for e, f in zip(box.end, factor, strict=True)],
    )


def taps(places: NDArray[np.floating[Any]], factor: float = 1.0) -> tuple[NDArray[np.int64], Floats]:
    """What a value at each of `places` (in voxels of the array that is read) is the weighted sum of.

    Returns the index of the first voxel of each sum, and (places, n) weights of it and the n − 1 voxels after it.
    With a `factor` below 1 the Gaussian of `blur_sigma` is part of the weights.
    """
    below = np.floor(places)
    share = (places - below)[:, None]
    radius, sigma = blur_radius(factor), blur_sigma(factor)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2) if radius else np.ones(1)
    kernel /= kernel.sum()
    weights = np.zeros((len(places), 2 * radius + 2))
    weights[:, :-1] += kernel * (1 - share)
    weights[:, 1:] += kernel * share
    if not share.any():
        weights = weights[:, :-1]
    return below.astype(np.int64) - radius, weights.astype(np.float32)


def interpolated(array: NDArray[Any], at: Sequence[NDArray[np.float64]], origin: Sequence[int]) -> Floats:
    """Linear interpolation, axis by axis, at places of the volume; `origin` is the array's first voxel there.

    Places beyond the array take its last voxel.
    """
    for axis, (places, start) in enumerate(zip(at, origin, strict=True)):
        below = np.floor(places)
        weight = (places - below).astype(np.float32)
        index = below.astype(int) - start
        last = array.shape[axis] - 1
        a, b = (np.take(array, np.clip(index + k, 0, last), axis=axis) for k in (0, 1))
        if weight.any():
            column = weight.reshape([-1 if n == axis else 1 for n in range(3)])
            array = a + column * (b - a)
        else:
            array = a
    return array
