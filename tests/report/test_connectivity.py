"""The connectivity graph by component: one colour a component, everything where the tables have it."""

import numpy as np
import pandas as pd
import pytest
from cisterna.report.canvas import png_bytes
from cisterna.report.connectivity import COMPONENTS, OTHERS, component_figure, component_swatches
from matplotlib.colors import to_hex


def tables(parts):
    """A chain of two nodes for each component number."""
    nodes, edges = [], []
    for n, part in enumerate(parts):
        nodes += [(2 * n, 1.0, 0.5 + n, 1, part), (2 * n + 1, 2.0, 0.5 + n, 1, part)]
        edges.append((n, part, np.array([1.0, 0.5 + n, 2.0, 0.5 + n])))
    return (
        pd.DataFrame(nodes, columns=["node_id", "y_um", "x_um", "degree", "component"]),
        pd.DataFrame(edges, columns=["edge_id", "component", "path_yx_um"]),
    )


def test_each_component_has_its_colour_and_the_rest_share_one():
    nodes, edges = tables([0, 3, 11, 7, 1])
    axes = component_figure(nodes, edges, (10.0, 4.0), (0.1, 0.1)).axes[0]
    dots = {tuple(np.round(p, 3)): to_hex(c.get_facecolor()[0]) for c in axes.collections if len(c.get_offsets()) and
            hasattr(c, "get_sizes") and len(c.get_sizes()) for p in c.get_offsets()}  # fmt: skip
    expected = {0: COMPONENTS[0], 3: COMPONENTS[3], 11: OTHERS, 7: OTHERS, 1: COMPONENTS[1]}
    for n, part in enumerate([0, 3, 11, 7, 1]):
        assert dots[(0.5 + n, 1.0)] == dots[(0.5 + n, 2.0)] == expected[part].colour.lower()
    words = [t.get_text() for t in axes.figure.legends[0].get_texts()]
    assert words == ["largest (2 nodes)", "2nd (2 nodes)", "4th (2 nodes)", "2 others (4 nodes)"]
    assert axes.get_xlim() == pytest.approx((-0.05, 9.95))
    assert axes.get_ylim() == pytest.approx((3.95, -0.05))


def test_colours_differ():
    assert len({s.colour for s in (*COMPONENTS, OTHERS)}) == len(COMPONENTS) + 1
    assert component_swatches(np.array([0, 6, 7, -1])).tolist() == [0, 6, -1, -1]


def test_no_network_says_so():
    nodes, edges = tables([])
    axes = component_figure(nodes, edges, (10.0, 4.0), (0.1, 0.1)).axes[0]
    assert "no network in this frame" in [t.get_text() for t in axes.texts]
    assert png_bytes(axes.figure, 40)
