"""Applying the network: tiles do not show, edges are mirrored, odd input behaves as documented."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="denoising needs torch")

from cisterna.chunks import Box  # noqa: E402
from cisterna.denoise import IntensityRange, denoise_block, denoise_volume  # noqa: E402
from cisterna.denoise.apply import Denoiser, denoise_detectors, intensity_range, prepare  # noqa: E402
from cisterna.denoise.fastfib import build  # noqa: E402
from cisterna.tiles import infer_same, reflect_pad  # noqa: E402

RADIUS = 52


def network(width: int = 2, seed: int = 0) -> torch.nn.Module:
    """The real topology, narrow, with weights large enough for far voxels to matter."""
    torch.manual_seed(seed)
    net = build(width=width)
    with torch.no_grad():
        net.final.weight.mul_(10)
    return net


@pytest.fixture(scope="module")
def exact() -> Denoiser:
    return prepare(network(1, seed=3).double(), precision="float64")


def volume(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(128, 40, shape)


def test_tiles_do_not_show(exact: Denoiser) -> None:
    grey = volume((7, 8, 13))
    whole = denoise_volume(grey, exact, range=IntensityRange(0, 255))
    tiled = denoise_volume(grey, exact, range=IntensityRange(0, 255), tile=8)
    assert whole.std() > 1
    assert np.abs(whole - tiled).max() < 1e-12 * 255


def test_same_padded_tiles_need_the_whole_halo(exact: Denoiser) -> None:
    """The same network with zero padding: exact with the halo rounded up to the stride, wrong one stride below."""
    net = exact.network

    def run(tile: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(tile))[None].contiguous(memory_format=torch.channels_last_3d)
        with torch.inference_mode():
            return net(x)[0].numpy()

    def at_halo(halo: int) -> np.ndarray:
        return infer_same(padded, box, run, context=halo, stride=8, origin=(-48,) * 3, tile=(8, 8, 8))[0]

    grey = volume((8, 8, 16)) / 40 - 3
    padded = reflect_pad(grey, (48,) * 3, (48,) * 3)
    box = Box.whole(grey.shape)
    whole = denoise_volume(grey, exact, range=IntensityRange(-1, 1))
    assert np.abs(at_halo(48) - whole).max() < 1e-12
    assert np.abs(at_halo(40) - whole).max() > 1e-9


def test_blocks_agree_with_the_volume(exact: Denoiser) -> None:
    """A clipped last block, read with its halo, gives the same voxels as the volume in one piece."""
    grey = volume((8, 8, 27))
    span = IntensityRange(0, 255)
    whole = denoise_volume(grey, exact, range=span)
    padded = reflect_pad(grey, (RADIUS,) * 3, (RADIUS,) * 3)
    for start, stop in ((0, 16), (16, 27)):
        block = denoise_block([padded[:, :, start : stop + 2 * RADIUS]], RADIUS, [span], exact)
        assert np.abs(block - whole[:, :, start:stop]).max() < 1e-10


def test_a_region_gives_the_voxels_of_the_whole(exact: Denoiser) -> None:
    """A region that begins off the stride pools in the phase of the volume it was cut from; without, it differs."""
    grey = volume((8, 8, 32))
    span = IntensityRange(0, 255)
    whole = denoise_volume(grey, exact, range=span)
    first = 13
    held = reflect_pad(grey, (56,) * 3, (56,) * 3)[:, :, first : first + 8 + 2 * 56]
    inside = denoise_detectors([held], 56, [span], exact, phase=(0, 0, first))[0]
    assert np.abs(inside - whole[:, :, first : first + 8]).max() < 1e-10
    elsewhere = denoise_detectors([held], 56, [span], exact)[0]
    assert np.abs(elsewhere - whole[:, :, first : first + 8]).max() > 1e-6


@pytest.mark.parametrize(("precision", "most"), [("bfloat16", 0.05), ("float16", 0.008)])
def test_half_precision_stays_near(precision: str, most: float) -> None:
    grey = np.random.default_rng(4).integers(0, 256, (8, 8, 8)).astype(np.float32)
    span = IntensityRange(0, 255)
    full = denoise_volume(grey, network(), range=span)
    half = denoise_volume(grey, network(), range=span, precision=precision)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - full).max() < most * np.ptp(full)
    # The last layer is float32: grey values do not step.
    assert len(np.unique(half)) > 0.9 * half.size


def test_the_halo_is_used_and_a_short_one_is_refused(exact: Denoiser) -> None:
    span = IntensityRange(0, 255)
    padded = volume((8 + 2 * RADIUS,) * 3)
    block = denoise_block([padded], RADIUS, [span], exact)
    far = padded.copy()
    far[6:14] += 100  # 46 voxels before the block: the outermost stride that an aligned block reads
    assert np.abs(denoise_block([far], RADIUS, [span], exact) - block).max() > 1e-6
    beyond = padded.copy()
    beyond[:6] += 100
    assert np.array_equal(denoise_block([beyond], RADIUS, [span], exact), block)
    with pytest.raises(ValueError, match="receptive radius 52"):
        denoise_block([padded], 48, [span], exact)


def test_float32_tiles_agree() -> None:
    denoiser = prepare(network(4))
    grey = np.random.default_rng(1).integers(0, 256, (8, 16, 19)).astype(np.float32)
    span = IntensityRange(0, 255)
    whole = denoise_volume(grey, denoiser, range=span)
    tiled = denoise_volume(grey, denoiser, range=span, tile=8)
    assert np.abs(whole - tiled).max() < 1e-5 * np.ptp(whole)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", ">u2", ">f4"])
def test_dtype_is_kept(dtype: str) -> None:
    grey = np.random.default_rng(2).integers(0, 200, (9, 7, 8)).astype(dtype)
    result = denoise_volume(grey, network())
    assert result.shape == grey.shape
    assert result.dtype == np.dtype(dtype).newbyteorder("=")


def test_the_detectors_of_a_block_are_averaged_after_denoising(exact: Denoiser) -> None:
    a, b = volume((8 + 2 * RADIUS,) * 3, 1), 0.5 * volume((8 + 2 * RADIUS,) * 3, 2) + 20
    spans = [IntensityRange(0, 255), IntensityRange(20, 148)]
    both = denoise_block([a, b], RADIUS, spans, exact)
    one, other = (denoise_block([x], RADIUS, [s], exact) for x, s in zip((a, b), spans, strict=True))
    assert np.abs(both - (one + other) / 2).max() < 1e-10
    integers = denoise_block([np.rint(a).astype(np.int16), np.rint(b).astype(np.int16)], RADIUS, spans, exact)
    assert integers.dtype == np.int16


def test_nan_comes_back_as_nan_and_spoils_nothing_else() -> None:
    net = network()
    grey = volume((8, 8, 8)).astype(np.float32)
    grey[3, 4, 5] = np.nan
    grey[6:, 0, 0] = np.inf
    result = denoise_volume(grey, net)
    assert np.array_equal(np.isnan(result), ~np.isfinite(grey))
    with pytest.raises(ValueError, match="finite"):
        denoise_volume(np.full((4, 4, 4), np.nan, np.float32), net)


def test_nan_of_one_detector_is_filled_by_the_other(exact: Denoiser) -> None:
    a = volume((8 + 2 * RADIUS,) * 3)
    b = a.copy()
    b[RADIUS, RADIUS, RADIUS] = np.nan
    both = denoise_block([a, b], RADIUS, [IntensityRange(0, 255)] * 2, exact)
    assert both[0, 0, 0] == denoise_block([a], RADIUS, [IntensityRange(0, 255)], exact)[0, 0, 0]
    assert np.isfinite(both).all()


@pytest.mark.parametrize("shape", [(1, 30, 30), (1, 1, 1), (5, 3, 60)])
def test_thin_volumes(shape: tuple[int, int, int]) -> None:
    grey = np.random.default_rng(3).integers(0, 255, shape, dtype=np.uint8)
    assert denoise_volume(grey, network()).shape == shape


def test_constant_volume_is_returned() -> None:
    grey = np.full((6, 7, 8), 93, np.uint16)
    assert np.array_equal(denoise_volume(grey, network()), grey)


def test_gain_and_offset_of_the_input_carry_over() -> None:
    """Uncalibrated units: a volume in other units gives the same result in those units."""
    net = network()
    grey = volume((8, 8, 8)).astype(np.float32)
    assert np.allclose(denoise_volume(3 * grey + 1000, net), 3 * denoise_volume(grey, net) + 1000, atol=0.05)


def test_bright_membranes_are_shown_dark(exact: Denoiser) -> None:
    grey = volume((8, 8, 8))
    plain = denoise_volume(grey, exact, range=IntensityRange(0, 255))
    inverted = denoise_volume(255 - grey, exact, range=IntensityRange(0, 255, invert=True))
    assert np.abs(255 - inverted - plain).max() < 1e-10


def test_range_is_taken_from_percentiles() -> None:
    grey = np.arange(8000, dtype=np.float32).reshape(20, 20, 20)
    grey[0, 0, 0] = 1e9
    span = intensity_range(grey)
    assert 5 < span.low < 12
    assert 7980 < span.high < 8000


@pytest.mark.parametrize(
    ("grey", "sentence"),
    [
        (np.zeros((3, 4)), "2 axes"),
        (np.zeros((0, 4, 4)), "empty"),
        (np.zeros((4, 4, 4), complex), "complex128"),
    ],
)
def test_unusable_input(grey: np.ndarray, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        denoise_volume(grey, network())


def test_unusable_models() -> None:
    grey = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(ValueError, match="not a FastFIB network"):
        denoise_volume(grey, torch.nn.Conv3d(1, 1, 3))
    other = SimpleNamespace(spec={"name": "demo-er", "family": "asem"})
    with pytest.raises(ValueError, match="demo-er is of family asem, not fastfib"):
        denoise_volume(grey, other)
    with pytest.raises(ValueError, match="precision"):
        denoise_volume(grey, network(), precision="int8")
