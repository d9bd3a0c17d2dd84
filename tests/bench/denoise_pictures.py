"""Before and after, as docs/denoise.md shows them: `python tests/bench/denoise_pictures.py docs/images/denoise.png`.

Top: a phantom cell (raw, denoised, truth). Below, with CISTERNA_TEST_DATA set: real FIB-SEM, raw, denoised, and the
residual, which should look like noise and show no membranes.
"""

import argparse
import os
import sys
from pathlib import Path

import matplotlib
import numpy as np
import tifffile
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from cisterna.denoise import denoise_volume
from cisterna.models import demo_models, load_model
from cisterna.phantoms.cell import fibsem_cell


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", help="model folder (default: the demonstration model)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = load_model(args.model or next(p for p in demo_models() if p.name == "demo-fastfib"))
    cell = fibsem_cell((48, 112, 160), 8.0, 7001)
    rows = [
        (
            ("phantom, in-lens detector", cell.inlens[24]),
            ("denoised", denoise_volume(cell.inlens, network)[24]),
            ("truth, before the optics", cell.clean[24]),
        )
    ]
    data = os.environ.get("CISTERNA_TEST_DATA")
    if data:
        raw = tifffile.imread(Path(data) / "fibsem_medulla/train1/raw.tif")[100:124, 40:152, 40:200]
        clean = denoise_volume(raw, network)
        residual = 128 + 4 * (raw[12].astype(float) - clean[12])
        rows.append((("fly medulla, 10 nm, raw", raw[12]), ("denoised", clean[12]), ("residual × 4", residual)))
    figure, axes = plt.subplots(len(rows), 3, figsize=(10.5, 2.75 * len(rows)), squeeze=False)
    for line, pictures in zip(axes, rows, strict=True):
        for place, (title, picture) in zip(line, pictures, strict=True):
            low, high = (0, 255) if "residual" in title else np.percentile(pictures[0][1], (0.5, 99.5))
            place.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            place.set_title(title, fontsize=9)
            place.set_axis_off()
    figure.tight_layout(pad=0.4)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=90)
    return 0


if __name__ == "__main__":
    sys.exit(main())
