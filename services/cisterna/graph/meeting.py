"""Where the axes of three tubules meet, learned from drawn networks.

Seen in a mask, tubules that leave a junction at a sharp angle are one tubule for a while, and bent ones part wherever
their bends let them: the thinned junction lies up to two widths from where the axes meet. A small network (two hidden
layers) reads what the mask says about it — the course of the three branches, the distance transform along them and on
a grid around — and returns the shift. Everything is told in local tubule widths and in a frame that turns with the
junction, so neither pixel size nor direction matters. `tests/bench/train_meeting.py` draws the networks and trains it.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from cisterna.compiled import compiled
from cisterna.graph.skeleton import Chains, Floats, Ints

# Distances from the junction, in local widths, at which a branch is looked at.
ALONG_WIDTHS = np.array([0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5])
DIRECTION = 4  # the one of them that tells where a branch leads
# Points of the grid along each side, and their distance in local widths.
GRID = 13
GRID_WIDTHS = 0.4
FARTHEST_MISSING = 5.0
_PER_BRANCH = len(ALONG_WIDTHS)
FEATURES = 12 * _PER_BRANCH + 2 + GRID * GRID
# No junction moves farther than this many local widths.
LARGEST_SHIFT_WIDTHS = 2.0


def meeting_points(
    placed: Floats,
    chosen: Ints,
    found: Chains,
    points: Floats,
    node_width: Floats,
    distance: NDArray[np.float32],
) -> Floats:
    """Positions (len(chosen), 2) in pixels of the chosen three-way junctions of a frame.

    `points` are the curves of `found` with their ends at `placed`, `distance` that of `skeleton.distance_inside`.
    """
    if len(chosen) == 0:
        return placed[chosen]
    seen, turn = views(placed, chosen, found, points, node_width, distance)
    shift = _shift(seen)
    length = np.linalg.norm(shift, axis=1)
    shift *= (node_width[chosen] * np.minimum(1, LARGEST_SHIFT_WIDTHS / np.maximum(length, 1e-12)))[:, None]
    (cos, sin), (ahead, across) = turn.T, shift.T
    return np.asarray(placed[chosen] + np.stack([sin * ahead + cos * across, cos * ahead - sin * across], axis=1))


def views(
    placed: Floats, chosen: Ints, found: Chains, points: Floats, node_width: Floats, distance: NDArray[np.float32]
) -> tuple[NDArray[np.float32], Floats]:
    """What the network sees: features (n, FEATURES), and (cos, sin) of each junction's frame.

    The frame's first axis points between the two branches that are closest in angle. Order: along and across of each
    branch's points, its distance transform, by how much it is too short; distance at the junction, 1 / width; grid.
    """
    return _views(
        placed,
        chosen,
        found.ends,
        found.start,
        points,
        node_width,
        distance,
    )


@lru_cache(maxsize=1)
def _layers() -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]:
    with resources.files("cisterna.graph").joinpath("meeting.npz").open("rb") as file, np.load(file) as stored:
        names = [(f"weight_{k}", f"bias_{k}") for k in range(3)]
        return tuple((stored[w].astype(np.float32), stored[b].astype(np.float32)) for w, b in names)


def _shift(seen: NDArray[np.float32]) -> Floats:
    hidden = seen
    layers = _layers()
    for weight, bias in layers[:-1]:
        hidden = hidden @ weight
        hidden += bias
        np.maximum(hidden, 0, out=hidden)
    weight, bias = layers[-1]
    return (hidden @ weight + bias).astype(np.float64)


@compiled
def _views(
    placed: Floats,
    chosen: Ints,
    ends: Ints,
    start: Ints,
    points: Floats,
    node_width: Floats,
    distance: NDArray[np.float32],
) -> tuple[NDArray[np.float32], Floats]:
    seen = np.empty((len(chosen), FEATURES), np.float32)
    turn = np.empty((len(chosen), 2))
    first_half, halves = _half_chains(len(placed), ends)
    along = np.empty((3, _PER_BRANCH, 2))
    missing = np.empty((3, _PER_BRANCH))
    angle = np.empty(3)
    gap = np.empty(3)
    for n in range(len(chosen)):
        node = chosen[n]
        width = node_width[node]
        centre_y, centre_x = placed[node, 0], placed[node, 1]
        for b in range(3):
            half = halves[first_half[node] + b]
            _walk(points, start[half // 2], start[half // 2 + 1] - 1, half % 2, width, along[b], missing[b])
        for b in range(3):
            angle[b] = np.arctan2(along[b, DIRECTION, 0] - centre_y, along[b, DIRECTION, 1] - centre_x)
        order = np.argsort(angle)
        narrow = 0
        for b in range(3):
            gap[b] = (angle[order[(b + 1) % 3]] - angle[order[b]]) % (2 * np.pi)
            if gap[b] < gap[narrow]:
                narrow = b
        middle = angle[order[narrow]] + gap[narrow] / 2
        cos, sin = np.cos(middle), np.sin(middle)
        turn[n, 0], turn[n, 1] = cos, sin
        for b in range(3):
            branch = order[(narrow + 2 + b) % 3]  # the lone branch comes first
            for k in range(_PER_BRANCH):
                y, x = along[branch, k, 0] - centre_y, along[branch, k, 1] - centre_x
                column = (b * _PER_BRANCH + k) * 2
                seen[n, column] = (cos * x + sin * y) / width
                seen[n, column + 1] = (cos * y - sin * x) / width
                inside = _value_at(distance, along[branch, k, 0] + 1, along[branch, k, 1] + 1)
                seen[n, (6 + b) * _PER_BRANCH + k] = inside / width
                seen[n, (9 + b) * _PER_BRANCH + k] = min(missing[branch, k], FARTHEST_MISSING)
        seen[n, 12 * _PER_BRANCH] = _value_at(distance, centre_y + 1, centre_x + 1) / width
        seen[n, 12 * _PER_BRANCH + 1] = 1 / width
        for i in range(GRID):
            for j in range(GRID):
                across = (i - GRID // 2) * GRID_WIDTHS * width
                ahead = (j - GRID // 2) * GRID_WIDTHS * width
                y = centre_y + 1 + sin * ahead + cos * across
                x = centre_x + 1 + cos * ahead - sin * across
                seen[n, 12 * _PER_BRANCH + 2 + i * GRID + j] = _value_at(distance, y, x) / width
    return seen, turn


@compiled
def _value_at(values: NDArray[np.float32], y: float, x: float) -> float:
    """Linear interpolation; outside, the value at the edge."""
    y = min(max(y, 0.0), values.shape[0] - 1.001)
    x = min(max(x, 0.0), values.shape[1] - 1.001)
    # Unsigned: a signed index would be tested for counting from the end.
    i, j = np.uint64(y), np.uint64(x)
    below, beside = i + np.uint64(1), j + np.uint64(1)
    v, u = np.float32(y - i), np.float32(x - j)
    one = np.float32(1)
    upper = (one - u) * values[i, j] + u * values[i, beside]
    lower = (one - u) * values[below, j] + u * values[below, beside]
    return float((one - v) * upper + v * lower)


@compiled
def _half_chains(nodes: int, ends: Ints) -> tuple[Ints, Ints]:
    """Ends of chains by node: 2 k is the first end of chain k, 2 k + 1 its last."""
    first = np.zeros(nodes + 1, np.int64)
    for k in range(len(ends)):
        first[ends[k, 0] + 1] += 1
        first[ends[k, 1] + 1] += 1
    for node in range(nodes):
        first[node + 1] += first[node]
    fill = first[:-1].copy()
    halves = np.empty(2 * len(ends), np.int64)
    for k in range(len(ends)):
        for side in range(2):
            node = ends[k, side]
            halves[fill[node]] = 2 * k + side
            fill[node] += 1
    return first, halves


@compiled
def _walk(points: Floats, first: int, last: int, back: int, width: float, along: Floats, missing: Floats) -> None:
    """Points of a curve at stated distances from its end; where it is too short its far end, and what is missing."""
    here, step = (last, -1) if back else (first, 1)
    stop = first if back else last
    gone = 0.0
    k = 0
    while k < _PER_BRANCH and here != stop:
        dy, dx = points[here + step, 0] - points[here, 0], points[here + step, 1] - points[here, 1]
        length = np.sqrt(dy * dy + dx * dx)
        while k < _PER_BRANCH and ALONG_WIDTHS[k] * width <= gone + length:
            share = (ALONG_WIDTHS[k] * width - gone) / max(length, 1e-12)
            along[k, 0], along[k, 1] = points[here, 0] + share * dy, points[here, 1] + share * dx
            missing[k] = 0.0
            k += 1
        gone += length
        here += step
    while k < _PER_BRANCH:
        along[k, 0], along[k, 1] = points[stop, 0], points[stop, 1]
        missing[k] = ALONG_WIDTHS[k] - gone / width
        k += 1
