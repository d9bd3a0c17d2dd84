"""The model's card: what a person reads before using a model; model.json stays the machine's."""

from __future__ import annotations

import io
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cisterna.segment.judgement import ThresholdCurve
from cisterna.segment.living_channels import FEW, levels, reach_without, warning
from cisterna.segment.training_volumes import LabelledVolume

CARD, CURVES, SLICES = "card.md", "curves.png", "slices.png"
SWEEP = (13, 26, 51, 77, 102, 128, 153, 179, 204, 230, 242)
"""Levels of 255 that the card shows: 0.05, 0.1, 0.2, … 0.9, 0.95."""
PANEL = 224
"""Pixels per edge of a slice's part that is shown, at most."""
LARGEST_PICTURE = 150_000
TRUTH_COLOUR, FOUND_COLOUR = (60, 200, 90), (255, 150, 30)


def hardware(device: str | torch.device) -> str:
    """What a training runs on, in words."""
    if torch.device(device).type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{torch.get_num_threads()} thread(s) of {name}, torch {torch.__version__}"


def sweep_rows(curve: ThresholdCurve) -> list[dict[str, float | int | None]]:
    """Dice, precision and recall at the card's levels; None: nothing by nothing."""
    rows: list[dict[str, float | int | None]] = []
    for level in SWEEP:
        at = curve.at(level)
        figures = {n: round(at[n], 4) if np.isfinite(at[n]) else None for n in ("dice", "precision", "recall")}
        rows.append({"level": level, **figures})
    return rows


def write_card(folder: Path, spec: Mapping[str, Any], picture: bytes | None) -> None:
    """`card.md` and, where there is one, `slices.png`; the digest of the model covers neither."""
    if picture is not None:
        (folder / SLICES).write_bytes(picture)
    elif (folder / SLICES).exists():
        (folder / SLICES).unlink()
    (folder / CARD).write_text(card_text(spec, [n for n in (CURVES, SLICES) if (folder / n).is_file()]))


def card_text(spec: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The card of a model in Markdown, from its model.json and the pictures beside it."""
    training, metrics = spec["training"], spec["metrics"]
    settings = training["settings"]
    others = [c for c in settings["classes"] if c != spec["class"]]
    lines = [
        f"# {spec['name']}",
        "",
        f"Finds **{spec['class']}** in FIB-SEM volumes of {_nm(spec['voxel_size_nm'])} nm (z, y, x), dark membranes, "
        + ("CLAHE-equalised. " if spec["intensity"]["rule"] == "clahe" else "grey values as recorded. ")
        + f"ASEM 3-D U-Net, {settings['num_fmaps']} feature maps"
        + (f"; learnt beside {', '.join(others)}." if others else "."),
        *(["", "**A demonstration model**: it was trained on phantoms only."] if spec["demo"] else []),
        "",
        "## It must not be used",
        "",
        *[f"* {line}" for line in warnings_of(spec)],
        "",
        "## Trained",
        "",
        f"* On {_data(training)}.",
        *([f"* Starting from {training['started_from']}."] if "started_from" in training else []),
        f"* {training['iterations']} iterations in {training['minutes']} minutes; {training.get('hardware', '')}.",
        f"* Settings: {', '.join(f'{k} {v}' for k, v in settings.items() if k != 'classes')}.",
        f"* Licence of the weights: {spec['licence']}.",
        "",
        "## Judged",
        "",
        *_judged(metrics),
        *_living(metrics.get("living_channels", {})),
    ]
    if CURVES in pictures:
        lines += ["", f"![Loss and Dice on the held-out volumes, by iteration]({CURVES})"]
    if SLICES in pictures:
        lines += [
            "",
            f"![Three slices of a held-out volume: image, truth in green, probability in orange]({SLICES})",
            "",
            "Three slices of a held-out volume: the image, the truth (green; darkened where it is not judged), the "
            "probability (orange). The picture shows your data: leave it out of a model that you give away, the "
            "digest does not cover it.",
        ]
    return "\n".join(lines) + "\n"


def warnings_of(spec: Mapping[str, Any]) -> list[str]:
    """What the model must not be used for, from what is known of it."""
    metrics, training = spec["metrics"], spec["training"]
    equalised = spec["intensity"]["rule"] == "clahe"
    lines = [
        f"for voxels of other sizes than {_nm(spec['voxel_size_nm'])} nm without resampling, or bright membranes "
        "without inverting them;",
        "for volumes that are not CLAHE-equalised;" if equalised else "for volumes that were CLAHE-equalised;",
        "for another preparation, cell or microscope before it was judged there (`cisterna evaluate`);",
        "for diagnosis, or for counts that nobody reviewed.",
    ]
    if spec["demo"]:
        lines.insert(0, "on any real cell: its figures are of phantoms;")
    if "voxels" not in metrics:
        lines.insert(0, "before it was judged at all: no volume was held out, it carries no figures;")
    elif set(metrics["on"]) & set(_names(training)):
        lines.insert(
            0, "as if its figures held elsewhere: the held-out voxels are of the same image as the training's;"
        )
    if poor := warning(metrics.get("living_channels", {})):
        lines.insert(0, f"without knowing this: {poor};")
    return lines


def _names(training: Mapping[str, Any]) -> list[str]:
    data = training.get("data", [])
    return [data] if isinstance(data, str) else [str(n) for n in data]


def _data(training: Mapping[str, Any]) -> str:
    names = _names(training)
    seeds = training.get("phantom_seeds")
    some = ", ".join(dict.fromkeys(names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return (
        some + (f" (seeds {seeds[0]} to {seeds[1] - 1})" if seeds else "") if names else "data that nothing is said of"
    )


def _judged(metrics: Mapping[str, Any]) -> list[str]:
    if "voxels" not in metrics:
        return ["No volume was held out."]
    voxels, objects = metrics["voxels"], metrics["objects"]
    lines = [
        f"On {', '.join(dict.fromkeys(metrics['on']))}, which it was not trained on, at threshold "
        f"{metrics['threshold']} of 255; only where the labels hold and within the metric masks.",
        "",
        "| | Dice | Jaccard | precision | recall |",
        "|---|---|---|---|---|",
        f"| voxels | {' | '.join(_figure(voxels[n]) for n in ('dice', 'jaccard', 'precision', 'recall'))} |",
        f"| objects ({objects['truth']} true, {objects['predicted']} predicted) | – | – | "
        f"{_figure(objects['precision'])} | {_figure(objects['recall'])} |",
        "",
        "The threshold was chosen on these voxels (highest Dice) and folded into the last bias.",
        "",
    ]
    if rows := metrics.get("threshold_sweep"):
        lines += ["| threshold of 255 | Dice | precision | recall |", "|---|---|---|---|"]
        lines += [
            f"| {r['level']} | {' | '.join(_figure(r[n]) for n in ('dice', 'precision', 'recall'))} |" for r in rows
        ]
        lines += [""]
    return lines


def _living(shares: Mapping[str, float]) -> list[str]:
    if not shares:
        return []
    lines = ["Channels above zero anywhere, by level (the poorer of its two convolutions):", ""]
    lines += ["| level | living channels | without it, each output would see |", "|---|---|---|"]
    lines += [
        f"| {level} | {share:.0%}{' **(too few)**' if share < FEW else ''} | {reach_without(level)} voxels around |"
        for level, share in sorted(levels(shares).items())
    ]
    return lines


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _nm(size: Sequence[float]) -> str:
    return " × ".join(f"{v:g}" for v in size)


def slices_picture(
    volumes: Sequence[LabelledVolume], probabilities: Sequence[NDArray[np.uint8]], name: str
) -> bytes | None:
    """A PNG of at most `LARGEST_PICTURE` bytes: in three slices of a volume the image, its truth, its probability.

    The volume with most of the class, and of each third of its planes the one with most of it, around its middle.
    None where there is no volume, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        return None
    if not volumes:
        return None
    positive = [(v.truth(name) > 0) & v.judged(name) for v in volumes]
    chosen = int(np.argmax([p.sum() for p in positive]))
    volume, probability, true = volumes[chosen], probabilities[chosen], positive[chosen]
    dimmed = ~volume.judged(name)
    rows = []
    for planes in np.array_split(np.arange(len(true)), min(3, len(true))):
        z = int(planes[np.argmax(true[planes].sum(axis=(1, 2)))])
        spots = np.argwhere(true[z])
        centre = spots.mean(axis=0) if len(spots) else np.array(true.shape[1:]) / 2
        low = [int(np.clip(c - PANEL / 2, 0, max(0, n - PANEL))) for c, n in zip(centre, true.shape[1:], strict=True)]
        window = (z, slice(low[0], low[0] + PANEL), slice(low[1], low[1] + PANEL))
        grey = np.repeat(np.rint((volume.image[window][..., None] + 1) * 127.5), 3, axis=2)
        truth = _tinted(grey * np.where(dimmed[window], 0.4, 1.0)[..., None], true[window] * 0.5, TRUTH_COLOUR)
        rows.append(np.concatenate([grey, truth, _tinted(grey, probability[window] / 255 * 0.7, FOUND_COLOUR)], axis=1))
    whole = Image.fromarray(np.concatenate(rows).astype(np.uint8))
    while True:
        file = io.BytesIO()
        whole.quantize(96).save(file, "PNG", optimize=True)
        if file.tell() <= LARGEST_PICTURE:
            return file.getvalue()
        whole = whole.resize((int(whole.width * 0.85), int(whole.height * 0.85)))


def _tinted(grey: NDArray[Any], strength: NDArray[Any], colour: tuple[int, int, int]) -> NDArray[Any]:
    tinted: NDArray[Any] = grey * (1 - strength[..., None]) + np.array(colour) * strength[..., None]
    return tinted
