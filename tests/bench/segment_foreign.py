"""Which data raise which warning: demonstration models on phantoms, on changed phantoms, on noise and on fly medulla.

    python tests/bench/segment_foreign.py                # CISTERNA_TEST_DATA adds the medulla

Prints a Markdown table: what report/segmentation.py measures, the warnings that follow, and, where there is a truth,
the Dice of ER and COPI, so that one sees what a warning, or none, is worth. Only cases under "made for it" should raise
nothing. Grey ranges are the 0.1 and 99.9 percentiles, as at ingest; nothing is resampled.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from cisterna.models import load_model, read_model_folder
from cisterna.phantoms.cell import fibsem_cell
from cisterna.report.segmentation import ClassSignature, ModelMemory, add_up
from cisterna.segment.accuracy import voxel_agreement
from cisterna.segment.probability import IntensityRule, prepare, volume_probability
from cisterna.segment.signature import block_signature
from cisterna.segment.training_volumes import percentile_range
from scipy.ndimage import gaussian_filter

MODELS = {
    "er": "demo-asem-er",
    "copi": "demo-asem-copi",
    "ccv": "demo-asem-ccv",
    "tubular_eres": "demo-asem-tubular-eres",
}
SHAPE = (64, 112, 112)
SEED = 7101
Labels = Mapping[str, np.ndarray] | None
Case = tuple[np.ndarray, Labels]


def cell(seed: int, voxel_nm: float = 8.0, **look: Any) -> Case:
    phantom = fibsem_cell(SHAPE, voxel_nm, seed=seed, **look)
    return (phantom.inlens.astype(np.float32) + phantom.esb) / 2, phantom.labels


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Case:
    grey, labels = cell(SEED)
    return change(grey), labels


def noise(level: float, sigma: float, blur_voxels: float = 0.0, seed: int = 0) -> np.ndarray:
    """Empty resin: noise of one grey value, of neighbours that share it where it is blurred."""
    made = np.random.default_rng(seed).normal(size=SHAPE)
    if blur_voxels:
        made = gaussian_filter(made, blur_voxels)
    resin: np.ndarray = (level + sigma * made / made.std()).clip(0, 255)
    return resin


def half_resin(level: float, blur_voxels: float = 0.0, stripes: float = 0.0) -> Case:
    grey, labels = cell(SEED)
    resin = noise(level, 14, blur_voxels)
    resin += stripes * np.random.default_rng(1).normal(size=(SHAPE[0], 1, SHAPE[2]))
    outside = np.arange(SHAPE[2]) >= 60
    return np.where(outside, resin, grey), {k: v * ~outside for k, v in labels.items()} if labels else None


def specks(grey: np.ndarray) -> np.ndarray:
    """A corner of 6 x 6 voxels through all planes far brighter than the cell, as charging or a metal edge is."""
    grey = grey.copy()
    grey[:, :6, :6] = 500
    return grey


def cases() -> dict[str, dict[str, Callable[[], Case]]]:
    found: dict[str, dict[str, Callable[[], Case]]] = {
        "made for it": {
            **{f"phantom {s}": lambda s=s: cell(s) for s in (7101, 7102, 7103, 7104)},  # type: ignore[misc]
            "one detector": lambda: (fibsem_cell(SHAPE, 8.0, seed=SEED).inlens, cell(SEED)[1]),
            "half the noise": lambda: cell(7105, noise=0.5),
            "twice the noise": lambda: cell(7106, noise=2.0),
            "contrast 0.7": lambda: cell(7107, contrast=0.7),
            "contrast 1.3": lambda: cell(7108, contrast=1.3),
            "a third of the objects": lambda: cell(7110, density=0.3),
            "gamma 0.5": lambda: changed(lambda g: 255 * (g / 255) ** 0.5),
        },
        "resin beside the cell": {
            "half of it resin": lambda: half_resin(172),
            "neighbours share its noise": lambda: half_resin(172, 0.6),
            "striped": lambda: half_resin(172, 0.0, 6.0),
            "dark resin": lambda: half_resin(110),
        },
        "foreign": {
            "blur of 8 nm instead of 5": lambda: cell(7109, blur_nm=8.0),
            "inverted": lambda: changed(lambda g: 255 - g),
            "gamma 2": lambda: changed(lambda g: 255 * (g / 255) ** 2),
            "gamma 3": lambda: changed(lambda g: 255 * (g / 255) ** 3),
            "0.3 % of it far brighter": lambda: changed(specks),
            "brightest fifth clipped": lambda: changed(lambda g: np.minimum(g, np.percentile(g, 80))),
            "four times the noise": lambda: cell(7112, noise=4.0),
            "contrast 0.3": lambda: cell(7113, contrast=0.3),
            "voxels of 4 nm, not resampled": lambda: cell(7114, 4.0),
            "voxels of 16 nm, not resampled": lambda: cell(7115, 16.0),
            "resin alone": lambda: (noise(128, 30), None),
            "resin alone, shared noise": lambda: (noise(128, 30, 0.7), None),
        },
    }
    folder = os.environ.get("CISTERNA_TEST_DATA")
    if folder:
        found["foreign"] |= {f"fly medulla, {n}": lambda n=n: medulla(folder, n) for n in ("train1", "train2")}  # type: ignore[misc]
    return found


def medulla(folder: str, name: str) -> Case:
    import tifffile

    whole = tifffile.imread(Path(folder) / "fibsem_medulla" / name / "raw.tif")
    return whole[tuple(slice((n - s) // 2, (n - s) // 2 + s) for n, s in zip(whole.shape, SHAPE, strict=True))], None


def measure(case: Case, models: Mapping[str, Any]) -> tuple[list[ClassSignature], dict[str, float]]:
    grey, labels = case
    found, dice = [], {}
    for name, (spec, network) in models.items():
        rule = IntensityRule.of_model(spec, *percentile_range(grey))
        probability = volume_probability(grey, network, rule)[0]
        threshold = int(spec["metrics"]["threshold"])
        counts = block_signature(grey, probability, rule.low, rule.high, threshold=threshold)
        part = {"offset": np.zeros(3, int), **counts}
        found.append(add_up(name, MODELS[name], ModelMemory.of(spec), 1, [part]))
        if labels is not None and labels[name].any():
            dice[name] = voxel_agreement(probability >= threshold, labels[name] > 0).dice
    return found, dice


def words(found: list[ClassSignature]) -> str:
    """The warnings, each in a word, with their classes."""
    said = ["bright membranes" if found[0].mirrored else "grey values"] if found[0].far else []
    for what, which in (("undecided", "hesitant"), ("resin", "in_resin")):
        names = [s.name for s in found if getattr(s, which)]
        if names:
            said.append(f"{what} ({', '.join(names)})")
    return "; ".join(said) or "none"


def percent(values: list[float]) -> str:
    return " ".join("–" if np.isnan(v) else f"{100 * v:.0f}" for v in values)


def count_ns(dtype: Any) -> float:
    """Nanoseconds a voxel that `block_signature` takes of one thread, in a block of 128³."""
    rng = np.random.default_rng(0)
    grey, probability = (rng.integers(0, 256, (128, 128, 128)) for _ in range(2))
    block: np.ndarray = grey.astype(dtype)
    given = probability.astype(np.uint8)
    start = process_time()
    for _ in range(3):
        block_signature(block, given, 10, 240)
    return (process_time() - start) / 3 / block.size * 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=Path(str(files("cisterna.models"))) / "demo")
    parser.add_argument("--only", default="", help="cases whose name fits this regular expression")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for dtype in (np.uint8, np.uint16, np.float32):
        print(f"counting a block of {np.dtype(dtype).name}: {count_ns(dtype):.0f} ns of processor time a voxel")
    models = {}
    for name, model in MODELS.items():
        folder = args.models / model
        models[name] = read_model_folder(folder).spec, prepare(load_model(folder))
    own = [ClassSignature(n, MODELS[n], ModelMemory.of(s), 0, 0) for n, (s, _) in models.items()]
    print(f"undecided on their own data ({', '.join(MODELS)}), %: {percent([s.own_undecided for s in own])}")
    print(
        "\n| | distance, mirrored | undecided, % | without structure, % | positives there, % | Dice ER, COPI | "
        "warnings |\n|---|---|---|---|---|---|---|"
    )
    for title, group in cases().items():
        print(f"| **{title}** | | | | | | |")
        for name, make in group.items():
            if not re.search(args.only, name):
                continue
            found, dice = measure(make(), models)
            first = found[0]
            scores = ", ".join(f"{dice[n]:.2f}" if n in dice else "–" for n in ("er", "copi")) if dice else "–"
            print(
                f"| {name} | {first.input_distance:.2f}, {first.mirrored_distance:.2f} | "
                f"{percent([s.undecided for s in found])} | {100 * first.featureless / first.cubes:.0f} | "
                f"{percent([s.featureless_share for s in found])} | {scores} | {words(found)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
