"""How many vesicles would be near the ER if they lay anywhere in the cytosol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt

from cisterna.eres.rules import NAIR2025, TOLERANCE_NM, Rules


@dataclass(frozen=True)
class ChanceNearEr:
    """Share (0..1) of vesicles within the rule's distance of the ER when each lies at a random place.

    ``mean`` is exact; ``low`` and ``high`` hold the middle 95 % of ``shares``, one share a relocation of all vesicles.
    ``placed`` of the vesicles fit somewhere; ``er_share`` is the ER's share of the volume.
    """

    mean: float
    low: float
    high: float
    shares: NDArray[np.float64]
    placed: int
    er_share: float

    def p_at_least(self, observed: float) -> float:
        """Share of relocations that reach the observed share; (k + 1) / (n + 1), so never 0."""
        return float((np.sum(self.shares >= observed - 1e-12) + 1) / (len(self.shares) + 1))


def chance_near_er(
    diameters_nm: ArrayLike,
    er_mask: ArrayLike,
    voxel_size_nm: Sequence[float],
    cytosol: ArrayLike | None = None,
    rules: Rules = NAIR2025,
    relocations: int = 1000,
    seed: int = 0,
) -> ChanceNearEr:
    """Chance level of "near the ER" for vesicles of given diameters (n, nm), taken as balls.

    A vesicle's centre may lie in any voxel of ``cytosol`` (Z,Y,X; default: all that is not ER) at which the ball
    overlaps neither the ER nor anything outside the cytosol; every such voxel is as likely, and vesicles do not
    exclude each other. Its surface is then within reach if the centre's distance to the ER is at most radius +
    ``rules.near_er_nm``. The share of such voxels is counted once for each diameter (to 1 nm), so the relocations are
    draws with known probabilities and cost next to nothing.

    Raises ValueError where shapes differ or no vesicle fits anywhere.
    """
    er = np.asarray(er_mask) != 0
    free = ~er if cytosol is None else (np.asarray(cytosol) != 0) & ~er
    if free.shape != er.shape:
        raise ValueError(f"cytosol has shape {free.shape}, er_mask {er.shape}: give masks on one grid")
    if relocations < 1:
        raise ValueError(f"relocations = {relocations}: give at least 1, and 1000 for a 95 % interval")
    diameters = np.asarray(diameters_nm, np.float64).ravel()
    if not np.all(np.isfinite(diameters) & (diameters > 0)):
        raise ValueError("diameters_nm must be positive lengths in nm: drop objects without a diameter first")
    to_er = _distance_nm(er, voxel_size_nm)[free]
    to_wall = to_er if cytosol is None else _distance_nm(~free, voxel_size_nm)[free]
    rounded, inverse = np.unique(np.round(diameters), return_inverse=True)
    chance = np.full(len(rounded), np.nan)
    for i, diameter in enumerate(rounded):
        fits = to_er[to_wall > diameter / 2]
        if len(fits):
            chance[i] = np.mean(fits <= diameter / 2 + rules.near_er_nm + TOLERANCE_NM)
    p = chance[inverse]
    p = p[np.isfinite(p)]
    if not len(p):
        raise ValueError("no vesicle fits into the cytosol: check the cytosol mask and the diameters")
    rng = np.random.default_rng(seed)
    shares = np.array([np.mean(rng.random(len(p)) < p) for _ in range(relocations)])
    low, high = np.quantile(shares, [0.025, 0.975])
    return ChanceNearEr(float(p.mean()), float(low), float(high), shares, len(p), float(er.mean()))


def _distance_nm(mask: NDArray[np.bool_], voxel_size_nm: Sequence[float]) -> NDArray[np.float64]:
    """Distance of every voxel to a mask; inf where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    distance: NDArray[np.float64] = distance_transform_edt(~mask, sampling=tuple(voxel_size_nm))
    return distance
