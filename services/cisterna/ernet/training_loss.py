"""What a training minimises, and classes that its labels do not tell apart. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .frames import CLASSES
from .training_frames import UNLABELLED
from .training_settings import ErnetSettings

SILENT = -30.0
"""Logit of a class that a network was never taught: its probability is below 1e-12."""


def class_loss(logits: Tensor, classes: Tensor, known: Sequence[int], settings: ErnetSettings) -> Tensor:
    """Cross-entropy over the known classes, plus `dice_weight` times 1 − their mean soft Dice, background left out.

    `logits` (N, 4, H, W), `classes` (N, H, W) int64. Logits of other classes are no part of it: labels that hold
    tubules only do not teach that there are no sheets. Unlabelled pixels are no part of it either.
    """
    index = torch.full((UNLABELLED + 1,), UNLABELLED, dtype=torch.int64, device=classes.device)
    index[list(known)] = torch.arange(len(known), device=classes.device)
    targets, chosen = index[classes], logits[:, list(known)].float()
    weights = torch.tensor([settings.class_weights.get(CLASSES[k], 1.0) for k in known], device=logits.device)
    loss = F.cross_entropy(chosen, targets, weight=weights, ignore_index=UNLABELLED)
    if settings.dice_weight:
        labelled = (targets != UNLABELLED)[:, None]
        found = chosen.softmax(1) * labelled
        true = torch.stack([targets == number for number in range(len(known))], 1).float()
        both, either = (found * true).sum((0, 2, 3)), (found + true).sum((0, 2, 3))
        present = [n for n, number in enumerate(known) if number != 0]
        dice = (2 * both[present] + 1) / (either[present] + 1)
        loss = loss + settings.dice_weight * (1 - dice.mean())
    return loss


def silence(network: Any, known: Sequence[int]) -> None:
    """Sets the logits of classes that a new network will not be taught to `SILENT`, so that it never finds them."""
    decode = network.segmentation_decode
    with torch.no_grad():
        for number in set(range(len(CLASSES))) - set(known):
            decode.weight[number] = 0
            decode.bias[number] = SILENT


def awaken(network: Any, numbers: Sequence[int]) -> None:
    """Gives classes that a network was never taught a chance again: small random weights, no bias against them."""
    decode = network.segmentation_decode
    bound = decode.weight[0].numel() ** -0.5
    with torch.no_grad():
        for number in numbers:
            decode.weight[number].uniform_(-bound, bound)
            decode.bias[number] = 0
