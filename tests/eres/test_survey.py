"""The survey of a cell: the same for every tiling, and what brute force says of every place and ball."""

import numpy as np
import pytest
from cisterna.chunks import BlockGrid, Box
from cisterna.eres import Rules, classify_sites
from cisterna.eres.survey import (
    FITS,
    GOLGI,
    LINKED,
    NEAR_ER,
    Groups,
    Masks,
    Survey,
    draw_places,
    region_reach_nm,
    survey_block,
    survey_reach_nm,
)
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = np.array([5.24, 4.0, 4.0])
RULES = Rules(near_er_nm=14, er_search_nm=14, link_nm=10, golgi_distance_nm=18)


@pytest.fixture(autouse=True)
def _small_vesicles(monkeypatch):
    monkeypatch.setattr("cisterna.eres.survey.LARGEST_RADIUS_NM", 12.0)


def scene(seed, shape=(14, 17, 16)):
    rng = np.random.default_rng(seed)
    er, tubular, golgi, organelles = (rng.random(shape) < f for f in (0.01, 0.004, 0.002, 0.004))
    cell = np.zeros(shape, bool)
    cell[:, 2:, 1:-1] = True
    return er, tubular, golgi, cell, organelles


def some_groups():
    of = np.array([0, 0, 1, 1, 1])
    offset = np.array([[0, 0, -9], [0, 0, 9], [8, 0, 0], [-6, 5, 0], [0, -7, 4.0]])
    return Groups(np.array([4, 9]), of, offset, np.array([7, 8, 6, 6.5, 5.0]), 0)


def whole_survey(arrays, groups, cell=True, reference=True):
    er, tubular, golgi, mask, organelles = arrays
    masks = Masks(er, tubular, golgi, mask if cell else None, organelles)
    return survey_block(
        masks, Box.whole(er.shape), (0, 0, 0), er.shape, SIZE, RULES, groups, 400, 3,
        (golgi, (0, 0, 0)) if reference else None,
    )  # fmt: skip


def in_blocks(arrays, groups, block, shrink=0, cell=True):
    shape = arrays[0].shape
    grid, parts = BlockGrid(shape, block), []
    halos = [[int(np.ceil(r / s)) - shrink for s in SIZE] for r in (survey_reach_nm(RULES), region_reach_nm(RULES))]
    for n in range(grid.blocks):
        box = grid.box(n)
        window, wide = (box.grow(h).intersect(Box.whole(shape)) for h in halos)
        er, tubular, golgi, mask, organelles = (a[window.slices] for a in arrays)
        masks = Masks(er, tubular, golgi, mask if cell else None, organelles)
        far = arrays[2][wide.slices]
        parts.append(
            survey_block(
                masks, box.relative_to(window.offset), window.offset, shape, SIZE, RULES, groups, 400, 3,
                (far, wide.offset) if far.any() else None,
            )
        )  # fmt: skip
    return Survey.joined(parts)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), block=st.tuples(*[st.integers(3, 17)] * 3), cell=st.booleans())
def test_every_tiling_gives_the_same_survey(seed, block, cell):
    arrays, groups = scene(seed), some_groups()
    one, two = whole_survey(arrays, groups, cell), in_blocks(arrays, groups, block, cell=cell)
    for name, values in one.arrays().items():
        np.testing.assert_array_equal(two.arrays()[name], values, err_msg=name)


def test_a_halo_too_small_is_noticed():
    differ = [
        any(
            not np.array_equal(a, b)
            for a, b in zip(
                whole_survey(scene(s), some_groups()).arrays().values(),
                in_blocks(scene(s), some_groups(), (5, 5, 5), shrink=2).arrays().values(),
                strict=True,
            )
        )
        for s in range(5)
    ]
    assert any(differ)


@pytest.mark.parametrize("voxels", [0, 10**9])
@pytest.mark.parametrize("cell", [True, False])
def test_places_and_balls_against_brute_force(cell, voxels, monkeypatch):
    monkeypatch.setattr("cisterna.eres.survey.VOXELS_A_QUERY", voxels)
    arrays, groups = scene(11), some_groups()
    er, tubular, golgi, mask, organelles = arrays
    found = whole_survey(arrays, groups, cell)
    free = ~(er | tubular | golgi | organelles) & (mask if cell else True)
    assert found.voxels.tolist() == [er.size, mask.sum() if cell else er.size, free.sum(), er.sum()]

    def away(point, target):
        nm = (np.argwhere(target) + 0.5) * SIZE
        return np.sqrt(((nm - point) ** 2).sum(axis=1)).min() if len(nm) else np.inf

    wall = ~free
    drawn = draw_places(er.shape, 400, 3)
    assert found.place.tolist() == [i for i, v in enumerate(drawn) if free[tuple(v)]]
    for i, place in enumerate(found.place):
        point = (drawn[place] + 0.5) * SIZE
        for values, target, reach in (
            (found.er_nm, er, 26), (found.tubular_nm, tubular, 22), (found.golgi_nm, golgi, 30),
            (found.wall_nm, wall, 12),
        ):  # fmt: skip
            nm = away(point, target)
            if nm <= reach:
                assert values[i] == pytest.approx(nm, abs=1e-4)
            else:
                assert values[i] > reach
    times = groups.placements()
    known = dict(zip(found.ball.tolist(), found.known.tolist(), strict=True))
    checked = 0
    for number in range(0, len(groups.of) * times, 53):
        ball, placement = divmod(number, times)
        at = drawn[(groups.of[ball] * times + placement) % 400]
        voxel, r = at + np.rint(groups.offset_nm[ball] / SIZE).astype(int), groups.radius_nm[ball]
        point = (voxel + 0.5) * SIZE
        if np.any(voxel < 0) or np.any(voxel >= er.shape):
            assert number not in known
            continue
        expected = FITS * bool(free[tuple(voxel)] and away(point, wall) > r)
        expected += NEAR_ER * (away(point, er) <= r + 14) + LINKED * (away(point, tubular) <= r + 10)
        expected += GOLGI * (away(point, golgi) <= r + 18)
        assert known[number] == expected
        checked += 1
    assert checked > 50


def test_groups_come_from_the_tables_of_sites():
    vesicles = np.zeros((4, 30, 60), np.uint8)
    for n, x in enumerate((3, 9, 30), start=1):
        vesicles[1:3, 5:8, x : x + 3] = n
    er = np.zeros(vesicles.shape, bool)
    er[:, 12, :] = True
    found = classify_sites(vesicles, vesicles * 0, er, (4, 4, 4), Rules(group_vesicles_nm=20, golgi_extent_nm=50))
    groups = Groups.of_tables(found.objects, found.sites, found.rules)
    assert groups.size.tolist() == [2, 1]
    np.testing.assert_allclose(groups.offset_nm, [[0, 0, -12], [0, 0, 12], [0, 0, 0]])
    assert groups.several().site.tolist() == [1]
    tight = Groups.of_tables(found.objects, found.sites, Rules(golgi_extent_nm=30))
    assert (tight.site.tolist(), tight.left_out) == ([2], 1)
