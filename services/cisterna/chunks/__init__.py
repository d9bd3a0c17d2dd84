"""Boxes, block grids, halos and reflections: pure arithmetic, no I/O."""

from cisterna.chunks.boxes import Box
from cisterna.chunks.grid import BlockGrid, block_edge, nm_to_voxels
from cisterna.chunks.reflection import reflect_indices

__all__ = ["BlockGrid", "Box", "block_edge", "nm_to_voxels", "reflect_indices"]
