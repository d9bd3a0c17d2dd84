"""A network on the voxel size that it was trained at: the input is resampled to its lattice, the result brought back.

The network's tiles lie on its stride on that lattice, which shares its first voxel with the volume
(`cisterna.lattice`).
All arithmetic runs on the device, tile by tile, so memory does not grow with the factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cisterna.chunks import Box
from cisterna.lattice import box_here, box_there, taps
from cisterna.tiles import NetworkGeometry, choose_tile, plan_tiles, required_halo

PIECE_VOXELS = 2**26
"""Voxels of the network's lattice that are held at once; a block with more is computed in pieces."""

SLAB_VOXELS = {"cpu": 2**20, "cuda": 2**26}
"""Voxels that are interpolated from at once: those that a CPU's cache holds (half the time of 2**24), or many."""

Change = Callable[[torch.Tensor], torch.Tensor]
Places = NDArray[np.floating[Any]]


def resampled_halo(
    box: Box, geometry: NetworkGeometry, factor: Sequence[float]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Voxels (low, high), per axis, to read around a box of the volume to compute it on the network's lattice."""
    there = box_there(box, factor)
    held = box_here(there.grow(*required_halo(there, geometry)), factor)
    low = tuple(b - h for b, h in zip(box.offset, held.offset, strict=True))
    high = tuple(h - b for b, h in zip(box.end, held.end, strict=True))
    return low, high


def resampled_inference(
    block: NDArray[Any],
    origin: Sequence[int],
    box: Box,
    network: nn.Module,
    geometry: NetworkGeometry,
    factor: Sequence[float],
    *,
    limits: tuple[float, float],
    before: Change,
    after: Change,
    device: str | torch.device = "cpu",
    memory_bytes: int,
    bytes_per_voxel: float,
    tile: int | Sequence[int] | None = None,
) -> NDArray[Any]:
    """What the network gives on its own lattice, on the grid of the volume.

    Args:
        block: (Z, Y, X) grey values, already with the halo (`resampled_halo`).
        origin: volume coordinates of its first voxel.
        box: what to compute, in volume coordinates.
        network: (1, 1, *n) → (1, C, *m) as ``geometry`` says, on ``device``.
        factor: voxels of the network's lattice per voxel of the volume and axis (z, y, x).
        limits: grey values are clipped to them first, so that one bright voxel does not spread; NaN counts as the low.
        before, after: applied on the device to a tile on the network's lattice, float32, and to the logits.
        memory_bytes, bytes_per_voxel: of a forward pass; they choose the tiles unless ``tile`` does.
        tile: outputs per tile and axis, on the network's lattice.

    Returns:
        (C', *box.shape) in the type that ``after`` gives; whole numbers are rounded.

    Raises:
        ValueError: the block does not hold the halo.
    """
    held = Box(tuple(origin), block.shape)
    needed = box.grow(*resampled_halo(box, geometry, factor))
    if not held.contains(needed):
        raise ValueError(
            f"the block holds {held.offset} to {held.end} and resampling by {tuple(factor)} needs {needed.offset} to "
            f"{needed.end}: read the halo that resampled_halo names"
        )
    there = box_there(box, factor)
    more = {
        "limits": limits, "before": before, "after": after, "device": device, "memory_bytes": memory_bytes,
        "bytes_per_voxel": bytes_per_voxel, "tile": tile,
    }  # fmt: skip
    if there.size > PIECE_VOXELS and max(box.shape) > 1:
        axis = int(np.argmax([n if m > 1 else 0 for n, m in zip(there.shape, box.shape, strict=True)]))
        pieces = [
            resampled_inference(block, origin, piece, network, geometry, factor, **more)  # type: ignore[arg-type]
            for piece in _halves(box, axis)
        ]
        return np.concatenate(pieces, axis=1 + axis)
    if tile is None:
        tile = choose_tile(there.shape, geometry, memory_bytes, bytes_per_voxel)
    answer: torch.Tensor | None = None
    with torch.inference_mode():
        for part in plan_tiles(there, geometry, tile):
            y = after(network(before(_shown(block, held.offset, part.read, factor, limits, device)[None, None])))[0]
            if answer is None:
                answer = torch.empty((y.shape[0], *there.shape), dtype=y.dtype, device=device)
            cut = Box(part.crop, part.write.shape).slices
            answer[(slice(None), *part.write.relative_to(there.offset).slices)] = y[(slice(None), *cut)]
        assert answer is not None  # a box that is not empty has a tile
        back = torch.stack([_brought_back(channel, there.offset, box, factor) for channel in answer])
        return back.cpu().numpy()


def _halves(box: Box, axis: int) -> tuple[Box, Box]:
    at = list(box.end)
    at[axis] = box.offset[axis] + box.shape[axis] // 2
    start = list(box.offset)
    start[axis] = at[axis]
    return Box.from_bounds(box.offset, at), Box.from_bounds(start, box.end)


def _shown(
    block: NDArray[Any], origin: Sequence[int], wanted: Box, factor: Sequence[float], limits: tuple[float, float],
    device: str | torch.device,
) -> torch.Tensor:  # fmt: skip
    """A box of the network's lattice, from grey values of the volume: float32 within ``limits``."""

    def read(here: Box) -> torch.Tensor:
        grey = torch.from_numpy(np.ascontiguousarray(block[here.relative_to(origin).slices]))
        grey = grey.to(device=device, dtype=torch.float32)
        return torch.nan_to_num(grey, nan=limits[0], posinf=limits[1], neginf=limits[0]).clamp_(*limits)

    places: list[Places] = [np.arange(o, e) / f for o, e, f in zip(wanted.offset, wanted.end, factor, strict=True)]
    return _interpolated(read, places, factor, torch.empty(wanted.shape, dtype=torch.float32, device=device))


def _brought_back(answer: torch.Tensor, origin: Sequence[int], box: Box, factor: Sequence[float]) -> torch.Tensor:
    """The answer (z, y, x) at the voxels of ``box``, in its own type."""

    def read(there: Box) -> torch.Tensor:
        return answer[there.relative_to(origin).slices].to(torch.float32)

    places: list[Places] = [np.arange(o, e) * f for o, e, f in zip(box.offset, box.end, factor, strict=True)]
    out = torch.empty(box.shape, dtype=answer.dtype, device=answer.device)
    return _interpolated(read, places, (1.0, 1.0, 1.0), out)


def _interpolated(
    read: Callable[[Box], torch.Tensor], places: Sequence[Places], factor: Sequence[float],
    out: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Fills ``out`` with weighted sums of what ``read`` gives, a slab of planes at a time; sums are in float32."""
    sums = [taps(p, f) for p, f in zip(places, factor, strict=True)]
    spans = [(int(first[0]), int(first[-1]) + weights.shape[1]) for first, weights in sums]
    plane = math.prod(b - a for a, b in spans[1:])
    slab_voxels = SLAB_VOXELS.get(out.device.type, SLAB_VOXELS["cuda"])
    planes = max(1, int(slab_voxels / plane * len(places[0]) / (spans[0][1] - spans[0][0])))
    for start in range(0, len(places[0]), planes):
        slab = slice(start, start + planes)
        first, weights = sums[0][0][slab], sums[0][1][slab]
        top, bottom = int(first[0]), int(first[-1]) + weights.shape[1]
        here = Box.from_bounds([top, spans[1][0], spans[2][0]], [bottom, spans[1][1], spans[2][1]])
        values = read(here)
        for axis, (at, w) in enumerate([(first, weights), *sums[1:]]):
            values = _along(values, axis, at - here.offset[axis], w)
        out[slab] = values if out.dtype.is_floating_point else values.round_()
    return out


def _along(x: torch.Tensor, axis: int, first: NDArray[np.int64], weights: NDArray[np.float32]) -> torch.Tensor:
    """Weighted sums of neighbours along an axis, one for each of ``first``, their first index."""
    if weights.shape[1] == 1 and (weights == 1).all() and (np.diff(first) == 1).all():
        return x.narrow(axis, int(first[0]), len(first))
    index = torch.from_numpy(first).to(x.device)
    column = torch.from_numpy(weights).to(x.device)
    shape = [-1 if n == axis else 1 for n in range(3)]
    total: torch.Tensor | None = None
    for n in range(weights.shape[1]):
        term = x.index_select(axis, index + n).mul_(column[:, n].reshape(shape))
        total = term if total is None else total.add_(term)
    assert total is not None
    return total
