"""Fields of requests, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from cisterna.chunks import Box
from cisterna.v1 import common_pb2


def box_of(ref: common_pb2.ChunkRef) -> Box:
    """The box of a chunk of a volume; ValueError where it has not three axes."""
    box = Box(tuple(ref.box.offset), tuple(ref.box.shape))
    if box.ndim != 3:
        raise ValueError(f"{ref.array.path}: a block of a volume has axes z,y,x; the request's box has {box.ndim}")
    return box


def same_box(ref: common_pb2.ChunkRef, box: Box) -> common_pb2.ChunkRef:
    """The chunk, if it has this box; ValueError otherwise."""
    if box_of(ref) != box:
        raise ValueError(f"{ref.array.path}: all classes of one task need one box, got {box_of(ref)} and {box}")
    return ref


def check_halo(ref: common_pb2.ChunkRef, need: tuple[int, ...], reach_nm: float) -> None:
    """ValueError where the halo that was planned is below what the rules need."""
    halo = tuple(ref.halo) or (0, 0, 0)
    if any(h < n for h, n in zip(halo, need, strict=True)):
        raise ValueError(
            f"halo {halo} is below {need}: distances are measured up to {reach_nm:g} nm; plan the stage with that reach"
        )


def voxel_size_of(values: Any) -> tuple[float, float, float]:
    """Three positive lengths in nm of a request, or ValueError."""
    size = tuple(float(v) for v in values)
    if len(size) != 3 or not all(np.isfinite(v) and v > 0 for v in size):
        raise ValueError(f"voxel_size_nm = {size}: give three positive lengths in nm, z, y, x")
    return size[0], size[1], size[2]
