"""Phantom cells drawn at other voxel sizes than the models': Dice as they are, and resampled to the models' and back.

    python tests/bench/segment_voxel_size.py --seeds 7001 7002

The same box of cell is drawn at each size and segmented twice, by the demonstration models of ER and COPI at the
thresholds of their folders. Dice against what was planted, over all seeds together; processor seconds of the networks.
"""

from __future__ import annotations

import argparse
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from cisterna.lattice import factor_between
from cisterna.models import load_model, read_model_folder
from cisterna.phantoms.cell import fibsem_cell
from cisterna.segment.accuracy import voxel_agreement
from cisterna.segment.probability import IntensityRule, prepare, volume_probability
from cisterna.segment.training_volumes import percentile_range

SIZES = ("4", "5.24,4,4", "6", "7.3", "8", "8.7", "10", "12", "16")
MODELS = {"er": "demo-asem-er", "copi": "demo-asem-copi"}


def voxel_size(text: str) -> tuple[float, float, float]:
    numbers = [float(n) for n in text.split(",")]
    z, y, x = numbers if len(numbers) == 3 else numbers * 3
    return z, y, x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[7001, 7002])
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="nm: one number or z,y,x")
    parser.add_argument("--extent-nm", type=float, nargs=3, default=[576.0, 768.0, 768.0])
    parser.add_argument("--models", type=Path, default=Path(str(files("cisterna.models"))) / "demo")
    args = parser.parse_args()
    torch.set_num_threads(1)
    loaded = {n: (prepare(load_model(args.models / m)), read_model_folder(args.models / m)) for n, m in MODELS.items()}
    heads = [f"{n}: {how}" for n in MODELS for how in ("as they are", "resampled")]
    print(f"| voxels, nm | {' | '.join(heads)} | s as they are | s resampled |\n|{'---|' * (len(heads) + 3)}")
    for size in map(voxel_size, args.sizes):
        masks: dict[tuple[str, str], list[np.ndarray]] = {}
        truths: dict[str, list[np.ndarray]] = {}
        seconds = {"never": 0.0, "always": 0.0}
        for seed in args.seeds:
            shape = tuple(max(16, round(e / s)) for e, s in zip(args.extent_nm, size, strict=True))
            cell = fibsem_cell((shape[0], shape[1], shape[2]), size, seed=seed)
            image = (cell.inlens.astype(np.float32) + cell.esb) / 2
            for name, (network, model) in loaded.items():
                rule = IntensityRule.of_model(model.spec, *percentile_range(image))
                truths.setdefault(name, []).append(cell.labels[name].ravel() > 0)
                for mode in seconds:
                    start = time.process_time()
                    factor = factor_between(size, model.spec["voxel_size_nm"], mode)
                    probability = volume_probability(image, network, rule, factor=factor)[0]
                    seconds[mode] += time.process_time() - start
                    mask = probability.ravel() >= model.spec["metrics"]["threshold"]
                    masks.setdefault((name, mode), []).append(mask)
        dice = [
            voxel_agreement(np.concatenate(masks[name, mode]), np.concatenate(truths[name])).dice
            for name in MODELS
            for mode in seconds
        ]
        figures = [f"{d:.3f}" for d in dice] + [f"{s:.0f}" for s in seconds.values()]
        print(f"| {' × '.join(f'{s:g}' for s in size)} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
