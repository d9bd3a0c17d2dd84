"""The choice is uniform, without replacement, and the seed's alone."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from cisterna.review.sampling import draw_sample, ranked, sample_from_document, sites_digest
from cisterna.tables.volumes import SITE_CLASSES
from scipy import stats


def draw(sites, site_class="all", n=6, seed=0, run_id="r"):
    return draw_sample(run_id, sites, site_class, n, seed, (5.0, 4.0, 4.0), "2026-11-21T00:00:00Z", "0.1.0")


def test_every_site_is_as_likely_as_any_other(run):
    seeds, n, population = 500, 6, len(run.sites)
    found = [[i.site_id for i in draw(run.sites, n=n, seed=s).items] for s in range(seeds)]
    hits = np.bincount(np.ravel(found), minlength=population + 1)[1:]
    # Sampling without replacement: the counts vary less than a multinomial's, by (N - n) / (N - 1).
    chi = ((hits - seeds * n / population) ** 2).sum() / (seeds * n / population) * (population - 1) / (population - n)
    assert 0.001 < stats.chi2.sf(chi, population - 1) < 0.999
    assert all(len(set(ids)) == n for ids in found)
    first = np.bincount([ids[0] for ids in found], minlength=population + 1)[1:]
    assert stats.chisquare(first).pvalue > 0.001, "the order is not random"


def test_pairs_of_sites_are_chosen_independently(run):
    """Ids that stand side by side in the table are not drawn together more often than others."""
    seeds = 500
    together = sum(
        len({a, a + 1} & {i.site_id for i in draw(run.sites, seed=s).items}) == 2 for s in range(seeds) for a in (5,)
    )
    expected = 6 / 24 * 5 / 23
    assert stats.binomtest(together, seeds, expected).pvalue > 0.001


def test_reproducible_and_different_between_seeds(run):
    assert draw(run.sites, seed=4) == draw(run.sites.sample(frac=1, random_state=1), seed=4)
    assert [i.site_id for i in draw(run.sites, seed=4).items] != [i.site_id for i in draw(run.sites, seed=5).items]
    assert [i.site_id for i in draw(run.sites, n=6).items] == [i.site_id for i in draw(run.sites, n=12).items][:6]


def test_the_order_of_a_seed_never_changes():
    """A version that drew others would make old papers unrepeatable."""
    assert ranked("fibsem-0123456789ab", 1, [1, 2, 3, 4, 5, 6, 7, 8]) == [4, 8, 3, 2, 6, 5, 1, 7]


def test_names_are_neutral_and_the_key_survives_storage(run):
    sample = draw(run.sites, "tubular_mixed", n=3)
    assert [i.item for i in sample.items] == ["01", "02", "03"]
    assert "tubular" not in sample.sample
    assert sample.population == 4
    assert {i.site_class for i in sample.items} == {"tubular_mixed"}
    assert sample_from_document(sample.document()) == sample
    row = run.sites.set_index("site_id").loc[sample.items[0].site_id]
    assert sample.items[0].position_nm == (row["centroid_z_nm"], row["centroid_y_nm"], row["centroid_x_nm"])


def test_a_small_class_gives_all_of_it(run):
    assert len(draw(run.sites, "dispersed", n=30).items) == 4
    assert len(draw(run.sites, "vesicular", n=30).items) == 16
    assert len({i.item for i in draw(run.sites, "all", n=24).items}) == 24


def test_each_class_alike_and_shuffled_together(run):
    found = draw(run.sites, "each", n=3)
    classes = [i.site_class for i in found.items]
    assert {c: classes.count(c) for c in SITE_CLASSES} == dict.fromkeys(SITE_CLASSES, 3)
    assert found.population == 24
    assert sum(a == b for a, b in pairwise(classes)) < 9, "sorted by class is not blind"
    seeds = 300
    first = Counter(draw(run.sites, "each", n=1, seed=s).items[0].site_class for s in range(seeds))
    assert stats.chisquare([first[c] for c in SITE_CLASSES]).pvalue > 0.001


def test_groups_that_extent_alone_excluded_can_be_looked_at(run):
    sites = run.sites.copy()
    sites.loc[[3, 9], "excluded_by"] = "extent"
    sites.loc[[4], "excluded_by"] = "beside_extent"
    assert {i.site_id for i in draw(sites, "extent_alone").items} == set(sites.loc[[3, 9], "site_id"])
    with pytest.raises(ValueError, match="no site of class extent_alone"):
        draw(run.sites, "extent_alone")


@pytest.mark.parametrize(
    ("site_class", "n", "seed", "words"),
    [
        ("vesicle", 3, 1, "'vesicle' is none of: vesicular_standalone"),
        ("all", 0, 1, "--n 0"),
        ("all", 3, -1, "--seed -1"),
    ],
)
def test_refusals(run, site_class, n, seed, words):
    with pytest.raises(ValueError, match=words):
        draw(run.sites, site_class, n, seed)


def test_a_class_without_sites_says_what_there_is(run):
    some = run.sites[run.sites["site_class"] != "dispersed"]
    with pytest.raises(ValueError, match=r"no site of class dispersed; it has .*tubular_mixed \(4\)"):
        draw(some, "dispersed")
    with pytest.raises(ValueError, match="it has none at all"):
        draw(run.sites.iloc[:0])


def test_the_digest_follows_ids_classes_and_places(run):
    moved, extra = run.sites.copy(), run.sites.copy()
    moved.loc[0, "centroid_z_nm"] += 1
    extra["reason"] = "something else"
    assert sites_digest(moved) != sites_digest(run.sites)
    assert sites_digest(extra) == sites_digest(run.sites)
    assert sites_digest(pd.DataFrame(run.sites.iloc[::-1])) == sites_digest(run.sites)
