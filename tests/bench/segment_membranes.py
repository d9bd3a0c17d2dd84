"""Membranes of real FIB-SEM: trained on one part of a volume, bodies by watershed scored on another.

    python tests/bench/segment_membranes.py --data FOLDER/fibsem_medulla/train2 --work FOLDER

Trains with `cisterna train asem` on planes 0-167 (boundaries of `bodies_gt.tif`, validated on 168-199), chooses the
watershed on four slabs of planes 0-199, and prints a Markdown table for planes 200-249 beside the shipped supervoxels
and the shipped FFN result. The network sees each slab alone, reflected at its ends. Scores count voxels where truth and
result are > 0.
`--work` keeps the training: run again to go on with it, or only to score it.
"""

from __future__ import annotations

import argparse
import itertools
import json
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import tifffile
from cisterna.models import load_model, read_model_folder
from cisterna.segment import train
from cisterna.segment.probability import IntensityRule, prepare, volume_probability
from cisterna.segment.training_volumes import percentile_range
from cisterna.segment.watershed import WatershedSettings, agglomerate, basins
from numpy.typing import NDArray
from skimage.metrics import adapted_rand_error, variation_of_information

TRAINED, VALIDATED, SCORED = (0, 168), (168, 200), (200, 250)
CHOICE = ((0, 50), (50, 100), (100, 150), (150, 200))
"""Slabs, as thick as the scored one, on which the watershed is chosen; the network has learnt from most of them."""
TRAINING = (
    "--num-fmaps 12 --convolutions padded --patch 56 --learning-rate 1.5e-3 --final-learning-rate 1.5e-5 --warm-up 300 "
    "--rate-by-fan-in --weight-decay 0 --gradient-norm 0.5 --balance 0.5 --foreground-share 0 --intensity 0.2 "
    "--noise 0.15 --blur-voxels 1 --elastic-jitter-voxels 0 --no-rotation --precision bfloat16 --threads 1 "
    "--validate-every 1000 --seed 3"
)


def trained_model(data: Path, work: Path, iterations: int) -> Path:
    """The model folder, trained where it is not there yet; planes from 200 are in no box."""
    folder = work / "models" / "medulla-membrane"
    if (folder / "model.json").is_file():
        return folder
    entry = {"image": str(data / "raw.tif"), "bodies": {"membrane": str(data / "bodies_gt.tif")}}
    boxes = [[[a, 0, 0], [b, 250, 250]] for a, b in (TRAINED, VALIDATED)]
    work.mkdir(parents=True, exist_ok=True)
    volumes = [entry | {"box": box, "held_out": n == 1} for n, box in enumerate(boxes)]
    (work / "volumes.json").write_text(json.dumps(volumes))
    parser = ArgumentParser()
    train.add_arguments(parser)
    own = ["--data", work / "volumes.json", "--output", work / "models", "--state", work / "state.pt"]
    words = [
        *own,
        "--iterations",
        iterations,
        "--voxel-size-nm",
        10,
        10,
        10,
        "--classes",
        "membrane",
        "--name",
        "medulla",
    ]
    train.run(parser.parse_args([*map(str, words), *TRAINING.split()]))
    return folder


def probability(model: Path, raw: NDArray[np.uint8], planes: tuple[int, int]) -> NDArray[np.uint8]:
    """Of the membrane, on some planes and from them alone."""
    rule = IntensityRule.of_model(read_model_folder(model).spec, *percentile_range(raw))
    found: NDArray[np.uint8] = volume_probability(raw[slice(*planes)], prepare(load_model(model)), rule)[0]
    return found


def score(bodies: NDArray[np.int64], truth: NDArray[np.int64]) -> tuple[float, float, float]:
    """Adapted Rand error, and the two parts of the variation of information (split, merge) in bits."""
    both = (truth > 0) & (bodies > 0)
    split, merge = variation_of_information(truth[both], bodies[both])
    return float(adapted_rand_error(truth[both], bodies[both])[0]), float(split), float(merge)


def chosen(
    membranes: Sequence[NDArray[np.uint8]], truths: Sequence[NDArray[np.int64]]
) -> tuple[WatershedSettings, WatershedSettings]:
    """Settings of least adapted Rand error in the mean over some slabs: without agglomeration, and with it."""
    errors: dict[WatershedSettings, list[float]] = {}
    for membrane, truth in zip(membranes, truths, strict=True):
        known = truth > 0
        for below, smooth in itertools.product((0.02, 0.05, 0.1), (0.0, 1.0)):
            settings = WatershedSettings(below, smooth)
            bodies = basins(membrane, settings)
            for merge in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6):
                # Merging goes on from the bound before: the order of merging is the same.
                bodies = agglomerate(bodies, membrane, merge) if merge else bodies
                error = float(adapted_rand_error(truth[known], bodies[known])[0])
                errors.setdefault(replace(settings, merge_below=merge), []).append(error)
    for settings, found in errors.items():
        print(f"{asdict(settings)}: {' '.join(f'{e:.3f}' for e in found)}, mean {np.mean(found):.4f}")
    plain = min((s for s in errors if not s.merge_below), key=lambda s: np.mean(errors[s]))
    merged = min((s for s in errors if s.merge_below), key=lambda s: np.mean(errors[s]))
    return plain, merged


def compared(data: Path, model: Path) -> list[tuple[str, int, float, float, float]]:
    """(what, bodies, adapted Rand error, VI split, VI merge) on the scored planes."""
    raw = tifffile.imread(data / "raw.tif")
    truth = tifffile.imread(data / "bodies_gt.tif").astype(np.int64)
    slabs = [truth[slice(*planes)] for planes in CHOICE]
    settings = chosen([probability(model, raw, planes) for planes in CHOICE], slabs)
    membrane = probability(model, raw, SCORED)
    ours = [basins(membrane, settings[0])]
    ours.append(agglomerate(basins(membrane, settings[1]), membrane, settings[1].merge_below))
    results = {
        "supervoxels, shipped": tifffile.imread(data / "supervoxels_pred.tif")[slice(*SCORED)],
        "watershed on our probability": ours[0],
        "the same, agglomerated": ours[1],
        "FFN, shipped": tifffile.imread(data / "ffn_segmentation_train2.tif")[slice(*SCORED)],
    }
    for words, how in zip(("watershed", "agglomerated"), settings, strict=True):
        print(f"{words}: {asdict(how)}")
    return [
        (what, len(np.unique(bodies[bodies > 0])), *score(bodies.astype(np.int64), truth[slice(*SCORED)]))
        for what, bodies in results.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=5000)
    args = parser.parse_args()
    model = trained_model(args.data, args.work, args.iterations)
    spec = read_model_folder(model).spec
    learnt = spec["training"]
    print(f"{learnt['iterations']} iterations, {learnt['minutes']} minutes; {spec['metrics']['voxels']}")
    rows = compared(args.data, model)
    print("\n| planes 200–249 | bodies | adapted Rand error | VI split | VI merge |\n|---|---|---|---|---|")
    for what, count, error, split, merge in rows:
        print(f"| {what} | {count} | {error:.4f} | {split:.3f} | {merge:.3f} |")


if __name__ == "__main__":
    main()
