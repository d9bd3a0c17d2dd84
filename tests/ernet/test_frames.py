"""Intensity, tiling and class maps of movie frames."""

import numpy as np
import pytest
from cisterna.ernet.frames import (
    classes_and_confidence,
    frame_logits,
    normalise_frame,
    resampled_logits,
    resampling,
    segment_frame,
)
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from cisterna.ernet.swin2d import build  # noqa: E402
from cisterna.ernet.train import torch_network  # noqa: E402


@pytest.fixture(scope="module")
def network():
    """A network whose every layer counts, in float64 so that tiling can be told from rounding."""
    torch.manual_seed(3)
    net = build(embed=8, depths=(2, 2), heads=2).eval().double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    infer = torch_network(net)
    return lambda frames: infer(frames.astype(np.float64))


def published(frame, low, high):
    """The rule, pixel by pixel."""
    scaled = [(float(v) - low) / (high - low) for v in frame.reshape(-1)]
    bottom, top = np.percentile(scaled, 1), np.percentile(scaled, 99)
    stretched = [min(max((v - bottom) / (top - bottom), 0.0), 1.0) for v in scaled]
    return np.array([int(v * 255) / 255 for v in stretched], np.float32).reshape(frame.shape)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["uint8", "uint16", "float32"]))
def test_normalising_follows_the_published_rule(seed, dtype):
    rng = np.random.default_rng(seed)
    frame = (rng.gamma(2, 20, (9, 14)) % 250).astype(dtype)
    low, high = float(frame.min()) - rng.integers(0, 5), float(frame.max()) + rng.integers(0, 50)
    out = normalise_frame(frame, low, high)
    np.testing.assert_allclose(out, published(frame, low, high), atol=1e-7)
    assert out.dtype == np.float32
    assert np.allclose(out * 255, np.rint(out * 255), atol=1e-4)


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_constant_frame_is_all_zeros(value):
    frame = np.full((5, 6), value, np.uint16)
    for low, high in [(0, 65535), (value, value), (value - 1, value + 1)]:
        out = normalise_frame(frame, low, high)
        assert out.shape == (5, 6)
        assert (out == 0).all()


def test_one_bright_pixel_in_a_dark_frame_is_stretched_by_the_frames_own_range():
    frame = np.zeros((20, 20), np.uint16)
    frame[3, 4] = 900
    out = normalise_frame(frame, 0, 1000)
    assert out[3, 4] == 1
    assert out.sum() == 1


def test_pixels_that_are_not_finite_count_as_the_darkest():
    frame = np.linspace(0, 1, 200, dtype=np.float32).reshape(10, 20)
    frame[0, 15], frame[2, 3] = np.nan, np.inf
    out = normalise_frame(frame, 0.0, 1.0)
    assert np.isfinite(out).all()
    assert out[0, 15] == out[2, 3] == 0
    assert out.max() == 1
    assert (normalise_frame(np.full((4, 4), np.nan), 0.0, 1.0) == 0).all()


@pytest.mark.parametrize("frame", [np.zeros((2, 3, 4)), np.zeros((0, 4))])
def test_what_is_no_frame_is_refused(frame):
    with pytest.raises(ValueError, match="frame"):
        normalise_frame(frame, 0, 1)
    with pytest.raises(ValueError, match="finite"):
        normalise_frame(np.zeros((2, 2)), float("nan"), 1)


@pytest.mark.parametrize("shape", [(70, 90), (64, 130), (33, 101), (40, 34)])
def test_tiled_equals_whole(network, shape):
    frame = np.random.default_rng(1).random(shape)
    whole = frame_logits(frame, network, largest_px=256)
    asked = []

    def tile_by_tile(x):
        asked.append(x.shape[2:])
        return network(x)

    tiled = frame_logits(frame, tile_by_tile, largest_px=34)
    assert len(asked) > 1
    assert max(max(edges) for edges in asked) <= 34
    assert tiled.shape == (4, *shape)
    scale = np.ptp(whole)
    assert np.abs(tiled - whole).max() <= 1e-7 * scale  # stored as float32 between tiles
    # One stride less of halo must show: otherwise this test proves nothing.
    assert np.abs(frame_logits(frame, network, largest_px=34, halo_px=6) - whole).max() > 1e-5 * scale


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (7, 9), (31, 32)])
def test_odd_edges_are_reflected_and_cropped(network, shape):
    frame = np.random.default_rng(2).random(shape)
    padded = np.pad(frame, [(0, n % 2) for n in shape], mode="symmetric" if 1 in shape else "reflect")
    expected = frame_logits(padded, network)[:, : shape[0], : shape[1]]
    np.testing.assert_array_equal(frame_logits(frame, network), expected)


def test_tiles_must_be_even_and_larger_than_their_halos(network):
    for largest in (33, 16):
        with pytest.raises(ValueError, match="even"):
            frame_logits(np.zeros((40, 40)), network, largest_px=largest)
    with pytest.raises(ValueError, match="answered"):
        frame_logits(np.zeros((40, 40)), lambda x: x[:, :, 1:])


def test_classes_and_confidence():
    logits = np.zeros((4, 1, 3), np.float32)
    logits[2, 0, 0] = 50
    logits[3, 0, 1] = np.log(3)
    classes, confidence = classes_and_confidence(logits)
    assert classes.tolist() == [[2, 3, 0]]
    assert confidence.tolist() == [[255, 128, 64]]  # 1, 3/6 and 1/4 of 255, rounded half to even
    assert classes.dtype == confidence.dtype == np.uint8
    with pytest.raises(ValueError, match="not finite"):
        classes_and_confidence(np.full((4, 2, 2), np.nan, np.float32))


def test_a_raw_frame_becomes_classes(network):
    frame = np.random.default_rng(0).integers(0, 4000, (21, 30)).astype(np.uint16)
    classes, confidence = segment_frame(frame, 0, 4000, network)
    assert classes.shape == confidence.shape == (21, 30)
    assert set(np.unique(classes)) <= {0, 1, 2, 3}
    assert confidence.min() >= 63  # the best of four classes has at least a quarter


def test_frames_near_the_models_pixel_size_are_left_alone():
    assert resampling((0.108, 0.108), 0.1) == (1.0, 1.0)
    assert resampling((0.085, 0.12), 0.1) == (1.0, 1.0)
    assert resampling((0.042, 0.042), 0.1) == pytest.approx((0.42, 0.42))
    assert resampling((0.1, 0.2), 0.1) == (1.0, 2.0)
    for wrong in [(0.0, 0.1), (float("nan"), 0.1)]:
        with pytest.raises(ValueError, match="positive"):
            resampling(wrong, 0.1)


@pytest.mark.parametrize("factors", [(0.42, 0.42), (2.0, 2.0), (0.5, 1.7)])
def test_resampled_frames_answer_on_their_own_pixels(factors):
    """A stand-in network that answers the grey value: a smooth frame must come back where it was, at full height."""
    y, x = np.mgrid[0:90, 0:121]
    frame = np.exp(-((y - 31.0) ** 2 + (x - 77.0) ** 2) / 400).astype(np.float32)
    asked = []

    def grey(frames):
        asked.append(frames.shape[2:])
        return np.repeat(frames, 4, axis=1)

    logits = resampled_logits(frame, grey, factors)
    assert logits.shape == (4, 90, 121)
    expected = [round(n * f) + round(n * f) % 2 for n, f in zip((90, 121), factors, strict=True)]
    assert asked == [tuple(expected)]
    assert np.unravel_index(logits[2].argmax(), (90, 121)) == pytest.approx((31, 77), abs=1)
    assert np.abs(logits[0] - frame).max() < 0.03
