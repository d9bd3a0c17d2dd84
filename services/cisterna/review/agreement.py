"""Shares with their uncertainty, and how far two people agree. Numbers in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """`part` of `whole` with its Wilson interval; NaN where `whole` is 0."""

    part: int
    whole: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.part / self.whole if self.whole else math.nan


def wilson(part: int, whole: int, z: float = Z_95) -> Share:
    """A binomial share with the score interval of Wilson (1927), 95 % by default.

    It keeps within 0…1 and keeps its coverage at small n and at shares near 0 or 1, where the usual interval collapses.
    """
    if not 0 <= part <= whole:
        raise ValueError(f"{part} of {whole} is no share")
    if whole == 0:
        return Share(0, 0, math.nan, math.nan)
    share = part / whole
    scale = 1 + z * z / whole
    middle = (share + z * z / (2 * whole)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole))
    low = 0.0 if part == 0 else max(0.0, middle - half)
    high = 1.0 if part == whole else min(1.0, middle + half)
    return Share(part, whole, low, high)


def share_words(share: Share) -> str:
    """`27 of 30 (74–97 %)`; a dash where nothing was judged."""
    return f"{share.part} of {share.whole} ({100 * share.low:.0f}–{100 * share.high:.0f} %)" if share.whole else "–"


@dataclass(frozen=True)
class Kappa:
    """Agreement of two reviewers on one judgement: `agreed` of `both`, and Cohen's kappa (NaN where undefined)."""

    both: int
    agreed: int
    kappa: float


def cohen_kappa(one: Sequence[str], other: Sequence[str]) -> Kappa:
    """Cohen (1960): (observed − chance) / (1 − chance), unweighted, over items that both judged.

    Undefined, NaN, without a common item and where both said one and the same thing of everything: then chance alone
    gives full agreement.
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} judgements against {len(other)}: pair them first")
    both = len(one)
    agreed = sum(a == b for a, b in zip(one, other, strict=True))
    if both == 0:
        return Kappa(0, 0, math.nan)
    chance = sum(list(one).count(c) * list(other).count(c) for c in set(one) | set(other)) / both**2
    return Kappa(both, agreed, math.nan if chance >= 1 else (agreed / both - chance) / (1 - chance))


@dataclass(frozen=True)
class Difference:
    """Paired differences (first − second): number of pairs, mean and standard deviation (NaN where undefined)."""

    pairs: int
    mean: float
    spread: float


def differences(one: Sequence[float], other: Sequence[float]) -> Difference:
    """Bland–Altman figures of two people's counts of the same sites."""
    found = [a - b for a, b in zip(one, other, strict=True)]
    if not found:
        return Difference(0, math.nan, math.nan)
    mean = sum(found) / len(found)
    spread = math.sqrt(sum((d - mean) ** 2 for d in found) / (len(found) - 1)) if len(found) > 1 else math.nan
    return Difference(len(found), mean, spread)
