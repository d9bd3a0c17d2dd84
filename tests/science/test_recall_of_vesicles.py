"""A model finds some vesicles of a site: no site may vanish without the tables saying why."""

import numpy as np
import pytest
from cisterna.eres import classify_sites
from cisterna.phantoms.sites import plant_sites

ERES = ("vesicular_standalone", "vesicular_mixed")


@pytest.fixture(scope="module")
def phantom():
    return plant_sites()


@pytest.fixture(scope="module")
def full(phantom):
    return classify_sites(phantom.vesicle_labels, phantom.tubular_labels, phantom.er_mask, phantom.voxel_size_nm)


@pytest.mark.parametrize(
    "keep", [0.1, pytest.param(0.5, marks=pytest.mark.long), pytest.param(0.9, marks=pytest.mark.long)]
)
def test_every_planted_site_stands_or_its_absence_is_explained(phantom, full, keep):
    rng = np.random.default_rng(int(100 * keep))
    vesicles = full.objects[full.objects["class"] == "copi"]
    table = np.zeros(int(vesicles["object_id"].max()) + 1, np.uint32)
    for _, members in vesicles.groupby("site_id")["object_id"]:
        ids = members.to_numpy()
        kept = rng.choice(ids, max(1, round(keep * len(ids))), replace=False)
        table[kept] = kept
    labels = table[phantom.vesicle_labels]
    found = classify_sites(labels, phantom.tubular_labels, phantom.er_mask, phantom.voxel_size_nm)
    site = found.sites.set_index("site_id")
    rows = found.objects[(found.objects["class"] == "copi")].set_index("object_id")
    was = vesicles.set_index("object_id")["site_id"].loc[rows.index]
    before = full.sites.set_index("site_id")["site_class"]
    standing = explained = 0
    for planted, members in rows.groupby(was):
        if before[planted] not in ERES:
            continue
        classes = site.loc[members["site_id"], "site_class"]
        if classes.isin(ERES).any():
            standing += 1
            continue
        # Left out by a rule that names itself; the one way without Golgi is that no vesicle near the ER was found.
        cause = set(site.loc[members["site_id"], "excluded_by"])
        assert cause <= {"er", "extent", "beside_extent"}
        if "er" in cause:
            assert (members["er_distance_nm"] > 120).all()
        explained += 1
    assert standing + explained == 247, "each planted site kept a vesicle"
    assert standing >= 0.9 * 247
    alone = found.sites["excluded_by"] == "extent"
    near = alone & found.sites["otherwise"].isin(ERES)
    named = [note for note in found.notes if note.startswith("Extent alone excluded")]
    assert bool(named) == bool(near.any())
    if near.any():
        assert named[0].startswith(f"Extent alone excluded {int(near.sum())} group(s)")


def test_full_recall_excludes_by_extent_only_what_the_notes_name(full):
    alone = full.sites[(full.sites["excluded_by"] == "extent") & full.sites["otherwise"].isin(ERES)]
    named = [note for note in full.notes if note.startswith("Extent alone excluded")]
    assert len(alone) == 0 or all(str(i) in named[0] for i in alone["site_id"][:20])
