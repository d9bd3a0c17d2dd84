"""Volumes whose planes are further apart than their pixels: four ways to denoise them, on phantoms, one table.

`python tests/bench/denoise_anisotropic.py [--steps 1200] [--keep FOLDER]` renders phantom cells at 4 nm isotropic and
at (5.24, 4, 4) and (8, 4, 4) nm (z, y, x), two detectors each, and trains, all for the same number of steps:
on 4 nm; on the anisotropic grid, the same topology; on the anisotropic grid, kernels (1, 3, 3) and no z pooling at the
finest level.  Each then denoises the in-lens detector of a phantom that training never drew:

* as it is: the network trained on 4 nm, applied to the anisotropic voxels as if they were cubes;
* upsampled: the same network on the volume upsampled trilinearly to 4 nm, and its result brought back;
* trained on this grid: the same topology, trained on the anisotropic detectors, axes never exchanged with z;
* anisotropic network: as above with the flat kernels.

PSNR and SSIM against what a noise-free detector would see, after the best linear map of grey values; seconds and the
arithmetic per input voxel.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from cisterna.denoise.fastfib import FastFib, build, flop_per_voxel
from cisterna.denoise.losses import fastfib_loss
from cisterna.denoise.training_data import TrainingVolume, cut_pair, training_volume
from cisterna.phantoms.cell import fibsem_cell
from scipy.ndimage import map_coordinates
from skimage.metrics import structural_similarity

EXTENT_NM = (512.0, 512.0, 512.0)
FINE_NM = 4.0
PATCH, EDGE = 40, 24


class FlatFastFib(FastFib):
    """FastFIB whose finest level has kernels (1, 3, 3) and neither pools nor upsamples along z."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 4, 2)
        wide = 2 * width
        self.down[0] = _flat(1, width)
        self.up[0] = _flat(width + wide, width)
        self.final = torch.nn.Conv3d(width, 1, (1, 3, 3))
        for module in self.modules():
            if isinstance(module, torch.nn.Conv3d):
                torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                torch.nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.final.weight.mul_(0.1)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        skips, x = [], volume
        for level, convolutions in enumerate(self.down):
            if level:
                x = F.max_pool3d(x, (1, 2, 2) if level == 1 else 2)
            for c in convolutions:
                x = F.relu(F.conv3d(x, c.weight, c.bias, padding=[k // 2 for k in c.kernel_size]))
            skips.append(x)
        for level in reversed(range(3)):
            up = F.interpolate(x, scale_factor=(1.0, 2.0, 2.0) if level == 0 else 2.0, mode="nearest")
            x = torch.cat([skips[level], up], dim=1)
            for c in self.up[level]:
                x = F.relu(F.conv3d(x, c.weight, c.bias, padding=[k // 2 for k in c.kernel_size]))
        return F.conv3d(x, self.final.weight, self.final.bias, padding=(0, 1, 1))


def _flat(channels_in: int, channels_out: int) -> torch.nn.ModuleList:
    return torch.nn.ModuleList(
        [torch.nn.Conv3d(channels_in, channels_out, (1, 3, 3)), torch.nn.Conv3d(channels_out, channels_out, (1, 3, 3))]
    )


def flat_flop_per_voxel(width: int) -> float:
    """FLOP of one voxel: a finest level of 9 instead of 27 weights, coarser ones four times rarer than above, not 8."""
    w = [width * 2**n for n in range(4)]
    total = 9.0 * (w[0] + w[0] * w[0] + (w[0] + w[1]) * w[0] + w[0] * w[0] + w[0])
    for n in range(1, 4):
        weights = w[n - 1] * w[n] + w[n] * w[n] + ((w[n] + w[n + 1]) * w[n] + w[n] * w[n] if n < 3 else 0)
        total += 27.0 * weights / (4 * 8 ** (n - 1))
    return 2 * total


def phantom(size_nm: tuple[float, float, float], seed: int, noise: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Two detectors and what a noise-free in-lens detector sees."""
    shape = tuple(round(e / s / 8) * 8 for e, s in zip(EXTENT_NM, size_nm, strict=True))
    cell = fibsem_cell(shape, size_nm, seed, noise=noise, plane_jitter=0.0)
    quiet = fibsem_cell(shape, size_nm, seed, noise=0.0, plane_jitter=0.0)
    return [cell.inlens, cell.esb], quiet.inlens.astype(np.float32)


def train(name: str, network: FastFib, volumes: list[TrainingVolume], cubic: bool, args: argparse.Namespace) -> FastFib:
    """Noise2Noise in both directions with Adam; keeps and resumes `<keep>/<name>.pt`."""
    network = network.to(memory_format=torch.channels_last_3d).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    kept, first = (args.keep / f"{name}.pt" if args.keep else None), 0
    if kept is not None and kept.exists():
        state = torch.load(kept, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    for step in range(first, args.steps):
        rng = np.random.default_rng([1, step])
        volume = volumes[int(rng.integers(len(volumes)))]
        cut = tuple(slice(c, c + PATCH) for c in (int(rng.integers(n - PATCH + 1)) for n in volume.detectors[0].shape))
        pair = np.stack(cut_pair(volume, cut, bool(rng.random() < 0.5)))
        pair = np.flip(pair, [1 + a for a in range(3) if rng.random() < 0.5])
        order = rng.permutation(3) if cubic else np.array([0, *(1 + rng.permutation(2))])
        pair = np.ascontiguousarray(pair.transpose(0, *(1 + order)))
        for group in optimiser.param_groups:
            fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / args.steps))
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * fall
        x, y = (torch.from_numpy(p)[None, None] for p in pair)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = network(x.contiguous(memory_format=torch.channels_last_3d))
        loss = fastfib_loss(out.float(), y, sigma=0.0, gradient_weight=0.0, crop=4)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if kept is not None and (step + 1) % 200 == 0:
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            torch.save(state, kept)
            print(f"{name}: step {step + 1}, loss {float(loss.detach()):.4f}", flush=True)
    return network.eval()


def apply(network: FastFib, grey: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """The whole volume in one pass with mirrored margins."""
    low, high = span
    unit = ((grey.astype(np.float32) - low) * (2 / (high - low)) - 1).astype(np.float32)
    pad = [(EDGE, EDGE + -n % 8) for n in grey.shape]
    x = torch.from_numpy(np.pad(unit, pad, mode="reflect"))[None, None].contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        y = network(x)[0, 0].numpy()
    inner = tuple(slice(EDGE, EDGE + n) for n in grey.shape)
    return (y[inner] + 1) * ((high - low) / 2) + low


def resampled(grey: np.ndarray, factor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Trilinear: voxel k of the result lies at k / factor of the input."""
    at = np.meshgrid(*[np.arange(n) / f for n, f in zip(shape, factor, strict=True)], indexing="ij")
    return map_coordinates(grey.astype(np.float32), at, order=1, mode="nearest")


def figures(image: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    inner = tuple(slice(4, -4) for _ in range(3))
    a, b = image[inner].astype(np.float64), truth[inner].astype(np.float64)
    slope, offset = np.polyfit(a.ravel(), b.ravel(), 1)
    mapped, span = slope * a + offset, float(np.ptp(b))
    return 10 * np.log10(span**2 / np.mean((mapped - b) ** 2)), structural_similarity(mapped, b, data_range=span)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--noise", type=float, default=1.4)
    parser.add_argument("--plane-nm", type=float, nargs="+", default=[5.24, 8.0])
    parser.add_argument("--keep", type=Path, help="folder of checkpoints: an interrupted run goes on")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    def volumes(size_nm: tuple[float, float, float]) -> list[TrainingVolume]:
        drawn = [phantom(size_nm, seed, args.noise)[0] for seed in (300, 301, 302)]
        return [training_volume(f"phantom at {size_nm}", d) for d in drawn]

    cubes = train("cubes", build(width=args.width), volumes((FINE_NM,) * 3), True, args)
    print("| z, y, x nm | method | PSNR | SSIM | s | kFLOP a voxel |\n|---|---|---|---|---|---|", flush=True)
    for plane_nm in args.plane_nm:
        size = (plane_nm, FINE_NM, FINE_NM)
        own = volumes(size)
        here = train(f"grid-{plane_nm}", build(width=args.width), own, False, args)
        flat = train(f"flat-{plane_nm}", FlatFastFib(args.width), own, False, args)
        (grey, _), truth = phantom(size, 7003, args.noise)
        span = tuple(np.percentile(grey, (0.1, 99.9)))
        factor = np.array([plane_nm / FINE_NM, 1, 1])
        fine = tuple(int((n - 1) * f) + 2 for n, f in zip(grey.shape, factor, strict=True))
        same = flop_per_voxel(args.width) / 1e3
        rows = {
            "noisy": (lambda g=grey: g, 0.0),
            "as it is": (lambda g=grey, s=span: apply(cubes, g, s), same),
            "upsampled trilinearly, and back": (
                lambda g=grey, s=span, f=factor, n=fine: resampled(apply(cubes, resampled(g, f, n), s), 1 / f, g.shape),
                same * plane_nm / FINE_NM,
            ),
            "trained on this grid": (lambda g=grey, s=span, m=here: apply(m, g, s), same),
            "anisotropic network": (
                lambda g=grey, s=span, m=flat: apply(m, g, s),
                flat_flop_per_voxel(args.width) / 1e3,
            ),
        }
        for name, (method, cost) in rows.items():
            start = time.perf_counter()
            image = method()
            seconds = time.perf_counter() - start
            quality, similar = figures(image, truth)
            print(
                f"| {plane_nm:g}, 4, 4 | {name} | {quality:.2f} | {similar:.3f} | {seconds:.1f} | {cost:.1f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
