"""Where a traced network touches sheets and sheet-based tubules (SBT).

A tubule that ends in a sheet grows nowhere, and the tubules around a sheet are one network although nothing traced
joins them (Lu et al. 2023 trace tubules only).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cisterna.graph.areas import grown
from cisterna.graph.network import Network
from cisterna.graph.parameters import CLASS_INDEX
from cisterna.graph.skeleton import Bools, Floats, Ints

# Smaller patches of sheet and SBT are noise of the classes: a square of this many tubule widths.
SHEET_WIDTHS = 2.0
# A centre line runs half a width inside its tubule, and thinning ends a tip about as far short.
REACH_PX = 1.5
FARTHEST_PX = 12.0


@dataclass(frozen=True)
class Contacts:
    """Contact of nodes, edges and curve points with the parts of the ER that are not traced.

    `areas` counts connected areas of sheet and SBT, which are numbered from 1 in the image `labels`. `node_area` (n,)
    and `point_area` (points of all curves,) hold the area that is touched, 0 for none. `node_sheet` and `node_sbt` (n,)
    say which class it is; `edge_sheet` and `edge_sbt` (m,) are the shares of each curve's points beside that class.
    """

    areas: int
    labels: np.ndarray
    node_area: Ints
    node_sheet: Bools
    node_sbt: Bools
    edge_sheet: Floats
    edge_sbt: Floats
    point_area: Ints

    def kind(self, network: Network) -> np.ndarray:
        """`network.kind` with tips that touch a sheet or SBT called `sheet` or `sbt`: contacts, no growth tips."""
        kind = network.kind.copy()
        tip = kind == "tip"
        kind[tip & self.node_sbt] = "sbt"
        kind[tip & self.node_sheet] = "sheet"
        return kind


def contacts(network: Network, classes: np.ndarray, traced: tuple[str, ...]) -> Contacts:
    """Contacts of a network traced on the classes `traced` of a class map (y, x).

    An area of sheet and SBT counts from (2 median tubule widths)² pixels on, and is touched where one of its pixels
    lies beside the mask within half the tubule's width + 1.5 px of the centre line.
    """
    nodes, edges, points = len(network.positions), len(network.ends), len(network.lines.points)
    nothing = Contacts(
        0,
        np.zeros(classes.shape, np.uint8),
        np.zeros(nodes, np.int64),
        np.zeros(nodes, bool),
        np.zeros(nodes, bool),
        np.zeros(edges),
        np.zeros(edges),
        np.zeros(points, np.int64),
    )
    other = np.zeros(classes.shape, bool)
    for name in ("sheet", "sbt"):
        if name not in traced:
            other |= classes == CLASS_INDEX[name]
    if not other.any():
        return nothing
    widths = network.width_um / network.spacing_um.min()
    width = float(np.median(widths)) if edges else 3.0
    labels, count = _areas(other, (SHEET_WIDTHS * width) ** 2)
    if count == 0:
        return nothing
    beside = grown(network.mask, 1) & (labels > 0)
    half = np.zeros(nodes)
    np.maximum.at(half, network.ends.ravel(), np.repeat(widths, 2) / 2)
    half[half == 0] = width / 2
    along = np.repeat(widths / 2, np.diff(network.lines.start))
    reach = min(max(float(half.max(initial=0)), float(along.max(initial=0))) + REACH_PX, FARTHEST_PX)
    node_at, point_at = _pixels(network.positions, labels.shape), _pixels(network.lines.points, labels.shape)
    found: dict[str, tuple[Bools, Bools]] = {}
    node_area, point_area = nothing.node_area, nothing.point_area
    places = np.argwhere(beside)
    area, kind = labels[tuple(places.T)], classes[tuple(places.T)]
    for name in ("sbt", "sheet"):
        own = kind == CLASS_INDEX[name]
        near, touched = _nearest(places[own], area[own], labels.shape, reach)
        node, point = near[node_at] <= half + REACH_PX, near[point_at] <= along + REACH_PX
        node_area = np.where(node, touched[node_at], node_area)
        point_area = np.where(point, touched[point_at], point_area)
        found[name] = (node, point)
    return Contacts(
        count,
        labels,
        node_area,
        found["sheet"][0],
        found["sbt"][0],
        _share(found["sheet"][1], network.lines.start),
        _share(found["sbt"][1], network.lines.start),
        point_area,
    )


def _areas(other: Bools, least_pixels: float) -> tuple[Ints, int]:
    labels, count = ndimage.label(other, np.ones((3, 3), bool))
    large = np.bincount(labels[other], minlength=count + 1) >= least_pixels
    if not large[1:].all():
        labels = np.where(large, np.cumsum(large), 0).astype(np.int32)[labels]
    return labels, int(large.sum())


def _pixels(points: Floats, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    at = np.clip(np.rint(points).astype(np.int64), 0, np.array(shape) - 1)
    return tuple(at.T)


def _nearest(pixels: Ints, area: Ints, shape: tuple[int, ...], reach: float) -> tuple[np.ndarray, np.ndarray]:
    """For every pixel of the frame the distance to the nearest of `pixels` (k, 2) within `reach`, and its area.

    Beyond, the distance is inf.
    """
    r = int(reach)
    size = (shape[0] + 2 * r, shape[1] + 2 * r)
    near = np.full(size, np.inf, np.float32)
    touched = np.zeros(size, np.int32)
    flat = (pixels[:, 0] + r) * size[1] + pixels[:, 1] + r
    steps = sorted((math.hypot(*step), step) for step in itertools.product(range(-r, r + 1), repeat=2))
    # Far steps first: nearer pixels write over them.
    for distance, (dy, dx) in reversed([step for step in steps if step[0] <= reach]):
        at = flat + dy * size[1] + dx
        near.ravel()[at] = distance
        touched.ravel()[at] = area
    crop = (slice(r, r + shape[0]), slice(r, r + shape[1]))
    return near[crop], touched[crop]


def _share(point: Bools, start: Ints) -> Floats:
    total = np.concatenate([[0.0], np.cumsum(point)])
    return np.asarray((total[start[1:]] - total[start[:-1]]) / np.maximum(np.diff(start), 1))
