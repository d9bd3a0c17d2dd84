"""Levels kept apart: what is a group, what a candidate, what took the others out; and what the edge cuts."""

import numpy as np
import pytest
from cisterna.eres import classify_sites
from hypothesis import given, settings
from hypothesis import strategies as st

NM4 = (4.0, 4.0, 4.0)


def row(length, vesicles, er, tubular=(), golgi=None):
    volumes = [np.zeros((1, 1, length), np.uint32) for _ in range(4)]
    for volume, spans in zip(volumes, (vesicles, er, tubular, golgi or ()), strict=True):
        for n, (start, stop) in enumerate(spans, start=1):
            volume[0, 0, start:stop] = n
    return volumes


def classified(length, vesicles, er, tubular=(), golgi=None, **rules):
    v, e, t, g = row(length, vesicles, er, tubular, golgi)
    return classify_sites(v, t, e > 0, NM4, rules, None if golgi is None else g > 0)


def levels(found):
    return [tuple(r) for r in found.sites[["level", "excluded_by", "otherwise"]].to_numpy()]


def test_what_extent_alone_excluded_is_named_and_what_lies_beside_it_too():
    found = classified(400, [(5, 115), (150, 152), (350, 352)], [(120, 121), (153, 154), (353, 354)])
    assert levels(found) == [
        ("group", "extent", "vesicular_standalone"),
        ("group", "beside_extent", "vesicular_standalone"),
        ("candidate", "", ""),
    ]
    assert found.sites["site_class"].tolist() == ["golgi_associated", "golgi_associated", "vesicular_standalone"]


def test_other_causes_and_tubular_sites():
    found = classified(300, [(5, 7), (200, 202)], [(9, 10)], tubular=[(230, 240)])
    assert levels(found) == [("candidate", "", ""), ("group", "er", ""), ("candidate", "", "")]
    segmented = classified(300, [(5, 7), (200, 202)], [(9, 10), (204, 205)], golgi=[(20, 24)])
    assert levels(segmented) == [("group", "golgi", "vesicular_standalone"), ("candidate", "", "")]
    demanded = classified(60, [(5, 7)], [(9, 10)], require_cluster=True)
    assert levels(demanded) == [("group", "cluster", "")]


@pytest.mark.parametrize(("before", "flagged"), [(79, True), (80, False)])
def test_a_site_whose_search_leaves_the_volume_is_flagged(before, flagged):
    """320 nm are 80 voxels: with 80 in front the sphere just reaches the face."""
    volume = np.zeros((170, 170, 240), np.uint32)
    volume[84:86, 84:86, before : before + 2] = 1
    found = classify_sites(volume, volume * 0, volume * 0, NM4)
    assert found.sites["near_volume_edge"].tolist() == [flagged]
    mirrored = classify_sites(volume[:, :, ::-1].copy(), volume * 0, volume * 0, NM4)
    assert mirrored.sites["near_volume_edge"].tolist() == [flagged]


@pytest.mark.parametrize(("before", "flagged"), [(34, True), (35, False)])
def test_a_tubular_site_searches_only_140_nm(before, flagged):
    volume = np.zeros((80, 80, 120), np.uint32)
    volume[38:40, 38:40, before : before + 2] = 1
    found = classify_sites(volume * 0, volume, volume * 0, NM4)
    assert found.sites["near_volume_edge"].tolist() == [flagged]


SITE_PITCH = 44
RING = [(round(4.4 * np.sin(a)), round(4.4 * np.cos(a))) for a in np.arange(8) * np.pi / 4]


def compact_sites(rng):
    """Twelve sites of eight vesicles each, all within the grouping distance of each other (8 nm voxels), beside ER."""
    shape = (14, 3 * SITE_PITCH, 4 * SITE_PITCH)
    labels, er = np.zeros(shape, np.uint32), np.zeros(shape, bool)
    number = 0
    for y in range(3):
        for x in range(4):
            at = np.array([10, SITE_PITCH * y + 20, SITE_PITCH * x + 20]) + rng.integers(-2, 3, 3)
            for dy, dx in RING:
                number += 1
                z, v, u = at + np.array([0, dy, dx])
                labels[z - 1 : z + 2, v - 1 : v + 2, u - 1 : u + 2] = number
    er[0] = True
    return labels, er


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), keep=st.sampled_from([0.1, 0.2, 0.4, 0.7, 1.0]))
def test_recall_of_vesicles_leaves_compact_sites_standing(seed, keep):
    """10–100 % of the vesicles, at least one a site: the same twelve candidates, with fewer vesicles each."""
    rng = np.random.default_rng(seed)
    labels, er = compact_sites(rng)
    ids = np.arange(1, labels.max() + 1)
    kept = rng.random(len(ids)) < keep
    kept.reshape(12, 8)[np.arange(12), rng.integers(0, 8, 12)] = True
    labels[~np.isin(labels, ids[kept])] = 0
    found = classify_sites(labels, labels * 0, er, (8.0, 8.0, 8.0))
    assert found.counts["vesicular_standalone"] == 12
    assert found.sites["objects"].sum() == kept.sum()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), keep=st.sampled_from([0.1, 0.3, 0.6, 1.0]))
def test_a_long_site_falls_apart_or_leaves_by_extent_and_is_named(seed, keep):
    """A row of forty vesicles, 900 nm long: found whole it leaves as Golgi-like, and the tables and notes say so."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((5, 5, 240), np.uint32)
    for n in range(40):
        labels[1:4, 1:4, 2 + 6 * n : 5 + 6 * n] = n + 1
    er = np.zeros(labels.shape, bool)
    er[0] = True
    kept = rng.random(40) < keep
    kept[rng.integers(0, 40)] = True
    labels[~np.isin(labels, 1 + np.flatnonzero(kept))] = 0
    found = classify_sites(labels, labels * 0, er, (4.0, 4.0, 4.0))
    extent = found.sites["extent_x_nm"]
    alone = found.sites["excluded_by"] == "extent"
    assert (alone == (extent > 400)).all()
    assert (found.sites.loc[alone, "otherwise"] == "vesicular_standalone").all()
    if alone.any():
        assert any(f"Extent alone excluded {alone.sum()}" in note for note in found.notes)
    else:
        assert found.counts["vesicular_standalone"] == len(found.sites)
    if keep == 1.0:
        assert alone.tolist() == [True]
