"""How well a trained ERnet does on frames it was not trained on: per pixel, per class, and as shares. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .frames import CLASSES, Network, classes_and_confidence, frame_logits, normalise_frame
from .training_crops import Degradation, degraded
from .training_frames import UNLABELLED, LabelledFrame
from .training_settings import ErnetSettings

STRUCTURES = CLASSES[1:]


def evaluate(
    network: torch.nn.Module, frames: Sequence[LabelledFrame], settings: ErnetSettings, snr: float = 10.0
) -> dict[str, Any]:
    """`agreement` over held-out frames; phantoms are degraded to this SNR. Empty without frames."""
    if not frames:
        return {}
    was_training = network.training
    infer = torch_network(network.eval())
    confusion = np.zeros((4, 4), np.int64)
    for number, frame in enumerate(frames):
        found = found_classes(infer, seen_frames(frame, settings, number, snr), settings)
        labelled = frame.classes != UNLABELLED
        pairs = 4 * frame.classes[labelled].astype(np.int64) + found[labelled]
        confusion += np.bincount(pairs, minlength=16).reshape(4, 4)
    network.train(was_training)
    return {**agreement(confusion), "frames": len(frames), "snr": None if frames[0].recorded else snr}


def seen_frames(frame: LabelledFrame, settings: ErnetSettings, number: int, snr: float = 10.0) -> NDArray[np.float32]:
    """What the network is shown (T, H, W): recordings as they are, phantom number `number` with noise of this SNR."""
    if frame.recorded:
        return frame.signal
    how = Degradation(snr=(snr, snr), blur_px=(0, 0), haze=(0, 0), gamma=(1, 1))
    images = degraded(frame.signal, how, np.random.default_rng([settings.seed, 6, number]))
    low, high = float(images.min()), float(images.max())
    return np.stack([normalise_frame(image, low, high) for image in images])


def found_classes(infer: Network, images: NDArray[np.float32], settings: ErnetSettings) -> NDArray[np.uint8]:
    """Normalised frames (T, H, W) → classes (H, W) of the middle one."""
    if settings.frames == 1:
        return classes_and_confidence(frame_logits(images[0], infer))[0]
    height, width = images.shape[1:]
    pad = [(0, 0), *((0, -size % settings.grid_px) for size in (height, width))]
    logits = infer(np.pad(images, pad, mode="symmetric")[None])[0]
    return classes_and_confidence(logits[:, :height, :width])[0]


def agreement(confusion: NDArray[np.int64]) -> dict[str, Any]:
    """Of a confusion matrix (true, found) of pixels: what a report of a training says.

    Pixel accuracy; IoU and F1 of each class (None where it never occurs); fractions of the ER, which are 1 together,
    and the ER's share of the labelled pixels, each true and found (None without ER).
    """
    hits = np.diag(confusion).astype(float)
    true, found = confusion.sum(axis=1), confusion.sum(axis=0)
    union = true + found - hits
    iou = {n: round(float(h / u), 4) if u else None for n, h, u in zip(CLASSES, hits, union, strict=True)}
    f1 = {
        n: round(float(2 * h / (t + f)), 4) if t + f else None
        for n, h, t, f in zip(CLASSES, hits, true, found, strict=True)
    }
    return {
        "pixel_accuracy": round(float(hits.sum() / max(confusion.sum(), 1)), 4),
        "iou": iou,
        "f1": f1,
        "er_fractions": {"true": fractions(true), "found": fractions(found)},
        "er_share": {"true": er_share(true), "found": er_share(found)},
    }


def fractions(pixels: NDArray[np.int64]) -> dict[str, float] | None:
    """Pixels per class → share of each structure in the ER (SBT, tubule and sheet)."""
    whole = int(pixels[1:].sum())
    if not whole:
        return None
    return {name: round(float(part / whole), 4) for name, part in zip(STRUCTURES, pixels[1:], strict=True)}


def er_share(pixels: NDArray[np.int64]) -> float | None:
    """Pixels per class → the ER's share of all of them."""
    return round(float(pixels[1:].sum() / pixels.sum()), 4) if pixels.sum() else None


def torch_network(network: torch.nn.Module) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A torch network as the callable that `frames` works with."""
    device = next(network.parameters()).device

    def infer(frames: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            logits: NDArray[np.float32] = network(torch.from_numpy(frames).to(device)).cpu().numpy()
            return logits

    return infer
