"""Segmentation on the model's voxel size: blocks, tiles and regions are those of the whole, on the input's grid."""

import numpy as np
import pytest
import torch
from cisterna.chunks import Box, reflect_indices
from cisterna.segment import resampled
from cisterna.segment.probability import IntensityRule, block_halo, block_probability, prepare, volume_probability
from cisterna.segment.resampled import resampled_halo, resampled_inference
from cisterna.segment.unet import CONTEXT, GEOMETRY, build
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d, map_coordinates
from torch import nn

FACTOR = (5.24 / 8, 0.5, 0.5)
RULE = IntensityRule(20, 230)


class Centre(nn.Module):
    """A network of the geometry that gives each voxel as it was shown."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[(..., *(slice(CONTEXT, -CONTEXT),) * 3)]


class Phase(nn.Module):
    """Each output is the greatest of its cell of 8, as pooling by 8 makes it: tiles off the stride give other ones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # legal inputs have 100 + 8·k voxels: two more than the outputs make the last cell whole
        cells = nn.functional.max_pool3d(x[(..., *(slice(CONTEXT, 2 - CONTEXT),) * 3)], 8)
        shape = [n - 2 * CONTEXT for n in x.shape[2:]]
        fine = nn.functional.interpolate(cells, scale_factor=8, mode="nearest")
        return fine[..., : shape[0], : shape[1], : shape[2]]


def reader(volume: np.ndarray, box: Box) -> np.ndarray:
    indices = [reflect_indices(o, e, n) for o, e, n in zip(box.offset, box.end, volume.shape, strict=True)]
    return volume[np.ix_(*indices)]


def run(volume: np.ndarray, box: Box, network: nn.Module, factor: tuple[float, ...], **more: object) -> np.ndarray:
    held = box.grow(*resampled_halo(box, GEOMETRY, factor))
    options = {
        "limits": (-1e9, 1e9), "before": lambda x: x, "after": lambda y: y, "memory_bytes": 2**30, "bytes_per_voxel": 1,
    }  # fmt: skip
    return resampled_inference(
        reader(volume, held), held.offset, box, network, GEOMETRY, factor,
        **(options | more),  # type: ignore[arg-type]
    )[0]  # fmt: skip


def grey(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_what_the_network_sees_and_what_comes_back_is_interpolated_linearly() -> None:
    volume, factor = grey((12, 14, 10)), (0.5, 1.31, 1.0)
    found = run(volume, Box.whole(volume.shape), Centre(), factor)
    padded = np.pad(volume.astype(float), 10, mode="reflect")
    blurred = gaussian_filter1d(padded, 0.5, axis=0, radius=2, mode="nearest")
    fine = np.meshgrid(np.arange(7) / 0.5, np.arange(19) / 1.31, np.arange(10), indexing="ij")
    there = map_coordinates(blurred, [p + 10 for p in fine], order=1)
    back = np.meshgrid(np.arange(12) * 0.5, np.arange(14) * 1.31, np.arange(10), indexing="ij")
    assert np.allclose(found, map_coordinates(there, back, order=1), atol=1e-3)


scales = st.one_of(st.just(1.0), st.floats(0.3, 2.2), st.sampled_from([5.24 / 4, 0.5, 2.0]))


@settings(max_examples=12, deadline=None)
@given(
    factor=st.tuples(scales, scales, scales),
    start=st.tuples(*[st.integers(0, 9)] * 3),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    tile=st.sampled_from([None, 8]),
)
def test_any_block_is_its_part_of_the_whole(
    factor: tuple[float, ...], start: tuple[int, ...], shape: tuple[int, ...], tile: int | None
) -> None:
    volume = grey((12, 13, 14))
    whole = Box.whole(volume.shape)
    box = Box(start, shape).intersect(whole)
    of_whole = run(volume, whole, Phase(), factor)[box.slices]
    assert np.array_equal(run(volume, box, Phase(), factor, tile=tile), of_whole)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(4)
    made = build(num_fmaps=1)
    with torch.no_grad():
        made.final_conv_pass.conv_pass[0].weight.mul_(4)
    return prepare(made)


def block(volume: np.ndarray, box: Box, network: nn.Module, **more: object) -> np.ndarray:
    held = box.grow(*block_halo(box, FACTOR))
    return block_probability(reader(volume, held), held.offset, box, network, RULE, factor=FACTOR, **more)  # type: ignore[arg-type]


def test_blocks_tiles_and_pieces_of_a_network_are_those_of_the_volume(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = grey((22, 24, 28))
    whole = volume_probability(volume, network, RULE, factor=FACTOR)[0]
    assert whole.shape == volume.shape
    assert whole.std() > 5
    left, right = Box((0, 0, 0), (11, 24, 28)), Box((11, 0, 0), (11, 24, 28))
    blocks = np.concatenate([block(volume, left, network, tile=8), block(volume, right, network)])
    assert np.abs(blocks.astype(int) - whole).max() <= 1
    monkeypatch.setattr(resampled, "PIECE_VOXELS", 2500)
    monkeypatch.setattr(resampled, "SLAB_VOXELS", {"cpu": 40_000, "cuda": 40_000})
    assert np.abs(block(volume, Box.whole(volume.shape), network).astype(int) - whole).max() <= 1
    # a lattice that began at the block instead of the volume shows
    held = right.grow(*block_halo(right, FACTOR))
    there = right.relative_to(right.offset)
    astray = block_probability(
        reader(volume, held.grow(2)), held.grow(2).relative_to(right.offset).offset, there, network, RULE, factor=FACTOR
    )
    assert np.abs(astray.astype(int) - whole[11:]).max() > 5


def test_a_halo_one_stride_too_small_differs_and_is_refused(network: nn.Module) -> None:
    volume = grey((40, 40, 40))
    box = Box((13, 13, 13), (8, 8, 8))
    held = box.grow(*block_halo(box, FACTOR))
    array = reader(volume, held)
    with pytest.raises(ValueError, match="read the halo that resampled_halo names"):
        block_probability(array[:-1], held.offset, box, network, RULE, factor=FACTOR)
    lost = [round(8 / f) for f in FACTOR]
    short = np.pad(array[tuple(slice(None, -n) for n in lost)], [(0, n) for n in lost], mode="edge")
    right, wrong = (
        resampled_inference(
            a, held.offset, box, network, GEOMETRY, FACTOR, limits=(20, 230), before=RULE.apply, after=lambda y: y,
            memory_bytes=2**30, bytes_per_voxel=10,
        )
        for a in (array, short)
    )  # fmt: skip
    assert np.array_equal(right[1], run(volume, box, network, FACTOR, limits=(20, 230), before=RULE.apply, after=last))
    assert not np.array_equal(right, wrong)
    assert resampled_halo(box, GEOMETRY, (1.0, 1.0, 1.0)) == block_halo(box)


def last(y: torch.Tensor) -> torch.Tensor:
    return y[:, -1:]


def test_a_factor_of_one_changes_nothing(network: nn.Module) -> None:
    volume = grey((9, 10, 11))
    plain = volume_probability(volume, network, RULE)[0]
    assert np.abs(volume_probability(volume, network, RULE, factor=(1.0, 1.0, 1.0))[0].astype(int) - plain).max() <= 1


def test_a_bright_voxel_and_a_gap_do_not_spread() -> None:
    volume = np.full((9, 9, 9), 100, np.float32)
    volume[4, 4, 4], volume[0, 0, 0], volume[8, 8, 8] = 1e30, np.nan, np.inf
    found = run(volume, Box.whole(volume.shape), Centre(), (1.5, 0.7, 1.0), limits=(50.0, 200.0))
    assert np.isfinite(found).all()
    assert found.min() >= 50
    assert found.max() <= 200
    assert found[4, 4, 4] > 101
    assert found[0, 0, 0] < 99
    assert found[2, 2, 6] == pytest.approx(100, abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 3)])
def test_tiny_volumes_come_back_in_their_shape(network: nn.Module, shape: tuple[int, ...]) -> None:
    found = volume_probability(np.full(shape, 7, np.uint16), network, RULE, factor=(2.5, 0.4, 1.0))
    assert found.shape == (1, *shape)
    assert len(np.unique(found)) <= 2
