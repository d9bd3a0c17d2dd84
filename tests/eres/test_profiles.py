"""Diameters on the image: true to the membrane whatever the threshold, the neighbours and the tiling are."""

import dataclasses

import numpy as np
import pytest
from cisterna.chunks import BlockGrid, Box
from cisterna.eres import SPLITTING, classify_sites, label_components, split_touching
from cisterna.eres.er_form import ErForm
from cisterna.eres.objects import NO_IMAGE, objects_frame
from cisterna.eres.parts import surroundings_from_npz, surroundings_to_npz
from cisterna.eres.profiles import (
    NO_MEMBRANE,
    NO_VESICLE,
    OUTSIDE,
    TOO_LARGE,
    Measured,
    halo_voxels,
    measure_on_image,
)
from cisterna.eres.sums import ObjectSums
from cisterna.phantoms.chains import plant_chains
from cisterna.tables.volumes import TUBULAR, VESICLES

SIZE = (5.24, 4.0, 4.0)


@pytest.fixture(scope="module")
def chains():
    return plant_chains(gaps_nm=(0.0, 5.0, 10.0), chains=4, lone=8, seed=7)


def measured(chains, threshold, image=None, **options):
    """Objects of the chains at a threshold, in the order of the truth."""
    labels = split_touching(label_components(chains.probability >= threshold), SIZE, SPLITTING)
    none = np.zeros(labels.shape, np.uint32)
    image = chains.image if image is None else image
    objects = classify_sites(labels, none, none, SIZE, image=image, **options).objects.set_index("object_id")
    at = np.floor(chains.truth[[f"centroid_{a}_nm" for a in "zyx"]].to_numpy() / SIZE).astype(int)
    return objects.loc[labels[tuple(at.T)]], labels


@pytest.mark.parametrize("threshold", [77, 128, 178])
def test_planted_diameters_come_back_with_slope_one_at_every_threshold(chains, threshold):
    objects, _ = measured(chains, threshold)
    true, found = chains.truth["diameter_nm"].to_numpy(), objects["diameter_image_nm"].to_numpy()
    assert np.isfinite(found).all()
    assert (objects["diameter_image_reason"] == "").all()
    assert np.polyfit(true, found, 1)[0] == pytest.approx(1.0, abs=0.1)
    assert abs(np.mean(found - true)) < 1.5
    assert np.std(found - true) < 1.5
    by_mask = np.mean(objects["diameter_mask_nm"].to_numpy() - true)
    if threshold != 128:
        assert abs(by_mask) > 3, "the mask's diameter is its threshold; the image's is not"


def test_bright_membranes_are_seen_when_told(chains):
    dark, _ = measured(chains, 128)
    bright, _ = measured(chains, 128, image=255 - chains.image, invert=True)
    np.testing.assert_allclose(bright["diameter_image_nm"], dark["diameter_image_nm"], atol=1e-5)
    np.testing.assert_allclose(bright["mean_grey"], 255 - dark["mean_grey"])
    wrong, _ = measured(chains, 128, image=255 - chains.image)
    assert (wrong["diameter_image_reason"] == NO_MEMBRANE).all(), "the wrong polarity shows no membrane anywhere"


def test_where_there_is_no_membrane_the_reason_is_said():
    shape = (60, 60, 60)
    rng = np.random.default_rng(0)
    image = rng.normal(170, 8, shape)
    labels = np.zeros(shape, np.uint32)
    labels[25:36, 25:38, 25:38] = 1
    labels[2:50, 2:56, 42:58] = 2
    none = np.zeros(shape, np.uint32)
    rows = classify_sites(labels, labels, none, SIZE, image=image).objects.set_index(["class", "object_id"])
    assert rows.loc[(VESICLES, 1), "diameter_image_reason"] == NO_MEMBRANE
    assert rows.loc[(VESICLES, 2), "diameter_image_reason"] == TOO_LARGE
    assert rows.loc[(TUBULAR, 1), "diameter_image_reason"] == NO_VESICLE
    assert rows["diameter_image_nm"].isna().all()
    assert rows.loc[(VESICLES, 1), "mean_grey"] == pytest.approx(image[labels == 1].mean(), abs=1e-5)
    corner = np.zeros(shape, np.uint32)
    corner[:8, :8, :8] = 1
    rows = classify_sites(corner, none, none, SIZE, image=np.full(shape, np.nan)).objects
    assert rows["diameter_image_reason"].tolist() == [OUTSIDE]
    assert rows["mean_grey"].isna().all()
    without = classify_sites(corner, none, none, SIZE).objects
    assert without["diameter_image_reason"].tolist() == [NO_IMAGE]


@pytest.mark.parametrize("block", [(64, 64, 64), (40, 50, 30)])
def test_blocks_see_what_the_whole_sees(chains, block):
    cut = (slice(0, 85), slice(0, 120), slice(0, 150))
    labels = split_touching(label_components(chains.probability[cut] >= 128), SIZE, SPLITTING)
    image = chains.image[cut]
    frame = objects_frame(VESICLES, ObjectSums.of_labels(labels), SIZE, labels.shape)
    whole = measure_on_image(frame, labels, image, Box.whole(labels.shape), (0, 0, 0), SIZE)
    grid = BlockGrid(labels.shape, block)
    parts = []
    for n in range(grid.blocks):
        box = grid.box(n)
        window = box.grow(halo_voxels(SIZE)).intersect(Box.whole(grid.shape))
        core = box.relative_to(window.offset)
        part = measure_on_image(frame, labels[window.slices], image[window.slices], core, window.offset, SIZE)
        parts.append(surroundings_from_npz(surroundings_to_npz(part, ErForm.none()))[0])
    joined = Measured.joined(parts)
    assert np.isfinite(whole.diameter_nm).sum() > 5
    for f in dataclasses.fields(Measured):
        np.testing.assert_array_equal(getattr(joined, f.name), getattr(whole, f.name), err_msg=f.name)
    assert joined.fill(frame).equals(Measured.joined([whole]).fill(frame))
