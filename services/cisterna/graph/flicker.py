"""Classes through time: how many pixels change from frame to frame, and how many change for one frame only.

The ER moves, so classes change where it went. What differs from the frame before and from the frame after while these
two agree came and went within one frame: mostly noise of the segmentation, and tubules that are faster than the movie.
"""

from __future__ import annotations

import math

import numpy as np

from cisterna.graph.parameters import CLASS_INDEX


def class_changes(before: np.ndarray | None, classes: np.ndarray, after: np.ndarray | None) -> dict[str, float]:
    """Changes of one class map (y, x) against its neighbours in time; None where the movie begins or ends.

    `changed_share`: of the pixels that are ER here or in the frame before, those whose class is another one there.
    `flicker_share`: of the pixels that are ER in any of the three frames, those whose class is another one in this
    frame alone, the two neighbours agreeing. `tubule_flicker_share`, `sheet_flicker_share` and `sbt_flicker_share`: of
    the pixels that both neighbours call so, those that this frame does not. `background_flicker_share`: of the ER
    pixels of this frame, those that both neighbours call background. NaN without the neighbours or such pixels.
    """
    for other in (before, after):
        if other is not None and other.shape != classes.shape:
            raise ValueError(f"the frame is {classes.shape}, its neighbour {other.shape}: they must agree")
    names = ("changed_share", "flicker_share", *(f"{name}_flicker_share" for name in CLASS_INDEX))
    found = dict.fromkeys(names, math.nan)
    if before is None:
        return found
    found["changed_share"] = _share(before != classes, (before > 0) | (classes > 0))
    if after is None:
        return found
    steady = before == after
    flips = steady & (classes != before)
    found["flicker_share"] = _share(flips, (before > 0) | (classes > 0) | (after > 0))
    found["background_flicker_share"] = _share(flips & (before == 0), classes > 0)
    for name, index in CLASS_INDEX.items():
        if index:
            both = steady & (before == index)
            found[f"{name}_flicker_share"] = _share(flips & both, both)
    return found


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    count = int(whole.sum())
    return float(part.sum() / count) if count else math.nan
