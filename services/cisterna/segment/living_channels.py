"""Which channels of a network still say anything: a ReLU that is zero everywhere has stopped learning.

A network without normalisation can lose whole levels to a high learning rate. It then goes on training, and finds
structures by what little of their surroundings the other levels see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from cisterna.segment.unet import POOLING, ConvPass

FEW = 0.1
"""A level with a smaller share of living channels is as good as gone."""


class LivingChannels:
    """Channels seen above zero so far, by convolution."""

    def __init__(self) -> None:
        self.seen: dict[str, torch.Tensor] = {}

    def note(self, name: str, activation: torch.Tensor) -> None:
        """Take in an activation (N, C, Z, Y, X)."""
        above = activation.detach().amax(dim=(0, 2, 3, 4)) > 0
        self.seen[name] = above if name not in self.seen else self.seen[name] | above

    def shares(self) -> dict[str, float]:
        """Convolution (named as its weights are, from `unet` on) → share of its channels that were above zero."""
        return {name: round(float(above.float().mean()), 4) for name, above in self.seen.items()}


@contextmanager
def watched(network: nn.Module) -> Iterator[LivingChannels]:
    """Watch every convolution with a ReLU of an `AsemUNet` or a `SharedAsem` while it runs.

    What runs inside the `with` is what the channels are judged on: one activation above zero anywhere is enough to
    count as alive. It takes one reading of each activation and no pass of its own.
    """
    living = LivingChannels()
    handles = []
    for name, module in network.named_modules():
        if not isinstance(module, ConvPass):
            continue
        layers = list(module.conv_pass)
        for index, layer in enumerate(layers):
            if isinstance(layer, nn.ReLU):
                where = f"{name}.conv_pass.{index - 1}".removeprefix("unet.")
                handles.append(layer.register_forward_hook(lambda _m, _i, out, at=where: living.note(at, out)))
    try:
        yield living
    finally:
        for handle in handles:
            handle.remove()


def levels(shares: Mapping[str, float]) -> dict[str, float]:
    """Level (`l_conv.2`: on the way down, `r_conv.0.1`: up) → the smaller share of its two convolutions."""
    least: dict[str, float] = {}
    for name, share in shares.items():
        level = name.partition(".conv_pass")[0]
        least[level] = min(share, least.get(level, 1.0))
    return least


def reach_without(level: str) -> int:
    """Voxels that an output can see to each side where this level gives nothing but constants.

    What lies below a level passes through it, so the deepest level that still counts is the one above it; a level on
    the way up keeps what its skip connection brings only where it lives itself.
    """
    depth = int(level.rpartition(".")[2]) - 1
    if depth < 0:
        return 0
    both_ways: int = sum(4 * POOLING**n for n in range(depth + 1))
    phase: int = POOLING**depth - 1
    return both_ways + 1 + phase  # two convolutions each way and level, the last one, and what pooling puts together


def warning(shares: Mapping[str, float]) -> str:
    """A sentence where a level has fewer than `FEW` of its channels; else empty.

    It names the level that costs the most surroundings.
    """
    poor = {level: share for level, share in levels(shares).items() if share < FEW}
    if not poor:
        return ""
    level = min(poor, key=reach_without)
    reach, share = reach_without(level), poor[level]
    uses = "no longer uses" if share == 0 else "hardly uses"
    beyond = f"what lies beyond {reach} voxels" if reach else "its input"
    return (
        f"{share:.0%} of the channels of {level} are alive: the network {uses} {beyond}; "
        "lower the learning rate, or clip gradients (--gradient-norm), and train anew"
    )


def summary(shares: Mapping[str, float]) -> str:
    """A few words for a line of progress: the poorest level."""
    least = levels(shares)
    if not least:
        return ""
    level = min(least, key=lambda name: least[name])
    return f"living channels at least {least[level]:.0%} ({level})"
