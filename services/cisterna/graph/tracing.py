"""From a mask to a multigraph of junctions and tubules.

Steps: thin → split into pixel chains → prune short free ends → merge junctions closer than the tubule is wide →
place the nodes → smooth the curves → measure. Rules and limits are in docs/graph.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from cisterna.graph.geometry import curves, mean_over_chains, node_centres
from cisterna.graph.merging import merged_pixels, without_through_nodes
from cisterna.graph.network import Network, Unmerged
from cisterna.graph.parameters import TracingParameters
from cisterna.graph.placing import centred_positions, out_of_corners
from cisterna.graph.pruning import node_width, prune
from cisterna.graph.skeleton import (
    Bools,
    Chains,
    Floats,
    PixelGraph,
    chains,
    distance_inside,
    pixel_graph,
    width_at,
)
from cisterna.graph.thinning import thin

# Steps back from a tip between which the direction of its tubule is taken: the last pixels curl into a corner.
_TIP_STEPS = (3, 11)


def trace_network(
    mask: np.ndarray,
    pixel_size_um: float | Sequence[float],
    parameters: TracingParameters | None = None,
) -> Network:
    """Traces the network that a mask shows.

    `mask` is (y, x) or (z, y, x); every non-zero pixel is tubule. `pixel_size_um` is one number for all axes or one
    per axis, in the order of the axes. The centre of the first pixel lies at 0 µm. Raises ValueError for another
    number of axes, a pixel size that is not positive, or NaN in the mask.
    """
    parameters = parameters or TracingParameters()
    on = _as_mask(mask)
    spacing = pixel_spacing(pixel_size_um, on.ndim)
    if parameters.min_part_pixels > 1:
        on = without_small_parts(on, parameters.min_part_pixels)
    relative = spacing / spacing.min()
    solid = without_small_holes(on, parameters.min_hole_pixels) if parameters.min_hole_pixels > 1 else on
    pixels = pixel_graph(thin(solid))
    distance = distance_inside(solid, relative)
    width, radius = width_at(distance, pixels.coords)
    pixels, width, radius, plain = prune(pixels, on.shape, width, radius, relative, parameters)
    absorbed = merged_pixels(plain, pixels, width, relative, parameters)
    found = without_through_nodes(chains(pixels, absorbed) if absorbed.any() else plain)
    centres = _placed(plain, pixels, width, distance, relative)
    positions = _node_positions(found, plain, centres)
    border = _reach_border(positions, found, pixels.coords, radius, on, relative)
    lines = curves(found, pixels.coords, positions)
    return Network(
        mask=on,
        spacing_um=spacing,
        positions=positions,
        ends=found.ends,
        lines=lines,
        length_um=lines.lengths(spacing),
        width_um=mean_over_chains(width, found) * float(spacing.min()),
        border=border,
        unmerged=Unmerged(plain.nodes, plain.ends, curves(plain, pixels.coords, centres).lengths(relative)),
    )


def pixel_spacing(pixel_size_um: float | Sequence[float], ndim: int) -> Floats:
    """Pixel size per axis in µm. Raises ValueError unless all are positive and finite."""
    spacing = np.atleast_1d(np.asarray(pixel_size_um, np.float64)).ravel()
    if spacing.size == 1:
        spacing = np.repeat(spacing, ndim)
    if spacing.size != ndim:
        raise ValueError(f"pixel_size_um has {spacing.size} values for a mask of {ndim} axes; give one or {ndim}")
    if not np.all(np.isfinite(spacing) & (spacing > 0)):
        raise ValueError(f"pixel_size_um = {pixel_size_um}: every value must be positive and finite")
    return spacing


def without_small_parts(mask: Bools, least_pixels: int) -> Bools:
    """The mask without parts (diagonal contact counts) of fewer than `least_pixels` pixels."""
    labels, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
    large = np.bincount(labels.ravel()) >= least_pixels
    large[0] = False
    return np.asarray(large[labels])


def without_small_holes(mask: Bools, least_pixels: int) -> Bools:
    """The mask with its holes of fewer than `least_pixels` pixels filled; what touches the frame's border is none."""
    labels, count = ndimage.label(~mask)
    small = np.bincount(labels.ravel(), minlength=count + 1) < least_pixels
    for axis in range(mask.ndim):
        if mask.shape[axis]:
            small[labels.take((0, -1), axis=axis)] = False
    small[0] = False
    return np.asarray(mask | small[labels])


def _as_mask(mask: np.ndarray) -> Bools:
    array = np.asarray(mask)
    if array.ndim not in (2, 3):
        raise ValueError(f"a mask has 2 or 3 axes, this one has {array.ndim} (shape {array.shape})")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError("the mask holds NaN; threshold it first")
    return np.ascontiguousarray(array != 0)


def _placed(plain: Chains, pixels: PixelGraph, width: Floats, distance: Floats, relative: Floats) -> Floats:
    centres = node_centres(plain, pixels.coords)
    length = curves(plain, pixels.coords, centres).lengths(relative)
    local = node_width(plain, mean_over_chains(width, plain), length)
    degree = np.bincount(plain.ends.ravel(), minlength=plain.nodes)
    placed = centred_positions(centres, degree >= 3, local, distance, relative)
    return out_of_corners(placed, plain, curves(plain, pixels.coords, placed).points, degree >= 3, local, relative)


def _node_positions(found: Chains, plain: Chains, centres: Floats) -> Floats:
    """A merged node lies at the mean of the junctions that it holds, each counting once."""
    member = (found.node_of >= 0) & (plain.node_of >= 0)
    held = np.unique(np.stack([found.node_of[member], plain.node_of[member]], axis=1), axis=0)
    count = np.maximum(np.bincount(held[:, 0], minlength=found.nodes), 1)
    axes = range(centres.shape[1])
    return np.stack(
        [np.bincount(held[:, 0], weights=centres[held[:, 1], a], minlength=found.nodes) / count for a in axes], axis=1
    )


def _reach_border(
    positions: Floats, found: Chains, coords: np.ndarray, radius: Floats, mask: Bools, relative: Floats
) -> Bools:
    """Flags tips whose tubule leaves the frame, and moves them onto its border (in place).

    Thinning ends about one radius short of the border. A tip belongs to a leaving tubule when it lies on a face of the
    frame, or its largest ball reaches a face that the tubule points at and the mask is set there.
    """
    border = np.zeros(found.nodes, bool)
    if len(found.ends) == 0:
        return border
    degree = np.bincount(found.ends.ravel(), minlength=found.nodes)
    first, last = found.start[:-1], found.start[1:] - 1
    near = np.minimum((last - first) // 2, _TIP_STEPS[0])
    far = np.minimum(last - first, _TIP_STEPS[1])
    at = np.concatenate([first, last])
    outward = np.concatenate([first + near, last - near])
    inward = np.concatenate([first + far, last - far])
    node = found.ends.T.ravel()
    tip = degree[node] == 1
    at, outward, inward, node = at[tip], outward[tip], inward[tip], node[tip]
    place = coords[found.pixels[at]].astype(np.float64)
    base = coords[found.pixels[outward]].astype(np.float64)
    heading = (base - coords[found.pixels[inward]]) * relative
    heading /= np.maximum(np.linalg.norm(heading, axis=1, keepdims=True), 1e-12)
    size = np.array(mask.shape, np.float64)
    best = np.full(len(node), np.inf)
    for axis in range(mask.ndim):
        for face, sign in ((0.0, -1.0), (size[axis] - 1, 1.0)):
            gap = np.abs(place[:, axis] - face) * relative[axis]
            onto = place.copy()
            onto[:, axis] = face
            on_face = mask[tuple(onto.astype(np.int64).T)]
            towards = heading[:, axis] * sign
            reaches = (gap <= radius[found.pixels[at]] + 1.5) & (towards > 0.25)
            leaves = (reaches | (gap < 1)) & on_face & (gap < best)
            ahead = np.abs(base[:, axis] - face) * relative[axis]
            step = np.minimum(ahead / np.maximum(towards, 0.25), 2 * ahead)[:, None] * heading / relative
            moved = np.clip(base + step, 0, size - 1)
            moved[:, axis] = face
            positions[node[leaves]] = moved[leaves]
            border[node[leaves]] = True
            best[leaves] = gap[leaves]
    return border
