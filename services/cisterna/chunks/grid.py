"""How an array is cut into blocks, and how nanometres become voxels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from cisterna.chunks.boxes import Box

BLOCK_EDGES = (256, 128, 64)
"""Legal edges of a volume block, in voxels: multiples of the 64-voxel chunk."""

MIN_BLOCKS = 8
"""Small data is cut into at least this many blocks, so that it meets seams, overlap and resume too."""


def block_edge(shape: Sequence[int]) -> int:
    """Edge of the cubic blocks of a volume: the largest legal one giving at least 8 blocks, else the smallest."""
    for edge in BLOCK_EDGES:
        if BlockGrid(tuple(shape), (edge,) * len(shape)).blocks >= MIN_BLOCKS:
            return edge
    return BLOCK_EDGES[-1]


def nm_to_voxels(distance_nm: float, voxel_size_nm: Sequence[float]) -> tuple[int, ...]:
    """Voxels per axis that cover a distance in nm (rounded up; 1e-9 relative tolerance)."""
    if any(not (s > 0 and math.isfinite(s)) for s in voxel_size_nm):
        raise ValueError(f"voxel sizes must be positive numbers in nm, got {tuple(voxel_size_nm)}")
    if not (distance_nm >= 0 and math.isfinite(distance_nm)):
        raise ValueError(f"a distance must be a number >= 0 in nm, got {distance_nm}")
    return tuple(math.ceil(distance_nm / s * (1 - 1e-9)) for s in voxel_size_nm)


@dataclass(frozen=True)
class BlockGrid:
    """An array cut into blocks of one shape, clipped at the far edges; blocks count in C order."""

    shape: tuple[int, ...]
    block: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "block", tuple(int(n) for n in self.block))
        if len(self.shape) != len(self.block):
            raise ValueError(f"block {self.block} needs one edge per axis of {self.shape}")
        if any(n < 1 for n in self.shape + self.block):
            raise ValueError(f"shape {self.shape} and block {self.block} must be positive")

    @property
    def counts(self) -> tuple[int, ...]:
        """Blocks along each axis."""
        return tuple(-(-n // b) for n, b in zip(self.shape, self.block, strict=True))

    @property
    def blocks(self) -> int:
        return math.prod(self.counts)

    def position(self, index: int) -> tuple[int, ...]:
        """Grid position of block number ``index``."""
        if not 0 <= index < self.blocks:
            raise ValueError(f"block {index} does not exist: the grid has {self.blocks}")
        position = []
        for count in reversed(self.counts):
            index, p = divmod(index, count)
            position.append(p)
        return tuple(reversed(position))

    def index(self, position: Sequence[int]) -> int:
        """Number of the block at a grid position."""
        index = 0
        for p, count in zip(position, self.counts, strict=True):
            if not 0 <= p < count:
                raise ValueError(f"no block at {tuple(position)}: the grid is {self.counts}")
            index = index * count + p
        return index

    def box(self, index: int) -> Box:
        """Voxels of block ``index``, clipped to the array."""
        offset = tuple(p * b for p, b in zip(self.position(index), self.block, strict=True))
        stop = tuple(min(o + b, n) for o, b, n in zip(offset, self.block, self.shape, strict=True))
        return Box.from_bounds(offset, stop)

    def overlapping(self, box: Box) -> list[int]:
        """Numbers of the blocks that share a voxel with ``box`` (clipped to the array), ascending."""
        inside = box.intersect(Box.whole(self.shape))
        if inside.empty:
            return []
        ranges = [range(o // b, -(-e // b)) for o, e, b in zip(inside.offset, inside.end, self.block, strict=True)]
        return [self.index(p) for p in itertools.product(*ranges)]
