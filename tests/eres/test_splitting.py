"""Touching vesicles come apart, single ones stay whole, and no tiling changes either."""

import numpy as np
import pytest
from cisterna.chunks import Box
from cisterna.eres import NO_SPLITTING, Splitting, classify_sites, label_components, split_touching
from cisterna.eres.blockwise import split_in_blocks
from cisterna.eres.parts import (
    numbered_from_npz,
    numbered_to_npz,
    outline_from_npz,
    outline_to_npz,
    split_from_npz,
    split_to_npz,
)
from cisterna.eres.pieces import Outline, number_objects, split_block
from cisterna.eres.splitting import split_component
from cisterna.eres.sums import ObjectSums
from cisterna.phantoms.chains import plant_chains
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = (5.24, 4.0, 4.0)


def balls(shape, centres_nm, diameters_nm, size=SIZE):
    grid = (np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1) + 0.5) * np.asarray(size)
    mask = np.zeros(shape, bool)
    for centre, diameter in zip(centres_nm, diameters_nm, strict=True):
        mask |= ((grid - centre) ** 2).sum(-1) <= diameter**2 / 4
    return mask


@pytest.fixture(scope="module")
def chains():
    return plant_chains(gaps_nm=(0.0, 5.0, 10.0), chains=4, lone=6, seed=3)


def of_truth(chains, labels):
    """Label at each planted centre, and how many centres each label holds."""
    at = np.floor(chains.truth[[f"centroid_{a}_nm" for a in "zyx"]].to_numpy() / chains.voxel_size_nm).astype(int)
    return labels[tuple(at.T)]


def test_every_vesicle_of_planted_chains_is_one_object(chains):
    components = label_components(chains.probability >= 128)
    touching = of_truth(chains, components)
    assert len(np.unique(touching)) < len(touching), "the phantom has touching vesicles"
    labels = split_touching(components, SIZE, Splitting())
    got = of_truth(chains, labels)
    assert len(np.unique(got)) == len(got) == labels.max()
    assert np.array_equal(labels > 0, components > 0)
    volumes = np.bincount(labels.ravel())[got] * np.prod(SIZE)
    errors = np.cbrt(6 * volumes / np.pi) / chains.truth["diameter_nm"] - 1
    assert np.abs(errors).max() < 0.12


def test_a_lone_vesicle_stays_whole_however_it_is_shaped(chains):
    long = plant_chains(gaps_nm=(), chains=0, lone=9, elongation=1.8, seed=1)
    components = label_components(long.probability >= 128)
    assert split_touching(components, SIZE, Splitting()).max() == components.max() == 9


def test_no_splitting_leaves_components(chains):
    components = label_components(chains.probability >= 128)
    np.testing.assert_array_equal(split_touching(components, SIZE, NO_SPLITTING), components)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    block=st.tuples(*[st.sampled_from([1, 5, 11, 24, 64])] * 3).filter(lambda b: np.prod(b) > 50),
)
def test_pieces_are_the_same_for_every_tiling(seed, block):
    rng = np.random.default_rng(seed)
    shape = (24, 40, 36)
    extent = np.array(shape) * SIZE
    centres = rng.uniform(0.1, 0.9, (6, 3)) * extent
    mask = balls(shape, centres, rng.uniform(35, 70, 6))
    probability = np.where(mask, rng.integers(128, 255, shape), rng.integers(0, 90, shape)).astype(np.uint8)
    labels, numbered = split_in_blocks(probability, 128, block, SIZE, Splitting(), 1)
    one, single = split_in_blocks(probability, 128, shape, SIZE, Splitting(), 1)
    np.testing.assert_array_equal(one, split_touching(label_components(mask), SIZE, Splitting()))
    np.testing.assert_array_equal(labels, one)
    for name, values in single.sums.arrays().items():
        np.testing.assert_array_equal(getattr(numbered.sums, name), values, err_msg=name)
    whole = ObjectSums.of_labels(one, probability=probability)
    for name, values in whole.arrays().items():
        np.testing.assert_array_equal(getattr(numbered.sums, name), values, err_msg=name)
    np.testing.assert_array_equal(one > 0, mask)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    axes=st.permutations([0, 1, 2]),
    shift=st.tuples(*[st.integers(0, 9)] * 3),
    scale=st.sampled_from([0.37, 2.0, 3.0]),
)
def test_position_axis_order_and_scale_change_nothing(seed, axes, shift, scale):
    rng = np.random.default_rng(seed)
    mask = balls((30, 40, 40), rng.uniform(40, 110, (4, 3)), rng.uniform(40, 80, 4))
    number = int(split_touching(label_components(mask), SIZE, Splitting()).max())
    moved = np.pad(mask, [(s, 9 - s) for s in shift]).transpose(axes)
    size = tuple(SIZE[a] for a in axes)
    assert split_touching(label_components(moved), size, Splitting()).max() == number
    wide = Splitting(least_diameter_nm=30 * scale, largest_box_um3=20 * scale**3)
    assert split_touching(label_components(mask), tuple(s * scale for s in SIZE), wide).max() == number


def test_two_equal_balls_are_cut_in_the_middle():
    mask = balls((20, 24, 50), [(52.4, 48.0, 60.0), (52.4, 48.0, 124.0)], [72.0, 72.0])
    pieces = split_component(mask, SIZE, Splitting())
    sizes = np.bincount(pieces.ravel())[1:]
    assert len(sizes) == 2
    assert abs(sizes[0] - sizes[1]) <= 0.03 * sizes.sum()


def test_a_thin_bud_and_a_piece_below_the_least_size_stay_with_their_vesicle():
    mask = balls((24, 30, 44), [(60.0, 60.0, 60.0), (60.0, 60.0, 108.0)], [80.0, 24.0])
    assert split_component(mask, SIZE, Splitting()).max() == 1
    mask = balls((24, 30, 44), [(60.0, 60.0, 60.0), (60.0, 60.0, 118.0)], [80.0, 44.0])
    assert split_component(mask, SIZE, Splitting()).max() == 2
    assert split_component(mask, SIZE, Splitting(), min_voxels=900).max() == 1


def test_a_network_is_left_whole():
    mask = balls((24, 40, 44), [(60.0, 60.0, 50.0), (60.0, 60.0, 110.0)], [60.0, 60.0])
    small = Splitting(largest_box_um3=1e-4)
    assert split_touching(label_components(mask), SIZE, small).max() == 1
    assert split_touching(label_components(mask), SIZE, Splitting()).max() == 2


def test_one_voxel_everything_positive_and_nothing():
    for mask in (np.zeros((5, 6, 7), bool), np.ones((5, 6, 7), bool), np.eye(4, dtype=bool)[:, :, None]):
        labels = label_components(mask)
        np.testing.assert_array_equal(split_touching(labels, SIZE, Splitting()), labels)


def test_a_bool_mask_of_touching_vesicles_gives_the_objects_that_labels_give(chains):
    mask = chains.probability >= 128
    none = np.zeros(mask.shape, bool)
    by_mask = classify_sites(mask, none, none, SIZE)
    labels = split_touching(label_components(mask), SIZE, Splitting())
    by_labels = classify_sites(labels, none, none, SIZE)
    assert by_mask.objects.equals(by_labels.objects)
    assert by_mask.counts == by_labels.counts
    fewer = classify_sites(mask, none, none, SIZE, splitting=NO_SPLITTING)
    assert len(fewer.objects) < len(by_mask.objects)
    assert fewer.counts == by_mask.counts, "touching vesicles are one group, cut or not"


def test_parts_come_back_from_their_bytes(chains):
    labels, numbered = split_in_blocks(chains.probability, 128, (64, 64, 64), SIZE)
    components = ObjectSums.of_labels(label_components(chains.probability >= 128))
    outline = outline_from_npz(outline_to_npz(Outline.of(components)))
    whole = Box.whole(labels.shape)
    part = split_block(outline, whole, lambda b: chains.probability[b.slices], 128, SIZE, labels.shape, Splitting())
    again = split_from_npz(split_to_npz(part))
    np.testing.assert_array_equal(again.run_start, part.run_start)
    np.testing.assert_array_equal(again.pieces.moment, part.pieces.moment)
    back = numbered_from_npz(numbered_to_npz(number_objects(components, [again])))
    np.testing.assert_array_equal(back.of_component, numbered.of_component)


@pytest.mark.parametrize(
    "values", [{"neck_ratio": 1.0}, {"neck_ratio": -0.1}, {"least_diameter_nm": float("nan")}, {"necks": 1}]
)
def test_what_cannot_be_followed_is_refused(values):
    with pytest.raises(ValueError, match="splitting"):
        Splitting.from_mapping(values)
    assert Splitting.from_json(Splitting(neck_ratio=0.7).to_json()) == Splitting(neck_ratio=0.7)
