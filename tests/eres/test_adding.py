"""Compiled passes over many voxels give, number for number, what numpy gives for few."""

import numpy as np
import pytest
from cisterna.eres import components, sums
from cisterna.eres.sums import ObjectSums
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), shape=st.tuples(*[st.integers(1, 14)] * 3), fill=st.sampled_from([0.0, 0.2, 0.9, 1.0]),
    slab=st.integers(1, 400),
)  # fmt: skip
def test_sums_of_many_voxels_are_those_of_few(seed, shape, fill, slab):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(shape) < fill, rng.integers(1, 9, shape) * 7, 0).astype(np.uint32)
    probability = rng.integers(0, 256, shape).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "_SLAB_VOXELS", slab)
        found = []
        for many in (0, 10**9):
            patch.setattr(sums, "MANY_VOXELS", many)
            found.append(ObjectSums.of_labels(labels, (3, 40, 5), (90, 90, 90), probability).arrays())
    for name, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][name], err_msg=name)
        assert values.dtype == found[1][name].dtype


@pytest.mark.parametrize("fill", [0.05, 0.3, 1.0])
def test_many_voxels_are_numbered_like_few(fill, monkeypatch):
    mask = np.random.default_rng(3).random((40, 50, 30)) < fill
    monkeypatch.setattr(components, "MANY_VOXELS", 10**9)
    few = components.label_components(mask)
    monkeypatch.setattr(components, "MANY_VOXELS", 0)
    np.testing.assert_array_equal(components.label_components(mask), few)
    numbers, first = np.unique(few[few > 0], return_index=True)
    assert (np.diff(first) > 0).all()
    assert numbers.tolist() == list(range(1, len(numbers) + 1))
