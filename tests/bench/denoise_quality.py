"""Quality of the demonstration model on phantom cells beside classical filters.

`python tests/bench/denoise_quality.py` prints PSNR (dB) and SSIM for three noise levels, on a phantom seed that
training never draws.  Each result is first mapped linearly onto the truth (least squares), because detectors differ in
gain.  Two truths: the cell before the optics, and the picture a noise-free detector would take; a filter cannot undo
the optics, a network may, in part.  Filters get their best parameter in hindsight, chosen on the truth itself, which
favours them.

`--steps N` also trains two networks of the demonstration model's size for N steps on other phantoms, one on detector
pairs, one on the in-lens detector alone, all else equal.  `--vesicles` counts how many planted vesicles the
demonstration model of vesicles finds in the in-lens picture before and after denoising: found is an object of which
the model marks at least half; wrong is a marked part of 30 nm or more of which less than half lies in vesicles.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cisterna.denoise import denoise_volume
from cisterna.denoise.apply import Denoiser, prepare
from cisterna.denoise.train import say
from cisterna.denoise.training import FastFibSettings, psnr, train_fastfib
from cisterna.denoise.training_data import training_volume
from cisterna.denoise.trust import noise_sigma
from cisterna.models import demo_models, load_model, read_model_folder
from cisterna.phantoms.cell import fibsem_cell
from cisterna.segment.probability import IntensityRule, volume_probability
from cisterna.segment.probability import prepare as prepare_asem
from cisterna.segment.training_volumes import percentile_range
from scipy.ndimage import gaussian_filter, label, median_filter
from skimage.metrics import structural_similarity
from skimage.restoration import denoise_nl_means

SIGMAS = (0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.3)
NLM_H = (0.4, 0.6, 0.8, 1.0)
NLM_PATCH = (3, 5)
TRAINING = ((100, 0.6), (101, 1.0), (102, 1.8))


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
    return [
        denoise_nl_means(grey, patch_size=patch, patch_distance=3, h=h * sigma, sigma=sigma)
        for patch in NLM_PATCH
        for h in NLM_H
    ]


def trained(kind: str, steps: int, keep: Path | None) -> torch.nn.Module:
    """A network of width 8 after `steps` on phantoms, from pairs of detectors or from the in-lens detector alone."""
    volumes = []
    for seed, noise in TRAINING:
        cell = fibsem_cell((64, 128, 128), 8.0, seed, noise=noise)
        volumes.append(training_volume(f"{seed}", [cell.inlens, cell.esb] if kind == "pairs" else [cell.inlens]))
    settings = FastFibSettings(
        width=8, patch=40, batch=1, iterations=steps, learning_rate=2e-3, warmup=50, precision="bfloat16",
        validate_every=steps, checkpoint_every=50, average=0.98,
    )  # fmt: skip
    checkpoint = keep / f"{kind}.pt" if keep else None
    return train_fastfib(volumes, settings, checkpoint=checkpoint, report=say).network


def vesicles(image: np.ndarray, labels: np.ndarray) -> tuple[int, int, int]:
    """(vesicles found, vesicles planted, wrong objects) by the demonstration model at its own threshold."""
    folder = next(p for p in demo_models() if p.name == "demo-asem-copi")
    spec = read_model_folder(folder).spec
    rule = IntensityRule.of_model(spec, *percentile_range(image))
    probability = volume_probability(image, prepare_asem(load_model(folder)), rule)[0]
    parts, _ = label(probability >= spec["metrics"]["threshold"], np.ones((3, 3, 3)))
    large = np.bincount(parts.ravel()) * 8.0**3 >= np.pi / 6 * 30.0**3
    large[0] = False
    mask = large[parts]
    sizes = np.bincount(labels.ravel())
    hits = np.bincount(labels.ravel(), weights=mask.ravel(), minlength=len(sizes))
    right = np.bincount(parts.ravel(), weights=(labels > 0).ravel(), minlength=len(large))
    wrong = large & (2 * right < np.bincount(parts.ravel()))
    planted = (sizes > 0) & (np.arange(len(sizes)) > 0)
    return int((planted & (2 * hits >= sizes)).sum()), int(planted.sum()), int(wrong.sum())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="model folder (default: the demonstration model)")
    parser.add_argument("--edge", type=int, default=80, help="edge of the phantom in voxels")
    parser.add_argument("--seed", type=int, default=7001)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.6, 1.0, 1.8])
    parser.add_argument("--nlm", action="store_true", help="also non-local means (slow)")
    parser.add_argument("--steps", type=int, default=0, help="train on pairs and on one detector for so many steps")
    parser.add_argument("--keep", type=Path, help="folder of checkpoints of these trainings")
    parser.add_argument("--vesicles", action="store_true", help="also how many vesicles are found")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = args.model or next(p for p in demo_models() if p.name == "demo-fastfib")
    denoiser = prepare(load_model(folder))

    def network(image: np.ndarray, through: Denoiser) -> list[np.ndarray]:
        return [denoise_volume(image.astype(np.float32), through)]

    methods: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {
        "raw": lambda g: [g],
        "median 3³": lambda g: [median_filter(g, 3)],
        "Gaussian, best σ": lambda g: [gaussian_filter(g, s) for s in SIGMAS],
    }
    if args.nlm:
        methods["non-local means, best h"] = nlm
    methods["FastFIB, demonstration model"] = partial(network, through=denoiser)
    for kind in ("pairs", "one detector") if args.steps else ():
        methods[f"FastFIB, {kind}, {args.steps} steps"] = partial(
            network, through=prepare(trained(kind, args.steps, args.keep))
        )
    if args.vesicles:
        print("| noise | method | vesicles found | wrong objects |\n|---|---|---|---|")
        for level in args.noise:
            cell = fibsem_cell((args.edge,) * 3, 8.0, args.seed, noise=level)
            for name, method in methods.items():
                made = best(method(cell.inlens.astype(np.float32)), cell.clean)
                found, planted, wrong = vesicles(made, cell.labels["vesicles"])
                print(f"| {level} | {name} | {found} of {planted} | {wrong} |", flush=True)
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
                if name.startswith("FastFIB"):  # each detector by itself, as the service does; filters get the mean
                    made = [np.mean([method(g)[0] for g in grey], axis=0)]
                else:
                    made = method(np.mean(grey, axis=0))
                row = [*figures(best(made, cell.clean), cell.clean), *figures(best(made, seen), seen)]
                cells = [f"{v:.2f}" if n % 2 == 0 else f"{v:.3f}" for n, v in enumerate(row)]
                print(f"| {level} | {detectors} | {name} | " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
