"""Counting: survival against a worked example, multiplicities both ways, shares without nodes."""

import numpy as np
import pandas as pd
import pytest
from cisterna.report.tallies import class_counts, degree_totals, kaplan_meier, median_and_spread, multiplicities
from hypothesis import given
from hypothesis import strategies as st


def test_kaplan_meier_equals_the_textbook_by_hand():
    # Six subjects; ends at 1, 3, 3, 5; cut off at 2 and 6. S = 5/6, then 5/6·2/4, then ·1/2.
    survival = kaplan_meier(np.array([1, 2, 3, 3, 5, 6.0]), np.array([0, 1, 0, 0, 0, 1], bool))
    assert survival.time_s.tolist() == [1, 3, 5]
    assert survival.share == pytest.approx([5 / 6, 5 / 12, 5 / 24])
    assert survival.at_risk.tolist() == [6, 4, 2]
    assert (survival.events, survival.censored, survival.median_s) == (4, 2, 3.0)


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=40))
def test_without_censoring_survival_is_the_empirical_share(lifetimes):
    values = np.array(lifetimes)
    survival = kaplan_meier(values, np.zeros(len(values), bool))
    assert survival.share == pytest.approx([(values > t).mean() for t in survival.time_s], abs=1e-12)


def test_survival_is_undefined_when_every_lifetime_is_cut_off_or_nan():
    assert kaplan_meier(np.array([3.0, 4.0]), np.array([True, True])) is None
    assert kaplan_meier(np.array([np.nan]), np.array([False])) is None
    assert kaplan_meier(np.array([]), np.array([], bool)) is None


def test_median_is_infinite_while_more_than_half_live_on():
    survival = kaplan_meier(np.array([1.0, 9, 9, 9]), np.array([False, True, True, True]))
    assert survival.median_s == np.inf


def test_multiplicities_count_partners_in_both_directions():
    links = pd.DataFrame({"vesicular_site_id": [1, 1, 2], "tubular_site_id": [7, 8, 8], "distance_nm": [1.0, 2, 3]})
    assert [(m.partners, m.sites) for m in multiplicities(links, "vesicular_site_id")] == [(1, 1), (2, 1)]
    assert [(m.partners, m.sites) for m in multiplicities(links, "tubular_site_id")] == [(1, 1), (2, 1)]
    assert multiplicities(links.iloc[:0], "tubular_site_id") == []


def test_class_counts_hold_six_names_and_show_strangers():
    counts = class_counts(pd.DataFrame({"site_class": ["dispersed", "dispersed", "varicosity"]}))
    assert counts["dispersed"] == 2
    assert counts["varicosity"] == 1
    assert len(counts) == 7
    assert sum(class_counts(pd.DataFrame({"site_class": []})).values()) == 0


def test_degree_shares_are_undefined_without_nodes(movie):
    totals = degree_totals(movie.frames)
    assert totals["nodes"].sum() == movie.frames["nodes"].sum()
    assert totals["share"].sum() == pytest.approx(1)
    assert degree_totals(movie.frames.iloc[:0])["share"].isna().all()


def test_spread_needs_two_values():
    n, median, mean, spread = median_and_spread(pd.Series([4.0, np.nan, np.inf]))
    assert (n, median, mean) == (1, 4.0, 4.0)
    assert np.isnan(spread)
