"""Elastic deformation and rotation of training patches, as the published ASEM networks were trained.

Control points stand every 32 voxels and are displaced at random; the displacement is smooth between them. The patch is
turned about z through its centre. Only the voxels of the patch are sampled: the image linearly, labels and masks from
the nearest voxel, all at the same places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cisterna.chunks import reflect_indices

SPACING = 32
"""Voxels between control points."""

LARGEST_ANGLE = math.pi / 2


@dataclass(frozen=True)
class Deformation:
    """Where each voxel of a patch lies in its volume, relative to the patch's first voxel.

    Attributes:
        places: (3, n, n, n) float32, z, y, x. Without jitter and rotation: the voxel's own index.
    """

    places: NDArray[np.float32]

    @property
    def edge(self) -> int:
        """Voxels per axis, n."""
        return int(self.places.shape[1])

    def inner(self, trim: int) -> Deformation:
        """Of the voxels that lie ``trim`` from each face; places stay relative to the first voxel of the whole."""
        inside = slice(trim, self.edge - trim)
        return Deformation(self.places[:, inside, inside, inside])


def draw_deformation(
    edge: int, rng: np.random.Generator, *, jitter_voxels: float = 2.0, rotation: bool = True
) -> Deformation:
    """A random deformation of a patch of ``edge``³ voxels.

    Args:
        edge: voxels per axis, n.
        rng: the only source of chance.
        jitter_voxels: standard deviation of a control point's displacement along each axis; 0: none.
        rotation: turn about z by an angle drawn evenly from 0 to π/2.
    """
    angle = rng.uniform(0, LARGEST_ANGLE) if rotation else 0.0
    points = -(-edge // SPACING) + 3  # one before the patch and one or two after, so that it lies between points
    jitter = rng.normal(0, jitter_voxels, (3, points, points, points)) if jitter_voxels else None
    return deformation(edge, angle, jitter)


def deformation(edge: int, angle: float, jitter: NDArray[np.floating] | None) -> Deformation:
    """The deformation by an angle about z (radians) and displacements (3, k, k, k) of control points (voxels).

    Displacements are interpolated by cubic convolution (Keys, IEEE Trans. Acoust. 29 (1981) 1153), which passes through
    the control points.
    """
    index = np.arange(edge, dtype=np.float32)
    middle = np.float32((edge - 1) / 2)
    sine, cosine = np.float32(math.sin(angle)), np.float32(math.cos(angle))
    places = np.empty((3, edge, edge, edge), np.float32)
    if angle:
        places[0] = index[:, None, None]
        places[1] = middle + cosine * (index - middle)[:, None] - sine * (index - middle)[None, :]
        places[2] = middle + sine * (index - middle)[:, None] + cosine * (index - middle)[None, :]
    else:
        for axis in range(3):
            places[axis] = index.reshape([-1 if n == axis else 1 for n in range(3)])
    if jitter is not None:
        between = _between(edge, jitter.shape[1])
        for axis in range(3):
            along_z = np.tensordot(between, jitter[axis].astype(np.float32), (1, 0))
            along_y = np.tensordot(along_z, between, (1, 1))  # (z, control x, y)
            places[axis] += np.tensordot(along_y, between, (1, 1))
    return Deformation(places)


def _between(edge: int, points: int) -> NDArray[np.float32]:
    """(edge, points): the weights of the control points for each voxel; the second point stands on the first voxel."""
    position = np.arange(edge) / SPACING + 1
    t = np.abs(position[:, None] - np.arange(points)[None, :])
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    weights: NDArray[np.float32] = np.where(t <= 1, near, np.where(t < 2, far, 0)).astype(np.float32)
    return weights


def sample_linear(volume: NDArray[np.float32], first: Sequence[int], where: Deformation) -> NDArray[np.float32]:
    """(n, n, n) float32: a volume at the places of a patch whose first voxel is ``first``; mirrored at its faces."""
    low = np.floor(where.places.reshape(3, -1).min(axis=1)).astype(int)
    high = np.floor(where.places.reshape(3, -1).max(axis=1)).astype(int) + 2
    around = [
        reflect_indices(int(f + a), int(f + b), n) for f, a, b, n in zip(first, low, high, volume.shape, strict=True)
    ]
    # the interpolation sees a plain array: whatever lies outside the volume was mirrored into it
    part = np.ascontiguousarray(volume[np.ix_(*around)], np.float32)
    places = where.places - low.astype(np.float32).reshape(3, 1, 1, 1)
    sampled: NDArray[np.float32] = ndimage.map_coordinates(
        part, places, output=np.float32, order=1, mode="nearest", prefilter=False
    )
    return sampled


def nearest(shape: Sequence[int], first: Sequence[int], where: Deformation) -> tuple[NDArray[np.intp], ...]:
    """Index arrays (n, n, n) along z, y and x of the voxels nearest to the places; mirrored at the faces."""
    indices = []
    for axis, size in enumerate(shape):
        relative = np.rint(where.places[axis]).astype(np.intp)
        low = int(relative.min())
        folded = reflect_indices(int(first[axis]) + low, int(first[axis]) + int(relative.max()) + 1, size)
        indices.append(folded[relative - low])
    return tuple(indices)
