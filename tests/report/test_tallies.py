"""Counting: survival against a worked example, multiplicities both ways, shares without nodes."""

import numpy as np
import pandas as pd
import pytest
from cisterna.report.tallies import class_counts, degree_totals, median_and_spread, multiplicities


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
