"""The balanced cross-entropy that ASEM networks are trained with."""

from __future__ import annotations

import torch
from torch.nn import functional

SHARE_LIMITS = (0.01, 0.99)
"""A class's share of a block is clipped to these before it becomes a weight."""


def balanced_cross_entropy(
    logits: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor, balance: float = 1.0
) -> torch.Tensor:
    """Σ(CE·mask·scale) / Σ(mask·scale), scale = (1 / (C·share of the voxel's class in the block)) ** balance.

    Args:
        logits: (N, C, Z, Y, X).
        truth: (N, Z, Y, X), class indices.
        mask: (N, Z, Y, X), 0 where the truth is unknown.
        balance: 1: as published, each class weighs the same in a block; 0: each voxel does.

    Returns:
        A scalar; 0 where the mask is empty.
    """
    classes = logits.shape[1]
    dims = tuple(range(1, truth.ndim))
    known = mask.sum(dim=dims).clamp_min(1)
    scale = mask.clone()
    for index in range(classes):
        here = (truth == index).to(mask.dtype)
        share = ((here * mask).sum(dim=dims) / known).clamp(*SHARE_LIMITS)
        weight = (1 / (classes * share)) ** balance
        scale = scale * torch.where(here > 0, weight.view(-1, *[1] * len(dims)), 1.0)
    entropy = functional.cross_entropy(logits, truth, reduction="none")
    return (entropy * scale).sum() / scale.sum().clamp_min(1e-12)
