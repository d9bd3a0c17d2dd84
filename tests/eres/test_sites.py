"""The rules on scenes small enough to think through."""

import numpy as np
import pandas as pd
import pytest
from cisterna.eres import classify_sites
from cisterna.eres.clusters import cluster_size

SIX = ["vesicular_standalone", "vesicular_mixed", "dispersed", "golgi_associated", "tubular_isolated", "tubular_mixed"]
NM4 = (4.0, 4.0, 4.0)


def line(length, **objects):
    """Volume of one row; `vesicle=[(start, stop), …]` and so on in voxels along x."""
    volumes = {}
    for kind in ("vesicle", "tubular", "er", "golgi"):
        volume = np.zeros((1, 1, length), np.uint32)
        for n, (start, stop) in enumerate(objects.get(kind, ()), start=1):
            volume[0, 0, start:stop] = n
        volumes[kind] = volume
    return volumes


def classify(scene, rules="nair2025", golgi=False, size=NM4):
    return classify_sites(
        scene["vesicle"], scene["tubular"], scene["er"] > 0, size, rules, scene["golgi"] > 0 if golgi else None
    )


def counted(**expected):
    return {name: expected.get(name, 0) for name in SIX}


def test_counts_hold_exactly_six_names_even_for_nothing():
    sites = classify(line(5))
    assert list(sites.counts) == SIX
    assert sum(sites.counts.values()) == 0
    assert len(sites.objects) == len(sites.sites) == len(sites.links) == 0


@pytest.mark.parametrize(("gap", "near"), [(29, True), (30, True), (31, False)])
def test_near_er_is_inclusive_at_120_nm(gap, near):
    sites = classify(line(60, vesicle=[(3, 5)], er=[(4 + gap, 5 + gap)]))
    assert sites.counts == (counted(vesicular_standalone=1) if near else counted(dispersed=1))
    assert sites.sites["er_distance_nm"].tolist() == [4.0 * gap]


def test_er_beyond_the_search_radius_is_infinitely_far():
    assert classify(line(80, vesicle=[(3, 5)], er=[(4 + 51, 60)])).sites["er_distance_nm"].tolist() == [np.inf]


@pytest.mark.parametrize(("gap", "groups"), [(14, 1), (15, 1), (16, 2)])
def test_vesicles_group_inclusively_at_60_nm(gap, groups):
    sites = classify(line(60, vesicle=[(3, 5), (4 + gap, 6 + gap)], er=[(8, 9)]))
    assert sites.counts == counted(vesicular_standalone=groups)
    assert sorted(sites.sites["objects"]) == ([2] if groups == 1 else [1, 1])


@pytest.mark.parametrize(("gap", "groups"), [(34, 1), (35, 1), (36, 2)])
def test_tubular_objects_group_inclusively_at_140_nm(gap, groups):
    assert classify(line(60, tubular=[(3, 5), (4 + gap, 6 + gap)])).counts == counted(tubular_isolated=groups)


@pytest.mark.parametrize(("gap", "mixed"), [(9, True), (10, True), (11, False)])
def test_links_are_inclusive_at_50_nm(gap, mixed):
    scene = line(40, vesicle=[(3, 5)], er=[(1, 2)], tubular=[(4 + gap, 6 + gap)])
    sites = classify(scene, size=(5.0, 5.0, 5.0))
    expected = (
        counted(vesicular_mixed=1, tubular_mixed=1) if mixed else counted(vesicular_standalone=1, tubular_isolated=1)
    )
    assert sites.counts == expected
    assert sites.links["distance_nm"].tolist() == ([5.0 * gap] if mixed else [])


@pytest.mark.parametrize(("extent", "leaves"), [(99, False), (100, False), (101, True)])
def test_extent_leaves_above_400_nm_only(extent, leaves):
    sites = classify(line(120, vesicle=[(5, 5 + extent)], er=[(3, 4)]))
    assert sites.counts == (counted(golgi_associated=1) if leaves else counted(vesicular_standalone=1))
    reason = sites.sites["reason"][0]
    assert ("extent alone" in reason) == leaves
    assert any("Extent alone excluded 1" in note for note in sites.notes) == leaves


@pytest.mark.parametrize(("gap", "leaves"), [(79, True), (80, True), (81, False)])
def test_groups_within_320_nm_of_a_large_one_leave_with_it(gap, leaves):
    sites = classify(line(250, vesicle=[(0, 110), (109 + gap, 111 + gap)], er=[(113 + gap, 114 + gap)]))
    assert sites.counts == (
        counted(golgi_associated=2) if leaves else counted(golgi_associated=1, vesicular_standalone=1)
    )


def test_leaving_does_not_spread_from_a_group_that_left():
    # B is 300 nm from the large A, C is 300 nm from B and 600 from A.
    sites = classify(line(400, vesicle=[(0, 110), (184, 186), (260, 262)], er=[(270, 271)]))
    assert sites.sites["site_class"].tolist() == ["golgi_associated", "golgi_associated", "vesicular_standalone"]


@pytest.mark.parametrize(("gap", "leaves"), [(80, True), (81, False)])
def test_a_golgi_segmentation_replaces_the_extent_rule(gap, leaves):
    near = line(120, vesicle=[(3, 5)], er=[(6, 7)], golgi=[(4 + gap, 5 + gap)])
    expected = counted(golgi_associated=1) if leaves else counted(vesicular_standalone=1)
    assert classify(near, golgi=True).counts == expected
    large = line(120, vesicle=[(3, 115)], er=[(1, 2)])
    assert classify(large, golgi=True).counts == counted(vesicular_standalone=1)
    assert classify(large, {"golgi_reference": "extent"}, golgi=True).counts == counted(golgi_associated=1)


def test_a_rule_set_that_demands_a_golgi_segmentation_says_so():
    with pytest.raises(ValueError, match="needs a Golgi segmentation"):
        classify(line(9), {"golgi_reference": "segmentation"})


def test_golgi_distance_per_axis_is_the_largest_of_the_three():
    vesicles = np.zeros((1, 90, 200), np.uint32)
    vesicles[0, 0, :110] = 1
    vesicles[0, 60, 170] = 2  # 240 nm in y, 244 nm in x: 342 nm away
    empty = np.zeros_like(vesicles)
    args = (vesicles, empty, empty > 0, NM4)
    assert classify_sites(*args).counts == counted(golgi_associated=1, dispersed=1)
    assert classify_sites(*args, {"golgi_metric": "per_axis"}).counts == counted(golgi_associated=2)


def test_precedence_and_who_makes_a_tubular_site_mixed():
    # Linked but far from the ER: dispersed, and its tubular neighbour stays isolated.
    assert classify(line(60, vesicle=[(3, 5)], tubular=[(8, 9)])).counts == counted(dispersed=1, tubular_isolated=1)
    # Golgi-like, near the ER and linked: it leaves, and its tubular neighbour stays isolated.
    scene = line(150, vesicle=[(10, 120)], er=[(8, 9)], tubular=[(125, 127)])
    sites = classify(scene)
    assert sites.counts == counted(golgi_associated=1, tubular_isolated=1)
    assert len(sites.links) == 0
    assert "otherwise vesicular_mixed" in sites.sites["reason"][0]


def test_multiplicity_in_both_directions():
    # v t v: one tubular site between two vesicular ones; and t v t.
    scene = line(400, vesicle=[(40, 42), (65, 67), (220, 240)], tubular=[(50, 57), (200, 212), (248, 260)])
    scene["er"][0, 0, [38, 68, 230]] = 1
    sites = classify(scene)
    assert sites.counts == counted(vesicular_mixed=3, tubular_mixed=3)
    assert sites.sites["linked_sites"].tolist() == [1, 1, 2, 2, 1, 1]
    assert list(zip(sites.links["vesicular_site_id"], sites.links["tubular_site_id"], strict=True)) == [
        (1, 4), (2, 4), (3, 5), (3, 6),
    ]  # fmt: skip


def test_link_and_group_by_centroid():
    scene = line(60, vesicle=[(10, 21)], tubular=[(25, 36)], er=[(8, 9)])  # surfaces 20 nm apart, centroids 60 nm
    assert classify(scene).counts["vesicular_mixed"] == 1
    assert classify(scene, {"link_measure": "centroid"}).counts["vesicular_mixed"] == 0
    assert classify(scene, {"link_measure": "centroid", "link_nm": 60}).counts["vesicular_mixed"] == 1
    two = line(60, vesicle=[(10, 21), (25, 36)], er=[(22, 23)])
    assert classify(two).counts["vesicular_standalone"] == 1
    assert classify(two, {"group_measure": "centroid", "group_vesicles_nm": 59}).counts["vesicular_standalone"] == 2
    assert classify(two, {"group_measure": "centroid"}).counts["vesicular_standalone"] == 1


def test_require_cluster_is_asked_of_standalone_sites_only():
    alone = line(60, vesicle=[(3, 5), (8, 9)], er=[(11, 12)])
    assert classify(alone, {"require_cluster": True}).counts == counted(dispersed=1)
    assert classify(alone, {"require_cluster": True, "cluster_min": 2}).counts == counted(vesicular_standalone=1)
    mixed = line(60, vesicle=[(3, 5)], er=[(1, 2)], tubular=[(9, 11)])
    assert classify(mixed, {"require_cluster": True}).counts == counted(vesicular_mixed=1, tubular_mixed=1)


def test_cluster_size_counts_the_fullest_region():
    low = np.array([[0.0, 0, 0], [0, 0, 300], [0, 0, 350], [0, 0, 380], [0, 0, 900]])
    high = low + 50
    assert cluster_size(low, high, 400.0) == 3
    assert cluster_size(low, high, 430.0) == 4
    assert cluster_size(low, high, 1000.0) == 5
    assert cluster_size(low, high, 49.0) == 0
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 1000, (14, 3))
    high = low + rng.uniform(10, 90, (14, 3))
    best = 0
    for corner in np.stack(np.meshgrid(*low.T), -1).reshape(-1, 3):
        best = max(best, int(np.sum(np.all((low >= corner) & (high <= corner + 400.0), axis=1))))
    assert cluster_size(low, high, 400.0) == best


def test_one_voxel_and_everything_positive():
    one = np.ones((1, 1, 1), np.uint32)
    assert classify_sites(one, one, one > 0, NM4).counts == counted(vesicular_mixed=1, tubular_mixed=1)
    full = np.ones((4, 5, 130), np.uint32)
    sites = classify_sites(full, full, full > 0, NM4)
    assert sites.counts == counted(golgi_associated=1, tubular_isolated=1)
    assert sites.objects["er_distance_nm"].tolist() == [0.0, 0.0]
    assert sites.objects["touches_edge"].all()


def test_measures_of_an_object():
    labels = np.zeros((6, 8, 9), np.uint16)
    labels[1:3, 2:6, 3:4] = 7
    empty = np.zeros_like(labels)
    image = np.full(labels.shape, 10.0)
    image[1, 2:6, 3] = [20, 30, np.nan, 40]
    sites = classify_sites(labels, empty, empty, (5.24, 4, 4), image=image)
    row = sites.objects.iloc[0]
    assert (row["class"], row["object_id"], row["voxels"], row["site_id"]) == ("copi", 7, 8, 1)
    assert row["volume_nm3"] == pytest.approx(8 * 5.24 * 16)
    assert [row[f"centroid_{a}_nm"] for a in "zyx"] == pytest.approx([2 * 5.24, 16, 14])
    assert [row[f"min_{a}_nm"] for a in "zyx"] == pytest.approx([5.24, 8, 12])
    assert [row[f"max_{a}_nm"] for a in "zyx"] == pytest.approx([3 * 5.24, 24, 16])
    assert np.pi / 6 * row["diameter_mask_nm"] ** 3 == pytest.approx(row["volume_nm3"])
    assert row["mean_grey"] == pytest.approx((20 + 30 + 40 + 4 * 10) / 7)
    assert not row["touches_edge"]
    assert np.isnan(row["mean_probability"])
    assert sites.sites["near_volume_edge"].tolist() == [True]


def test_bad_input_is_named():
    labels = np.zeros((3, 3, 3), np.uint32)
    mask = labels > 0
    with pytest.raises(ValueError, match="tubular_labels has shape"):
        classify_sites(labels, labels[:2], mask, NM4)
    with pytest.raises(ValueError, match="NaN"):
        classify_sites(labels, labels, np.full(labels.shape, np.nan), NM4)
    with pytest.raises(ValueError, match="uint32"):
        classify_sites(labels.astype(np.uint64) + 2**32, labels, mask, NM4)
    with pytest.raises(ValueError, match="label -1"):
        classify_sites(labels.astype(np.int8) - 1, labels, mask, NM4)
    with pytest.raises(ValueError, match="whole-number"):
        classify_sites(labels.astype(float), labels, mask, NM4)
    for size in ((4, 4), (4, 0, 4), (4, float("nan"), 4)):
        with pytest.raises(ValueError, match="voxel_size_nm"):
            classify_sites(labels, labels, mask, size)


def test_a_bool_volume_is_labelled_first():
    mask = np.zeros((1, 1, 40), bool)
    mask[0, 0, [3, 30]] = True
    sites = classify_sites(mask, ~mask & False, ~mask & False, NM4)
    assert sites.objects["object_id"].tolist() == [1, 2]
    assert sites.counts == counted(dispersed=2)


def test_tables_keep_their_types():
    sites = classify(line(60, vesicle=[(3, 5)], tubular=[(9, 11)], er=[(1, 2)]))
    assert sites.objects["object_id"].dtype == np.uint32
    assert sites.objects["class"].tolist() == ["copi", "tubular_eres"]
    assert isinstance(sites.sites, pd.DataFrame)
