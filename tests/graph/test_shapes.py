"""Tracing of shapes whose graph is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from cisterna.graph import Network, TracingParameters, trace_network
from drawing import circle, draw


def kinds(network: Network) -> dict[str, int]:
    return network.nodes["kind"].value_counts().to_dict()


def test_a_bar_is_two_tips_and_one_edge():
    network = trace_network(draw([((20, 20), (60, 70))]), 0.1)
    assert kinds(network) == {"tip": 2}
    assert network.edges[["node_a", "node_b"]].to_numpy().tolist() == [[0, 1]]
    assert network.edges["length_um"][0] == pytest.approx(0.1 * np.hypot(40, 50), rel=0.05)
    assert network.edges["width_um"][0] == pytest.approx(0.4, rel=0.1)


@pytest.mark.parametrize("turn", np.linspace(0, 2, 9))
def test_a_y_is_one_junction_with_three_arms(turn: float):
    centre = np.array([47.3, 48.6])
    arms = [centre + 35 * np.array([np.sin(a + turn), np.cos(a + turn)]) for a in (0, 2 * np.pi / 3, 4 * np.pi / 3)]
    network = trace_network(draw([(tuple(centre), tuple(arm)) for arm in arms]), 1.0)
    assert kinds(network) == {"junction": 1, "tip": 3}
    at = network.nodes.query("kind == 'junction'")[["y_um", "x_um"]].to_numpy()[0]
    assert np.hypot(*(at - centre)) < 1.0
    assert network.length_um.sum() == pytest.approx(105, rel=0.05)


def test_an_isolated_ring_is_one_node_of_degree_two_with_a_flagged_loop():
    network = trace_network(circle((48, 48), 25), 0.5)
    assert kinds(network) == {"ring": 1}
    assert network.nodes["degree"].tolist() == [2]
    assert network.edges["ring"].tolist() == [True]
    assert network.edges["length_um"][0] == pytest.approx(0.5 * 2 * np.pi * 25, rel=0.03)
    assert list(network.graph.edges(0)) == [(0, 0)]


def test_two_rings_sharing_a_bar_keep_three_parallel_tubules():
    corners = [(20, 10), (20, 80), (60, 80), (60, 10)]
    rim = list(zip(corners, corners[1:] + corners[:1], strict=True))
    mask = draw([*rim, ((20, 45), (60, 45))])
    network = trace_network(mask, 1.0)
    assert kinds(network) == {"junction": 2}
    assert network.edges[["node_a", "node_b"]].to_numpy().tolist() == [[0, 1]] * 3
    assert not network.edges["ring"].any()
    assert network.metrics()["parallel_edges"] == 2


def test_two_rings_joined_by_a_bar_keep_both_loops():
    mask = circle((30, 30), 14) | circle((66, 66), 14) | draw([((40, 40), (56, 56))])
    network = trace_network(mask, 1.0)
    assert kinds(network) == {"junction": 2}
    assert network.degree.tolist() == [3, 3]
    loops = network.edges["node_a"] == network.edges["node_b"]
    assert sorted(loops.tolist()) == [False, True, True]
    assert not network.edges["ring"].any(), "a loop on a tubule is no isolated ring"


def test_theta_is_two_junctions_and_three_edges():
    network = trace_network(circle((48, 48), 30) | draw([((48, 18), (48, 78))]), 1.0)
    assert kinds(network) == {"junction": 2}
    assert len(network.edges) == 3
    # The junctions of a T lie up to half a width inside its stem.
    assert sorted(network.length_um) == pytest.approx([60, 94.2, 94.2], rel=0.08)


def test_a_grid_counts_its_corners_as_bends():
    lines = [((8, 8 + 20 * k), (68, 8 + 20 * k)) for k in range(4)] + [
        ((8 + 20 * k, 8), (8 + 20 * k, 68)) for k in range(4)
    ]
    network = trace_network(draw(lines), 1.0)
    degrees = np.bincount(network.degree, minlength=5)
    # 4 crossings inside, 8 T's on the rim; the four corners are bends of a tubule and no nodes.
    assert degrees.tolist() == [0, 0, 0, 8, 4]
    assert len(network.edges) == 24 - 4
    assert network.length_um.sum() == pytest.approx(8 * 60, rel=0.03)


@pytest.mark.parametrize("radius", [3, 8, 20])
def test_a_disc_is_one_isolated_node(radius: int):
    y, x = np.mgrid[:96, :96]
    network = trace_network(np.hypot(y - 40.2, x - 50.7) <= radius, 1.0)
    assert kinds(network) == {"isolated": 1}
    assert len(network.edges) == 0
    assert np.hypot(network.positions[0, 0] - 40.2, network.positions[0, 1] - 50.7) <= 1.5


def test_a_square_is_one_isolated_node():
    mask = np.zeros((64, 64), bool)
    mask[20:40, 15:35] = True
    assert kinds(trace_network(mask, 1.0)) == {"isolated": 1}


def test_a_dot_is_one_isolated_node_at_its_pixel():
    mask = np.zeros((9, 7), bool)
    mask[3, 5] = True
    network = trace_network(mask, (0.2, 0.5))
    assert network.nodes[["y_um", "x_um", "degree", "kind"]].to_numpy().tolist() == [
        [0.6000000000000001, 2.5, 0, "isolated"]
    ]


def test_tubules_leaving_every_border_end_on_it():
    cross = draw([((-10, 30.0), (110, 62.0)), ((40.0, -10), (55.0, 110))])
    network = trace_network(cross, 1.0)
    assert kinds(network) == {"border": 4, "junction": 1}
    ends = network.nodes.query("kind == 'border'")[["y_um", "x_um"]].to_numpy()
    expected = [(0, 32.67), (95, 58.0), (41.25, 0), (53.1, 95)]
    for place in expected:
        assert np.min(np.hypot(*(ends - place).T)) < 2.0, f"no end at {place}: {ends}"


def test_a_tubule_that_ends_beside_the_border_is_a_tip():
    network = trace_network(draw([((48, 4), (48, 60))]), 1.0)
    assert kinds(network) == {"tip": 2}


@pytest.mark.parametrize("shape", [(32, 48), (1, 1), (1, 40), (8, 16, 16), (0, 5)])
def test_an_empty_frame_is_an_empty_network(shape: tuple[int, ...]):
    network = trace_network(np.zeros(shape, np.uint8), 0.1)
    assert len(network.nodes) == len(network.edges) == network.graph.number_of_nodes() == 0
    assert network.metrics()["nodes"] == 0
    assert np.isnan(network.metrics()["density"])


@pytest.mark.parametrize("shape", [(32, 48), (1, 1), (1, 40), (3, 3), (8, 16, 16)])
def test_a_full_frame_is_at_most_one_part(shape: tuple[int, ...]):
    assert trace_network(np.ones(shape, bool), 0.1).metrics()["components"] == 1


def test_a_spur_shorter_than_the_limit_is_pruned_and_a_longer_branch_stays():
    trunk = ((48, 10), (48, 86))
    short = trace_network(draw([trunk, ((48, 48), (53, 48))]), 1.0)
    assert kinds(short) == {"tip": 2}
    assert len(short.edges) == 1
    long = trace_network(draw([trunk, ((48, 48), (70, 48))]), 1.0)
    assert kinds(long) == {"junction": 1, "tip": 3}
    kept = trace_network(draw([trunk, ((48, 48), (55, 48))]), 1.0, TracingParameters(spur_widths=0))
    assert kinds(kept).get("junction") == 1


def test_junctions_closer_than_the_tubule_is_wide_are_one():
    def ladder(gap: float) -> np.ndarray:
        return draw([((48, 10), (48, 86)), ((10, 46), (48, 46)), ((48, 46 + gap), (86, 46 + gap))])

    assert trace_network(ladder(4), 1.0).degree.max() == 4
    assert np.bincount(trace_network(ladder(14), 1.0).degree)[3] == 2
    apart = trace_network(ladder(5), 1.0, TracingParameters(merge_widths=0, merge_pixels=0))
    assert np.bincount(apart.degree)[3] == 2


def test_only_rings_have_nodes_of_degree_two():
    rng = np.random.default_rng(4)
    for _ in range(20):
        noise = rng.random((64, 64)) < rng.uniform(0.3, 0.7)
        network = trace_network(noise, 1.0)
        two = network.nodes.query("degree == 2")
        assert (two["kind"] == "ring").all()
        loops = network.edges.query("ring")["node_a"]
        assert sorted(loops) == sorted(two["node_id"])


@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 2, 3)])
@pytest.mark.parametrize("width", [4, 5, 7])
def test_a_bar_in_a_volume(direction: tuple[int, int, int], width: int):
    z, y, x = np.mgrid[:40, :40, :40].astype(float)
    d = np.array(direction) / np.linalg.norm(direction)
    away = np.stack([z, y, x], axis=-1) - 19.6
    along = np.clip(away @ d, -14, 14)
    mask = np.linalg.norm(away - along[..., None] * d, axis=-1) <= width / 2
    network = trace_network(mask, 0.02)
    assert kinds(network) == {"tip": 2}
    # The line ends somewhere in the round caps.
    assert 27 * 0.02 <= network.length_um[0] <= (28 + width) * 0.02
    assert network.width_um[0] == pytest.approx(width * 0.02, rel=0.1)
    assert {"z_um", "y_um", "x_um"} <= set(network.graph.nodes[0])


def test_a_ring_and_a_y_in_an_anisotropic_volume_have_lengths_in_micrometres():
    plane = np.zeros((9, 96, 96), bool)
    plane[3:6] = circle((48, 48), 25)
    ring = trace_network(plane, (0.06, 0.02, 0.02))
    assert kinds(ring) == {"ring": 1}
    assert ring.length_um[0] == pytest.approx(2 * np.pi * 25 * 0.02, rel=0.05)
    plane[3:6] = draw([((48, 48), (10, 48)), ((48, 48), (80, 14)), ((48, 48), (80, 82))])
    assert kinds(trace_network(plane, (0.06, 0.02, 0.02))) == {"junction": 1, "tip": 3}


@pytest.mark.parametrize(
    ("mask", "size", "says"),
    [
        (np.zeros(5), 0.1, "2 or 3 axes"),
        (np.zeros((4, 4)), 0.0, "positive"),
        (np.zeros((4, 4)), float("nan"), "positive"),
        (np.zeros((4, 4)), (0.1, 0.1, 0.1), "3 values"),
        (np.full((4, 4), np.nan), 0.1, "NaN"),
    ],
)
def test_what_cannot_be_traced_is_named(mask: np.ndarray, size: object, says: str):
    with pytest.raises(ValueError, match=says):
        trace_network(mask, size)  # type: ignore[arg-type]


@pytest.mark.parametrize("half_angle", [25, 30, 35])
@pytest.mark.parametrize("turn", [0.0, 0.7, 1.9])
def test_a_fork_lies_where_its_axes_meet(half_angle: float, turn: float):
    centre = np.array([47.6, 48.2])
    angles = [turn + np.pi, turn + np.radians(half_angle), turn - np.radians(half_angle)]
    arms = [tuple(centre + 36 * np.array([np.sin(a), np.cos(a)])) for a in angles]
    network = trace_network(draw([(tuple(centre), arm) for arm in arms]), 1.0)
    assert kinds(network) == {"junction": 1, "tip": 3}
    at = network.positions[network.kind == "junction"][0]
    assert np.hypot(*(at - centre)) < 1.5


def test_a_tubule_that_leaves_the_frame_beside_its_junction_is_no_spur():
    mask = draw([((48, -5), (48, 100)), ((48, 48), (100, 48))])[:57]
    network = trace_network(mask, 1.0)
    assert kinds(network) == {"junction": 1, "border": 3}


def test_a_hole_of_a_few_pixels_is_no_mesh_and_a_larger_one_is():
    mask = draw([((48, 10), (48, 86))], width=9)
    mask[47:49, 47:50] = False
    assert kinds(trace_network(mask, 1.0)) == {"tip": 2}
    ring = circle((48, 48), 12, width=3)
    assert kinds(trace_network(ring, 1.0)) == {"ring": 1}
    dot = np.zeros((9, 9), bool)
    dot[3:6, 3:6] = True
    dot[4, 4] = False
    assert kinds(trace_network(dot, 1.0)) == {"isolated": 1}
    assert kinds(trace_network(dot, 1.0, TracingParameters(min_hole_pixels=0))) == {"ring": 1}


def turned(mask: np.ndarray) -> list[np.ndarray]:
    """The mask in all eight orientations on the grid."""
    return [np.rot90(m, k) for m in (mask, mask[:, ::-1]) for k in range(4)]


BY_HAND = {
    "bar": (draw([((20, 20), (60, 70))]), {"tip": 2}, 1),
    "Y": (draw([((48, 48), (10, 48)), ((48, 48), (80, 20)), ((48, 48), (80, 78))]), {"junction": 1, "tip": 3}, 3),
    "ring": (circle((48, 47), 25), {"ring": 1}, 1),
    "two rings sharing a bar": (
        draw([((20, 10), (20, 80)), ((60, 10), (60, 80)), *(((20, x), (60, x)) for x in (10, 45, 80))]),
        {"junction": 2},
        3,
    ),
    "theta": (circle((48, 48), 30) | draw([((48, 18), (48, 78))]), {"junction": 2}, 3),
    "disc": (circle((40, 50), 0, 24), {"isolated": 1}, 0),
    "dot": (draw([((30, 40), (30, 40))], 1), {"isolated": 1}, 0),
    "empty": (np.zeros((64, 96), bool), {}, 0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_shape_has_the_same_graph_in_every_orientation(name: str):
    mask, expected, edges = BY_HAND[name]
    for k, seen in enumerate(turned(mask)):
        network = trace_network(seen, 0.1)
        assert kinds(network) == expected, f"orientation {k}"
        assert len(network.edges) == edges, f"orientation {k}"


@pytest.mark.parametrize("width", [2, 3, 5, 7])
@pytest.mark.parametrize("lean", [0, 9, 22])
def test_a_tubule_leaves_through_each_border_alone(width: int, lean: int):
    for seen in turned(draw([((48, 50), (-20, 50 + lean))], width)):
        network = trace_network(seen, 1.0)
        assert kinds(network) == {"border": 1, "tip": 1}
        end = network.positions[network.kind == "border"][0]
        assert min(*end, *(np.array(seen.shape) - 1 - end)) == 0


def test_a_tubule_through_both_corners_has_two_border_ends():
    for seen in turned(draw([((-10, -10), (110, 110))])):
        assert kinds(trace_network(seen, 1.0)) == {"border": 2}


def test_tubules_one_pixel_thin_have_the_same_graphs():
    lattice = np.zeros((61, 61), bool)
    lattice[10:51, 10:51:20] = True
    lattice[10:51:20, 10:51] = True
    network = trace_network(lattice, 1.0)
    assert np.bincount(network.degree).tolist() == [0, 0, 0, 4, 1]
    assert len(network.edges) == 8
    line = np.zeros((9, 40), bool)
    line[4, 5:35] = True
    assert kinds(trace_network(line, 1.0)) == {"tip": 2}
