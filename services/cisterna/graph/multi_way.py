"""How the share of multi-way junctions depends on what counts as one junction, beside networks that have none.

Two three-way junctions closer than a tubule is wide look like one four-way junction. A pure three-way network therefore
shows multi-way junctions, the more the denser it is, and a share means nothing without the radius at which junctions
were merged and the share that such a network shows there.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.spatial import ConvexHull, QhullError, Voronoi

from cisterna.graph.network import Network, Unmerged
from cisterna.graph.skeleton import Floats, Ints, groups
from cisterna.graph.snr import NOT_APPLICABLE

RADII_PX = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)
"""Merge radii of the curve: junctions joined by a tubule of at most this length are one."""

NULL_REACH = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8)
"""Merge radius times the square root of junctions per area, at which `NULL_SHARE` was measured."""
NULL_SHARE = (0.0, 0.040, 0.082, 0.124, 0.169, 0.215, 0.262, 0.308, 0.355, 0.449, 0.540, 0.695)
"""Multi-way share of purely three-way networks (Poisson-Voronoi) merged at `NULL_REACH`; see `null_share`."""


def multi_way_counts(unmerged: Unmerged, radius_px: float) -> tuple[int, int]:
    """(junctions, those with more than three branches) when tubules up to `radius_px` between junctions are taken in.

    A merged junction has the branches that leave the whole of it; where fewer than three do, it is none.
    """
    degree = np.bincount(unmerged.ends.ravel(), minlength=unmerged.nodes)
    if len(unmerged.ends) == 0:
        return 0, 0
    joint = (degree[unmerged.ends] >= 3).all(axis=1)
    short = joint & (unmerged.length_px <= radius_px)
    count, cluster = groups(unmerged.ends[short], unmerged.nodes)
    branches = np.bincount(cluster, weights=degree, minlength=count)
    branches -= 2 * np.bincount(cluster[unmerged.ends[short, 0]], minlength=count)
    return int((branches >= 3).sum()), int((branches > 3).sum())


def null_share(junctions_per_px2: float, radius_px: float) -> float:
    """Multi-way share of a pure three-way network of that density whose junctions are merged at `radius_px`.

    The network is Poisson-Voronoi: the plain Voronoi diagram of random points, the paper's synthetic network. Its
    share depends on radius × √density alone, so one seeded simulation (`voronoi_share`, 60,000 points) serves all;
    between its values it is interpolated. NaN where the density is unknown or the product beyond the measured 0.8.
    """
    reach = radius_px * math.sqrt(junctions_per_px2) if junctions_per_px2 > 0 else math.nan
    if not reach <= NULL_REACH[-1]:
        return math.nan
    return float(np.interp(reach, NULL_REACH, NULL_SHARE))


def voronoi_share(reach: float, points: int, seed: int = 0) -> float:
    """The simulation behind `NULL_SHARE`: `points` random seeds in a square, its rim left out."""
    vertices, ends, length = _voronoi(points, seed)
    inside = ((vertices > 0.05) & (vertices < 0.95)).all(axis=1)
    radius = reach / math.sqrt(2 * points)
    network = Unmerged(len(vertices), ends, length)
    degree = np.bincount(ends.ravel(), minlength=len(vertices))
    short = network.length_px <= radius
    count, cluster = groups(ends[short], len(vertices))
    branches = np.bincount(cluster, weights=degree, minlength=count)
    branches -= 2 * np.bincount(cluster[ends[short, 0]], minlength=count)
    counted = np.zeros(count, bool)
    counted[cluster[inside]] = True
    counted &= branches >= 3
    return float((branches[counted] > 3).mean())


@lru_cache(maxsize=4)
def _voronoi(points: int, seed: int) -> tuple[Floats, Ints, Floats]:
    diagram = Voronoi(np.random.default_rng(seed).random((points, 2)))
    ends = np.array([r for r in diagram.ridge_vertices if r[0] >= 0], np.int64)
    return diagram.vertices, ends, np.linalg.norm(np.diff(diagram.vertices[ends], axis=1)[:, 0], axis=1)


def network_area_px2(network: Network) -> float:
    """Area of the convex hull of a flat network's nodes in px²; NaN below three nodes or where they lie on a line."""
    if len(network.positions) < 3:
        return math.nan
    try:
        return float(ConvexHull(network.positions).volume)
    except QhullError:
        return math.nan


def multi_way_rows(network: Network, frame: int, snr_flag: str = NOT_APPLICABLE) -> list[dict[str, object]]:
    """The curve of one frame, a row per merge radius, `traced_null_share` left NaN (`three_way.with_traced_null`)."""
    area = network_area_px2(network)
    pixel_um = float(network.spacing_um.min())
    at_zero = multi_way_counts(network.unmerged, 0.0)[0]
    density = at_zero / area if area > 0 else math.nan
    width = float(np.median(network.width_um)) if len(network.width_um) else math.nan
    rows: list[dict[str, object]] = []
    for radius in RADII_PX:
        junctions, multi = multi_way_counts(network.unmerged, radius)
        rows.append(
            {
                "frame": frame,
                "merge_radius_px": radius,
                "junctions": junctions,
                "multi_way": multi,
                "multi_way_share": multi / junctions if junctions else math.nan,
                "junctions_per_um2": density / pixel_um**2,
                "width_um": width,
                "null_share": null_share(density, radius),
                "traced_null_share": math.nan,
                "snr_flag": snr_flag,
            }
        )
    return rows
