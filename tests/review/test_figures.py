"""Figure 3B of a run, and what the report says with and without a review."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from cisterna.report.canvas import png_bytes
from cisterna.report.review_figures import counts_figure, lengths_figure, spread_out
from cisterna.report.review_section import ReviewReport, review_section
from cisterna.review.decisions import confirms, is_exit_site
from cisterna.review.summary import summarise
from cisterna.tables.reviews import REVIEW_LENGTHS, REVIEWED_SITES


def reviewed(counts, site_class="vesicular_mixed", who="Ada", bound=2, first=1):
    rows = [
        {
            "site_id": n, "site_class": site_class, "reviewer": who, "when_utc": "2026-11-21T10:00:00Z",
            "vesicles": count, "form": "vesicle cluster", "bud": "yes", "why": "<b>bold</b>",
            "confirmed": confirms(site_class, "vesicle cluster"), "exit_site": is_exit_site("vesicle cluster"),
            "cluster_size": bound, "lengths": 0, "sample": "s", "item": "01", "revision": 0, "tool_version": "0.1.0",
        }
        for n, count in enumerate(counts, first)
    ]  # fmt: skip
    return REVIEWED_SITES.frame(rows)


@pytest.fixture
def sites():
    return pd.DataFrame({"site_id": range(1, 21), "site_class": ["vesicular_mixed"] * 20})


def dots(axes):
    """Heights of the filled and of the open dots."""
    filled, bound = (np.asarray(c.get_offsets())[:, 1].tolist() for c in axes.collections[:2])
    return filled, bound


def test_each_site_stands_twice_by_eye_and_as_bound(sites):
    figure = counts_figure(summarise(reviewed([7, 12, 12, 30]), sites))
    filled, bound = dots(figure.axes[0])
    assert filled == [7, 12, 12, 30]
    assert bound == [2, 2, 2, 2]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["by eye", "lower\nbound"]
    (words,) = (t.get_text() for t in figure.axes[0].texts if "n = 4" in t.get_text())
    assert words == "vesicular, mixed\nn = 4\nconfirmed 4 of 4\n(51–100 %)"


def test_a_site_that_two_people_counted_is_one_dot(sites):
    table = pd.concat([reviewed([10, 20]), reviewed([14], who="Bo")])
    filled, _ = dots(counts_figure(summarise(table, sites)).axes[0])
    assert filled == [12, 20]


@pytest.mark.parametrize("counts", [[], [np.nan], [0], [0, 0, 0], [10_000]])
def test_few_and_empty(sites, counts):
    assert png_bytes(counts_figure(summarise(reviewed(counts), sites)), 60).startswith(b"\x89PNG")


def test_the_same_bytes_each_time(sites):
    one, other = (png_bytes(counts_figure(summarise(reviewed([7, 12]), sites)), 60) for _ in range(2))
    assert one == other


def test_dots_of_one_height_do_not_hide_each_other():
    places = spread_out(np.array([5.0, 5, 5, 5, 9]))
    assert len(set(places[:4])) == 4
    assert places[4] == 0
    assert np.abs(spread_out(np.full(100, 3.0))).max() <= 0.131


def test_lengths_of_no_class_and_of_one():
    assert lengths_figure(pd.DataFrame({"length_nm": [], "site_class": []})).axes[0].texts
    table = pd.DataFrame({"length_nm": [60.0, 80.0], "site_class": ["tubular_mixed"] * 2})
    axes = lengths_figure(table).axes[0]
    assert sorted(np.asarray(axes.collections[0].get_offsets())[:, 0]) == [60, 80]


def test_without_a_review_the_report_says_so():
    section = review_section(None, "fibsem-0", 12)
    assert "All 12 sites above are candidates, not reviewed" in section.text[0]
    assert section.pairs == section.grids == ()


def test_the_section_names_people_sample_and_intervals(sites):
    table = pd.concat([reviewed([7, 1, 3]), reviewed([8, 2], who="Bo")])
    report = ReviewReport(summarise(table, sites), table, REVIEW_LENGTHS.frame())
    section = review_section(report, "fibsem-0", 20)
    assert "3 of 20 candidates were reviewed by Ada, Bo" in section.text[0]
    grids = {g.caption: g for g in section.grids}
    row = dict(zip(grids["Class precision"].header, grids["Class precision"].rows[0], strict=True))
    assert row["class confirmed"] == "3 of 3 (44–100 %)"
    assert row["would be of all"] == "8–20"
    assert "Agreement" in grids
    assert any("fewer vesicles than the lower bound at 1 of 3 sites" in p for p in section.points)
    broken = dataclasses.replace(report, trouble="the sites of run x are not those")
    assert review_section(broken, "x", 3).text == ["There are review decisions, but the sites of run x are not those."]
