"""Polygons between tubules: areas known by hand, counts by Euler's formula."""

from __future__ import annotations

import numpy as np
import pytest
from cisterna.graph import trace_network
from cisterna.graph.meshes import meshes
from cisterna.phantoms.er_movie import er_movie
from drawing import circle, draw
from scipy import ndimage


def test_a_grid_encloses_its_squares():
    lines = [((8, 8 + 20 * k), (68, 8 + 20 * k)) for k in range(4)] + [
        ((8 + 20 * k, 8), (8 + 20 * k, 68)) for k in range(4)
    ]
    found = meshes(trace_network(draw(lines), 0.5))
    assert found.area_um2 == pytest.approx([100.0] * 9, rel=0.02)
    centres = {(round(y / 20), round(x / 20)) for y, x in found.middle_px}
    assert centres == {(a, b) for a in (1, 2, 3) for b in (1, 2, 3)}


def test_a_ring_encloses_its_disc_whatever_stands_inside():
    ring = circle((48, 48), 30)
    assert meshes(trace_network(ring, 1.0)).area_um2 == pytest.approx([np.pi * 900], rel=0.03)
    dangling = ring | draw([((18, 48), (40, 48))])
    assert meshes(trace_network(dangling, 1.0)).area_um2 == pytest.approx([np.pi * 900], rel=0.04)
    island = ring | circle((48, 48), 15)
    assert sorted(meshes(trace_network(island, 1.0)).area_um2) == pytest.approx([np.pi * 225, np.pi * 900], rel=0.06)


def test_a_theta_encloses_two_halves_and_anisotropic_pixels_count():
    theta = circle((48, 48), 30) | draw([((48, 18), (48, 78))])
    assert meshes(trace_network(theta, (0.2, 0.1))).area_um2 == pytest.approx([0.02 * np.pi * 450] * 2, rel=0.05)


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((32, 32), bool),
        draw([((20, 20), (60, 70))]),
        draw([((48, 48), (10, 48)), ((48, 48), (80, 14)), ((48, 48), (80, 82))]),
        draw([((-10, 30.0), (110, 62.0)), ((40.0, -10), (55.0, 110))]),
        circle((0, 48), 30),
    ],
)
def test_trees_and_polygons_cut_by_the_frame_enclose_nothing(mask: np.ndarray):
    assert len(meshes(trace_network(mask, 1.0)).area_um2) == 0


def test_a_network_has_as_many_meshes_as_eulers_formula_says():
    drawn = er_movie(frames=1, shape_yx=(384, 384), seed=6, sheet=False, sbt=False)
    mask = drawn.classes[0] == 2
    network = trace_network(mask, 0.1)
    found = meshes(network)
    figures = network.metrics()
    expected = figures["edges"] - figures["nodes"] + figures["components"]
    assert abs(len(found.area_um2) - expected) <= 0.01 * expected
    holes, count = ndimage.label(~mask)
    size = np.bincount(holes.ravel(), minlength=count + 1)
    size[np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))] = 0
    # A mesh reaches to the centre lines, a hole of the mask half a tubule less far.
    assert (size[1:] >= 7).sum() == pytest.approx(len(found.area_um2), rel=0.02)
    assert 1.1 < found.area_um2.sum() / (0.01 * size[1:].sum()) < 1.8


def test_volumes_have_no_meshes():
    with pytest.raises(ValueError, match="flat frames"):
        meshes(trace_network(np.zeros((4, 8, 8)), 1.0))
