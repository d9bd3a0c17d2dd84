"""Shares and agreement against values worked out elsewhere."""

import math

import pytest
from cisterna.review.agreement import cohen_kappa, differences, share_words, wilson
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    # Newcombe, Stat. Med. 1998, table I: 81/263, 15/148, 0/20, 1/29 by the score method.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_published_values(part, whole, low, high):
    share = wilson(part, whole)
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)


@given(whole=st.integers(1, 400), data=st.data())
def test_wilson_is_scipys(whole, data):
    part = data.draw(st.integers(0, whole))
    share, other = wilson(part, whole), binomtest(part, whole).proportion_ci(method="wilson")
    assert (share.low, share.high) == pytest.approx((other.low, other.high), abs=1e-12)
    assert share.low <= part / whole <= share.high


def test_wilson_of_nothing_and_of_nonsense():
    assert math.isnan(wilson(0, 0).value)
    assert share_words(wilson(0, 0)) == "–"
    assert share_words(wilson(27, 30)) == "27 of 30 (74–97 %)"
    with pytest.raises(ValueError, match="5 of 4"):
        wilson(5, 4)


def test_kappa_of_a_textbook_table():
    """20 both yes, 5 and 10 divided, 15 both no: agreement 0.7, chance 0.5, kappa 0.4."""
    one = ["yes"] * 25 + ["no"] * 25
    other = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = cohen_kappa(one, other)
    assert (found.both, found.agreed) == (50, 35)
    assert found.kappa == pytest.approx(0.4)
    assert cohen_kappa(other, one).kappa == pytest.approx(0.4)


def test_kappa_where_it_is_undefined():
    assert math.isnan(cohen_kappa([], []).kappa)
    assert math.isnan(cohen_kappa(["a", "a"], ["a", "a"]).kappa)
    assert cohen_kappa(["a", "b"], ["a", "b"]).kappa == 1
    assert cohen_kappa(["a", "b"], ["b", "a"]).kappa == -1


def test_differences():
    found = differences([5, 7, 9], [4, 7, 6])
    assert (found.pairs, found.mean) == (3, pytest.approx(4 / 3))
    assert found.spread == pytest.approx(1.5275252)
    assert math.isnan(differences([], []).mean)
    assert math.isnan(differences([1], [2]).spread)
