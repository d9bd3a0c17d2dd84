"""Anisotropic volumes through a network of cubic voxels: upsampled trilinearly, denoised, brought back to their grid.

The fine lattice is anchored at the volume's first voxel: fine voxel k lies at k / factor of the input, whoever computes
it, and the network's tiles lie on its stride there.  So blocks, tiles and regions agree as they do without upsampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna import lattice
from cisterna.chunks import Box
from cisterna.denoise.apply import Denoiser, IntensityRange, run_tile
from cisterna.tiles import infer

Image = NDArray[Any]
Floats = NDArray[np.float32]


def upsampled_halo(radius: int, factor: Sequence[float]) -> tuple[int, ...]:
    """Input voxels to read on each side of a block, per axis, for a network of receptive `radius` on the fine grid."""
    return lattice.halo(radius, factor)


def denoise_upsampled(
    detectors: Sequence[Image],
    halo: Sequence[int],
    ranges: Sequence[IntensityRange],
    denoiser: Denoiser,
    factor: Sequence[float],
    *,
    offset: Sequence[int] = (0, 0, 0),
    tile: int | Sequence[int] | None = None,
) -> Floats:
    """Each detector of a block denoised on a finer grid: (detector, z, y, x), float32, on the input's grid.

    `detectors`: arrays (z, y, x) of one shape, the block and `halo` voxels on each side.  `factor`: fine voxels per
    input voxel and axis, 1 or more.  `offset`: the block's first voxel in the volume.  NaN is shown to the network as
    the middle of its range and comes back as NaN.
    Raises ValueError for a factor below 1 or a halo under `upsampled_halo`.
    """
    if any(not (1 <= f < 64) for f in factor):
        raise ValueError(f"upsampling by {tuple(factor)}: every factor must be from 1 to 64")
    needed = upsampled_halo(denoiser.network.reach.radius, factor)
    if any(h < n for h, n in zip(halo, needed, strict=True)):
        raise ValueError(
            f"halo {tuple(halo)} is less than upsampling by {tuple(factor)} needs; ask for {needed} voxels"
        )
    arrays = [np.asarray(d) for d in detectors]
    shape = tuple(n - 2 * h for n, h in zip(arrays[0].shape, halo, strict=True))
    if min(shape) < 1:
        raise ValueError(f"an array of {arrays[0].shape} with halo {tuple(halo)} has no block inside")
    first = [int(o) for o in offset]
    held = [o - h for o, h in zip(first, halo, strict=True)]
    fine = lattice.box_there(Box(tuple(first), shape), factor)
    filled = [
        np.where(np.isfinite(a), a, (r.low + r.high) / 2).astype(np.float32)
        for a, r in zip(arrays, ranges, strict=True)
    ]

    def read(box: Box) -> Floats:
        # Fine voxels whose place is not held lie beyond the receptive radius of all that is kept.
        at = [np.arange(a, b) / f for a, b, f in zip(box.offset, box.end, factor, strict=True)]
        return np.stack([lattice.interpolated(a, at, held) for a in filled])

    cleaned = infer(
        read,
        fine,
        lambda voxels: run_tile(voxels, ranges, denoiser),
        denoiser.geometry,
        tile=denoiser.tile(fine.shape) if tile is None else tile,
    )
    back = [np.arange(o, o + n) * f for o, n, f in zip(first, shape, factor, strict=True)]
    made = np.stack([lattice.interpolated(c, back, fine.offset) for c in cleaned])
    inner = tuple(slice(h, h + n) for h, n in zip(halo, shape, strict=True))
    return np.where(np.isfinite(np.stack([a[inner] for a in arrays])), made, np.float32(np.nan))
