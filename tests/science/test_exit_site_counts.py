"""The counts of Nair et al. 2025 come back exactly, whole and for every tiling tried."""

from dataclasses import replace

import pandas as pd
import pytest
from cisterna.chunks import Box
from cisterna.eres import Rules, classify_sites
from cisterna.eres.blockwise import classify_in_blocks, label_in_blocks
from cisterna.eres.distances import measure_block, measure_regions
from cisterna.eres.objects import objects_frame
from cisterna.eres.sites import classify, region_members
from cisterna.eres.sums import ObjectSums
from cisterna.phantoms.sites import HELA2_VOXEL_NM, plant_sites

COUNTS = {
    "vesicular_standalone": 179,
    "vesicular_mixed": 68,
    "dispersed": 26,
    "golgi_associated": 58,
    "tubular_isolated": 705,
    "tubular_mixed": 74,
}


@pytest.fixture(scope="module")
def hela2():
    return plant_sites()


@pytest.mark.parametrize(
    ("shared", "links", "once", "twice", "blocks"),
    [(False, 74, 62, 6, [(128, 256, 256), (300, 170, 340)]), (True, 76, 60, 8, [(128, 256, 256)])],
)
def test_planted_counts_come_back_exactly(hela2, shared, links, once, twice, blocks):
    phantom = plant_sites(shared) if shared else hela2
    assert phantom.counts == COUNTS
    assert phantom.voxel_size_nm == HELA2_VOXEL_NM
    arrays = (phantom.vesicle_labels, phantom.tubular_labels, phantom.er_mask)
    sites = classify_sites(*arrays, HELA2_VOXEL_NM)
    assert sites.counts == COUNTS
    assert sum(COUNTS[c] for c in ("vesicular_standalone", "vesicular_mixed", "dispersed", "golgi_associated")) == 331
    assert len(sites.links) == links
    mixed = sites.sites[sites.sites["site_class"] == "vesicular_mixed"]
    assert mixed["linked_sites"].value_counts().to_dict() == {1: once, 2: twice}
    tubular = sites.sites[sites.sites["site_class"] == "tubular_mixed"]
    assert tubular["linked_sites"].value_counts().to_dict() == ({1: 72, 2: 2} if shared else {1: 74})
    for block in blocks:
        tiled = classify_in_blocks(*arrays, HELA2_VOXEL_NM, block)
        assert tiled.counts == COUNTS
        for table in ("objects", "sites", "links"):
            pd.testing.assert_frame_equal(getattr(tiled, table), getattr(sites, table), check_exact=True)


def test_planted_objects_are_the_components_of_their_mask(hela2):
    probability = (hela2.vesicle_labels > 0).astype("uint8") * 255
    labels, merged = label_in_blocks(probability, 128, (256, 210, 210))
    assert len(merged.sums) == hela2.vesicle_labels.max()
    assert (labels == hela2.vesicle_labels).all()


def test_the_phantom_notices_a_threshold_that_moved(hela2):
    vesicles, tubular = hela2.vesicle_labels, hela2.tubular_labels
    whole = Box.whole(vesicles.shape)
    rules = Rules(golgi_distance_nm=321, link_nm=51)
    wide = measure_block(vesicles, tubular, hela2.er_mask, None, whole, HELA2_VOXEL_NM, rules)
    frames = [
        objects_frame(name, ObjectSums.of_labels(labels), HELA2_VOXEL_NM, vesicles.shape)
        for name, labels in (("copi", vesicles), ("tubular_eres", tubular))
    ]
    members, _, _ = region_members(frames[0], wide.vesicle_vesicle, rules, 1.2)
    wide = replace(wide, vesicle_region=measure_regions(vesicles, members, whole, HELA2_VOXEL_NM, rules))

    def counts(**change):
        return classify(*frames, wide, HELA2_VOXEL_NM, vesicles.shape, Rules(**change)).counts

    assert counts() == COUNTS
    for change in (
        {"near_er_nm": 119.9},
        {"near_er_nm": 120.2},
        {"link_nm": 49},
        {"link_nm": 51},
        {"group_vesicles_nm": 59.9},
        {"group_tubular_nm": 139.9},
        {"golgi_distance_nm": 319},
        {"golgi_distance_nm": 321},
        {"golgi_extent_nm": 397},
        {"golgi_extent_nm": 405},
    ):
        assert counts(**change) != COUNTS, change
