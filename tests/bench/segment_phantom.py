"""Demonstration models on phantoms of other seeds: Dice, vesicles by diameter, and which class each model finds.

    python tests/bench/segment_phantom.py --seeds 7001 7002

Prints three Markdown tables. A planted object is found when at least half of its voxels are predicted; a predicted
object is right when at least half of its voxels lie in what the model was trained to find.
"""

from __future__ import annotations

import argparse
import itertools
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from cisterna.models import load_model, read_model_folder
from cisterna.phantoms.cell import CellPhantom, fibsem_cell
from cisterna.segment.accuracy import voxel_agreement
from cisterna.segment.probability import IntensityRule, prepare, volume_probability
from cisterna.segment.training_volumes import percentile_range
from scipy import ndimage

MODELS = {
    "er": "demo-asem-er",
    "copi": "demo-asem-copi",
    "ccv": "demo-asem-ccv",
    "tubular_eres": "demo-asem-tubular-eres",
}
PLANTED = {"copi_like": "COPI-like", "copii_like": "COPII-like", "ccv": "CCV", "tubular_eres": "tubular site"}
DIAMETERS_NM = (0.0, 55.0, 65.0, 75.0, 85.0, 200.0)
CONNECTED = np.ones((3, 3, 3))


def predictions(phantom: CellPhantom) -> dict[str, np.ndarray]:
    """Class → mask at the model's own threshold, parts below its smallest object left out."""
    image = (phantom.inlens.astype(np.float32) + phantom.esb) / 2
    found = {}
    for name, model in MODELS.items():
        folder = Path(str(files("cisterna.models"))) / "demo" / model
        spec = read_model_folder(folder).spec
        rule = IntensityRule.of_model(spec, *percentile_range(image))
        probability = volume_probability(image, prepare(load_model(folder)), rule)[0]
        mask = probability >= spec["metrics"]["threshold"]
        least_nm = 80.0 if name == "tubular_eres" else 30.0
        parts, _ = ndimage.label(mask, CONNECTED)
        kept = np.bincount(parts.ravel()) * 8.0**3 >= np.pi / 6 * least_nm**3
        kept[0] = False
        found[name] = kept[parts] if name != "er" else mask
    return found


def caught(labels: np.ndarray, mask: np.ndarray) -> dict[int, bool]:
    """Instance → at least half of its voxels are in the mask."""
    sizes = np.bincount(labels.ravel())
    hits = np.bincount(labels.ravel(), weights=mask.ravel(), minlength=len(sizes))
    return {int(i): bool(hits[i] * 2 >= sizes[i]) for i in np.flatnonzero(sizes) if i > 0}


def predicted_vesicles(mask: np.ndarray, truth: np.ndarray, voxel_nm: float) -> list[tuple[float, bool]]:
    """(equal-volume diameter in nm, right) of each predicted object."""
    parts, _ = ndimage.label(mask, CONNECTED)
    sizes = np.bincount(parts.ravel())
    hits = np.bincount(parts.ravel(), weights=(truth > 0).ravel(), minlength=len(sizes))
    return [
        (2 * (sizes[i] * voxel_nm**3 * 0.75 / np.pi) ** (1 / 3), bool(hits[i] * 2 >= sizes[i]))
        for i in range(1, len(sizes))
    ]


def share(flags: Any) -> str:
    flags = list(flags)
    return f"{sum(flags)} of {len(flags)} ({np.mean(flags):.2f})" if flags else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[7001, 7002])
    parser.add_argument("--shape", type=int, nargs=3, default=[112, 160, 160])
    args = parser.parse_args()
    masks: list[dict[str, np.ndarray]] = []
    phantoms: list[CellPhantom] = []
    for seed in args.seeds:
        phantoms.append(fibsem_cell(tuple(args.shape), 8.0, seed=seed))
        masks.append(predictions(phantoms[-1]))

    print("| model | Dice | precision | recall |\n|---|---|---|---|")
    for name, model in MODELS.items():
        predicted = np.concatenate([m[name].ravel() for m in masks])
        truth = np.concatenate([p.labels[name].ravel() > 0 for p in phantoms])
        a = voxel_agreement(predicted, truth)
        print(f"| `{model}` | {a.dice:.3f} | {a.precision:.3f} | {a.recall:.3f} |")

    print("\n| vesicles (COPI, COPII-like) of | planted, found | predicted, right |\n|---|---|---|")
    planted, predicted_ = [], []
    for phantom, mask in zip(phantoms, masks, strict=True):
        diameters = dict(
            zip(
                *(
                    phantom.objects.query("`class` in ('copi_like', 'copii_like')")[c]
                    for c in ("object_id", "diameter_nm")
                ),
                strict=True,
            )
        )
        planted += [(diameters[i], hit) for i, hit in caught(phantom.labels["vesicles"], mask["copi"]).items()]
        predicted_ += predicted_vesicles(mask["copi"], phantom.labels["vesicles"], 8.0)
    for low, high in itertools.pairwise(DIAMETERS_NM):
        words = (
            f"below {high:.0f} nm" if low == 0 else f"from {low:.0f} nm" if high == 200 else f"{low:.0f}–{high:.0f} nm"
        )
        recall, precision = (share(hit for d, hit in rows if low <= d < high) for rows in (planted, predicted_))
        print(f"| {words} | {recall} | {precision} |")
    print(f"| all | {share(h for _, h in planted)} | {share(h for _, h in predicted_)} |")

    print("\n| planted | " + " | ".join(f"`{MODELS[n]}`" for n in MODELS) + " |\n|---|" + "---|" * len(MODELS))
    for kind, words in PLANTED.items():
        cells = [
            share(hit for p, m in zip(phantoms, masks, strict=True) for hit in caught(p.labels[kind], m[name]).values())
            for name in MODELS
        ]
        print(f"| {words} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
