"""How much of a frame is ER, and of what kind."""

from __future__ import annotations

import math

import numpy as np

from cisterna.graph.parameters import CLASS_INDEX


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A boolean mask of any number of axes with all pixels that are at most so many steps away, corners included."""
    for axis in range(mask.ndim):
        done = 0
        while done < pixels:
            # A row grown by `done` holds every run of that length: the next shift may be one longer.
            step = min(done + 1, pixels - done)
            before, mask = np.moveaxis(mask, axis, 0), mask.copy()
            out = np.moveaxis(mask, axis, 0)
            out[step:] |= before[:-step]
            out[:-step] |= before[step:]
            done += step
    return mask


def area_shares(classes: np.ndarray, confidence: np.ndarray | None = None) -> dict[str, float]:
    """Shares of tubule, sheet and sheet-based tubule (SBT) among the ER pixels of a class map (y, x).

    The three sum to 1: they are shares of the ER, as in Lu et al. 2023; `er_share_of_image` is the ER's share of
    all pixels. `mean_confidence` is the mean of `confidence` / 255 over the ER pixels, `<class>_confidence` that over
    the pixels of the class (NaN when not given, or without such pixels). A frame without ER has NaN shares and an
    `er_share_of_image` of 0.
    """
    flat = np.asarray(classes).ravel()
    counts = np.bincount(flat, minlength=len(CLASS_INDEX))
    if len(counts) > len(CLASS_INDEX):
        raise ValueError(f"class {len(counts) - 1} is none of {', '.join(f'{i} {c}' for c, i in CLASS_INDEX.items())}")
    er = int(counts[1:].sum())
    found = {
        f"{name}_share": float(counts[CLASS_INDEX[name]] / er) if er else math.nan
        for name in ("tubule", "sheet", "sbt")
    }
    found["er_share_of_image"] = float(er / counts.sum()) if counts.sum() else math.nan
    sums = np.full(len(CLASS_INDEX), math.nan)
    if confidence is not None:
        sums = np.bincount(flat, weights=np.asarray(confidence).ravel(), minlength=len(CLASS_INDEX))
    found["mean_confidence"] = float(sums[1:].sum() / er / 255) if er else math.nan
    for name, index in CLASS_INDEX.items():
        found[f"{name}_confidence"] = float(sums[index] / counts[index] / 255) if counts[index] else math.nan
    return found


def cell_shares(classes: np.ndarray, confidence: np.ndarray | None, cells: np.ndarray, cell: int) -> dict[str, float]:
    """`area_shares` of the pixels of one cell; its ER's share of the cell is `er_share_of_cell`."""
    own = cells == cell
    found = area_shares(classes[own], confidence[own] if confidence is not None else None)
    found["er_share_of_cell"] = found.pop("er_share_of_image")
    return found
