"""What a step of 270 voxels does to a network that pools by 8, and what aligned tiles do.

    python tests/bench/seams.py [--num-fmaps 32] [--model FOLDER] [--picture docs/images/seams.png]

Around the face at z = 270 of two neighbouring blocks, in float64 (8 GiB at width 32; --precision float32 takes 1): one
block over both sides, aligned tiles that meet at z = 264, and a second block that starts at 270 (270 ≡ 6 mod 8), as the
published program steps. Without ``--model`` the published architecture with random weights on random voxels; with it a
model folder's network on a phantom cell, and the picture.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from cisterna.chunks import Box
from cisterna.models import read_model_folder
from cisterna.segment.unet import CONTEXT, GEOMETRY, build
from cisterna.tiles import NetworkGeometry, infer, required_halo
from cisterna.tiles.torch_network import torch_network

FACE = 270
STEPPING = NetworkGeometry("valid", CONTEXT, 2, 100)
"""Believes that any even start is as good as another."""


def tissue(depth: int, width: int) -> np.ndarray:
    """A phantom cell's section, long in z, in [−1, 1]."""
    from cisterna.phantoms import fibsem_cell

    cell = fibsem_cell((depth, width, width), 8.0, seed=12)
    grey = (cell.inlens.astype(np.float64) + cell.esb) / 2
    low, high = np.percentile(grey, (0.1, 99.9))
    return np.clip((grey - low) / (high - low), 0, 1) * 2 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-fmaps", type=int, default=32)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--precision", choices=("float64", "float32"), default="float64")
    parser.add_argument("--width", type=int, default=6, help="outputs in y and x")
    parser.add_argument("--planes", type=int, nargs=2, default=(256, 276), help="looked at; 6 + 8·k beyond the face")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    first, stop = args.planes
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if args.model:
        network, volume = read_model_folder(args.model).module(), tissue(stop + 60, args.width)
    else:
        network = build(num_fmaps=args.num_fmaps)
        volume = np.random.default_rng(0).uniform(-1, 1, (stop + 60, args.width, args.width))
    dtype = getattr(torch, args.precision)
    run = torch_network(network.eval().to(dtype), dtype=dtype)

    def logits(start: int, stop: int, geometry: NetworkGeometry, tile: int | None = None) -> np.ndarray:
        box = Box((start, 0, 0), (stop - start, args.width, args.width))
        low, high = required_halo(box, geometry)
        held = np.pad(volume, [(0, 0), (low[1], high[1]), (low[2], high[2])], mode="reflect")
        held = held[start - low[0] : stop + high[0]]
        return infer(held, box, run, geometry, origin=[start - low[0], -low[1], -low[2]], tile=tile)

    begun = time.process_time()
    whole = logits(first, stop, GEOMETRY)
    aligned = np.concatenate([logits(first, 264, GEOMETRY), logits(264, stop, GEOMETRY)], axis=1)
    stepped = np.concatenate([whole[:, : FACE - first], logits(FACE, stop, STEPPING)], axis=1)
    span = np.ptp(whole)
    for name, other in (("aligned tiles", aligned), ("a step of 270", stepped)):
        off, flips = np.abs(other - whole)[:, FACE - first :], (other.argmax(0) != whole.argmax(0))[FACE - first :]
        print(f"{name}: beyond the face at most {off.max():.2g}, in the mean {off.mean():.2g} of a range of {span:.3g}")
        print(f"  ({off.mean() / span:.2%}); {flips.mean():.2%} of the labels differ")
    print(f"{time.process_time() - begun:.0f} s of processor time")
    if args.picture:
        draw(
            args.picture, first, *(torch.softmax(torch.from_numpy(x), 0)[1].numpy() for x in (whole, aligned, stepped))
        )


def draw(path: Path, first: int, whole: np.ndarray, aligned: np.ndarray, stepped: np.ndarray) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(11, 3.6), layout="constrained")
    stop, middle = first + len(whole), whole.shape[1] // 2
    extent = (0, whole.shape[2], stop, first)
    shown = [(whole, "one block"), (stepped, "a step of 270"), (np.abs(stepped - whole), "their difference")]
    for axis, (image, title) in zip(axes, shown, strict=False):
        axis.imshow(image[:, middle], cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")
        axis.axhline(FACE, color="tab:orange", lw=0.8)
        axis.set(title=title, xlabel="x (voxels)", ylabel="z (voxels)" if axis is axes[0] else "")
    z = np.arange(first, stop)
    axes[3].semilogx(np.abs(stepped - whole).mean((1, 2)).clip(1e-18), z, label="a step of 270", color="tab:orange")
    axes[3].semilogx(np.abs(aligned - whole).mean((1, 2)).clip(1e-18), z, label="aligned tiles", color="tab:blue")
    axes[3].set(ylim=(stop, first), xlabel="mean |difference| of probability", title="by plane")
    axes[3].legend(loc="upper left", fontsize=8)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
