"""Bodies from a membrane probability."""

import itertools

import numpy as np
import pytest
from cisterna.segment.watershed import WatershedSettings, agglomerate, basins, watershed_bodies


def rooms(walls=(200, 200, 200), shape=(12, 14, 40)):
    """Four rooms along x behind walls at x = 10, 20 and 30 of these probabilities."""
    probability = np.zeros(shape, np.uint8)
    for n, wall in enumerate(walls):
        probability[:, :, 10 * (n + 1)] = wall
    return probability


def test_rooms_behind_membranes_are_bodies_that_fill_the_volume():
    labels = watershed_bodies(rooms(), WatershedSettings(seed_below=0.1))
    assert [len(np.unique(labels[:, :, x])) for x in (5, 15, 25, 35)] == [1, 1, 1, 1]
    assert len({labels[0, 0, x] for x in (5, 15, 25, 35)}) == 4
    assert labels.min() == 1


def test_weak_membranes_are_merged_first_and_strong_ones_never():
    probability = rooms((60, 120, 200))
    bodies = {
        m: watershed_bodies(probability, WatershedSettings(0.1, merge_below=m)).max() for m in (0.2, 0.3, 0.5, 0.9)
    }
    assert bodies == {0.2: 4, 0.3: 3, 0.5: 2, 0.9: 1}


def test_a_leak_opens_two_rooms_and_a_seed_too_small_is_none():
    probability = rooms((200, 200, 200))
    probability[5:8, 5:8, 20] = 0
    assert basins(probability, WatershedSettings(0.1)).max() == 3
    assert basins(probability, WatershedSettings(0.1, least_seed_voxels=2000)).max() == 1  # one seed of 3000 is left


def test_boundaries_of_merged_bodies_are_pooled():
    """1 and 2 merge; their joint boundary with 3 has the mean of both boundaries, weighted by area."""
    labels = np.zeros((1, 4, 4), np.int32)
    labels[0, 0, :2], labels[0, 1:, :2], labels[0, :, 2:] = 1, 2, 3
    probability = np.zeros(labels.shape, np.uint8)
    probability[0, 0, 2], probability[0, 1:, 2] = 250, 50  # 1|3 at 250 over 1 face, 2|3 at 50 over 3: mean 100
    assert agglomerate(labels, probability, 49 / 255).max() == 2
    assert agglomerate(labels, probability, 99 / 255).max() == 2
    assert agglomerate(labels, probability, 101 / 255).max() == 1


def test_agglomeration_equals_the_plain_rule():
    """Beside the rule written out: find the pair of least mean, merge, begin again."""
    rng = np.random.default_rng(3)
    labels = rng.integers(1, 12, (5, 6, 7)).astype(np.int32)
    probability = rng.integers(0, 256, labels.shape).astype(np.uint8)

    def plain(labels, bound):
        labels = labels.copy()
        while True:
            faces = {}
            for axis in range(3):
                a, b = np.moveaxis(labels, axis, 0)[:-1], np.moveaxis(labels, axis, 0)[1:]
                p = np.maximum(np.moveaxis(probability, axis, 0)[:-1], np.moveaxis(probability, axis, 0)[1:])
                for i, j, q in zip(a.ravel(), b.ravel(), p.ravel(), strict=True):
                    if i != j:
                        faces.setdefault((min(i, j), max(i, j)), []).append(int(q))
            best = min(faces, key=lambda pair: np.mean(faces[pair]), default=None)
            if best is None or np.mean(faces[best]) >= 255 * bound:
                return labels
            labels[labels == best[1]] = best[0]

    for bound in (0.5, 0.66, 0.7):
        expected, found = plain(labels, bound), agglomerate(labels, probability, bound)
        pairs = set(zip(expected.ravel().tolist(), found.ravel().tolist(), strict=True))
        assert len(pairs) == len(np.unique(expected)) == found.max()


def test_what_has_no_membrane_is_one_body():
    for value, shape in itertools.product((0, 255), ((1, 1, 1), (3, 4, 5))):
        assert (watershed_bodies(np.full(shape, value, np.uint8), WatershedSettings(merge_below=0.5)) == 1).all()


@pytest.mark.parametrize(
    "how", [{"seed_below": 0}, {"merge_below": 2}, {"smooth_voxels": -1}, {"least_seed_voxels": 0}]
)
def test_settings_out_of_range_are_refused(how):
    with pytest.raises(ValueError, match="got"):
        WatershedSettings(**how)


@pytest.mark.parametrize("bad", [np.zeros((3, 3), np.uint8), np.zeros((3, 3, 3)), np.zeros((0, 3, 3), np.uint8)])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(ValueError, match="uint8 probability"):
        basins(bad, WatershedSettings())
