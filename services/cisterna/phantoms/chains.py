"""Rows of vesicles that touch or almost touch: what an object splitter and a diameter on the image must stand.

Vesicles lie in concatenated rows (Nair et al. 2025), so one connected component often holds several. Each chain
here has one gap between the true surfaces of its neighbours; lone vesicles, round and elongated, must stay whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

GAPS_NM = (0.0, 5.0, 10.0)
CYTOSOL, LUMEN, MEMBRANE, MEMBRANE_NM = 172.0, 146.0, 62.0, 16.0
"""Grey values and thickness as the vesicles of a phantom cell have them; membranes are dark."""

_MARGIN_NM = 45.0


@dataclass(frozen=True)
class ChainPhantom:
    """Images (Z,Y,X) and the planted vesicles.

    ``image``: uint8, dark membranes, blur and noise. ``probability``: uint8, the true mask blurred, as a segmentation
    network leaves it. ``truth``: one row a vesicle with ``chain``, ``gap_nm`` (NaN alone), ``centroid_{z,y,x}_nm``
    (from the outer corner), ``diameter_nm`` (equal volume), ``elongation`` (longest axis over shortest).
    """

    image: NDArray[np.uint8]
    probability: NDArray[np.uint8]
    truth: pd.DataFrame
    voxel_size_nm: tuple[float, float, float]


@dataclass(frozen=True)
class _Vesicle:
    centre: NDArray[np.float64]
    diameter: float
    long: NDArray[np.float64]
    elongation: float

    def distance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance to the surface in nm, negative inside; first order for an elongated vesicle."""
        away = points - self.centre
        along = away @ self.long
        across = np.sqrt(np.maximum((away**2).sum(-1) - along**2, 0.0))
        short = self.diameter / 2 / np.cbrt(self.elongation)
        a = short * self.elongation
        scaled = np.sqrt((along / a) ** 2 + (across / short) ** 2)
        slope = np.sqrt((along / a**2) ** 2 + (across / short**2) ** 2) / np.maximum(scaled, 1e-9)
        distance: NDArray[np.float64] = np.where(scaled > 1e-6, (scaled - 1) / np.maximum(slope, 1e-9), -short)
        return distance


def plant_chains(
    gaps_nm: Sequence[float] = GAPS_NM,
    chains: int = 8,
    lone: int = 12,
    diameters_nm: tuple[float, float] = (45.0, 95.0),
    voxel_size_nm: tuple[float, float, float] = (5.24, 4.0, 4.0),
    seed: int = 0,
    *,
    segmentation_blur_nm: float = 6.0,
    optics_blur_nm: float = 5.0,
    noise: float = 8.0,
    elongation: float = 1.25,
) -> ChainPhantom:
    """``chains`` rows of 2–5 vesicles for each gap, and ``lone`` vesicles; diameters uniform in ``diameters_nm``.

    Every third lone vesicle is a spheroid of ``elongation``. Rows bend by up to 40° at each vesicle and stand in
    boxes of their own, well apart from one another.
    """
    rng = np.random.default_rng(seed)
    groups: list[tuple[float, list[_Vesicle]]] = []
    for gap in gaps_nm:
        groups += [(float(gap), _chain(float(gap), int(rng.integers(2, 6)), diameters_nm, rng)) for _ in range(chains)]
    for n in range(lone):
        long = elongation if n % 3 == 2 else 1.0
        groups.append((np.nan, [_Vesicle(rng.uniform(0, 4, 3), float(rng.uniform(*diameters_nm)), _unit(rng), long)]))
    size = np.asarray(voxel_size_nm, np.float64)
    boxes = [_extent(members) for _, members in groups]
    corners, shape = _shelves([np.ceil((high - low) / size).astype(int) for low, high in boxes])
    field = np.full(shape, _MARGIN_NM, np.float32)
    table = []
    for number, ((gap, members), (low, _), corner) in enumerate(zip(groups, boxes, corners, strict=True)):
        shift = corner * size - low
        for v in members:
            at = v.centre + shift
            reach = v.diameter / 2 * v.elongation + _MARGIN_NM
            begin = np.maximum(np.floor((at - reach) / size), 0).astype(int)
            end = np.minimum(np.ceil((at + reach) / size), shape).astype(int)
            box = tuple(slice(int(a), int(b)) for a, b in zip(begin, end, strict=True))
            grid = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(begin, end, strict=True)], indexing="ij"), -1)
            np.minimum(field[box], v.distance((grid + 0.5) * size - shift), out=field[box])
            table.append((number + 1, gap, at[0], at[1], at[2], v.diameter, v.elongation))
    voxel = float(np.cbrt(np.prod(size)))
    covered = np.clip(0.5 - field / voxel, 0, 1)
    core = np.clip(0.5 - (field + MEMBRANE_NM) / voxel, 0, 1)
    clean: NDArray[np.float32] = CYTOSOL * (1 - covered) + MEMBRANE * (covered - core) + LUMEN * core
    seen = gaussian_filter(clean, optics_blur_nm / size) + noise * rng.standard_normal(shape, dtype=np.float32)
    names = ["chain", "gap_nm", "centroid_z_nm", "centroid_y_nm", "centroid_x_nm", "diameter_nm", "elongation"]
    return ChainPhantom(
        np.clip(np.rint(seen), 0, 255).astype(np.uint8),
        np.rint(255 * gaussian_filter(covered, segmentation_blur_nm / size)).astype(np.uint8),
        pd.DataFrame(table, columns=names),
        (float(size[0]), float(size[1]), float(size[2])),
    )


def _chain(gap: float, n: int, diameters: tuple[float, float], rng: np.random.Generator) -> list[_Vesicle]:
    """Balls in a row that bends; only neighbours come as near as the gap."""
    while True:
        heading = _unit(rng)
        members = [_Vesicle(rng.uniform(0, 4, 3), float(rng.uniform(*diameters)), heading, 1.0)]
        for _ in range(n - 1):
            heading = heading + 0.7 * np.tan(rng.uniform(0, 0.7)) * _unit(rng)
            heading /= np.linalg.norm(heading)
            last, diameter = members[-1], float(rng.uniform(*diameters))
            step = (last.diameter + diameter) / 2 + gap
            members.append(_Vesicle(last.centre + step * heading, diameter, heading, 1.0))
        apart = [
            np.linalg.norm(a.centre - b.centre) - (a.diameter + b.diameter) / 2
            for i, a in enumerate(members)
            for b in members[i + 2 :]
        ]
        if not apart or min(apart) > gap + 20:
            return members


def _shelves(sizes: Sequence[NDArray[np.int64]]) -> tuple[list[NDArray[np.int64]], tuple[int, int, int]]:
    """Corners of boxes on shelves of one layer, and the shape of the volume that holds them."""
    width = int(np.ceil(np.sqrt(sum(int(n[1] * n[2]) for n in sizes)) + max(int(n[2]) for n in sizes)))
    corners: list[NDArray[np.int64]] = [np.zeros(3, np.int64)] * len(sizes)
    y = x = height = 0
    for i in sorted(range(len(sizes)), key=lambda i: -int(sizes[i][1])):
        if x + sizes[i][2] > width:
            x, y, height = 0, y + height, 0
        corners[i] = np.array([0, y, x], np.int64)
        x, height = x + int(sizes[i][2]), max(height, int(sizes[i][1]))
    return corners, (max(int(n[0]) for n in sizes), y + height, width)


def _extent(members: Sequence[_Vesicle]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    reach = [m.diameter / 2 * m.elongation + _MARGIN_NM for m in members]
    low = np.min([m.centre - r for m, r in zip(members, reach, strict=True)], axis=0)
    return low, np.max([m.centre + r for m, r in zip(members, reach, strict=True)], axis=0)


def _unit(rng: np.random.Generator) -> NDArray[np.float64]:
    v = rng.normal(size=3)
    return v / float(np.linalg.norm(v))
