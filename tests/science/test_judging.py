"""Demonstration models on phantoms never trained on; an untrained network must fail every limit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cisterna.eres.components import label_components
from cisterna.ernet.frames import segment_frame
from cisterna.graph import trace_network
from cisterna.models import demo_models, read_model_folder
from cisterna.phantoms import CellPhantom, MoviePhantom, er_movie, fibsem_cell
from cisterna.phantoms.score import dice, junction_f1, merged_truth, vesicle_recall_precision
from cisterna.segment.probability import IntensityRule, prepare, volume_probability

CELL_SEED = 9701
MOVIE_SEEDS = range(9801, 9817)
MIN_DIAMETER_NM = 30.0
LIMITS = {"ER Dice": 0.85, "vesicle recall": 0.8, "vesicle precision": 0.8, "junction F1": 0.85}

FOLDERS = {p.name: p for p in demo_models()}


def network(name: str, trained: bool) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A demonstration model, or the same topology with random weights."""
    model = read_model_folder(FOLDERS[name])
    module = model.module()
    if not trained:
        torch.manual_seed(0)
        for layer in module.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    return module, dict(model.spec)


@pytest.fixture(scope="module")
def cell() -> CellPhantom:
    """1 × 1.2 × 1.3 µm: no training volume has this shape."""
    return fibsem_cell((128, 152, 160), 8.0, CELL_SEED)


@pytest.fixture(scope="module")
def movies() -> list[MoviePhantom]:
    """One frame each of sixteen networks: F1 varies by 0.05 between networks, so the limit holds for the mean."""
    return [er_movie(1, (240, 272), snr=10, seed=seed) for seed in MOVIE_SEEDS]


def segmented(cell: CellPhantom, name: str, trained: bool) -> np.ndarray[Any, Any]:
    """Positive voxels of a class, as segment and eres find them."""
    torch.set_num_threads(2)
    module, spec = network(name, trained)
    raw = np.rint((cell.inlens.astype(np.float32) + cell.esb) / 2).astype(np.uint8)
    low, high = np.percentile(raw, [0.1, 99.9])
    rule = IntensityRule(float(low), float(high), to=tuple(spec["intensity"]["to"]))
    probability = volume_probability(raw, prepare(module), rule)[0]
    return np.asarray(probability >= spec["metrics"].get("threshold", 128))


def judge(cell: CellPhantom, movies: list[MoviePhantom], trained: bool) -> dict[str, float]:
    torch.set_num_threads(2)
    er = dice(segmented(cell, "demo-asem-er", trained), cell.labels["er"])
    labels = label_components(segmented(cell, "demo-asem-copi", trained))
    sizes = np.bincount(labels.ravel())
    least = math.pi / 6 * (MIN_DIAMETER_NM / 8.0) ** 3
    labels = np.where((sizes >= least)[labels], labels, 0)
    planted = cell.objects[cell.objects["class"].isin(["copi_like", "copii_like"])]
    vesicles = vesicle_recall_precision(labels, planted, 8.0)
    return {
        "ER Dice": er,
        "vesicle recall": np.nan_to_num(vesicles.recall),
        "vesicle precision": np.nan_to_num(vesicles.precision),
        "junction F1": float(np.mean([junctions(m, trained) for m in movies])),
    }


def junctions(movie: MoviePhantom, trained: bool) -> float:
    module, _ = network("demo-ernet", trained)

    def infer(frame: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(frame)).numpy())

    scores = []
    low, high = float(movie.frames.min()), float(movie.frames.max())
    for t, frame in enumerate(movie.frames):
        classes, _ = segment_frame(frame, low, high, infer)
        found = trace_network(classes == 2, 1.0).nodes
        places = found.loc[found["degree"] >= 3, ["y_um", "x_um"]].to_numpy(float)
        true = true_junctions(movie, t)
        scores.append(junction_f1(places, true[["y_px", "x_px"]].to_numpy(float), 3.0).f1)
    return float(np.mean(scores))


def true_junctions(movie: MoviePhantom, frame: int) -> pd.DataFrame:
    nodes, edges = (t[t["frame"] == frame] for t in (movie.nodes, movie.edges))
    merged, _ = merged_truth(nodes, edges, movie.tubule_width_px + 2)
    return merged[merged["degree"] >= 3]


def test_the_demonstration_models_keep_every_limit(cell: CellPhantom, movies: list[MoviePhantom]) -> None:
    found = judge(cell, movies, trained=True)
    assert {n: v for n, v in found.items() if v < LIMITS[n]} == {}


def test_untrained_networks_fall_below_every_limit(cell: CellPhantom, movies: list[MoviePhantom]) -> None:
    found = judge(cell, movies, trained=False)
    assert {n: v for n, v in found.items() if v >= LIMITS[n]} == {}


def test_demo_models_are_those_of_the_package() -> None:
    assert all(Path(p, "model.json").is_file() for p in FOLDERS.values())
