"""Episodes and events on made-up sightings: what merges, splits, switches, leaves the field."""

import numpy as np
import pandas as pd
import pytest
from cisterna.graph import TrackingParameters
from cisterna.graph.dynamics import measure_dynamics
from cisterna.graph.linking import pair_points
from cisterna.graph.tracking import follow, tracks_of_names

NO_EDGES = pd.DataFrame({"frame": [], "node_a": [], "node_b": [], "length_um": []}).astype(
    {"frame": int, "node_a": int, "node_b": int}
)


def scene(rows, links=()):
    """Rows frame, node_id, y, x, degree; links frame, a, b, length."""
    nodes = pd.DataFrame(rows, columns=["frame", "node_id", "y_um", "x_um", "degree"]).assign(kind="junction")
    edges = pd.DataFrame(links, columns=["frame", "node_a", "node_b", "length_um"]) if links else NO_EDGES
    return nodes, edges


def run(rows, links=(), frames=20, gap=0, field=None):
    return measure_dynamics(*scene(rows, links), frames, 1.0, TrackingParameters(gap_frames=gap), field)


def test_two_junctions_become_one_and_part_again():
    rows, links = [], []
    for frame in range(20):
        far = 5.0
        rows.append((frame, 9, 9.0, 9.0, 3))  # a bystander
        if 8 <= frame < 13:
            rows.append((frame, 0, 5.0, far, 4))
            continue
        rows += [(frame, 0, 5.0, far, 3), (frame, 1, 5.0, far + 0.8, 3)]
        links.append((frame, 0, 1, 0.8))
    found = run(rows, links)
    events = found.events[["frame", "event", "junction_id", "partner_id"]].to_numpy().tolist()
    kept, lost, again = 2, 3, 4
    assert [8, "merge", lost, kept] in events
    assert [13, "split", again, kept] in events
    assert [8, "to_multi_way", kept, 0] in events
    assert [13, "to_three_way", kept, 0] in events
    assert len(events) == 4
    ends = found.junctions.set_index("junction_id")
    assert ends.loc[lost, "ended"] == "merge"
    assert ends.loc[again, "began"] == "split"
    dynamics = found.dynamics.set_index("population")
    assert dynamics.loc[["merge", "split", "birth", "death"], "n"].tolist() == [1, 1, 0, 0]
    assert dynamics.loc["junctions", "ends"] == 1


def test_a_death_beside_an_unchanged_neighbour_is_a_death():
    rows = [(f, 0, 5.0, 5.0, 3) for f in range(20)] + [(f, 1, 5.0, 5.8, 3) for f in range(3, 9)]
    links = [(f, 0, 1, 0.8) for f in range(3, 9)]
    events = run(rows, links).events
    assert events[["frame", "event"]].to_numpy().tolist() == [[3, "birth"], [9, "death"]]


def test_far_neighbours_do_not_merge():
    rows = [(f, 0, 5.0, 5.0, 3 if f < 9 else 4) for f in range(20)] + [(f, 1, 5.0, 8.0, 3) for f in range(3, 9)]
    links = [(f, 0, 1, 3.0) for f in range(3, 9)]
    assert "merge" not in set(run(rows, links).events["event"])


def test_episodes_tile_the_life_of_a_junction():
    degrees = [3, 3, 4, 4, 4, 3, 5, 3, 3, 3]
    found = run([(f + 4, 0, 5.0, 5.0, d) for f, d in enumerate(degrees)])
    rows = found.episodes[["state", "first_frame", "last_frame", "duration_s", "began", "ended"]].to_numpy().tolist()
    assert rows == [
        ["three_way", 4, 5, 2.0, "birth", "change"],
        ["multi_way", 6, 8, 3.0, "change", "change"],
        ["three_way", 9, 9, 1.0, "change", "change"],
        ["multi_way", 10, 10, 1.0, "change", "change"],
        ["three_way", 11, 13, 3.0, "change", "death"],
    ]
    assert found.episodes["duration_s"].sum() == found.junctions["lifetime_s"].iloc[0]
    assert found.junctions["changes"].iloc[0] == 4
    assert not found.episodes["censored"].any()


def test_a_frame_unseen_belongs_to_the_episode_before():
    rows = [(f, 0, 5.0, 5.0, 3) for f in range(4, 8)] + [(f, 0, 5.0, 5.0, 4) for f in range(9, 14)]
    found = run(rows, gap=1)
    assert found.episodes[["first_frame", "last_frame"]].to_numpy().tolist() == [[4, 8], [9, 13]]
    assert found.junctions["sightings"].tolist() == [9]


def test_what_begins_at_the_border_may_have_come_from_outside():
    inside = [(f, 0, 5.0, 5.0, 3) for f in range(5, 10)]
    leaving = [(f, 1, 5.0, 0.2, 3) for f in range(5, 10)]
    found = run(inside + leaving, field=(10.0, 10.0)).junctions.set_index("x_um")
    assert found.loc[5.0, ["began", "ended", "censored"]].tolist() == ["birth", "death", False]
    assert found.loc[0.2, ["began", "ended", "censored"]].tolist() == ["unseen", "unseen", True]
    far = run([(f, 1, 5.0, 9.9, 3) for f in range(5, 10)], field=(10.0, 10.0)).junctions
    assert far["censored"].tolist() == [True]
    assert not run(leaving).junctions["censored"].any()


def test_what_ends_beside_a_sheet_may_be_under_it():
    nodes, edges = scene([(f, 0, 5.0, 5.0, 3) for f in range(5, 10)])
    beside = nodes.assign(touches_sheet=nodes["frame"] == 9, touches_sbt=False)
    found = measure_dynamics(beside, edges, 20, 1.0).junctions
    assert found[["began", "ended", "censored"]].to_numpy().tolist() == [["birth", "unseen", True]]


def test_two_poor_links_do_not_replace_one_good_one():
    # 0 dies, 1 rests, and a newcomer appears: chaining 0 to 1's place and 1 to the newcomer would be two links.
    before, after = np.array([[0.0, 0.0], [0.0, 0.98]]), np.array([[0.0, 0.98], [0.0, 1.96]])
    assert pair_points(before, after, 1.0).tolist() == [[1, 0]]
    # Unless they all have moved alike, and by less.
    moved = before + np.array([0.0, 0.4])
    assert pair_points(before, moved, 1.0).tolist() == [[0, 0], [1, 1]]


def test_tracks_do_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(3)
    places = np.concatenate([rng.uniform(0, 10, (40, 2)) for _ in range(6)])
    frame = np.repeat(np.arange(6), 40)
    track = follow(places, frame, 6, 0.8, 1)
    order = rng.permutation(240)
    mixed = follow(places[order], frame[order], 6, 0.8, 1)
    together = pd.Series(mixed).groupby(track[order]).nunique()
    assert (together == 1).all()
    assert len(set(mixed)) == len(set(track))


def test_known_names_are_tracks_until_they_are_away_for_too_long():
    names, frame = np.array([7, 7, 7, 7, 3, 3]), np.array([0, 1, 3, 9, 0, 1])
    assert tracks_of_names(names, frame, 1).tolist() == [2, 2, 2, 3, 1, 1]
    assert tracks_of_names(names, frame, 0).tolist() == [2, 2, 3, 4, 1, 1]
    assert len(tracks_of_names(names[:0], frame[:0], 1)) == 0


@pytest.mark.parametrize("frames", [1, 5])
def test_nothing_at_all_gives_empty_tables(frames):
    found = run([], frames=frames)
    assert all(
        len(getattr(found, t)) == 0 for t in ("junctions", "episodes", "events", "tips", "tip_phases", "survival")
    )
    assert (found.dynamics["n"] == 0).all()
    one = run([(0, 0, 1.0, 1.0, 3)], frames=1)
    assert one.junctions["censored"].tolist() == [True]
