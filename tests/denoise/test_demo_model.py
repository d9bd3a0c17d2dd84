"""The demonstration model that ships with the package: small, better than classical filters, harmless on real data."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, median_filter

torch = pytest.importorskip("torch", reason="denoising needs torch")

from cisterna.denoise import denoise_volume  # noqa: E402
from cisterna.denoise.fastfib import build  # noqa: E402
from cisterna.denoise.training import psnr  # noqa: E402
from cisterna.denoise.trust import block_figures  # noqa: E402
from cisterna.models import demo_models, load_model, read_model_folder  # noqa: E402
from cisterna.phantoms.cell import fibsem_cell  # noqa: E402

JUDGING_SEED = 7001  # training draws 100 … 199, validation 900
SHAPE = (48, 64, 64)


@pytest.fixture(scope="module")
def folder() -> Path:
    return next(path for path in demo_models() if path.name == "demo-fastfib")


@pytest.fixture(scope="module")
def network(folder: Path) -> torch.nn.Module:
    return load_model(folder)


def test_the_folder_is_small_and_says_that_it_is_a_demonstration(folder: Path) -> None:
    assert sum(p.stat().st_size for p in folder.rglob("*")) < 0.8e6
    spec = read_model_folder(folder).spec
    assert spec["demo"] is True
    assert "phantom" in spec["training"]["data"]
    assert (spec["stride"], spec["context"]) == (8, 52)


def test_it_beats_the_best_classical_filters_on_an_unseen_phantom(network: torch.nn.Module) -> None:
    cell = fibsem_cell(SHAPE, 8.0, JUDGING_SEED)
    span = float(np.ptp(cell.clean))

    def quality(image: np.ndarray) -> float:
        return psnr(image, cell.clean, span)

    grey = cell.inlens.astype(np.float32)
    classical = max(quality(gaussian_filter(grey, s)) for s in (0.4, 0.5, 0.6, 0.8, 1.0))
    classical = max(classical, quality(median_filter(grey, 3)))
    torch.manual_seed(0)
    untrained = build(width=network.width).eval()
    found = quality(denoise_volume(cell.inlens, network))
    assert found > classical + 1.0
    assert found > quality(cell.inlens) + 2.0
    assert quality(denoise_volume(cell.inlens, untrained)) < classical


def test_what_it_removes_is_noise(network: torch.nn.Module) -> None:
    cell = fibsem_cell(SHAPE, 8.0, JUDGING_SEED)
    raw = [cell.inlens, cell.esb]
    figures = block_figures(raw, [denoise_volume(r, network) for r in raw])
    assert figures["noise_sigma_after"] < 0.35 * figures["noise_sigma_before"]
    assert abs(figures["residual_whiteness"]) < 0.1
    assert abs(figures["residual_signal_correlation"]) < 0.2
    assert figures["fsc_after"] >= figures["fsc_before"]


def test_real_data_keeps_its_histogram(network: torch.nn.Module) -> None:
    data = os.environ.get("CISTERNA_TEST_DATA")
    if not data:
        pytest.skip("CISTERNA_TEST_DATA names no folder with the FIB-SEM volumes")
    tifffile = pytest.importorskip("tifffile")
    raw = tifffile.imread(Path(data) / "fibsem_medulla/train1/raw.tif")[100:132, 60:140, 60:140]
    result = denoise_volume(raw, network)
    assert result.dtype == raw.dtype
    assert result.shape == raw.shape
    assert abs(result.mean() - raw.mean()) < 2
    for share in (5, 25, 50, 75, 95):
        assert abs(np.percentile(result, share) - np.percentile(raw, share)) < 8
    assert np.corrcoef(result.ravel(), raw.ravel())[0, 1] > 0.95
