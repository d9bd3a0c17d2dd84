"""A rule set is data: round trip, refusals, the halo it needs."""

import dataclasses
import json

import pytest
from cisterna.eres import NAIR2025, Rules, find_rules
from cisterna.eres.rules import RULE_SETS


def test_the_figures_of_the_paper():
    assert (NAIR2025.group_vesicles_nm, NAIR2025.group_tubular_nm) == (60, 140)
    assert (NAIR2025.golgi_extent_nm, NAIR2025.golgi_distance_nm) == (400, 320)
    assert (NAIR2025.near_er_nm, NAIR2025.link_nm) == (120, 50)
    assert (NAIR2025.cluster_min, NAIR2025.cluster_max, NAIR2025.cluster_region_nm) == (5, 55, 400)
    assert not NAIR2025.require_cluster


def test_every_figure_names_its_source():
    for f in dataclasses.fields(Rules):
        if f.name not in ("name", "version"):
            assert len(f.metadata["source"]) > 10, f.name


def test_json_round_trip_is_canonical():
    rules = Rules(name="mine", link_nm=30, golgi_metric="per_axis")
    text = rules.to_json()
    assert Rules.from_json(text) == rules
    assert Rules.from_json(text).to_json() == text
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert Rules(link_nm=30).to_json() == Rules(link_nm=30.0).to_json()


def test_rules_by_name_json_mapping_or_as_they_are():
    assert find_rules("nair2025") is NAIR2025
    assert find_rules({"link_nm": 30}).link_nm == 30
    assert find_rules('{"name": "nair2025"}') == NAIR2025
    assert find_rules(NAIR2025) is NAIR2025


def test_a_named_set_is_data_and_its_fields_can_be_changed():
    clusters = find_rules("nair2025-clusters")
    assert clusters.require_cluster
    assert clusters == find_rules({"name": "nair2025-clusters"}) == find_rules('{"name": "nair2025-clusters"}')
    assert find_rules({"name": "nair2025-clusters", "require_cluster": False}).require_cluster is False
    assert find_rules(clusters.to_json()) == clusters
    own = find_rules({"name": "our-lab-2026", "link_nm": 30})
    assert (own.name, own.link_nm, own.near_er_nm) == ("our-lab-2026", 30.0, 120.0)
    assert len(set(RULE_SETS.values())) == len(RULE_SETS)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"link": 3}, "unknown rule link"),
        ({"link_nm": -1}, "link_nm"),
        ({"link_nm": float("nan")}, "link_nm"),
        ({"link_nm": "50"}, "link_nm"),
        ({"link_measure": "middle"}, "surface, centroid"),
        ({"near_er_nm": 300}, "er_search_nm"),
        ({"cluster_min": 60}, "cluster_max"),
        ({"cluster_min": 2.5}, "cluster_min"),
        ({"require_cluster": 1}, "require_cluster"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_named(values, word):
    with pytest.raises(ValueError, match=word):
        find_rules(values)


@pytest.mark.parametrize("text", ["nair2020", "{not json", "[1]"])
def test_unknown_rule_sets_are_refused(text):
    with pytest.raises(ValueError, match=r"rule set|rules"):
        find_rules(text)


def test_the_halo_covers_the_largest_distance_and_no_more():
    assert NAIR2025.halo_voxels((5.24, 4, 4)) == (61, 80, 80)
    assert Rules(golgi_distance_nm=0, er_search_nm=120).halo_voxels((10, 10, 10)) == (14, 14, 14)
    centroid = Rules(golgi_distance_nm=0, er_search_nm=120, group_measure="centroid", link_measure="centroid")
    assert centroid.halo_voxels((10, 10, 10)) == (12, 12, 12)
