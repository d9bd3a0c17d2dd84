"""Surface distances agree with brute force, whole and in blocks."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from cisterna.chunks import BlockGrid, Box
from cisterna.eres import Rules
from cisterna.eres.distances import measure_block, measure_regions, surface_voxels
from cisterna.eres.least_distances import Distances
from cisterna.eres.transform import squared_distance_nm2
from hypothesis import given, settings
from hypothesis import strategies as st

SIZES = [(5.24, 4.0, 4.0), (4.0, 4.0, 4.0), (10.0, 3.0, 7.0)]


def brute(a, b, size, metric="euclidean"):
    """Distance of two masks over all pairs of voxel centres."""
    pa, pb = np.argwhere(a) * np.asarray(size), np.argwhere(b) * np.asarray(size)
    step = np.abs(pa[:, None] - pb[None])
    return float((step.max(axis=-1) if metric == "per_axis" else np.sqrt((step**2).sum(axis=-1))).min())


def scene(seed, shape=(9, 11, 12)):
    """Random labelled boxes of two classes, which may overlap each other, and an ER mask."""
    rng = np.random.default_rng(seed)
    labels = []
    for _ in range(2):
        volume = np.zeros(shape, np.uint32)
        for n in range(1, int(rng.integers(0, 6)) + 1):
            low = [int(rng.integers(0, s)) for s in shape]
            box = tuple(slice(a, a + int(rng.integers(1, 4))) for a in low)
            volume[box] = np.where(volume[box] == 0, n * 3, volume[box])
        labels.append(volume)
    er = rng.random(shape) < rng.choice([0.0, 0.005, 0.03])
    golgi = rng.random(shape) < 0.01
    return *labels, er, golgi


def in_blocks(arrays, size, rules, block, shrink=0, golgi=True):
    shape = arrays[0].shape
    grid = BlockGrid(shape, block)
    halo = [h - shrink for h in rules.halo_voxels(size)]
    parts = []
    for n in range(grid.blocks):
        box = grid.box(n)
        window = box.grow(halo).intersect(Box.whole(shape))
        cut = [a[window.slices] for a in arrays]
        core = box.relative_to(window.offset)
        part = measure_block(*cut[:3], cut[3] if golgi else None, core, size, rules)
        if not golgi:
            every = np.arange(1, int(arrays[0].max(initial=0)) + 1)
            part = replace(part, vesicle_region=measure_regions(cut[0], every, core, size, rules))
        parts.append(part)
    return Distances.joined(parts)


def check(found, arrays, size, rules, golgi):
    vesicles, tubular, er, golgi_mask = arrays

    def pairs(values, one, two, limit, metric="euclidean"):
        same = one is two
        expected = {}
        for a, b in itertools.product(np.unique(one[one > 0]), np.unique(two[two > 0])):
            if not same or a < b:
                nm = brute(one == a, two == b, size, metric)
                if nm <= limit + 1e-6:
                    expected[int(a), int(b)] = nm
        got = {(int(a), int(b)): nm for a, b, nm in zip(values.a, values.b, values.nm, strict=True)}
        assert got == pytest.approx(expected, abs=1e-6)

    def nearest(values, labels, mask, limit, metric="euclidean"):
        expected = {}
        for a in np.unique(labels[labels > 0]) if mask.any() else ():
            nm = brute(labels == a, mask, size, metric)
            if nm <= limit + 1e-6:
                expected[int(a)] = nm
        assert dict(zip(values.id.tolist(), values.nm.tolist(), strict=True)) == pytest.approx(expected, abs=1e-6)

    nearest(found.vesicle_er, vesicles, er, rules.er_search_nm)
    nearest(found.tubular_er, tubular, er, rules.er_search_nm)
    pairs(found.vesicle_vesicle, vesicles, vesicles, rules.group_vesicles_nm)
    pairs(found.tubular_tubular, tubular, tubular, rules.group_tubular_nm)
    pairs(found.vesicle_tubular, vesicles, tubular, rules.link_nm)
    if golgi:
        nearest(found.vesicle_golgi, vesicles, golgi_mask, rules.golgi_distance_nm, rules.golgi_metric)
        assert not len(found.vesicle_region.nm)
    else:
        pairs(found.vesicle_region, vesicles, vesicles, rules.golgi_distance_nm, rules.golgi_metric)
        assert not len(found.vesicle_golgi.nm)


RULES = [
    Rules(group_vesicles_nm=9, group_tubular_nm=13, near_er_nm=8, er_search_nm=17, link_nm=11, golgi_distance_nm=21),
    Rules(
        group_vesicles_nm=12, group_tubular_nm=8, near_er_nm=20, er_search_nm=20, link_nm=16, golgi_distance_nm=10,
        golgi_metric="per_axis",
    ),
]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from(SIZES),
    rules=st.sampled_from(RULES),
    block=st.tuples(*[st.integers(2, 13)] * 3),
    golgi=st.booleans(),
)
def test_whole_and_blocks_agree_with_brute_force(seed, size, rules, block, golgi):
    arrays = scene(seed)
    whole = in_blocks(arrays, size, rules, arrays[0].shape, golgi=golgi)
    check(whole, arrays, size, rules, golgi)
    tiled = in_blocks(arrays, size, rules, block, golgi=golgi)
    for name, values in whole.arrays().items():
        np.testing.assert_array_equal(tiled.arrays()[name], values, err_msg=name)
    again = Distances.from_arrays(tiled.arrays())
    np.testing.assert_array_equal(again.vesicle_tubular.nm, tiled.vesicle_tubular.nm)


@pytest.mark.parametrize("few", [0, 3000])
@pytest.mark.parametrize("metric", ["euclidean", "per_axis"])
def test_trees_and_all_pairs_give_the_same(few, metric, monkeypatch):
    monkeypatch.setattr("cisterna.eres.distances._FEW_PAIRS", few)
    rules = Rules(group_vesicles_nm=30, link_nm=25, golgi_distance_nm=40, golgi_metric=metric, group_tubular_nm=30)
    for seed in range(6):
        arrays = scene(seed)
        check(in_blocks(arrays, SIZES[0], rules, (5, 6, 12), golgi=False), arrays, SIZES[0], rules, False)


def test_a_halo_one_voxel_too_small_loses_a_pair():
    vesicles = np.zeros((1, 1, 20), np.uint32)
    vesicles[0, 0, 3] = 1
    tubular = np.zeros_like(vesicles)
    tubular[0, 0, 3 + 12] = 1
    arrays = (vesicles, tubular, tubular > 9, tubular > 9)
    rules = Rules(
        link_nm=48, group_vesicles_nm=1, group_tubular_nm=1, near_er_nm=1, er_search_nm=1, golgi_distance_nm=1
    )
    assert in_blocks(arrays, (4, 4, 4), rules, (1, 1, 4)).vesicle_tubular.nm.tolist() == [48.0]
    assert not len(in_blocks(arrays, (4, 4, 4), rules, (1, 1, 4), shrink=1).vesicle_tubular.nm)


@pytest.mark.parametrize("voxels", [0, 10**9])
def test_trees_and_transforms_give_the_same(voxels, monkeypatch):
    monkeypatch.setattr("cisterna.eres.distances.VOXELS_A_QUERY", voxels)
    for seed in range(6):
        arrays = scene(seed)
        check(in_blocks(arrays, SIZES[0], RULES[0], (5, 6, 12)), arrays, SIZES[0], RULES[0], True)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3), fill=st.sampled_from([0.0, 0.02, 0.3, 1.0]), size=st.sampled_from(SIZES),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_transform_against_all_pairs(shape, fill, size, seed):
    mask = np.random.default_rng(seed).random(shape) < fill
    found = squared_distance_nm2(mask, size)
    if not mask.any():
        assert np.isinf(found).all()
        return
    every, inside = (np.argwhere(m) * np.asarray(size) for m in (np.ones(shape, bool), mask))
    expected = ((every[:, None] - inside[None]) ** 2).sum(-1).min(axis=1)
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-13, atol=1e-9)


@pytest.mark.parametrize("fill", [0.01, 0.9])
def test_surface_voxels_against_the_definition(fill, monkeypatch):
    monkeypatch.setattr("cisterna.eres.distances._SLAB_VOXELS", 150)  # several slabs, both ways of finding them
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((12, 7, 9)) < fill, rng.integers(1, 3, (12, 7, 9)), 0)
    expected = []
    for position in np.argwhere(labels):
        around = [tuple(position + s * np.eye(3, dtype=int)[axis]) for axis in range(3) for s in (-1, 1)]
        inside = [p for p in around if all(0 <= v < n for v, n in zip(p, labels.shape, strict=True))]
        if any(labels[p] != labels[tuple(position)] for p in inside):
            expected.append(position.tolist())
    assert surface_voxels(labels).tolist() == expected


def grid_nm(shape, size):
    """Centres of all voxels in nm, about the middle of the volume."""
    centre = (np.indices(shape).reshape(3, -1).T + 0.5) * size
    return centre - centre.mean(axis=0)


@pytest.mark.parametrize(("vesicle", "low", "high"), [("plane", 0.5, 1.0), ("sphere", 1.3, 2.0)])
def test_bias_at_known_gaps(vesicle, low, high):
    """Measured − true gap between a rotated plane and a plane or a sphere, over orientations, gaps and sub-voxel
    positions. The figures stand in the notes of every result."""
    size, rng, errors = np.array([5.24, 4.0, 4.0]), np.random.default_rng(7), []
    shape = (34, 44, 44)
    centre = grid_nm(shape, size)
    for _ in range(60):
        normal = rng.normal(size=3)
        normal /= np.linalg.norm(normal)
        gap, face = rng.uniform(10, 40), rng.uniform(-8, 0)
        height = centre @ normal
        if vesicle == "plane":
            near = np.linalg.norm(centre - np.outer(height, normal), axis=1) < 45
            body = (height < face) & (height > face - 12) & near
        else:
            radius = rng.uniform(30, 38)
            body = np.linalg.norm(centre - normal * (face - radius), axis=1) < radius
        er = ((height > face + gap) & (height < face + gap + 12)).reshape(shape)
        labels = body.reshape(shape).astype(np.uint8)
        found = measure_block(labels, labels * 0, er, None, Box.whole(shape), size, Rules())
        errors.append(found.vesicle_er.nm[0] - gap)
    assert min(errors) > -1e-6
    assert max(errors) < math.sqrt(5.24**2 + 4**2 + 4**2)
    assert low < np.mean(errors) < high
