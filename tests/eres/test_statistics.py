"""Chance against vesicles that are really moved; densities, effect sizes and sensitivity against plain arithmetic."""

import numpy as np
import pandas as pd
import pytest
from cisterna.eres import Rules, classify_sites
from cisterna.eres.densities import CellSize, densities, poisson_interval
from cisterna.eres.effects import effects
from cisterna.eres.sensitivity import MOVED, moved
from cisterna.eres.statistics import site_statistics
from cisterna.tables.statistics import CHANCE, DENSITIES, EFFECTS, SENSITIVITY
from cisterna.tables.volumes import OBJECTS, SITES
from scipy.ndimage import distance_transform_edt

SIZE = np.array([5.24, 4.0, 4.0])
RULES = Rules(
    near_er_nm=50, er_search_nm=60, link_nm=40, group_vesicles_nm=12, group_tubular_nm=30, golgi_distance_nm=60,
    golgi_extent_nm=200, cluster_region_nm=200,
)  # fmt: skip


def ball(labels, centre, radius_nm, number):
    axes = [np.arange(n) for n in labels.shape]
    away = sum(((a - c) * s).reshape([-1 if i == k else 1 for k in range(3)]) ** 2
               for i, (a, c, s) in enumerate(zip(axes, centre, SIZE, strict=True)))  # fmt: skip
    labels[(away < radius_nm**2) & (labels == 0)] = number


def scene(shape=(70, 110, 110), pairs=10, singles=18, seed=7):
    """Rods of ER, tubular sites on some, single vesicles and touching-close pairs, all well inside a cell."""
    rng = np.random.default_rng(seed)
    er, tubular = np.zeros(shape, bool), np.zeros(shape, np.uint32)
    er[10::40, 10::45, :] = True
    for n in range(1, 7):
        ball(tubular, (10 + 40 * (n % 2), 10 + 45 * (n % 2), 12 + 12 * n), 22, n)
    vesicles, number = np.zeros(shape, np.uint32), 0
    for group in range(pairs + singles):
        at = rng.uniform((14, 16, 16), np.array(shape) - (14, 16, 24))
        for step in (0, 10) if group < pairs else (0,):
            number += 1
            ball(vesicles, at + np.array([0, 0, step]), 17, number)
    vesicles[er | (tubular > 0)] = 0
    cell = np.zeros(shape, bool)
    cell[4:-4, 6:-6, 6:-6] = True
    return vesicles, tubular, er, cell


@pytest.fixture(scope="module")
def found():
    vesicles, tubular, er, cell = scene()
    sites = classify_sites(vesicles, tubular, er, SIZE, RULES)
    made = site_statistics(sites, vesicles, tubular, er, SIZE, cell_mask=cell, places=40_000, relocations=1000)
    return vesicles, tubular, er, cell, sites, made


def test_chance_agrees_with_moving_every_group_for_real(found):
    """The voxels of each group put at random places of the cytosol, 60 times, as they are."""
    vesicles, tubular, er, cell, sites, made = found
    to_er, to_tubular = (distance_transform_edt(~m, sampling=SIZE) for m in (er, tubular > 0))
    free = cell & ~er & (tubular == 0)
    rng, near, mixed = np.random.default_rng(2), 0.0, 0.0
    groups = sites.sites[sites.sites["kind"] == "vesicular"]
    for site in groups["site_id"]:
        ids = sites.objects.loc[(sites.objects["class"] == "copi") & (sites.objects["site_id"] == site), "object_id"]
        points = np.argwhere(np.isin(vesicles, ids))
        points -= points.min(axis=0)
        hits = []
        while len(hits) < 60:
            at = tuple((points + [rng.integers(0, n - e) for n, e in zip(er.shape, points.max(axis=0), strict=True)]).T)
            if free[at].all():
                hits.append((to_er[at].min() <= 50, to_er[at].min() <= 50 and to_tubular[at].min() <= 40))
        near, mixed = near + np.mean([h[0] for h in hits]), mixed + np.mean([h[1] for h in hits])
    chance = made.chance.set_index("quantity")
    assert chance.loc["near_er_groups", "n"] == len(groups) >= 20
    assert 0.3 < near / len(groups) < 0.9
    assert chance.loc["near_er_groups", "expected"] == pytest.approx(near, rel=0.07)
    assert chance.loc["mixed_groups", "expected"] == pytest.approx(mixed, abs=0.12 * len(groups) * 0.5)
    assert chance.loc["mixed_share_near_er", "expected"] == pytest.approx(mixed / near, abs=0.05)


def test_observed_values_are_those_of_the_tables(found):
    *_, sites, made = found
    chance = made.chance.set_index("quantity")
    counts = sites.counts
    assert chance.loc["near_er_groups", "observed"] == counts["vesicular_standalone"] + counts["vesicular_mixed"]
    assert chance.loc["mixed_groups", "observed"] == counts["vesicular_mixed"]
    own = sites.objects[sites.objects["class"] == "copi"]
    assert chance.loc["near_er_vesicles", "observed"] == (own["er_distance_nm"] <= 50).sum()
    rows = chance[chance["expected"].notna()]
    assert len(rows) == 6
    assert (rows["expected_low"] <= rows["expected"]).all()
    assert (rows["expected"] <= rows["expected_high"]).all()
    assert rows["p"].between(0, 1).all()
    assert rows["relocations"].between(990, 1000).all(), "a share needs a group near the ER"
    np.testing.assert_allclose(rows["ratio"], rows["observed"] / rows["expected"])


def test_vesicles_that_hug_the_er_are_more_than_chance_and_evenly_spread_ones_are_not():
    vesicles, tubular, er, _ = scene()
    hugging, number = np.zeros_like(vesicles), 0
    for x in range(14, 76, 14):
        for z, y in ((10, 10), (10, 55), (50, 10), (50, 55)):
            number += 1
            ball(hugging, (z + 5, y + 5, x), 17, number)
    sites = classify_sites(hugging, tubular * 0, er, SIZE, RULES)
    made = site_statistics(sites, hugging, tubular * 0, er, SIZE, places=20_000).chance.set_index("quantity")
    assert made.loc["near_er_groups", "p"] < 0.01 < made.loc["near_er_groups", "ratio"] - 1
    even = np.zeros_like(vesicles)
    rng = np.random.default_rng(0)
    for n in range(1, 31):
        ball(even, rng.uniform((5, 5, 5), np.array(er.shape) - 5), 12, n)
    even[er] = 0
    sites = classify_sites(even, tubular * 0, er, SIZE, RULES)
    made = site_statistics(sites, even, tubular * 0, er, SIZE, places=20_000).chance.set_index("quantity")
    assert made.loc["near_er_vesicles", "p"] > 0.01
    assert made.loc["mixed_groups", "observed"] == made.loc["mixed_groups", "expected"] == 0
    assert np.isnan(made.loc["mixed_groups", "ratio"])


def test_the_same_seed_gives_the_same_tables_and_another_one_others(found):
    vesicles, tubular, er, cell, sites, _ = found
    one, two, other = (
        site_statistics(sites, vesicles, tubular, er, SIZE, cell_mask=cell, places=3000, relocations=100, seed=s).chance
        for s in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert not one.equals(other)


def test_places_within_the_golgis_reach_are_not_drawn():
    """With half of the cell beside the Golgi, chance is that of the other half alone."""
    vesicles, tubular, er, _ = scene(singles=8, pairs=0)
    er = np.zeros_like(er)
    er[:, :3, :] = True  # ER on the Golgi's side only
    golgi = np.zeros_like(er)
    golgi[:, :4, :] = True
    vesicles[:, :50] = 0
    sites = classify_sites(vesicles, tubular * 0, er, SIZE, RULES, golgi_mask=golgi)
    chance = site_statistics(sites, vesicles, tubular * 0, er, SIZE, golgi_mask=golgi, places=20_000).chance
    row = chance.set_index("quantity").loc["near_er_groups"]
    assert row["n"] > 0
    assert row["observed"] == 0
    assert row["expected"] == 0, "within 50 nm of the ER is within 60 nm of the Golgi"


def test_nothing_found_gives_empty_statistics():
    empty = np.zeros((12, 14, 16), np.uint32)
    sites = classify_sites(empty, empty, empty, SIZE, RULES)
    made = site_statistics(sites, empty, empty, empty, SIZE, places=2000, relocations=100)
    assert made.chance["n"].tolist() == [0] * 6
    assert made.chance[["expected", "p"]].isna().all(axis=None)
    assert (made.densities["count"] == 0).all()
    assert made.densities["per_um2_er"].isna().all(), "there is no ER to be dense on"
    assert made.effects[["difference", "hedges_g"]].isna().all(axis=None)
    assert (made.sensitivity[list(sites.counts)] == 0).all(axis=None)
    with pytest.raises(ValueError, match="bool masks"):
        site_statistics(sites, empty > 0, empty, empty, SIZE)
    full = np.ones((6, 6, 6), np.uint8)
    sites = classify_sites(full, full * 0, full, SIZE, RULES)
    made = site_statistics(sites, full, full * 0, full, SIZE, places=2000, relocations=100)
    assert made.chance.set_index("quantity").loc["near_er_groups", "left_out"] == 1, "it fits nowhere"


def test_densities_and_their_intervals(found):
    *_, cell, sites, made = found
    table = made.densities.set_index("what")
    assert made.size.cell_um3 == pytest.approx(cell.sum() * SIZE.prod() * 1e-9)
    assert table.loc["vesicular_mixed", "count"] == sites.counts["vesicular_mixed"]
    count = int(table.loc["vesicles", "count"])
    assert table.loc["vesicles", "per_um3_cell"] == pytest.approx(count / made.size.cell_um3)
    assert table.loc["vesicles", "per_um2_er"] == pytest.approx(count / made.size.er_area_um2)
    assert "mask given" in made.notes[0]
    assert poisson_interval(0) == pytest.approx((0, 3.689), abs=1e-3)
    assert poisson_interval(10) == pytest.approx((4.795, 18.39), abs=1e-2)
    nothing = densities(OBJECTS.frame(), SITES.frame(), CellSize(False, 1, 1, 1, 0, 0))
    assert nothing["per_um3_cell_high"].eq(nothing["per_um3_cell_high"].iloc[0]).all()


def test_effect_sizes_resample_sites_and_give_no_p():
    """Two sizes of vesicles; those of one site are alike, so the interval is wider than of as many single ones."""
    rng = np.random.default_rng(4)
    sites, objects, number = [], [], 0
    for site in range(1, 41):
        golgi = site <= 20
        middle = rng.normal(59 if golgi else 76, 9)
        sites.append({"site_id": site, "site_class": "golgi_associated" if golgi else "vesicular_standalone"})
        for _ in range(5):
            number += 1
            objects.append({"class": "copi", "object_id": number, "site_id": site, "diameter_mask_nm": middle})
    sites = pd.DataFrame(sites).assign(er_distance_nm=1.0, cluster_size=1)
    table = effects(pd.DataFrame(objects), sites).set_index("measure")
    row = table.loc["diameter_mask_nm"]
    assert (row["n_a"], row["n_b"], row["sites_a"], row["sites_b"]) == (100, 100, 20, 20)
    assert row["difference"] == pytest.approx(17, abs=6)
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    width = row["difference_high"] - row["difference_low"]
    assert width == pytest.approx(2 * 1.96 * 9 * np.sqrt(2 / 20), rel=0.3)
    assert row["hedges_g"] == pytest.approx(17 / 9, rel=0.4)
    assert not any(name == "p" or name.startswith("p_") for name in EFFECTS.names)
    assert np.isnan(table.loc["cluster_size", "difference"]), "there is no mixed site"


def test_each_threshold_moved_gives_what_classifying_anew_gives(found):
    vesicles, tubular, er, _, sites, made = found
    table = made.sensitivity.set_index(["parameter", "factor"])
    assert table.loc[("as_run", 1.0), list(sites.counts)].to_dict() == sites.counts
    changed = 0
    for name in (n for n in MOVED if n != "cluster_region_nm"):
        for factor in (0.8, 1.2):
            rules = moved(RULES, name, factor)
            expected = classify_sites(vesicles, tubular, er, SIZE, rules).counts
            row = table.loc[(name, factor)]
            assert {k: int(row[k]) for k in expected} == expected, (name, factor)
            assert row["value"] == pytest.approx(getattr(RULES, name) * factor)
            changed += expected != sites.counts
    assert changed >= 3


def test_tables_keep_their_columns(found):
    made = found[-1]
    for table, frame in (
        (CHANCE, made.chance), (DENSITIES, made.densities), (EFFECTS, made.effects), (SENSITIVITY, made.sensitivity)
    ):  # fmt: skip
        pd.testing.assert_frame_equal(table.from_parquet_bytes(table.to_parquet_bytes(frame)), frame)
    assert set(made.document()) == {"size", "notes"}
