"""The polygons that a network encloses: faces of the drawing on the plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cisterna.graph.network import Network
from cisterna.graph.skeleton import Floats

# Points along a curve after which it has left the junction: its direction there orders the branches.
DIRECTION_POINTS = 4


@dataclass(frozen=True)
class Meshes:
    """`area_um2` (k,) of every enclosed polygon between centre lines, and its middle (k, 2), y and x in pixels."""

    area_um2: Floats
    middle_px: Floats


def meshes(network: Network) -> Meshes:
    """Areas enclosed by tubules, by the shoelace formula along their curves.

    Polygons cut off by the frame are open and do not count; the isolated parts inside a polygon are part of it. Raises
    ValueError for volumes: faces exist in the plane.
    """
    if len(network.spacing_um) != 2:
        raise ValueError("meshes are polygons of flat frames; this network is a volume's")
    start, points = network.lines.start, network.lines.points
    edges = len(network.ends)
    if edges == 0:
        return Meshes(np.zeros(0), np.zeros((0, 2)))
    # Half-edge 2e runs from node_a to node_b along curve e, 2e + 1 comes back.
    first, last = start[:-1], start[1:] - 1
    step = np.minimum(DIRECTION_POINTS, last - first)
    towards = np.stack([points[first + step] - points[first], points[last - step] - points[last]], axis=1).reshape(
        -1, 2
    )
    origin = network.ends.reshape(-1)
    angle = np.arctan2(towards[:, 0], towards[:, 1])
    order = np.lexsort((angle, origin))
    begins = np.searchsorted(origin[order], np.arange(len(network.positions) + 1))
    place = np.empty(2 * edges, np.int64)
    place[order] = np.arange(2 * edges)
    low, high = begins[origin], begins[origin + 1]
    around = order[np.where(place + 1 < high, place + 1, low)]
    # From a half-edge's arrival: the branch next to the one it came by, always on the same side.
    following = around[np.arange(2 * edges) ^ 1]
    steps = coo_array((np.ones(2 * edges, np.int8), (np.arange(2 * edges), following)), shape=(2 * edges, 2 * edges))
    count, face = connected_components(steps, directed=False)
    y, x = points.T
    cross = np.concatenate([[0.0], np.cumsum(x[:-1] * y[1:] - x[1:] * y[:-1])])
    swept = 0.5 * (cross[last] - cross[first])
    area = np.bincount(face, weights=np.stack([swept, -swept], axis=1).reshape(-1), minlength=count)
    at = network.positions[origin]
    corners = np.bincount(face, minlength=count)
    middle = np.stack([np.bincount(face, weights=at[:, k], minlength=count) / corners for k in (0, 1)], axis=1)
    # Turning to the next larger angle walks enclosed faces against the shoelace formula's sense, the outside with it.
    inner = -area > 0.5
    return Meshes(np.asarray(-area[inner] * np.prod(network.spacing_um), np.float64), middle[inner])
