"""Vesicles that lie in clathrin coats are left out where the rules say so, and are listed with the reason."""

import numpy as np
import pytest
from cisterna.eres import Rules, classify_sites
from cisterna.eres.blockwise import classify_in_blocks
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = (5.24, 4.0, 4.0)
EXCLUDE = {"exclude_overlap_with": "ccv"}


def scene():
    """Three vesicles in a chain by the ER; the middle one has 24 of its 27 voxels in a coated vesicle."""
    vesicles = np.zeros((12, 40, 60), np.uint32)
    for label, x in ((1, 5), (2, 16), (3, 27)):
        vesicles[4:7, 20:23, x : x + 3] = label
    ccv = np.zeros(vesicles.shape, bool)
    ccv[4:7, 20:23, 14:18] = True
    ccv[4:7, 20:22, 18] = True
    ccv[4, 20, 5] = True
    er = np.zeros(vesicles.shape, bool)
    er[:, 10, :] = True
    return vesicles, ccv, er


def test_the_excluded_vesicle_joins_no_group_and_says_why():
    vesicles, ccv, er = scene()
    nothing = np.zeros(vesicles.shape, np.uint32)
    kept = classify_sites(vesicles, nothing, er, SIZE, ccv_mask=ccv)
    assert kept.counts["vesicular_standalone"] == 1, "without the rule the three are one group"
    assert (kept.objects["excluded"] == "").all()
    found = classify_sites(vesicles, nothing, er, SIZE, EXCLUDE, ccv_mask=ccv)
    assert found.counts["vesicular_standalone"] == 2, "what held the chain together is gone"
    rows = found.objects.set_index("object_id")
    assert rows.loc[2, "site_id"] == 0
    assert rows.loc[2, "excluded"] == "89 % in ccv (limit 50 %)"
    assert rows.loc[2, "overlap_share"] == pytest.approx(24 / 27)
    assert rows.loc[1, "overlap_share"] == pytest.approx(1 / 27)
    assert rows.loc[1, "excluded"] == ""
    assert found.sites["objects"].sum() == 2
    assert any("1 vesicle(s)" in note for note in found.notes)
    all_of_it = classify_sites(vesicles, nothing, er, SIZE, {**EXCLUDE, "exclude_overlap_share": 0.9}, ccv_mask=ccv)
    assert all_of_it.counts == kept.counts


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), block=st.tuples(*[st.integers(3, 20)] * 3))
def test_no_tiling_changes_who_is_left_out(seed, block):
    rng = np.random.default_rng(seed)
    shape = (14, 18, 22)
    vesicles, ccv = (np.zeros(shape, np.uint32) for _ in range(2))
    for label in range(1, 9):
        low = [int(rng.integers(0, n - 3)) for n in shape]
        vesicles[tuple(slice(a, a + 3) for a in low)] = label
        if rng.random() < 0.5:
            ccv[tuple(slice(max(0, a - 1), a + 2) for a in low)] = 1
    er = rng.random(shape) < 0.01
    rules = Rules(exclude_overlap_with="ccv", exclude_overlap_share=0.3, group_vesicles_nm=15, er_search_nm=120)
    nothing = np.zeros(shape, np.uint32)
    whole = classify_sites(vesicles, nothing, er, SIZE, rules, ccv_mask=ccv)
    tiled = classify_in_blocks(vesicles, nothing, er, SIZE, block, rules, ccv_mask=ccv)
    assert tiled.objects.equals(whole.objects)
    assert tiled.sites.equals(whole.sites)
    assert tiled.notes == whole.notes


def test_the_rule_without_the_class_and_a_wrong_share_are_refused():
    vesicles, _, er = scene()
    with pytest.raises(ValueError, match="exclude_overlap_with"):
        classify_sites(vesicles, np.zeros_like(vesicles), er, SIZE, EXCLUDE)
    for share in (0, 1.5, float("nan"), True):
        with pytest.raises(ValueError, match="exclude_overlap_share"):
            Rules(exclude_overlap_share=share)
    with pytest.raises(ValueError, match="choose one of"):
        Rules(exclude_overlap_with="golgi")
