"""Boundaries between bodies as a class to learn."""

import json
from argparse import ArgumentParser

import numpy as np
import pytest
import tifffile
from cisterna.segment.boundaries import boundaries
from cisterna.segment.train import add_arguments
from cisterna.segment.training_volumes import draw_patch
from cisterna.segment.volume_files import file_volume
from cisterna.segment.volume_lists import read_training_volumes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays


def two_bodies(gap=0, shape=(8, 9, 12)):
    """Body 7 left, body 3 right of x = 5, with an unlabelled gap between them."""
    bodies = np.full(shape, 7, np.uint16)
    bodies[:, :, 5:] = 3
    bodies[:, :, 5 : 5 + gap] = 0
    return bodies


def test_a_face_between_two_bodies_is_a_sheet_of_two_voxels():
    boundary, known = boundaries(two_bodies())
    assert known.all()
    assert np.flatnonzero(boundary[4, 4]).tolist() == [4, 5]
    assert np.flatnonzero(boundaries(two_bodies(), reach_voxels=2)[0][4, 4]).tolist() == [3, 4, 5, 6]


def test_an_unlabelled_gap_between_bodies_is_boundary_and_elsewhere_unknown():
    boundary, known = boundaries(two_bodies(gap=1))
    assert np.flatnonzero(boundary[4, 4]).tolist() == [5]
    assert np.flatnonzero(~known[4, 4]).tolist() == [4, 6]
    one = two_bodies()
    one[:, :, 5:] = 0
    boundary, known = boundaries(one)
    assert not boundary.any()
    assert np.flatnonzero(known[4, 4]).tolist() == [0, 1, 2, 3]


@given(
    arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 3)),
    st.sampled_from([1, 1.5, 2]),
)
def test_every_voxel_is_what_its_surroundings_say(bodies, reach):
    boundary, known = boundaries(bodies, reach_voxels=reach)
    places = np.stack(np.indices(bodies.shape), -1).reshape(-1, 3)
    for place in places:
        near = bodies.reshape(-1)[((places - place) ** 2).sum(1) <= reach**2 + 1e-9]
        several = len(set(near[near > 0])) > 1
        assert boundary[tuple(place)] == several
        assert known[tuple(place)] == (several or bool((near > 0).all()))


@pytest.mark.parametrize(
    ("bodies", "reach", "sentence"),
    [
        (np.zeros((3, 3), int), 1, "z, y, x"),
        (np.zeros((3, 3, 3)), 1, "integers"),
        (np.zeros((0, 3, 3), int), 1, "shape"),
        (np.zeros((3, 3, 3), int), 0.5, "at least 1"),
    ],
)
def test_unusable_bodies_are_refused(bodies, reach, sentence):
    with pytest.raises(ValueError, match=sentence):
        boundaries(bodies, reach_voxels=reach)


def test_a_box_of_a_volume_never_sees_the_rest(tmp_path):
    raw = np.random.default_rng(0).integers(0, 255, (8, 9, 12)).astype(np.uint8)
    bodies = two_bodies()
    bodies[4:] = 9
    tifffile.imwrite(tmp_path / "raw.tif", raw)
    tifffile.imwrite(tmp_path / "bodies.tif", bodies)
    entry = {"image": "raw.tif", "bodies": {"membrane": "bodies.tif"}, "box": [[0, 0, 0], [4, 9, 12]]}
    (tmp_path / "data.json").write_text(json.dumps([entry]))
    found = read_training_volumes([tmp_path / "data.json"], classes=["membrane"], voxel_size_nm=(5, 5, 5))
    (volume,) = found.train
    assert not found.held_out
    assert volume.image.shape == (4, 9, 12)
    assert not volume.labels["membrane"][3, :, 8].any()
    # the same grey values as in the whole volume
    whole = file_volume(tmp_path / "raw.tif", {}, bodies={"membrane": tmp_path / "bodies.tif"})
    assert np.array_equal(volume.image, whole.image[:4])
    with pytest.raises(ValueError, match="does not lie in the volume"):
        file_volume(tmp_path / "raw.tif", {}, box=[[0, 0, 0], [9, 9, 12]])


def test_noise_and_blur_change_patches_only_when_asked():
    from cisterna.segment.training_volumes import LabelledVolume

    volume = LabelledVolume("flat", np.zeros((30, 30, 30), np.float32), {"er": np.ones((30, 30, 30), np.uint8)})

    def spread(**how):
        return np.array(
            [draw_patch([volume], ["er"], 24, 4, np.random.default_rng(s), **how).image.std() for s in range(30)]
        )

    assert spread().max() < 1e-6
    noisy = spread(noise=0.2)
    assert 5 <= (noisy > 1e-3).sum() <= 25
    assert noisy.max() < 0.25
    grainy = LabelledVolume(
        "grain", np.random.default_rng(1).uniform(-0.5, 0.5, (30,) * 3).astype(np.float32), volume.labels
    )

    def same(**how):
        return [draw_patch([grainy], ["er"], 24, 4, np.random.default_rng(s), **how).image.std() for s in range(40)]

    blurred = np.array(same(blur_voxels=1.5)) < 0.9 * np.array(same())
    assert 2 <= blurred.sum() <= 20


def test_the_command_line_has_the_augmentation():
    parser = ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["--output", "x", "--noise", "0.1", "--blur-voxels", "1", "--intensity", "0.2"])
    assert (args.noise, args.blur_voxels, args.intensity) == (0.1, 1.0, 0.2)
