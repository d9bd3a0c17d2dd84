"""Components block by block are the components of the whole volume."""

import numpy as np
import pytest
from cisterna.chunks import BlockGrid, Box
from cisterna.eres.blockwise import label_in_blocks
from cisterna.eres.components import label_block, label_components, merge_blocks
from cisterna.eres.parts import labelled_from_npz, labelled_to_npz
from cisterna.eres.sums import ObjectSums
from cisterna.store.parts import PartUnreadable
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage


def noise(shape, seed, fill):
    """Probabilities whose voxels >= 128 have about the share `fill`."""
    values = np.random.default_rng(seed).random(shape)
    return np.where(values < fill, 200, 50).astype(np.uint8)


def first_voxels(labels):
    return [int(np.flatnonzero(labels.ravel() == n)[0]) for n in range(1, int(labels.max()) + 1)]


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    block=st.tuples(*[st.integers(1, 15)] * 3),
    seed=st.integers(0, 10**6),
    fill=st.sampled_from([0.0, 0.02, 0.06, 0.1, 0.2, 0.5, 1.0]),
)
def test_every_tiling_gives_the_in_core_labels(shape, block, seed, fill):
    probability = noise(shape, seed, fill)
    expected = label_components(probability >= 128)
    labels, merged = label_in_blocks(probability, 128, block)
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.uint32
    whole = ObjectSums.of_labels(expected, probability=probability)
    for name, values in whole.arrays().items():
        np.testing.assert_array_equal(getattr(merged.sums, name), values, err_msg=name)


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 12)] * 3), seed=st.integers(0, 10**6), fill=st.sampled_from([0.05, 0.15, 0.4]))
def test_labels_are_the_components_numbered_by_first_voxel(shape, seed, fill):
    mask = noise(shape, seed, fill) >= 128
    labels = label_components(mask)
    oracle, n = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    assert int(labels.max()) == n
    assert len(np.unique(np.stack([labels[mask], oracle[mask]]), axis=1).T) == n
    first = first_voxels(labels)
    assert first == sorted(first)


def test_a_diagonal_line_through_block_corners_is_one_object():
    probability = np.zeros((8, 8, 8), np.uint8)
    for i in range(8):
        probability[i, 7 - i, i] = 255
    labels, merged = label_in_blocks(probability, 128, (1, 1, 1))
    assert labels.max() == 1
    assert merged.sums.voxels.tolist() == [8]


def test_small_objects_get_no_id_and_ids_stay_consecutive():
    probability = np.zeros((4, 4, 24), np.uint8)
    probability[0, 0, [0, 1, 2]] = 200
    probability[0, 0, 8] = 200
    probability[3, 3, 15:20] = 200
    labels, merged = label_in_blocks(probability, 128, (2, 2, 9), min_voxels=3)
    assert np.unique(labels).tolist() == [0, 1, 2]
    assert merged.sums.voxels.tolist() == [3, 5]
    assert labels[0, 0, 8] == 0


def test_probability_sum_and_threshold_are_inclusive():
    probability = np.array([[[100, 127, 128, 255]]], np.uint8)
    labels, merged = label_in_blocks(probability, 128, (1, 1, 2))
    assert labels.ravel().tolist() == [0, 0, 1, 1]
    assert merged.sums.probability.tolist() == [128 + 255]


def test_a_block_survives_its_part():
    probability = noise((9, 8, 7), 3, 0.2)
    _, part = label_block(probability, 128, Box((10, 0, 5), (9, 8, 7)), (30, 30, 30))
    data = labelled_to_npz(part)
    assert data == labelled_to_npz(part)
    again = labelled_from_npz(data)
    np.testing.assert_array_equal(again.shell_index, part.shell_index)
    np.testing.assert_array_equal(again.sums.first, part.sums.first)
    with pytest.raises(PartUnreadable):
        labelled_from_npz(data[: len(data) // 2])


def test_missing_blocks_are_named():
    _, part = label_block(np.zeros((2, 2, 2), np.uint8), 1, Box((0, 0, 0), (2, 2, 2)), (4, 2, 2))
    with pytest.raises(ValueError, match="1 parts for the 2 blocks"):
        merge_blocks([part], BlockGrid((4, 2, 2), (2, 2, 2)))


def test_threshold_zero_is_refused():
    with pytest.raises(ValueError, match="threshold 0"):
        label_block(np.zeros((2, 2, 2), np.uint8), 0, Box((0, 0, 0), (2, 2, 2)), (2, 2, 2))


def test_sums_do_not_depend_on_slabs(monkeypatch):
    labels = label_components(noise((20, 9, 8), 5, 0.15) >= 128)
    image = np.random.default_rng(1).random(labels.shape)
    image[3] = np.nan
    whole = ObjectSums.of_labels(labels, image=image)
    monkeypatch.setattr("cisterna.eres.sums._SLAB_VOXELS", 100)
    slabs = ObjectSums.of_labels(labels, image=image)
    for name, values in whole.arrays().items():
        np.testing.assert_allclose(getattr(slabs, name), values, rtol=1e-12, err_msg=name)
    known = (labels == 1) & np.isfinite(image)
    assert whole.imaged[0] == known.sum()
    assert whole.grey[0] == pytest.approx(image[known].sum())
