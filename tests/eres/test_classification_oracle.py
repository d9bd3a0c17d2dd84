"""Random scenes: a classification written again from the law, by brute force, and what must not change it."""

import itertools

import numpy as np
import pandas as pd
from cisterna.eres import Rules, classify_sites
from cisterna.eres.blockwise import classify_in_blocks
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = (5.24, 4.0, 4.0)

SMALL = Rules(
    group_vesicles_nm=12, group_tubular_nm=20, golgi_extent_nm=25, golgi_distance_nm=24, near_er_nm=16,
    er_search_nm=24, link_nm=14, cluster_region_nm=40, cluster_min=2,
)  # fmt: skip


def scene(seed, golgi=False):
    rng = np.random.default_rng(seed)
    shape = (12, 18, 20)
    volumes = []
    for most in (7, 4):
        labels = np.zeros(shape, np.uint32)
        for n in range(1, int(rng.integers(0, most)) + 1):
            low = [int(rng.integers(0, s)) for s in shape]
            box = tuple(slice(a, a + int(rng.integers(1, 4))) for a in low)
            labels[box] = np.where(labels[box] == 0, n, labels[box])
        volumes.append(labels)
    er = rng.random(shape) < rng.choice([0.0, 0.001, 0.01])
    return *volumes, er, (rng.random(shape) < 0.002 if golgi else None)


def oracle(vesicles, tubular, er, size, r, golgi=None):
    """Counts and links from docs/eres.md, with all pairs of voxels."""

    def points(mask):
        return np.argwhere(mask) * np.asarray(size)

    def distance(a, b):
        if not len(a) or not len(b):
            return np.inf
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)).min()

    def groups(labels, limit):
        members = [{n} for n in np.unique(labels[labels > 0])]
        merged = True
        while merged:
            merged = False
            for one, two in itertools.combinations(members, 2):
                if distance(points(np.isin(labels, list(one))), points(np.isin(labels, list(two)))) <= limit + 1e-6:
                    members.remove(two)
                    one |= two
                    merged = True
                    break
        return [np.isin(labels, list(m)) for m in members]

    ves, tub = groups(vesicles, r.group_vesicles_nm), groups(tubular, r.group_tubular_nm)

    def extent(mask):
        index = np.argwhere(mask)
        return ((index.max(axis=0) - index.min(axis=0) + 1) * np.asarray(size)).max()

    if golgi is None:
        reference = [m for m in ves if extent(m) > r.golgi_extent_nm + 1e-6]
    else:
        reference = [golgi]
    counts = dict.fromkeys(
        (
            "vesicular_standalone",
            "vesicular_mixed",
            "dispersed",
            "golgi_associated",
            "tubular_isolated",
            "tubular_mixed",
        ),
        0,
    )
    links = []
    for i, m in enumerate(ves):
        linked = [j for j, t in enumerate(tub) if distance(points(m), points(t)) <= r.link_nm + 1e-6]
        if any(distance(points(m), points(g)) <= r.golgi_distance_nm + 1e-6 for g in reference):
            counts["golgi_associated"] += 1
        elif distance(points(m), points(er)) > r.near_er_nm + 1e-6:
            counts["dispersed"] += 1
        else:
            counts["vesicular_mixed" if linked else "vesicular_standalone"] += 1
            links += [(i, j) for j in linked]
    counts["tubular_mixed"] = len({j for _, j in links})
    counts["tubular_isolated"] = len(tub) - counts["tubular_mixed"]
    return counts, len(links)


def identical(a, b):
    assert a.counts == b.counts
    assert a.notes == b.notes
    for table in ("objects", "sites", "links"):
        pd.testing.assert_frame_equal(getattr(a, table), getattr(b, table), check_exact=True)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), golgi=st.booleans(), block=st.tuples(*[st.integers(3, 20)] * 3))
def test_counts_and_links_agree_with_the_law_whole_and_tiled(seed, golgi, block):
    vesicles, tubular, er, mask = scene(seed, golgi)
    sites = classify_sites(vesicles, tubular, er, SIZE, SMALL, golgi_mask=mask)
    counts, links = oracle(vesicles, tubular, er, SIZE, SMALL, mask)
    assert sites.counts == counts
    assert len(sites.links) == links
    identical(sites, classify_in_blocks(vesicles, tubular, er, SIZE, block, SMALL, mask))


def test_the_random_scenes_reach_every_class():
    total = {}
    for seed in range(60):
        vesicles, tubular, er, _ = scene(seed)
        for name, n in classify_sites(vesicles, tubular, er, SIZE, SMALL).counts.items():
            total[name] = total.get(name, 0) + n
    assert min(total.values()) >= 3, total


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), order=st.permutations([0, 1, 2]), flips=st.tuples(*[st.booleans()] * 3))
def test_axis_order_and_mirroring_change_no_count(seed, order, flips):
    arrays = scene(seed)[:3]
    turned = [np.flip(np.transpose(a, order), [i for i, f in enumerate(flips) if f]) for a in arrays]
    size = tuple(SIZE[i] for i in order)
    one, two = classify_sites(*arrays, SIZE, SMALL), classify_sites(*turned, size, SMALL)
    assert one.counts == two.counts
    assert sorted(one.links["distance_nm"]) == sorted(two.links["distance_nm"])
    assert sorted(one.sites["cluster_size"]) == sorted(two.sites["cluster_size"])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), move=st.tuples(*[st.integers(0, 9)] * 3))
def test_translation_changes_positions_only(seed, move):
    arrays = scene(seed)[:3]
    pad = [(m, 9 - m) for m in move]
    one = classify_sites(*(np.pad(a, 9) for a in arrays), SIZE, SMALL)
    two = classify_sites(*(np.pad(a, [(p + 9, q + 9) for p, q in pad]) for a in arrays), SIZE, SMALL)
    assert one.counts == two.counts
    pd.testing.assert_frame_equal(one.links, two.links)
    for name in ("er_distance_nm", "extent_z_nm", "cluster_size", "reason", "site_class"):
        assert one.sites[name].tolist() == two.sites[name].tolist()
    shift = np.array(move) * SIZE
    for i, axis in enumerate("zyx"):
        column = f"centroid_{axis}_nm"
        np.testing.assert_allclose(two.objects[column] - one.objects[column], shift[i], atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), factor=st.sampled_from([0.25, 0.5, 2.0, 10.0]))
def test_voxel_size_and_thresholds_scaled_together_change_no_class(seed, factor):
    arrays = scene(seed)[:3]
    scaled = {f: getattr(SMALL, f) * factor for f in vars(SMALL) if f.endswith("_nm")}
    one = classify_sites(*arrays, SIZE, SMALL)
    two = classify_sites(*arrays, [s * factor for s in SIZE], Rules(**scaled, cluster_min=2))
    assert one.counts == two.counts
    assert one.sites["site_class"].tolist() == two.sites["site_class"].tolist()
    np.testing.assert_allclose(two.links["distance_nm"], one.links["distance_nm"] * factor, atol=1e-5)


def test_ids_are_consecutive():
    vesicles, tubular, er, _ = scene(11)
    sites = classify_sites(vesicles, tubular, er, SIZE, SMALL)
    assert sites.sites["site_id"].tolist() == list(range(1, len(sites.sites) + 1))
    assert set(sites.objects["site_id"]) == set(sites.sites["site_id"])
