"""How sure the segmentation is of each node and each tubule."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from cisterna.graph.network import Network
from cisterna.graph.parameters import CLASS_INDEX
from cisterna.graph.skeleton import Floats


@dataclass(frozen=True)
class Confidence:
    """Mean probability of the traced classes, 0 to 1: 3 pixels along each axis around each node, along each curve."""

    nodes: Floats
    edges: Floats


def confidences(network: Network, classes: np.ndarray, confidence: np.ndarray, traced: tuple[str, ...]) -> Confidence:
    """Reads a confidence image (y, x) or (z, y, x), uint8: the probability of each pixel's class times 255.

    Where the pixel is of a class that was not traced (a filled hole, a smoothed curve beside its tubule), what is left
    to the traced classes is taken: one minus it.
    """
    own = np.zeros(len(CLASS_INDEX), bool)
    own[[CLASS_INDEX[c] for c in traced]] = True

    def probability(points: Floats) -> Floats:
        at = tuple(np.clip(np.rint(points).astype(np.int64), 0, np.array(classes.shape) - 1).T)
        value = confidence[at] / 255
        return np.asarray(np.where(own[classes[at]], value, 1 - value), np.float64)

    around = np.zeros(len(network.positions))
    steps = list(itertools.product((-1, 0, 1), repeat=classes.ndim))
    for step in steps:
        around += probability(network.positions + np.array(step))
    along = np.concatenate([[0.0], np.cumsum(probability(network.lines.points))])
    start = network.lines.start
    return Confidence(around / len(steps), (along[start[1:]] - along[start[:-1]]) / np.maximum(np.diff(start), 1))
