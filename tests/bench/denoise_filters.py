"""Classical filters on real FIB-SEM with added noise: the bar for a network trained on the same planes.

`CISTERNA_TEST_DATA=… python tests/bench/denoise_filters.py [--bm4d]` takes fibsem_medulla/train1 and adds Gaussian
noise of 25 grey values, rounded and clipped to uint8, as denoise_real.py does.  Every filter gets the parameters with
the highest PSNR on planes 0-99 (noise of seed 1), whose clean picture it may see: that is more than a network trained
there is told (the slow ones on a part: non-local means on planes 40-55, BM4D on 64 x 64 of them).  They are then
applied to planes 100-131 (noise of seed 0); PSNR, and SSIM plane by plane, over 255, against raw.

BM4D (Maggioni et al., 2013; Mäkinen et al., 2020) is free for non-commercial use only and no part of Cisterna:
`pip install bm4d` by hand, into an environment of its own.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter, median_filter
from skimage.metrics import structural_similarity
from skimage.restoration import denoise_nl_means

NOISE = 25.0
Filter = Callable[..., np.ndarray]


def spoiled(grey: np.ndarray, seed: int) -> np.ndarray:
    """With added noise, as whole grey values of a uint8 picture."""
    noise = np.random.default_rng(seed).normal(0, NOISE, grey.shape)
    return np.clip(np.rint(grey + noise), 0, 255).astype(np.float32)


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((image.astype(np.float64) - truth) ** 2)))


def ssim(image: np.ndarray, truth: np.ndarray) -> float:
    planes = zip(image.astype(np.float32), truth, strict=True)
    return float(np.mean([structural_similarity(a, b, data_range=255) for a, b in planes]))


def gaussian(grey: np.ndarray, sigma_z: float, sigma_yx: float) -> np.ndarray:
    return gaussian_filter(grey, (sigma_z, sigma_yx, sigma_yx))


def median(grey: np.ndarray, footprint: tuple[int, int, int]) -> np.ndarray:
    return median_filter(grey, footprint)


def non_local_means(grey: np.ndarray, patch: int, distance: int, h: float) -> np.ndarray:
    return denoise_nl_means(grey, patch_size=patch, patch_distance=distance, h=h * NOISE, sigma=NOISE, fast_mode=True)


def bm4d(grey: np.ndarray, sigma: float, profile: str) -> np.ndarray:
    from bm4d import bm4d as collaborative

    return np.asarray(collaborative(grey, sigma, profile=profile))


SIGMAS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
WHOLE, PLANES, BOX = (slice(100),), (slice(40, 56),), (slice(40, 56), slice(93, 157), slice(93, 157))
Setting = dict[str, object]
FILTERS: dict[str, tuple[Filter, tuple[slice, ...], list[Setting]]] = {
    "Gaussian": (gaussian, WHOLE, [{"sigma_z": z, "sigma_yx": s} for z, s in product(SIGMAS, SIGMAS)]),
    "median": (median, WHOLE, [{"footprint": f} for f in ((1, 3, 3), (3, 3, 3), (3, 5, 5))]),
    "non-local means": (
        non_local_means,
        PLANES,
        [{"patch": p, "distance": d, "h": h} for p, d, h in product((3, 5), (3, 5), (0.3, 0.4, 0.5, 0.6, 0.8, 1.0))],
    ),
}
BM4D: tuple[Filter, tuple[slice, ...], list[Setting]] = (
    bm4d,
    BOX,
    [{"sigma": s, "profile": p} for p, s in product(("np", "8x8"), (22.0, 25.0, 28.0, 31.0))],
)


def choose(name: str, apply: Filter, grid: Iterable[Setting], noisy: np.ndarray, truth: np.ndarray) -> Setting:
    """The parameters of the grid with the highest PSNR; each is printed."""
    best, parameters = -np.inf, Setting()
    for setting in grid:
        start = time.perf_counter()
        found = psnr(apply(noisy, **setting), truth)
        seconds = time.perf_counter() - start
        print(f"  {name} {setting}: {found:.3f} dB on the training planes, {seconds:.0f} s", flush=True)
        if found > best:
            best, parameters = found, setting
    return parameters


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bm4d", action="store_true", help="BM4D alone, which must have been installed by hand")
    args = parser.parse_args()
    data = os.environ.get("CISTERNA_TEST_DATA")
    if not data:
        print("CISTERNA_TEST_DATA names no folder with the FIB-SEM volumes; nothing was measured")
        return 2
    raw = tifffile.imread(Path(data) / "fibsem_medulla/train1/raw.tif").astype(np.float32)
    learn, truth = spoiled(raw[:100], 1), raw[100:132]
    noisy = spoiled(truth, 0)
    for name, (apply, part, grid) in ({"BM4D": BM4D} if args.bm4d else FILTERS).items():
        parameters = choose(name, apply, grid, learn[part], raw[:100][part])
        start = time.perf_counter()
        cleaned = apply(noisy, **parameters)
        seconds = time.perf_counter() - start
        print(f"| {name}, {parameters} | {psnr(cleaned, truth):.2f} | {ssim(cleaned, truth):.3f} | {seconds:.0f} s |")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
