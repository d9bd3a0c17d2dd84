"""Masks drawn by hand."""

from __future__ import annotations

import numpy as np

Segment = tuple[tuple[float, float], tuple[float, float]]


def draw(segments: list[Segment], width: float = 4.0, shape: tuple[int, int] = (96, 96)) -> np.ndarray:
    """Capsules of a width around straight segments."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    mask = np.zeros(shape, bool)
    for (ay, ax), (by, bx) in segments:
        length2 = (by - ay) ** 2 + (bx - ax) ** 2
        t = np.clip(((y - ay) * (by - ay) + (x - ax) * (bx - ax)) / max(length2, 1e-9), 0, 1)
        mask |= np.hypot(y - ay - t * (by - ay), x - ax - t * (bx - ax)) <= width / 2
    return mask


def circle(
    centre: tuple[float, float], radius: float, width: float = 4.0, shape: tuple[int, int] = (96, 96)
) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    return np.abs(np.hypot(y - centre[0], x - centre[1]) - radius) <= width / 2
