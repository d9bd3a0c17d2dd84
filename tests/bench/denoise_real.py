"""Training on real FIB-SEM with added noise: `CISTERNA_TEST_DATA=… python tests/bench/denoise_real.py`.

Training sees planes 0-99 of fibsem_medulla/train1 alone, with added Gaussian noise of 25 grey values: once, as from one
detector (`one`); twice with independent noise, as from two alike (`two`); or beside the planes as they were taken, as
from a second, slow and quiet detector (`quiet`). Planes 100-131 with noise of seed 0 are denoised and compared with the
raw planes (PSNR, and SSIM plane by plane, over 255). Raw has noise of its own (about 3.6), so it is no clean reference.
Filters are printed beside it at their published parameters.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import tifffile
import torch
from cisterna.denoise import denoise_volume
from cisterna.denoise.train import say
from cisterna.denoise.training import FastFibSettings, psnr, train_fastfib
from cisterna.denoise.training_data import training_volume
from scipy.ndimage import gaussian_filter, median_filter
from skimage.metrics import structural_similarity

NOISE = 25.0


def spoiled(grey: np.ndarray, seed: int) -> np.ndarray:
    """With added noise, as whole grey values of a uint8 picture."""
    noise = np.random.default_rng(seed).normal(0, NOISE, grey.shape)
    return np.clip(np.rint(grey + noise), 0, 255).astype(np.float32)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=9000)
    parser.add_argument("--time-limit-s", type=float, help="stop early; the learning rate follows the clock")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--detectors", choices=("one", "two", "quiet"), default="one")
    parser.add_argument("--one-detector", choices=("recorrupt", "blind-spots"), default="recorrupt")
    parser.add_argument("--recorruption", type=float, default=0.5)
    parser.add_argument("--blind-share", type=float, default=0.05)
    parser.add_argument("--blind-window", type=int, default=2)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = os.environ.get("CISTERNA_TEST_DATA")
    if not data:
        print("CISTERNA_TEST_DATA names no folder with the FIB-SEM volumes; nothing was measured")
        return 2
    raw = tifffile.imread(Path(data) / "fibsem_medulla/train1/raw.tif").astype(np.float32)
    seen = raw[:100]
    learn = {
        "one": [[spoiled(seen, 1)]],
        "two": [[spoiled(seen, 1), spoiled(seen, 2)]],
        "quiet": [[spoiled(seen, seed), seen] for seed in range(1, 9)],
    }[args.detectors]
    truth = raw[100:132]
    noisy = spoiled(truth, 0)

    def show(name: str, image: np.ndarray) -> None:
        similar = np.mean([structural_similarity(a, b, data_range=255) for a, b in zip(image, truth, strict=True)])
        print(f"{name}: PSNR {psnr(image, truth, 255):.2f} dB, SSIM {similar:.3f}", flush=True)

    show("noisy", noisy)
    show("Gaussian, sigma 1", gaussian_filter(noisy, 1))
    show("median 3", median_filter(noisy, 3))
    how = args.one_detector if args.detectors == "one" else f"detectors: {args.detectors}"
    settings = FastFibSettings(
        width=args.width,
        patch=args.patch,
        batch=args.batch,
        iterations=args.iterations,
        learning_rate=args.learning_rate,
        blur_sigma=0.0,
        one_detector=args.one_detector,
        recorruption=args.recorruption,
        both_directions=args.detectors != "quiet",
        # The volume to clean has the contrast and the noise of the training volume: no need to learn others.
        gain_jitter=0.05,
        offset_jitter=0.05,
        # Targets that are Gaussian around the truth: squares are the efficient loss.
        alpha=0.5 if how == "blind-spots" else 1.0,
        blind_share=args.blind_share,
        blind_window=args.blind_window,
        precision=args.precision,
        validate_every=400,
    )
    volumes = [
        training_volume("train1, planes 0-99", detectors, held_out=0.08, match_contrast=False) for detectors in learn
    ]
    result = train_fastfib(
        volumes,
        settings,
        device=args.device,
        checkpoint=args.checkpoint,
        time_limit_s=args.time_limit_s,
        report=say,
    )
    cleaned = denoise_volume(noisy, result.network, range=volumes[0].ranges[0], device=args.device)
    show(f"FastFIB, width {args.width}, {how}, {int(result.curve[-1]['iteration'])} steps", cleaned)
    return 0


if __name__ == "__main__":
    sys.exit(main())
