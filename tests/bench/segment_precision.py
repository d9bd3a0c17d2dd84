"""Probabilities in bfloat16 and float16 beside float32: labels that change sides, the largest step, seconds.

python tests/bench/segment_precision.py                        # the demonstration models, on a phantom cell
python tests/bench/segment_precision.py --width 32 --edge 38   # a random network of the published width, one pass
python tests/bench/segment_precision.py --model my/er --raw raw.tif --device cuda
"""

from __future__ import annotations

import argparse
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from cisterna.models import load_model
from cisterna.phantoms.cell import fibsem_cell
from cisterna.segment.accuracy import voxel_agreement
from cisterna.segment.probability import PRECISIONS, IntensityRule, prepare, volume_probability
from cisterna.segment.training_volumes import percentile_range
from cisterna.segment.unet import AsemUNet, build
from torch import nn


def random_network(width: int, image: np.ndarray, rule: IntensityRule) -> AsemUNet:
    """He-initialised; its last layer scaled so that logits of this image spread by 3 around 0, as trained ones do."""
    torch.manual_seed(0)
    network = build(num_fmaps=width)

    def difference(logits: torch.Tensor) -> torch.Tensor:
        return logits[:, 1:] - logits[:, :1]

    spread = volume_probability(image, prepare(network), rule, after=difference)
    last = network.final_conv_pass.conv_pass[0]
    assert isinstance(last, nn.Conv3d)
    assert last.bias is not None
    with torch.no_grad():
        last.weight.mul_(3 / float(spread.std()))
        last.bias[1] = -3 * float(spread.mean()) / float(spread.std())
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a model folder; without it all four demonstration models")
    parser.add_argument("--width", type=int, help="a random network of this width instead")
    parser.add_argument("--raw", type=Path, help="a TIFF volume; without it a phantom cell")
    parser.add_argument("--edge", type=int, default=96, help="voxels of the phantom's edge that are segmented")
    parser.add_argument("--seed", type=int, default=7001)
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    image: np.ndarray
    if args.raw:
        import tifffile

        image = np.asarray(tifffile.imread(args.raw), np.float32)
    else:
        cell = fibsem_cell((max(args.edge, 32),) * 3, 8.0, seed=args.seed)
        image = np.asarray((cell.inlens.astype(np.float32) + cell.esb) / 2)[(slice(0, args.edge),) * 3]
    rule = IntensityRule(*percentile_range(image))
    demo = Path(str(files("cisterna.models"))) / "demo"
    networks: dict[str, nn.Module]
    if args.width:
        networks = {f"random, width {args.width}": random_network(args.width, image, rule)}
    else:
        folders = [args.model] if args.model else sorted(demo.glob("demo-asem-*"))
        networks = {f.name: load_model(f) for f in folders}
    print("| model | precision | labels that differ | Dice | largest difference | mean | seconds |\n|" + 7 * "---|")
    for name, network in networks.items():
        single: np.ndarray | None = None
        for precision in args.precisions:
            fast = prepare(network, args.device, precision=precision)
            start = time.perf_counter() if args.device != "cpu" else time.process_time()
            found = volume_probability(image, fast, rule, device=args.device)[0].astype(int)
            seconds = (time.perf_counter() if args.device != "cpu" else time.process_time()) - start
            if single is None:
                single = found
                print(
                    f"| {name} | {precision} | {(found >= 128).mean():.2%} positive | | | | {seconds:.1f} |", flush=True
                )
                continue
            difference = np.abs(found - single)
            dice = voxel_agreement(found >= 128, single >= 128).dice
            flips = ((found >= 128) != (single >= 128)).mean()
            figures = f"{flips:.4%} | {dice:.4f} | {difference.max()} | {difference.mean():.3f} | {seconds:.1f}"
            print(f"| {name} | {precision} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
