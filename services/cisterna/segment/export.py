"""A trained class as a model folder: bias set for a threshold of one half, weights rounded, judged as it will run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cisterna.segment.accuracy import best_threshold, object_agreement, voxel_agreement
from cisterna.segment.probability import IntensityRule, volume_probability
from cisterna.segment.training_loop import TrainingSettings, TrainingState
from cisterna.segment.training_volumes import LabelledVolume
from cisterna.segment.unet import CONTEXT, STRIDE, AsemUNet, flop_per_voxel

SMALLEST_OBJECT = 8
"""Predicted or true objects of fewer voxels do not count."""


def export_class(
    settings: TrainingSettings,
    state: TrainingState,
    name: str,
    folder: Path,
    held_out: Sequence[LabelledVolume],
    *,
    voxel_size_nm: tuple[float, float, float],
    trained_on: dict[str, Any],
    demo: bool,
    licence: str,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Write ``folder`` (its last part is the model's name) and its training curves; return the metrics.

    The threshold that is best on the held-out volumes is folded into the last bias, so that 128 of 255 is the one to
    use. Metrics are those of the float16 weights in the folder.
    """
    from cisterna.models import write_model_folder

    network = state.network.single(name)
    metrics: dict[str, Any] = {}
    if held_out:
        threshold = best_threshold(*_both(network, name, held_out, device))
        odds = threshold / (255 - threshold) if threshold < 255 else 254.0
        with torch.no_grad():
            bias = network.final_conv_pass.conv_pass[0].bias
            assert isinstance(bias, torch.Tensor)
            bias[1] -= math.log(odds)
    for value in network.state_dict().values():
        value.copy_(value.half().float())
    if held_out:
        metrics = judge(network, name, held_out, device)
    spec = {
        "name": folder.name,
        "family": "asem",
        "class": name,
        "topology": state.network.topology,
        "padding": "valid",
        "context": CONTEXT,
        "stride": STRIDE,
        "voxel_size_nm": list(voxel_size_nm),
        "polarity": "dark_membranes",
        "intensity": {"rule": "range", "to": [-1.0, 1.0], "percentiles": [0.1, 99.9]},
        "flop_per_voxel": round(flop_per_voxel(settings.num_fmaps)),
        "demo": demo,
        "licence": licence,
        "training": {
            **trained_on,
            "settings": asdict(settings) | {"classes": list(settings.classes)},
            "iterations": state.iteration,
            "minutes": round(state.seconds / 60, 1),
        },
        "metrics": metrics,
    }
    weights = {key: value.numpy() for key, value in network.state_dict().items()}
    write_model_folder(folder, spec, weights)
    write_curves(folder, state)
    return metrics


def judge(
    network: AsemUNet, name: str, volumes: Sequence[LabelledVolume], device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Agreement with the truth of held-out volumes at 128 of 255, and histograms of what went in and came out."""
    p, t = _both(network, name, volumes, device)
    voxels = voxel_agreement(p >= 128, t)
    objects = object_agreement(p >= 128, t, min_voxels=SMALLEST_OBJECT)
    seen = np.histogram(np.concatenate([v.image.ravel() for v in volumes]), bins=32, range=(-1, 1))[0]
    given = np.histogram(p, bins=32, range=(0, 256))[0]
    return {
        "on": [v.name for v in volumes],
        "threshold": 128,
        "voxels": _rounded(asdict(voxels)),
        "objects": _rounded(asdict(objects)),
        "input_histogram": (seen / seen.sum()).round(5).tolist(),
        "probability_histogram": (given / given.sum()).round(5).tolist(),
    }


def _both(
    network: AsemUNet, name: str, volumes: Sequence[LabelledVolume], device: str | torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Probability and truth of all volumes, one beside the other, a background voxel between them."""
    probabilities, truths, last = [], [], 0
    network = network.to(device)
    for volume in volumes:
        p = volume_probability(volume.image, network, IntensityRule(-1.0, 1.0), device=device)[0]
        t = volume.labels[name].astype(np.int64)
        t[t > 0] += last
        last = max(last, int(t.max()))
        probabilities.append(p)
        truths.append(t)
    network.to("cpu")
    edges = np.max([p.shape for p in probabilities], axis=0)
    pads = [[(0, int(e - n)) for e, n in zip(edges, p.shape, strict=True)] for p in probabilities]
    pads = [[(a, b + 1), *rest] for (a, b), *rest in pads]
    return (
        np.concatenate([np.pad(p, pad) for p, pad in zip(probabilities, pads, strict=True)]),
        np.concatenate([np.pad(t, pad) for t, pad in zip(truths, pads, strict=True)]),
    )


def _rounded(numbers: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: a ratio of nothing to nothing is null."""
    return {
        key: value if not isinstance(value, float) else (round(value, 4) if math.isfinite(value) else None)
        for key, value in numbers.items()
    }


def write_curves(folder: Path, state: TrainingState) -> None:
    """curves.json (loss in means of 10 iterations, validations) and, where matplotlib is installed, curves.png."""
    losses = [round(float(np.mean(state.losses[i : i + 10])), 5) for i in range(0, len(state.losses), 10)]
    validations = [
        {
            "iteration": v["iteration"],
            "dice": {name: round(r["best"]["dice"], 4) for name, r in v["classes"].items() if r["best"]["dice"] >= 0},
        }
        for v in state.validations
    ]
    (folder / "curves.json").write_text(json.dumps({"loss_every_10": losses, "validations": validations}) + "\n")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(np.arange(len(losses)) * 10, losses, linewidth=0.8)
    left.set(xlabel="iteration", ylabel="loss", yscale="log")
    for name in state.network.classes:
        points = [(v["iteration"], v["dice"][name]) for v in validations if name in v["dice"]]
        if points:
            right.plot(*zip(*points, strict=True), marker=".", label=name)
    right.set(xlabel="iteration", ylabel="Dice, held out", ylim=(0, 1))
    if validations:
        right.legend(fontsize=7)
    figure.savefig(folder / "curves.png", dpi=90)
