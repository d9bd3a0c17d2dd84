"""The SNR flag of what lasts several frames: that of the worst of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cisterna.graph.snr import LOW, NOT_APPLICABLE, OK

RISING = (OK, NOT_APPLICABLE, LOW)
"""A frame known to be too noisy is worse than one of which nothing is known."""


def worst_flags(flags: Sequence[str] | None, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The worst flag among frames `first` to `last` (n,), both included; `flags` is one a frame of the movie.

    Without flags nothing is known: snr_not_applicable. Frames outside the movie are left out.
    """
    first, last = (np.asarray(at, np.int64) for at in (first, last))
    if flags is None or not len(flags):
        return np.full(len(first), NOT_APPLICABLE, object)
    seen = np.stack([np.asarray(flags, object) == flag for flag in RISING[1:]])
    before = np.concatenate([np.zeros((len(seen), 1), np.int64), np.cumsum(seen, axis=1)], axis=1)
    start, stop = np.clip(first, 0, len(flags)), np.clip(last + 1, 0, len(flags))
    unknown, low = before[:, stop] > before[:, start]
    return np.where(low, LOW, np.where(unknown, NOT_APPLICABLE, OK)).astype(object)


def low_share(flags: Sequence[str] | None) -> float:
    """Frames flagged low over all; NaN without flags."""
    return sum(flag == LOW for flag in flags) / len(flags) if flags else math.nan
