"""Removing what thinning invents: short free ends, and stars inside blobs."""

from __future__ import annotations

import numpy as np

from cisterna.graph.geometry import curves, mean_over_chains, node_centres
from cisterna.graph.parameters import TracingParameters
from cisterna.graph.skeleton import Bools, Chains, Floats, Ints, PixelGraph, chains, groups, pixel_graph

_MAX_ROUNDS = 20
# A blob's skeleton is a cross at most; a larger tree of short branches is a network.
_MAX_BLOB_EDGES = 5


def prune(
    pixels: PixelGraph,
    shape: tuple[int, ...],
    width: Floats,
    radius: Floats,
    relative_spacing: Floats,
    parameters: TracingParameters,
) -> tuple[PixelGraph, Floats, Floats, Chains]:
    """Removes free ends shorter than `spur_widths` tubule widths, shortest first, round by round.

    In each round a junction keeps at least two branches, so a tubule never disappears together with its side
    branches. A component that is a tree of short branches only is a blob: its widest pixel stays, an isolated node.
    Returns the remaining pixels, their widths and radii, and their chains.
    """
    found = chains(pixels)
    for _ in range(_MAX_ROUNDS):
        gone = _spur_pixels(found, pixels, shape, width, radius, relative_spacing, parameters)
        if not gone.any():
            break
        keep = ~gone
        image = np.zeros(shape, bool)
        image[tuple(pixels.coords[keep].T)] = True
        pixels = pixel_graph(image)
        width, radius = width[keep], radius[keep]
        found = chains(pixels)
    return pixels, width, radius, found


def node_width(found: Chains, edge_width: Floats, length: Floats) -> Floats:
    """Local tubule width at each node: mean over its edges, weighted by length, so that long tubules speak."""
    ends = found.ends.ravel()
    weight = np.repeat(np.maximum(length, 1e-6), 2)
    total = np.bincount(ends, weights=weight * np.repeat(edge_width, 2), minlength=found.nodes)
    return np.asarray(total / np.maximum(np.bincount(ends, weights=weight, minlength=found.nodes), 1e-12))


def _spur_pixels(
    found: Chains,
    pixels: PixelGraph,
    shape: tuple[int, ...],
    width: Floats,
    radius: Floats,
    spacing: Floats,
    parameters: TracingParameters,
) -> Bools:
    gone = np.zeros(len(pixels.coords), bool)
    if len(found.ends) == 0:
        return gone
    length = curves(found, pixels.coords, node_centres(found, pixels.coords)).lengths(spacing)
    at_node = node_width(found, mean_over_chains(width, found), length)
    member = found.node_of >= 0
    reach = np.zeros(found.nodes)
    np.maximum.at(reach, found.node_of[member], radius[member])
    degree = np.bincount(found.ends.ravel(), minlength=found.nodes)
    tip_a, tip_b = (degree[found.ends] == 1).T
    for tip, entry in ((tip_a, found.start[:-1]), (tip_b, found.start[1:] - 1)):
        length = length + np.where(tip, _missing_to_border(pixels, found.pixels[entry], shape, radius, spacing), 0)
    # In a blob the ball around the junction is larger than any tubule: a branch counts beyond that ball only.
    short = length < parameters.spur_widths * np.maximum(at_node, reach)[found.ends].max(axis=1)
    if not (short & (tip_a | tip_b)).any():
        return gone
    count, part = groups(found.ends, found.nodes)
    blob = _blobs(found, short, count, part)
    spur = np.flatnonzero(short & (tip_a ^ tip_b) & ~blob[part[found.ends[:, 0]]])
    base = np.where(tip_a[spur], found.ends[spur, 1], found.ends[spur, 0])
    spur = spur[_rank_within(base, length[spur]) < degree[base] - 2]
    removed = np.zeros(len(found.ends), bool)
    removed[spur] = True
    entries = found.pixels[removed[found.chain_of]]
    gone[entries[found.node_of[entries] < 0]] = True
    gone[np.where(tip_a[spur], found.pixels[found.start[spur]], found.pixels[found.start[spur + 1] - 1])] = True
    if blob.any():
        of_pixel = np.full(len(pixels.coords), -1, np.int64)
        of_pixel[member] = part[found.node_of[member]]
        of_pixel[found.pixels] = part[found.ends[found.chain_of, 0]]
        inside = np.flatnonzero(blob[of_pixel])
        gone[inside] = _rank_within(of_pixel[inside], -radius[inside]) > 0
    return gone


def _missing_to_border(pixels: PixelGraph, at: Ints, shape: tuple[int, ...], radius: Floats, spacing: Floats) -> Floats:
    """How far thinning stopped short of the frame's border at given pixels; 0 where the mask does not reach it."""
    place = pixels.coords[at]
    gap = (np.minimum(place, np.array(shape) - 1 - place) * spacing).min(axis=1)
    return np.where(gap <= radius[at], gap, 0.0)


def _blobs(found: Chains, short: Bools, count: int, part: Ints) -> Bools:
    """Components (by index) that are small trees of short edges."""
    of_edge = part[found.ends[:, 0]]
    edges = np.bincount(of_edge, minlength=count)
    long_edges = np.bincount(of_edge, weights=~short, minlength=count)
    nodes = np.bincount(part, minlength=count)
    return np.asarray((long_edges == 0) & (edges > 0) & (edges == nodes - 1) & (edges <= _MAX_BLOB_EDGES))


def _rank_within(group: Ints, value: Floats) -> Ints:
    """0 for the smallest value of each group, 1 for the next …; ties in order of appearance."""
    order = np.lexsort((np.arange(len(group)), value, group))
    ordered = group[order]
    place = np.arange(len(group))
    first = np.ones(len(group), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    rank = np.empty(len(group), np.int64)
    rank[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    return rank
