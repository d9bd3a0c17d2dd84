"""Where junctions lie: the point that the tubules around it aim at.

Two tubules that meet at a sharp angle overlap before they meet, so thinning joins them too early. Away from the
junction each tubule is itself again: a straight line is fitted to a stretch of each, and the junction is the point
nearest to all of these lines.
"""

from __future__ import annotations

import numpy as np

from cisterna.graph.skeleton import Chains, Floats

# The stretch of a tubule that its line is fitted to, in local widths from the junction's centre.
STRETCH_FROM = 1.0
STRETCH_TO = 3.5
# Pull towards the thinned centre, relative to one line; keeps near-parallel lines from running away.
CENTRE_WEIGHT = 0.06
# No junction moves farther than this, in local widths.
FARTHEST = 1.5


def aimed_positions(
    found: Chains, points: Floats, centres: Floats, node_width: Floats, relative_spacing: Floats
) -> Floats:
    """Positions (nodes, d) in pixels: junctions where their tubules aim, other nodes at their centres.

    `points` (n, d) are sub-pixel places of the skeleton pixels, `centres` (nodes, d) the mean of each node's
    pixels, `node_width` the local tubule width at each node in units of the finest spacing.
    """
    degree = np.bincount(found.ends.ravel(), minlength=found.nodes)
    if not (degree >= 3).any():
        return centres
    ndim = points.shape[1]
    scaled = points * relative_spacing
    middle = centres * relative_spacing
    chain_of = found.chain_of
    branch, node, near = [], [], []
    for side in (0, 1):
        owner = found.ends[chain_of, side]
        place = np.arange(len(found.pixels))
        steps = place - found.start[chain_of] if side == 0 else found.start[chain_of + 1] - 1 - place
        # Far entries of a long chain cannot lie within the stretch: steps are at least one spacing long.
        use = np.flatnonzero((degree[owner] >= 3) & (steps <= STRETCH_TO * node_width[owner]))
        branch.append(2 * chain_of[use] + side)
        node.append(owner[use])
        near.append(found.pixels[use])
    of_branch, of_node, pixel = np.concatenate(branch), np.concatenate(node), np.concatenate(near)
    offset = scaled[pixel] - middle[of_node]
    away = np.linalg.norm(offset, axis=1) / node_width[of_node]
    weight = ((away >= STRETCH_FROM) & (away <= STRETCH_TO)).astype(np.float64)
    count = 2 * len(found.ends)
    total = np.bincount(of_branch, weights=weight, minlength=count)
    mean = _sums(of_branch, offset * weight[:, None], count) / np.maximum(total, 1)[:, None]
    spread = offset - mean[of_branch]
    outer = (spread[:, :, None] * spread[:, None, :]).reshape(-1, ndim * ndim) * weight[:, None]
    scatter = _sums(of_branch, outer, count).reshape(-1, ndim, ndim)
    good = np.flatnonzero(total >= 3)
    direction = np.linalg.eigh(scatter[good])[1][:, :, -1]
    across = np.eye(ndim) - direction[:, :, None] * direction[:, None, :]
    at = found.ends.ravel()[good]
    matrix = _sums(at, across.reshape(-1, ndim * ndim), found.nodes).reshape(-1, ndim, ndim)
    matrix += CENTRE_WEIGHT * np.eye(ndim)
    right = _sums(at, np.einsum("kij,kj->ki", across, mean[good]), found.nodes)
    move = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    lines = np.bincount(at, minlength=found.nodes)
    move[(lines < 2) | (degree < 3)] = 0
    length = np.linalg.norm(move, axis=1)
    limit = FARTHEST * node_width
    move *= np.minimum(1.0, limit / np.maximum(length, 1e-12))[:, None]
    return centres + move / relative_spacing


def _sums(group: np.ndarray, values: Floats, count: int) -> Floats:
    """Sum of each column of `values` within each group."""
    columns = [np.bincount(group, weights=values[:, c], minlength=count) for c in range(values.shape[1])]
    return np.stack(columns, axis=1)
