"""What a temporal network is shown: which frames, whole, and with which edges."""

import numpy as np
import pytest
from cisterna.ernet.frames import View, frame_logits, frame_window, segment_frame, view_of
from hypothesis import given
from hypothesis import strategies as st

WHOLE = View(frames=3, stride=4, smallest_px=36, whole=True)


class Watched:
    """A network that remembers what it was shown and answers the middle frame as the logit of class 2."""

    def __init__(self):
        self.shown = []

    def __call__(self, images):
        self.shown.append(images)
        logits = np.zeros((1, 4, *images.shape[2:]), np.float32)
        logits[:, 2] = images[:, images.shape[1] // 2]
        return logits


@given(frames=st.integers(1, 9), count=st.integers(1, 12), frame=st.integers(0, 11))
def test_the_window_holds_its_frame_and_neighbours_and_repeats_the_ends(frames, count, frame):
    frame %= count
    numbers = frame_window(frame, frames, count)
    assert len(numbers) == frames
    assert numbers[frames // 2] == frame
    assert numbers.min() >= 0
    assert numbers.max() < count
    for place, number in enumerate(numbers):
        wanted = frame - frames // 2 + place
        assert number == (0 if wanted < 0 else count - 1 if wanted >= count else wanted)


def test_a_window_of_five_at_both_ends():
    assert frame_window(0, 5, 20).tolist() == [0, 0, 0, 1, 2]
    assert frame_window(19, 5, 20).tolist() == [17, 18, 19, 19, 19]
    assert frame_window(0, 5, 1).tolist() == [0] * 5
    assert frame_window(3, 4, 9).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("shape", "shown"),
    [((600, 700), (600, 700)), ((41, 50), (44, 52)), ((40, 7), (40, 36)), ((1, 1), (36, 36)), ((37, 36), (40, 36))],
)
def test_frames_go_through_whole_with_edges_the_network_takes(shape, shown):
    images = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
    network = Watched()
    logits = frame_logits(images, network, view=WHOLE)
    (seen,) = network.shown
    assert seen.shape == (1, 3, *shown)
    np.testing.assert_array_equal(logits[2], images[1])
    pad = [(0, 0), *((0, new - old) for old, new in zip(shape, shown, strict=True))]
    np.testing.assert_array_equal(seen[0], np.pad(images, pad, mode="reflect" if min(shape) > 1 else "edge"))


def test_other_numbers_of_frames_are_refused():
    for images in (np.zeros((2, 40, 40)), np.zeros((40, 40))):
        with pytest.raises(ValueError, match="3 frames at once"):
            frame_logits(images, Watched(), view=WHOLE)


def test_each_frame_is_stretched_by_itself():
    frames = np.stack([np.random.default_rng(n).integers(0, 100 * (n + 1), (40, 40)) for n in range(3)])
    network = Watched()
    classes, _ = segment_frame(frames, 0, 300, network, view=WHOLE)
    assert network.shown[0].max(axis=(2, 3)).tolist() == [[1, 1, 1]]
    assert set(np.unique(classes)) == {0, 2}


def test_the_view_comes_from_the_model():
    said = {"frames": 5, "stride": 4, "smallest_frame_px": 36, "whole_frame": True}
    assert view_of(said) == View(5, 4, 36, True)
    assert view_of({"stride": 2, "context": 8}) == View()
