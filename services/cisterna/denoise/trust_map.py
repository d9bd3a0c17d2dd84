"""Where in a block the residual is not noise, and what stripes and uneven planes the denoised picture still holds.

Two scores per cube of 16 voxels, both in units of their own standard error and N(0, 1) where the residual
(raw - denoised) is white noise, whatever its strength and however that changes with the signal:

* `lag_score`: sum of the products of neighbouring residuals, over the root of the sum of their squares.  High where
  structure was taken for noise.  What noise a denoiser leaves in makes it negative, never positive.
* `shared_score`, with two detectors: the same of the products of one residual with the other's mean over 3 x 3 x 3
  voxels.  Noise of two detectors is independent, so what their residuals share was no noise.

The mean of every plane of a cube is taken off first: planes of uneven brightness are told apart from lost structure.

Stripes (curtains) run through the whole plane, structure does not.  The plane is cut along the stripe into four
segments, each averaged along it and freed of what is smooth across it; `stripe_sum` adds the products of segments that
do not touch, which is the variance of what they share.  It is zero on average for noise and for structure shorter than
a quarter of the plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, uniform_filter, uniform_filter1d

Image = NDArray[Any]
Floats = NDArray[np.float32]
CUBE = 16
FEWEST_VOXELS = 200
SEGMENTS = 4
APART = ((0, 2), (1, 3), (0, 3))
ACROSS_SIGMA = 3.0
PLANES = 17
LAGS = 8
_EPOCH = (1980, 1, 1, 0, 0, 0)


def cube_scores(raw: Sequence[Image], denoised: Sequence[Image]) -> dict[str, Floats]:
    """`lag_score` and, for two or more detectors, `shared_score`: (cubes in z, y, x), float32.

    `raw`, `denoised`: per detector (z, y, x) without halo; cubes at the far faces are clipped.  NaN where fewer than
    200 voxels are finite or the residual is constant.
    """
    residuals = [np.asarray(a, np.float32) - np.asarray(b, np.float32) for a, b in zip(raw, denoised, strict=True)]
    cubes = [_cubes(r) for r in residuals]
    lags = [_lag_score(*c) for c in cubes]
    found = {"lag_score": (np.sum(lags, axis=0) / np.sqrt(len(lags))).astype(np.float32)}
    if len(residuals) > 1:
        total, square, count = 0.0, 0.0, 0.0
        for n, (values, seen) in enumerate(cubes):
            for other in residuals[:n]:
                around, seen_too = _cubes(_surroundings(other))
                product = values * around
                total = total + product.sum(axis=(1, 3, 5), dtype=np.float64)
                square = square + (product * product).sum(axis=(1, 3, 5), dtype=np.float64)
                count = count + (seen & seen_too).sum(axis=(1, 3, 5))
        found["shared_score"] = _ratio(total, square, count)
    return found


def _surroundings(residual: Floats) -> Floats:
    """Mean of the 27 voxels around each: structure shares its neighbours, and noise is averaged."""
    seen = np.isfinite(residual)
    mean = uniform_filter(np.where(seen, residual, np.float32(0)), 3, mode="constant")
    return np.where(seen, mean, np.float32(np.nan))


def _cubes(residual: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """(residual, where finite) as (cz, 16, cy, 16, cx, 16); plane means of each cube taken off, 0 where absent."""
    pad = [(0, -n % CUBE) for n in residual.shape]
    padded = np.pad(residual, pad, constant_values=np.nan)
    shape = [k for n in padded.shape for k in (n // CUBE, CUBE)]
    values = padded.reshape(shape)
    seen = np.isfinite(values)
    values = np.where(seen, values, 0)
    count = seen.sum(axis=(3, 5), keepdims=True)
    mean = values.sum(axis=(3, 5), keepdims=True, dtype=np.float64) / np.maximum(count, 1)
    return np.where(seen, values - mean.astype(np.float32), np.float32(0)), seen


def _lag_score(values: Floats, seen: NDArray[np.bool_]) -> Floats:
    total, square = 0.0, 0.0
    inside = seen.sum(axis=(3, 5), keepdims=True).astype(np.float64)
    power = (values * values).sum(axis=(3, 5), keepdims=True, dtype=np.float64)
    # Taking the mean off a plane of m voxels makes any two of them anticorrelated by variance / m.
    bias = np.divide(power, inside * (inside - 1), out=np.zeros_like(power), where=inside > 1)
    for axis in (1, 3, 5):
        a, b = (np.take(values, range(*r), axis=axis) for r in ((1, CUBE), (0, CUBE - 1)))
        product = a * b
        total = total + product.sum(axis=(1, 3, 5), dtype=np.float64)
        square = square + (product * product).sum(axis=(1, 3, 5), dtype=np.float64)
        if axis != 1:
            pairs = np.take(seen, range(1, CUBE), axis=axis) & np.take(seen, range(CUBE - 1), axis=axis)
            total = total + (pairs.sum(axis=(3, 5), keepdims=True) * bias).sum(axis=(1, 3, 5))
    return _ratio(total, square, seen.sum(axis=(1, 3, 5)))


def _ratio(total: Any, square: Any, count: Any) -> Floats:
    good = (square > 0) & (count >= FEWEST_VOXELS)
    return np.where(good, total / np.sqrt(np.where(good, square, 1)), np.nan).astype(np.float32)


def plane_profiles(picture: Image) -> dict[str, NDArray[np.float64]]:
    """What each plane of a denoised block (z, y, x) adds to the search for uneven planes and stripes.

    `plane_count`, `plane_sum`, `plane_square`: (z,), of the finite voxels.  `stripe_sum`, `stripe_variance`,
    `stripe_terms`: (direction, z), direction 0 for stripes along y, 1 for stripes along x: the sum of products that
    two segments share, its variance where they share nothing (Bartlett's sum over lags), and how many products it is.
    """
    grey = np.asarray(picture, np.float64)
    seen = np.isfinite(grey)
    values = np.where(seen, grey, 0)
    count = seen.sum(axis=(1, 2)).astype(np.float64)
    total = values.sum(axis=(1, 2))
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    centred = np.where(seen, grey - mean[:, None, None], 0)
    stripes = [_stripes(centred), _stripes(np.swapaxes(centred, 1, 2))]
    return {
        "plane_count": count,
        "plane_sum": total,
        "plane_square": (values * values).sum(axis=(1, 2)),
        "stripe_sum": np.stack([s[0] for s in stripes]),
        "stripe_variance": np.stack([s[1] for s in stripes]),
        "stripe_terms": np.stack([s[2] for s in stripes]),
    }


def _stripes(grey: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of stripes along axis 1 of (z, along, across): sum of shared products, its variance, terms; per plane."""
    depth, along, across = grey.shape
    nothing = np.zeros(depth)
    if along < 4 * SEGMENTS or across < 4 * LAGS:
        return nothing, nothing, nothing
    edges = np.linspace(0, along, SEGMENTS + 1).astype(int)
    segments = np.stack([grey[:, a:b].mean(axis=1) for a, b in pairwise(edges)])
    segments -= gaussian_filter1d(segments, ACROSS_SIGMA, axis=2, mode="nearest")
    if depth > PLANES:
        segments -= uniform_filter1d(segments, PLANES, axis=1, mode="nearest")
    total, variance, terms = nothing.copy(), nothing.copy(), nothing.copy()
    lagged = [
        (segments[..., k:] * segments[..., : across - k]).sum(axis=2) / across for k in range(LAGS)
    ]  # (segment, z) each
    for a, b in APART:
        total += (segments[a] * segments[b]).sum(axis=1)
        variance += across * sum((1 if k == 0 else 2) * lagged[k][a] * lagged[k][b] for k in range(LAGS))
        terms += across
    return total, np.maximum(variance, 0), terms


def trust_part(raw: Sequence[Image], denoised: Sequence[Image], picture: Image) -> dict[str, Image]:
    """All arrays of a block: `cube_scores` of its detectors and `plane_profiles` of the denoised picture."""
    return {**cube_scores(raw, denoised), **plane_profiles(picture)}
