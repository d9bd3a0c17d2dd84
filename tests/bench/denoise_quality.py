"""Quality of the demonstration model on phantom cells beside classical filters.

`python tests/bench/denoise_quality.py` prints PSNR (dB) and SSIM for three noise levels, on a phantom seed that
training never draws.  Each result is first mapped linearly onto the truth (least squares), because detectors differ in
gain.  Two truths: the cell before the optics, and the picture a noise-free detector would take; a filter cannot undo
the optics, a network may, in part.  Filters get their best parameter in hindsight, chosen on the truth itself, which
favours them.
"""

import argparse
import sys
from collections.abc import Callable

import numpy as np
import torch
from cisterna.denoise import denoise_volume
from cisterna.denoise.apply import prepare
from cisterna.denoise.training import psnr
from cisterna.denoise.trust import noise_sigma
from cisterna.models import demo_models, load_model
from cisterna.phantoms.cell import fibsem_cell
from scipy.ndimage import gaussian_filter, median_filter
from skimage.metrics import structural_similarity
from skimage.restoration import denoise_nl_means

SIGMAS = (0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.3)
NLM_H = (0.6, 0.9, 1.2)


def fitted(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The image after the linear map of its grey values that brings it closest to the truth."""
    slope, offset = np.polyfit(np.ravel(image).astype(np.float64), np.ravel(truth).astype(np.float64), 1)
    return slope * image.astype(np.float64) + offset


def figures(image: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """PSNR in dB and SSIM against a truth, over the truth's own range."""
    span = float(np.ptp(truth))
    mapped = fitted(image, truth)
    return psnr(mapped, truth, span), float(structural_similarity(mapped, truth.astype(np.float64), data_range=span))


def best(results: list[np.ndarray], truth: np.ndarray) -> np.ndarray:
    return max(results, key=lambda image: figures(image, truth)[0])


def nlm(grey: np.ndarray) -> list[np.ndarray]:
    sigma = noise_sigma(grey)
    return [denoise_nl_means(grey, patch_size=3, patch_distance=4, h=h * sigma, sigma=sigma) for h in NLM_H]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="model folder (default: the demonstration model)")
    parser.add_argument("--edge", type=int, default=80, help="edge of the phantom in voxels")
    parser.add_argument("--seed", type=int, default=7001)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.6, 1.0, 1.8])
    parser.add_argument("--nlm", action="store_true", help="also non-local means (slow)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = args.model or next(p for p in demo_models() if p.name == "demo-fastfib")
    denoiser = prepare(load_model(folder))

    def network(image: np.ndarray) -> list[np.ndarray]:
        return [denoise_volume(image.astype(np.float32), denoiser)]

    methods: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {
        "raw": lambda g: [g],
        "median 3³": lambda g: [median_filter(g, 3)],
        "Gaussian, best σ": lambda g: [gaussian_filter(g, s) for s in SIGMAS],
    }
    if args.nlm:
        methods["non-local means, best h"] = nlm
    methods["FastFIB"] = network
    print("| noise | detectors | method | PSNR v cell | SSIM v cell | PSNR v optics | SSIM v optics |")
    print("|---|---|---|---|---|---|---|")
    for level in args.noise:
        shape = (args.edge,) * 3
        cell = fibsem_cell(shape, 8.0, args.seed, noise=level)
        quiet = fibsem_cell(shape, 8.0, args.seed, noise=0.0, plane_jitter=0.0)
        for detectors, raw in (("in-lens", [cell.inlens]), ("both, mean", [cell.inlens, cell.esb])):
            seen = np.mean([q.astype(np.float32) for q in [quiet.inlens, quiet.esb][: len(raw)]], axis=0)
            for name, method in methods.items():
                grey = [r.astype(np.float32) for r in raw]
                if name == "FastFIB":  # each detector by itself, as the service does; filters get the mean
                    made = [np.mean([method(g)[0] for g in grey], axis=0)]
                else:
                    made = method(np.mean(grey, axis=0))
                row = [*figures(best(made, cell.clean), cell.clean), *figures(best(made, seen), seen)]
                cells = [f"{v:.2f}" if n % 2 == 0 else f"{v:.3f}" for n, v in enumerate(row)]
                print(f"| {level} | {detectors} | {name} | " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
