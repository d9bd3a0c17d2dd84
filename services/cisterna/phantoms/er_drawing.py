"""How centre lines become a picture: the distance of every pixel to the nearest line."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def distance_to_lines(
    lines: list[tuple[NDArray[Any], float]], shape_yx: tuple[int, int], width_px: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Distance in px (exact up to half the width + 1) from each pixel to the nearest line; that line's brightness."""
    reach = int(np.ceil(width_px / 2 + 1.0))
    size = np.array(shape_yx) + 2 * reach
    distance = np.full(int(np.prod(size)), float(reach))
    glow = np.ones(distance.shape)
    if lines:
        points = np.concatenate([p for p, _ in lines])
        bright = np.concatenate([np.full(len(p), g) for p, g in lines])
        base = np.rint(points).astype(int)
        inside = ((base >= 0) & (base < shape_yx)).all(axis=1)
        points, bright, base = points[inside], bright[inside], base[inside]
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                at = base + np.array([dy, dx])
                d = np.hypot(*(at - points).T)
                flat = (at[:, 0] + reach) * size[1] + at[:, 1] + reach
                np.minimum.at(distance, flat, d)
                if abs(dy) <= 2 and abs(dx) <= 2:
                    glow[flat] = bright
    crop = (slice(reach, -reach), slice(reach, -reach))
    return distance.reshape(size)[crop], glow.reshape(size)[crop]
