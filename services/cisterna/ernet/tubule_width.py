"""How wide tubules are in class maps, in pixels: what a network trained on them takes for a tubule. numpy only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frames import CLASSES

TUBULE = CLASSES.index("tubule")


def tubule_width_px(class_maps: Iterable[NDArray[Any]]) -> float:
    """Mean width of the tubules in class maps (y, x): twice their area over their outline; NaN without any.

    A ribbon of length L and width w has the area w L and the outline 2 L. The outline is measured along four directions
    (Crofton's formula); where a tubule leaves the frame there is none.
    """
    area = outline = 0.0
    for classes in class_maps:
        mask = np.asarray(classes) == TUBULE
        area += float(mask.sum())
        outline += outline_px(mask)
    return 2 * area / outline if outline else math.nan


def outline_px(mask: NDArray[np.bool_]) -> float:
    """Length of the boundary between a mask (y, x) and what is outside it, the frame's border left out."""
    straight = np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    slanted = np.count_nonzero(mask[1:, 1:] != mask[:-1, :-1]) + np.count_nonzero(mask[1:, :-1] != mask[:-1, 1:])
    # Crossings of lines one pixel apart, and of diagonals 1/√2 px apart: π/2 times their mean over the directions.
    return math.pi / 8 * (straight + slanted / math.sqrt(2))
