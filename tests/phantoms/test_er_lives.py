"""What happens in a living phantom is what its tables say: spells, tips, meetings, steps, and nothing when static."""

import numpy as np
import pytest
from cisterna.phantoms import er_movie
from cisterna.phantoms.er_lives import Living, contracted, draw_living
from cisterna.phantoms.er_truth import score_links, shown_network, true_events, true_lives

SMALL = {"shape_yx": (128, 128), "sheet": False, "drift_px": 0.0}


def test_a_static_movie_differs_in_noise_only():
    movie = er_movie(4, seed=1, static=True, **{**SMALL, "drift_px": 2.0})
    assert (movie.classes == movie.classes[0]).all()
    assert movie.nodes.groupby("frame")["y_px"].apply(list).map(tuple).nunique() == 1
    noise = movie.frames[1].astype(float) - movie.frames[2]
    assert noise.std() > 10
    clean = er_movie(4, seed=1, static=True, snr=float("inf"), **{**SMALL, "drift_px": 2.0})
    assert (clean.frames == clean.frames[0]).all()


def test_lives_have_the_planted_mean_and_leave_long_enough():
    rng = np.random.default_rng(0)
    vertices = rng.uniform(0, 4000, (3000, 2))
    edges = np.stack([np.arange(0, 3000, 2), np.arange(1, 3000, 2)], axis=1)
    living = draw_living(vertices, edges, 60, 1.0, rng, mortal_share=1.0, lifetime_s=9.0)
    spells = [s for s in living.spells.values() if len(s)]
    whole = np.concatenate(spells)
    assert np.diff(whole, axis=1).min() >= 2
    assert np.diff(whole, axis=1).mean() == pytest.approx(9.0, rel=0.05)
    assert min(float((s[1:, 0] - s[:-1, 1]).min()) for s in spells if len(s) > 1) >= 5
    there = [living.grown(e, 20.0, t) > 0 for e in living.spells for t in (0.0, 30.0, 59.0)]
    early, middle, late = np.reshape(there, (-1, 3)).mean(axis=0)
    assert early == pytest.approx(late, abs=0.06)  # in its steady state from the start
    assert middle == pytest.approx(late, abs=0.06)


def test_no_two_mortal_tubules_share_a_junction():
    movie_edges = np.array([[0, 1], [1, 2], [2, 3], [3, 0]])
    square = np.array([[0.0, 0.0], [0.0, 20.0], [20.0, 20.0], [20.0, 0.0]])
    living = draw_living(square, movie_edges, 10, 1.0, np.random.default_rng(1), mortal_share=1.0, lifetime_s=5.0)
    ends = movie_edges[list(living.spells)].ravel()
    assert len(living.spells) == 2
    assert len(set(ends.tolist())) == 4


def test_a_tip_grows_at_its_speed_and_starts_back_when_its_life_ends():
    living = Living(spells={0: np.array([[1.0, 6.0]])}, from_second={0: False}, speed_px_per_s=3.0)
    lengths = [living.grown(0, 12.0, t) for t in (0.5, 1.0, 2.0, 4.0, 5.5, 6.0, 7.0, 9.0, 10.0, 11.0)]
    assert lengths == [0.0, 0.0, 3.0, 9.0, 12.0, 12.0, 9.0, 3.0, 0.0, 0.0]
    assert living.grown(1, 12.0, 0.0) == 12.0


def test_tips_in_the_tables_move_at_the_planted_speed():
    movie = er_movie(20, seed=4, lifetime_s=8.0, remodelling=0.2, tip_speed_um_per_s=0.3, **SMALL)
    tips = movie.nodes[(movie.nodes["kind"] == "tip")]
    assert len(tips) > 5
    edges = movie.edges.merge(tips[["frame", "node_id"]], left_on=["frame", "node_b"], right_on=["frame", "node_id"])
    steps = []
    for _, own in edges.groupby("edge_id"):
        own = own.sort_values("frame")
        change = np.diff(own["length_um"])[np.diff(own["frame"]) == 1]
        steps += change.tolist()
    assert np.median(np.abs(steps)) == pytest.approx(0.3, abs=0.03)


def test_a_step_has_the_planted_mean():
    movie = er_movie(12, seed=2, step_px=1.5, **SMALL)
    place = movie.nodes[movie.nodes["kind"] == "junction"].set_index(["frame", "node_id"])[["y_px", "x_px"]]
    steps = []
    for frame in range(11):
        before, after = place.loc[frame], place.loc[frame + 1]
        both = before.index.intersection(after.index)
        steps += np.linalg.norm(after.loc[both].to_numpy() - before.loc[both].to_numpy(), axis=1).tolist()
    assert np.mean(steps) == pytest.approx(1.5, rel=0.1)


def test_short_tubules_become_four_way_junctions():
    vertices = np.array([[0.0, 0.0], [0.0, 3.0], [0.0, 30.0], [20.0, 0.0], [-20.0, 0.0]])
    edges = np.array([[0, 1], [1, 2], [0, 3], [0, 4]])
    places, ends, kept = contracted(vertices, edges, 5.0)
    assert kept.tolist() == [1, 2, 3]
    assert ends.tolist() == [[0, 2], [0, 3], [0, 4]]
    np.testing.assert_allclose(places[0], [0.0, 1.5])
    movie = er_movie(1, seed=3, least_tubule_px=9.0, **SMALL)
    degrees = movie.nodes.loc[movie.nodes["kind"] == "junction", "degree"]
    assert {3, 4} <= set(degrees)


def test_meeting_junctions_become_one_and_part_again():
    movie = er_movie(40, (192, 192), seed=5, sheet=False, drift_px=0.0, meetings=0.2)
    shown, _ = shown_network(movie)
    together = shown[shown["members"].map(len) > 1]
    still, _ = shown_network(er_movie(1, (192, 192), seed=5, sheet=False, drift_px=0.0))
    always = set(still.loc[still["members"].map(len) > 1, "members"])
    met = together[~together["members"].isin(always)]
    assert met["members"].nunique() >= 3
    assert (met.groupby("members")["frame"].nunique() < 40).all()
    inner = met[met[["y_um", "x_um"]].min(axis=1).gt(1.5) & met[["y_um", "x_um"]].max(axis=1).lt(17.6)]
    assert (inner["degree"] == 4).mean() > 0.9


def test_links_of_the_truth_itself_are_all_correct_and_a_swap_is_not():
    movie = er_movie(5, seed=6, **{**SMALL, "drift_px": 1.0})
    shown, _ = shown_network(movie)
    own = shown[shown["kind"] == "junction"].reset_index(drop=True)
    found = own[["frame", "y_um", "x_um"]].assign(track=own["name"] + 1)
    score = score_links(found, own, 0.3)
    assert (score.precision, score.recall, score.recall_detected) == (1.0, 1.0, 1.0)
    a, b = found.loc[found["frame"] == 0, "track"].iloc[:2]
    swapped = found.assign(track=found["track"].where(found["frame"] < 3, found["track"].replace({a: b, b: a})))
    worse = score_links(swapped, own, 0.3)
    assert worse.found - worse.correct == 2
    assert worse.precision_detected < 1
    missed = found[(found["track"] != a) | (found["frame"] != 2)]
    gap = score_links(missed, own, 0.3)
    assert (gap.precision, gap.recall_detected) == (1.0, 1.0)
    assert gap.recall < 1


@pytest.mark.parametrize("name", ["lifetime_s", "tip_speed_um_per_s", "step_px", "least_tubule_px"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_impossible_lives_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        er_movie(2, **SMALL, **{name: value})


def test_lives_and_events_agree_with_what_is_shown():
    movie = er_movie(40, (160, 160), seed=8, sheet=False, lifetime_s=6.0, remodelling=0.2, least_tubule_px=9.0)
    shown, _ = shown_network(movie)
    lives, events = true_lives(shown), true_events(shown)
    inner = lives[lives["whole"]]
    assert len(inner) > 10
    assert (inner["last_frame"] >= inner["first_frame"]).all()
    births = events[events["event"].isin(["birth", "split"])]
    assert len(births) == (lives["first_frame"] > 0).sum()
    assert len(events[events["event"].isin(["death", "merge"])]) == (lives["last_frame"] < 39).sum()
    junctions = shown[shown["kind"] == "junction"]
    assert (lives["last_frame"] - lives["first_frame"] + 1).sum() == len(junctions)
    switches = events[events["event"].str.startswith("to_")]
    assert len(switches) > 3
    for frame, event, name in switches[["frame", "event", "name"]].itertuples(index=False):
        now = junctions[(junctions["frame"] == frame) & (junctions["name"] == name)]["degree"].iloc[0]
        assert (now > 3) == (event == "to_multi_way")


def test_a_meeting_is_a_merge_and_a_split():
    movie = er_movie(40, (192, 192), seed=5, sheet=False, drift_px=0.0, meetings=0.2)
    events = true_events(shown_network(movie)[0])
    counts = events["event"].value_counts()
    assert counts.get("merge", 0) >= 3
    assert counts.get("split", 0) >= 3
    assert (events.loc[events["event"] == "merge", "partner"] >= 0).all()
