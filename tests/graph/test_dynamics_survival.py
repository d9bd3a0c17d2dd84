"""Survival with unknown births and deaths: against statsmodels, and against lifetimes that are known."""

import numpy as np
import pandas as pd
import pytest
from cisterna.graph.survival import Spans, born_in_view, drawn_curve, figures, kaplan_meier
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=2, max_size=60))
def test_curve_and_limits_equal_statsmodels(rows):
    duration = pytest.importorskip("statsmodels.duration.survfunc")
    seconds, cut = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows])
    curve = kaplan_meier(seconds, cut)
    if cut.all():
        assert len(curve) == 0
        return
    other = duration.SurvfuncRight(seconds, ~cut)
    assert curve["time_s"].tolist() == other.surv_times.tolist()
    np.testing.assert_allclose(curve["survival"], other.surv_prob, atol=1e-12)
    assert curve["at_risk"].tolist() == other.n_risk.tolist()
    assert ((curve["low"] <= curve["survival"] + 1e-12) & (curve["survival"] <= curve["high"] + 1e-12)).all()
    inner = (curve["survival"] > 0).to_numpy()
    # Greenwood's error, recovered from our limits on the log(-log) scale.
    s = curve["survival"].to_numpy()[inner]
    width = np.log(np.log(curve["low"].to_numpy()[inner]) / np.log(s)) / 1.959964
    np.testing.assert_allclose(width * s * np.abs(np.log(s)), other.surv_prob_se[inner], rtol=1e-5, atol=1e-9)


def watched(mean_s, length_s, count, seed):
    """Lives of a steady population seen through a movie of `length_s`."""
    rng = np.random.default_rng(seed)
    born = rng.uniform(-12 * mean_s, length_s, count)
    dies = born + rng.gamma(2.0, mean_s / 2, count)  # not exponential: old ones die sooner
    seen = (dies > 0) & (born < length_s)
    born, dies = born[seen], dies[seen]
    return Spans(np.minimum(dies, length_s) - np.maximum(born, 0), born > 0, dies < length_s)


def test_births_in_view_give_the_true_mean_where_the_naive_mean_does_not():
    found = figures(watched(10.0, 60.0, 40_000, 0))
    assert found["km_mean_s"] == pytest.approx(10.0, rel=0.03)
    assert found["km_median_s"] == pytest.approx(10.0 * 1.678 / 2, rel=0.03)
    short = figures(watched(10.0, 12.0, 60_000, 1))
    assert short["naive_mean_s"] < 7
    assert short["km_median_s"] == pytest.approx(8.39, rel=0.05)
    assert short["mean_by_rate_s"] == pytest.approx(10.0, rel=0.1)


def test_nothing_seen_has_no_figures():
    none = Spans(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool))
    found = figures(none)
    assert (found["n"], found["begins"], found["observed_min"]) == (0, 0, 0)
    assert np.isnan([found[k] for k in ("naive_mean_s", "km_mean_s", "km_median_s", "mean_by_rate_s")]).all()
    assert len(drawn_curve(none)) == 0


def test_the_drawn_curve_reaches_as_far_as_was_seen():
    spans = Spans(
        np.array([2.0, 5.0, 5.0, 9.0]), np.array([True, True, True, False]), np.array([True, False, False, True])
    )
    assert born_in_view(spans)["time_s"].tolist() == [2.0]
    drawn = drawn_curve(spans)
    assert drawn[["time_s", "ended"]].to_numpy().tolist() == [[2.0, 1.0], [5.0, 0.0]]
    assert drawn["survival"].tolist() == pytest.approx([2 / 3, 2 / 3])
    alive = Spans(np.array([4.0]), np.array([True]), np.array([False]))
    assert drawn_curve(alive)[["time_s", "survival", "ended"]].to_numpy().tolist() == [[4.0, 1.0, 0.0]]
    assert isinstance(figures(alive)["km_median_s"], float)
    assert pd.isna(figures(alive)["km_median_s"])
