"""Surface area, sphericity and principal axes of objects, from sums that add up over blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cisterna.eres.areas import direction_shares
from cisterna.eres.sums import FORWARD, SECOND, ObjectSums

_MOST_MOMENT = 2**62


def surface_area_nm2(sums: ObjectSums, voxel_size_nm: Sequence[float]) -> NDArray[np.float64]:
    """Surface area of each object in nm² (n).

    Crofton's formula over the 13 directions between neighbouring voxels (Lehmann and Legland, Insight Journal 2012):
    S = 4 v Σ c_k (V − P_k) / d_k, with v the voxel's volume, V the voxels, P_k the pairs of neighbours along
    direction k, d_k their distance and c_k the share of the sphere of directions that is nearest to k. What lies on
    a face of the volume counts as surface.
    """
    size = tuple(float(s) for s in voxel_size_nm)
    length = np.linalg.norm(np.asarray(FORWARD) * size, axis=1)
    ends = sums.voxels[:, None] - sums.pairs
    area: NDArray[np.float64] = (
        4.0 * float(np.prod(voxel_size_nm)) * (ends * (direction_shares(size) / length)).sum(axis=1)
    )
    return area


def sphericity(volume_nm3: NDArray[np.float64], area_nm2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Surface of the ball of equal volume over the surface (n): 1 for a ball (Wadell 1935)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value: NDArray[np.float64] = np.cbrt(np.pi) * np.cbrt(6.0 * volume_nm3) ** 2 / area_nm2
    return value


def principal_axes(sums: ObjectSums, voxel_size_nm: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Full lengths in nm (n,3; longest first) of the ellipsoids with the objects' second moments, and the unit
    vector (n,3; z,y,x) along the longest axis, its first component that is not 0 positive.

    Voxels count as boxes, not as points. NaN where the sums would leave 64 bits (a network across a huge volume).
    """
    size = np.asarray(voxel_size_nm, np.float64)
    lengths, along = np.full((len(sums), 3), np.nan), np.full((len(sums), 3), np.nan)
    far = sums.high.max(axis=1, initial=0).astype(np.float64)
    good = np.flatnonzero(far * far * sums.voxels < _MOST_MOMENT)
    if not len(good):
        return lengths, along
    # Whole numbers of any size: the difference of two huge products must keep its last digits.
    voxels = sums.voxels[good].astype(object)
    position = sums.position[good].astype(object)
    covariance = np.zeros((len(good), 3, 3))
    for i, (a, b) in enumerate(SECOND):
        top = sums.moment[good, i].astype(object) * voxels - position[:, a] * position[:, b]
        value = (top / (voxels * voxels)).astype(np.float64) * size[a] * size[b]
        covariance[:, a, b] = covariance[:, b, a] = value
    covariance += np.diag(size * size / 12.0)
    values, vectors = np.linalg.eigh(covariance)
    lengths[good] = 2.0 * np.sqrt(5.0 * np.maximum(values[:, ::-1], 0.0))
    longest = np.round(vectors[:, :, 2], 9)
    lead = np.take_along_axis(longest, np.argmax(longest != 0, axis=1)[:, None], axis=1)
    along[good] = longest * np.where(lead < 0, -1.0, 1.0) + 0.0
    return lengths, along
