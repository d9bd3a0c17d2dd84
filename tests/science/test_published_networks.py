"""Published ER networks, drawn as a microscope would show them and traced again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from cisterna.graph import trace_network
from cisterna.graph.exports import read_net

PIXEL_SIZE_UM = 0.02
MARGIN_PX = 30


def drawn(graph, width_px: float) -> tuple[np.ndarray, float]:
    """The graph's edges as straight tubules, and their total length in µm."""
    places = {n: np.array([d["y_um"], d["x_um"]]) / PIXEL_SIZE_UM for n, d in graph.nodes(data=True)}
    low = np.min(list(places.values()), axis=0) - MARGIN_PX
    lines, length_um = [], 0.0
    for a, b in graph.edges():
        span = places[b] - places[a]
        length_um += float(np.linalg.norm(span)) * PIXEL_SIZE_UM
        lines.append(places[a] - low + span * np.linspace(0, 1, 2 + int(np.linalg.norm(span) / 0.3))[:, None])
    points = np.concatenate(lines)
    mask = np.zeros(np.ceil(points.max(axis=0) + MARGIN_PX).astype(int), bool)
    reach = int(np.ceil(width_px / 2))
    base = np.rint(points).astype(int)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            at = base + np.array([dy, dx])
            near = np.linalg.norm(at - points, axis=1) <= width_px / 2
            mask[tuple(at[near].T)] = True
    return mask, length_um


@pytest.mark.parametrize("width_px", [3.0, 4.0])
@pytest.mark.parametrize("name", ["WT_COS7_KDEL_Cell3_um.net", "WT_circreg_1.net"])
def test_junctions_tips_and_length_come_back_within_three_percent(name: str, width_px: float):
    folder = os.environ.get("CISTERNA_TEST_DATA")
    if not folder:
        pytest.skip("CISTERNA_TEST_DATA is not set: the published graphs are not at hand")
    graph = read_net((Path(folder) / "er_network_graphs" / name).read_text())
    degrees = np.array([d for _, d in graph.degree()])
    mask, length_um = drawn(graph, width_px)
    network = trace_network(mask, PIXEL_SIZE_UM)
    assert (network.degree >= 3).sum() == pytest.approx((degrees >= 3).sum(), rel=0.03)
    assert (network.kind == "tip").sum() == pytest.approx((degrees == 1).sum(), rel=0.03)
    assert network.length_um.sum() == pytest.approx(length_um, rel=0.03)
