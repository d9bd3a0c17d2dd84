"""Where two bodies meet: a membrane class from a dense segmentation of bodies."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def boundaries(bodies: NDArray[Any], *, reach_voxels: float = 1.0) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Voxels between different bodies, and where that can be told.

    A voxel is boundary when at least two different bodies lie within ``reach_voxels`` of it (itself included), so a
    face between two bodies gives a sheet of two voxels at a reach of 1, and unlabelled gaps between two bodies fill.
    A voxel whose surroundings hold an unlabelled voxel (0) and only one body could be either: it is unknown.

    Args:
        bodies: (Z, Y, X) integers, 0 = unlabelled.
        reach_voxels: distance in voxels up to which a body counts; 1 is the six face neighbours.

    Returns:
        (boundary, known), bool of the shape of ``bodies``. Every boundary voxel is known.

    Raises:
        ValueError: not a volume of integers, or a reach below 1.
    """
    if bodies.ndim != 3 or bodies.size == 0 or bodies.dtype.kind not in "iu":
        raise ValueError(f"bodies must be integers (z, y, x), got {bodies.dtype} of shape {bodies.shape}")
    if not reach_voxels >= 1:
        raise ValueError(f"the reach of a boundary must be at least 1 voxel, got {reach_voxels}")
    near = _ball(reach_voxels)
    highest = ndimage.maximum_filter(bodies, footprint=near, mode="nearest")
    unlabelled = bodies <= 0
    beyond = np.iinfo(bodies.dtype).max
    lowest = ndimage.minimum_filter(np.where(unlabelled, beyond, bodies), footprint=near, mode="nearest")
    boundary = (highest > 0) & (lowest < highest)
    unsure = ndimage.maximum_filter(unlabelled, footprint=near, mode="nearest") if unlabelled.any() else unlabelled
    return boundary, boundary | ~unsure


def _ball(reach_voxels: float) -> NDArray[np.bool_]:
    edge = int(reach_voxels)
    ball = np.zeros((2 * edge + 1,) * 3, bool)
    for offset in itertools.product(range(-edge, edge + 1), repeat=3):
        if sum(n * n for n in offset) <= reach_voxels**2 + 1e-9:
            ball[tuple(n + edge for n in offset)] = True
    return ball
