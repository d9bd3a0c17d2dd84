"""A trained class as a model folder: bias set for a threshold of one half, weights rounded, judged as it will run."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from cisterna.segment.accuracy import best_threshold, object_agreement, voxel_agreement
from cisterna.segment.card import hardware, slices_picture, sweep_rows, write_card
from cisterna.segment.judgement import threshold_curve
from cisterna.segment.living_channels import watched
from cisterna.segment.probability import IntensityRule, volume_probability
from cisterna.segment.shared_trunk import SharedAsem
from cisterna.segment.training_loop import TrainingSettings, TrainingState
from cisterna.segment.training_volumes import LabelledVolume
from cisterna.segment.unet import CONTEXT, STRIDE, AsemUNet, flop_per_voxel

RANGE = {"rule": "range", "to": [-1.0, 1.0], "percentiles": [0.1, 99.9]}
MIDDLE = 128
"""Voxels per axis of a training volume on which channels are counted where nothing is held out."""
SMALLEST_OBJECT = 8
"""Predicted or true objects of fewer voxels do not count."""


def export(
    settings: TrainingSettings,
    state: TrainingState,
    folders: Mapping[str, Path],
    held_out: Sequence[LabelledVolume],
    *,
    voxel_size_nm: tuple[float, ...],
    trained_on: Mapping[str, Any],
    demo: bool,
    licence: str,
    device: str | torch.device = "cpu",
    trained_volumes: Sequence[LabelledVolume] = (),
    equalised: bool = False,
) -> dict[str, dict[str, Any]]:
    """Write a model folder with its card and training curves for each class of ``folders``; return their metrics.

    The threshold that is best on the held-out volumes is folded into the last bias, so that 128 of 255 is the one to
    use. Metrics are those of the float16 weights in the folder, within masks and metric masks; without held-out volumes
    there are none but the living channels, which are then counted on a part of a training volume.

    Args:
        settings, state: of the training.
        folders: class → where; the last part of the path is the model's name.
        held_out: volumes that were not trained on.
        voxel_size_nm: z, y, x of the training volumes.
        trained_on: what the training data was, for model.json.
        demo: marks a demonstration model; reports say so.
        licence: of the weights.
        device: where to judge.
        trained_volumes: those that were trained on.
        equalised: images were CLAHE-equalised, so the model wants such volumes.
    """
    from cisterna.models import write_model_folder

    shared = copy.deepcopy(state.network).cpu().eval()
    with torch.no_grad():
        for value in shared.state_dict().values():
            value.copy_(value.half().float())
    with watched(shared) as living:
        odds = [log_odds(shared, volume, device) for volume in held_out]
        if not held_out and trained_volumes:
            log_odds(shared, _middle(trained_volumes[0]), device)
    shared = shared.cpu()
    found = {}
    for name, folder in folders.items():
        network = shared.single(name)
        metrics: dict[str, Any] = {"living_channels": living.shares()}
        probabilities: list[NDArray[np.uint8]] = []
        if held_out:
            index = shared.classes.index(name)
            judged = [v.judged(name) for v in held_out]
            # what is not judged is background of truth and prediction, so that it does not count
            truth = _beside([_numbered(np.where(j, v.truth(name), 0)) for v, j in zip(held_out, judged, strict=True)])
            within = _within([_uint8(o[index]) for o in odds], judged)
            shift = _fold_threshold(network, best_threshold(within, truth))
            probabilities = [_uint8(o[index] - shift) for o in odds]
            curve = threshold_curve(
                np.concatenate([p[j] for p, j in zip(probabilities, judged, strict=True)]),
                np.concatenate([v.truth(name)[j] for v, j in zip(held_out, judged, strict=True)]),
            )
            metrics |= judge(_within(probabilities, judged), truth, held_out)
            metrics |= {"threshold_sweep": sweep_rows(curve), "probability_histogram": _histogram(probabilities)}
        spec = {
            "name": folder.name,
            "family": "asem",
            "class": name,
            "topology": shared.topology,
            "padding": "valid",
            "context": CONTEXT,
            "stride": STRIDE,
            "voxel_size_nm": list(voxel_size_nm),
            "polarity": "dark_membranes",
            "intensity": {"rule": "clahe", "to": [-1.0, 1.0]} if equalised else RANGE,
            "flop_per_voxel": round(flop_per_voxel(settings.num_fmaps)),
            "demo": demo,
            "licence": licence,
            "training": {
                **trained_on,
                "settings": asdict(settings) | {"classes": list(settings.classes)},
                "iterations": state.iteration,
                "minutes": round(state.seconds / 60, 1),
                "hardware": hardware(device),
            },
            "metrics": metrics,
        }
        write_model_folder(folder, spec, {key: value.numpy() for key, value in network.state_dict().items()})
        write_curves(folder, state)
        write_card(folder, spec, slices_picture(held_out, probabilities, name))
        found[name] = metrics
    return found


def _middle(volume: LabelledVolume) -> LabelledVolume:
    """Up to `MIDDLE` voxels along each axis."""
    part = tuple(slice(max(0, n - MIDDLE) // 2, max(0, n - MIDDLE) // 2 + MIDDLE) for n in volume.image.shape)
    return LabelledVolume(volume.name, volume.image[part], {})


def log_odds(network: SharedAsem, volume: LabelledVolume, device: str | torch.device = "cpu") -> NDArray[np.float32]:
    """(classes, Z, Y, X): logit of the foreground of each class."""

    def difference(logits: torch.Tensor) -> torch.Tensor:
        return logits[:, :, 1].float() - logits[:, :, 0].float()

    whole = IntensityRule(-1.0, 1.0)
    return volume_probability(volume.image, network.to(device), whole, device=device, after=difference)


def judge(probability: NDArray[np.uint8], truth: NDArray[Any], volumes: Sequence[LabelledVolume]) -> dict[str, Any]:
    """Agreement with the truth at 128 of 255, and a histogram of what went in."""
    voxels = voxel_agreement(probability >= 128, truth)
    objects = object_agreement(probability >= 128, truth, min_voxels=SMALLEST_OBJECT)
    seen = np.histogram(np.concatenate([v.image.ravel() for v in volumes]), bins=32, range=(-1, 1))[0]
    return {
        "on": [v.name for v in volumes],
        "threshold": 128,
        "voxels": _rounded(asdict(voxels)),
        "objects": _rounded(asdict(objects)),
        "input_histogram": (seen / seen.sum()).round(5).tolist(),
    }


def _histogram(probabilities: Sequence[NDArray[np.uint8]]) -> list[float]:
    """Of all voxels, judged or not: what the model says of such volumes."""
    given = sum(np.histogram(p, bins=32, range=(0, 256))[0] for p in probabilities)
    shares: list[float] = (given / np.sum(given)).round(5).tolist()
    return shares


def _within(probabilities: Sequence[NDArray[np.uint8]], judged: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Volumes beside one another, 0 where they are not judged."""
    inside: NDArray[np.uint8] = _beside([np.where(j, p, 0) for p, j in zip(probabilities, judged, strict=True)])
    return inside


def _fold_threshold(network: AsemUNet, threshold: int) -> float:
    """Lower the foreground's bias so that ``threshold`` becomes 128; returns the change of the logit, as rounded."""
    bias = network.final_conv_pass.conv_pass[0].bias
    assert isinstance(bias, torch.Tensor)
    before = float(bias[1])
    share = min(threshold, 254) / 255
    with torch.no_grad():
        bias[1] = float(torch.tensor(before - math.log(share / (1 - share))).half())
    return before - float(bias[1])


def _uint8(odds: NDArray[np.float32]) -> NDArray[np.uint8]:
    probability: NDArray[np.uint8] = np.rint(255 / (1 + np.exp(-odds.astype(np.float64)))).astype(np.uint8)
    return probability


def _numbered(label: NDArray[Any]) -> NDArray[np.int64]:
    """Instances as they are; a plain mask becomes its connected parts."""
    if label.max(initial=0) <= 1:
        label = ndimage.label(label > 0, np.ones((3, 3, 3)))[0]
    numbered: NDArray[np.int64] = label.astype(np.int64)
    return numbered


def _beside(volumes: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Volumes in one array along z, a background plane after each; labels (int64) stay distinct."""
    edges = np.max([v.shape for v in volumes], axis=0)
    parts, last = [], 0
    for volume in volumes:
        if volume.dtype == np.int64:
            volume = np.where(volume > 0, volume + last, 0)
            last = max(last, int(volume.max(initial=0)))
        pad = [(0, int(e - n)) for e, n in zip(edges, volume.shape, strict=True)]
        parts.append(np.pad(volume, [(0, 1), *pad[1:]]))
    return np.concatenate(parts)


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
