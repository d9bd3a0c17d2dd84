"""Which tiles a network computes a box in, so that the tiles agree with the whole to the last bit of arithmetic.

A network that pools is only equivariant to shifts by its total stride. Tiles therefore start on multiples of the
stride *in the coordinates of the volume*, so each output voxel meets the same pooling phase whoever computes it, and
each tile reads all the voxels that its outputs depend on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cisterna.chunks import Box

MAX_PARTS = 64
"""A box is cut into at most this many tiles per axis."""


@dataclass(frozen=True)
class NetworkGeometry:
    """What the sizes of a network's input and output obey.

    Attributes:
        padding: ``valid``: an input of n voxels gives n − 2·context; ``same``: it gives n.
        context: voxels on each side. Valid: those the output loses. Same: the receptive radius, within which the
            network's own padding may change an output.
        stride: total pooling factor.
        smallest_input: legal inputs are ``smallest_input + stride·k``, k ≥ 0. Same-padded networks: any multiple
            of the stride (0 means that).
    """

    padding: Literal["valid", "same"]
    context: int
    stride: int
    smallest_input: int = 0

    def __post_init__(self) -> None:
        if self.padding not in ("valid", "same"):
            raise ValueError(f"padding must be 'valid' or 'same', got {self.padding!r}")
        if self.context < 0 or self.stride < 1:
            raise ValueError(
                f"a network needs context >= 0 and stride >= 1, got context {self.context}, stride {self.stride}"
            )
        if self.padding == "valid" and self.smallest_input <= 2 * self.context:
            raise ValueError(
                f"a valid network of context {self.context} needs smallest_input > {2 * self.context}, "
                f"got {self.smallest_input}"
            )
        if self.padding == "same" and self.smallest_input % self.stride:
            raise ValueError(f"smallest_input {self.smallest_input} is not a multiple of the stride {self.stride}")

    @property
    def halo(self) -> int:
        """Voxels between the start of a tile's input and its first output: keeps both on one pooling phase."""
        return self.context if self.padding == "valid" else _round_up(self.context, self.stride)

    def input_size(self, outputs: int) -> int:
        """Smallest legal input that gives at least this many usable outputs behind a low halo of ``halo``."""
        if self.padding == "valid":
            beyond = max(0, outputs + 2 * self.context - self.smallest_input)
            return self.smallest_input + _round_up(beyond, self.stride)
        return max(self.smallest_input, _round_up(2 * self.halo + outputs, self.stride))


@dataclass(frozen=True)
class Tile:
    """One forward pass: ``read`` goes in, and ``write`` is cut out of what comes out at ``crop`` (its offset there).

    ``read`` and ``write`` are in volume coordinates; ``read`` may reach beyond the volume.
    """

    read: Box
    write: Box
    crop: tuple[int, ...]


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def _tile(aligned: Box, write: Box, geometry: NetworkGeometry) -> Tile:
    halo = geometry.halo
    read = Box(
        tuple(o - halo for o in aligned.offset),
        tuple(geometry.input_size(n) for n in aligned.shape),
    )
    lead = 0 if geometry.padding == "valid" else halo
    return Tile(read, write, tuple(w - o + lead for w, o in zip(write.offset, aligned.offset, strict=True)))


def _aligned(box: Box, stride: int) -> Box:
    """The box with its start moved down to a multiple of the stride."""
    return box.grow([o % stride for o in box.offset], 0)


def required_halo(box: Box, geometry: NetworkGeometry) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Voxels (low, high), per axis, that must be read around ``box`` to compute it, in tiles of any size.

    The far side is usually the wider one, because legal input sizes go in steps of the stride.
    """
    read = _tile(_aligned(box, geometry.stride), box, geometry).read
    low = tuple(b - r for b, r in zip(box.offset, read.offset, strict=True))
    high = tuple(r - b for b, r in zip(box.end, read.end, strict=True))
    return low, high


def plan_tiles(box: Box, geometry: NetworkGeometry, tile: int | Sequence[int] | None = None) -> list[Tile]:
    """Tiles that cover ``box`` without overlap, in C order.

    Args:
        box: what must be computed, in volume coordinates.
        geometry: of the network.
        tile: outputs per tile and axis, rounded up to the stride; None: one tile.
    """
    if box.empty:
        return []
    stride = geometry.stride
    whole = _aligned(box, stride)
    edges = whole.shape if tile is None else _per_axis(tile, box.ndim)
    if any(e < 1 for e in edges):
        raise ValueError(f"a tile needs at least one voxel per axis, got {tuple(edges)}")
    steps = [_round_up(e, stride) for e in edges]
    starts = [range(offset, end, step) for offset, end, step in zip(whole.offset, whole.end, steps, strict=True)]
    tiles = []
    for start in itertools.product(*starts):
        stop = tuple(min(s + step, e) for s, step, e in zip(start, steps, whole.end, strict=True))
        aligned = Box.from_bounds(start, stop)
        tiles.append(_tile(aligned, aligned.intersect(box), geometry))
    return tiles


def choose_tile(
    shape: Sequence[int], geometry: NetworkGeometry, memory_bytes: int, bytes_per_voxel: float
) -> tuple[int, ...]:
    """Tile (outputs per axis) that computes a box of ``shape`` with the fewest input voxels that fit the memory.

    Args:
        shape: of the box.
        geometry: of the network.
        memory_bytes: peak that one forward pass may take. A fixed setting, never what is free at the moment:
            the same tiles give the same bytes.
        bytes_per_voxel: peak memory of a forward pass, divided by its input voxels.

    Raises:
        ValueError: when not even the smallest tile fits.
    """
    limit = memory_bytes / bytes_per_voxel
    options = [list(_edges(n, geometry)) for n in shape]
    best: tuple[int, int, tuple[int, ...]] | None = None
    for combination in itertools.product(*options):
        pass_voxels = math.prod(geometry.input_size(edge) for edge, _ in combination)
        if pass_voxels > limit:
            continue
        passes = math.prod(count for _, count in combination)
        candidate = (passes * pass_voxels, passes, tuple(edge for edge, _ in combination))
        if best is None or candidate < best:
            best = candidate
    if best is None:
        least = math.prod(geometry.input_size(1) for _ in shape) * bytes_per_voxel
        raise ValueError(
            f"the smallest tile of this network takes {least / 2**20:.0f} MiB and the budget is "
            f"{memory_bytes / 2**20:.0f} MiB: raise the memory budget"
        )
    return best[2]


def _edges(size: int, geometry: NetworkGeometry) -> Iterator[tuple[int, int]]:
    """(tile edge, number of tiles) for an axis, one for each distinct way to split it evenly."""
    seen = set()
    for parts in range(1, MAX_PARTS + 1):
        edge = _round_up(math.ceil(size / parts), geometry.stride)
        if edge not in seen:
            seen.add(edge)
            yield edge, math.ceil(size / edge)


def _per_axis(value: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    values = (value,) * ndim if isinstance(value, int) else tuple(value)
    if len(values) != ndim:
        raise ValueError(f"expected {ndim} values, one per axis, got {values}")
    return values
