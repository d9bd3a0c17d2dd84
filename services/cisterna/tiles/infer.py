"""Run a network over a box in tiles; the result does not show where the tiles were."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cisterna.chunks import Box
from cisterna.tiles.plan import NetworkGeometry, plan_tiles

Network = Callable[[np.ndarray], np.ndarray]
"""(C, *n) → (C', *m), a tile in and its output out; m = n − 2·context when valid, n when same-padded."""

Read = Callable[[Box], np.ndarray]
"""A box in volume coordinates (it may reach beyond the volume) → its voxels, reflected where outside."""


def infer(
    source: np.ndarray | Read,
    box: Box,
    network: Network,
    geometry: NetworkGeometry,
    *,
    origin: Sequence[int] | None = None,
    tile: int | Sequence[int] | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Compute ``box`` in tiles.

    Args:
        source: an array (*spatial) or (C, *spatial) that already holds the halo (see `required_halo`), or a
            function that reads any box.
        box: what to compute, in volume coordinates.
        network: see `Network`; it gets float or integer voxels as the source has them, with a channel axis.
        geometry: of the network.
        origin: volume coordinates of the array's first voxel; needed with an array.
        tile: outputs per tile and axis; None: the box in one pass.
        out: (C', *box.shape) to write into; otherwise made in the network's dtype.

    Returns:
        (C', *box.shape).

    Raises:
        ValueError: the array does not hold the halo, or the network's output has another size than its geometry says.
    """
    if box.empty:
        raise ValueError(f"nothing to compute: the box {box} is empty")
    read = source if callable(source) else _reader(source, origin, box.ndim)
    for part in plan_tiles(box, geometry, tile):
        voxels = read(part.read)
        if voxels.ndim == box.ndim:
            voxels = voxels[np.newaxis]
        result = network(voxels)
        loss = 2 * geometry.context if geometry.padding == "valid" else 0
        expected = tuple(n - loss for n in part.read.shape)
        if tuple(result.shape[1:]) != expected:
            raise ValueError(f"the network made {result.shape[1:]} of {part.read.shape}; its geometry says {expected}")
        if out is None:
            out = np.empty((result.shape[0], *box.shape), result.dtype)
        cut = Box(part.crop, part.write.shape).slices
        out[(slice(None), *part.write.relative_to(box.offset).slices)] = result[(slice(None), *cut)]
    assert out is not None  # a box that is not empty has a tile
    return out


def infer_valid(
    source: np.ndarray | Read,
    box: Box,
    network: Network,
    *,
    context: int,
    stride: int,
    smallest_input: int,
    origin: Sequence[int] | None = None,
    tile: int | Sequence[int] | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """`infer` for a network of valid convolutions: an input of n voxels gives n − 2·context."""
    geometry = NetworkGeometry("valid", context, stride, smallest_input)
    return infer(source, box, network, geometry, origin=origin, tile=tile, out=out)


def infer_same(
    source: np.ndarray | Read,
    box: Box,
    network: Network,
    *,
    context: int,
    stride: int,
    origin: Sequence[int] | None = None,
    tile: int | Sequence[int] | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """`infer` for a same-padded network of receptive radius ``context``."""
    return infer(source, box, network, NetworkGeometry("same", context, stride), origin=origin, tile=tile, out=out)


def _reader(array: np.ndarray, origin: Sequence[int] | None, ndim: int) -> Read:
    if origin is None:
        raise ValueError("an array needs its origin: the volume coordinates of its first voxel")
    if array.ndim not in (ndim, ndim + 1):
        raise ValueError(
            f"the array has {array.ndim} axes; a box of {ndim} axes needs {ndim}, or one more for channels"
        )
    held = Box(tuple(origin), array.shape[-ndim:])

    def read(wanted: Box) -> np.ndarray:
        if not held.contains(wanted):
            raise ValueError(
                f"the array holds {held.offset} to {held.end} and a tile needs {wanted.offset} to {wanted.end}: "
                "read the halo that required_halo names"
            )
        part: np.ndarray = array[(slice(None),) * (array.ndim - ndim) + wanted.relative_to(held.offset).slices]
        return part

    return read


def reflect_pad(volume: np.ndarray, low: Sequence[int], high: Sequence[int]) -> np.ndarray:
    """The volume (*spatial) with folded reflections around it (the edge voxel is not repeated).

    A pad wider than the axis folds back and forth; an axis of one voxel repeats it.
    """
    if volume.size == 0:
        raise ValueError(f"an empty volume of shape {volume.shape} cannot be padded")
    return np.pad(volume, list(zip(low, high, strict=True)), mode="reflect")
