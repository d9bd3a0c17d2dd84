"""From grey values to the uint8 probability of a class."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cisterna.chunks import Box
from cisterna.segment.folded import FoldedAsem
from cisterna.segment.resampled import resampled_halo, resampled_inference
from cisterna.segment.unet import GEOMETRY, AsemUNet
from cisterna.tiles import choose_tile, infer, reflect_pad, required_halo
from cisterna.tiles.torch_network import torch_network

BYTES_PER_MAP_VOXEL = 10.0
"""Peak memory of a float32 forward pass per input voxel and feature map of the finest level (docs/segment.md)."""

FOLD_FROM = 16
"""Feature maps from which folding pays: 19 % less work at 32, 20 % more at 8 (CPU, docs/segment.md)."""

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

MEMORY_BYTES = 4 * 2**30
"""Default budget of one forward pass."""


@dataclass(frozen=True)
class IntensityRule:
    """How grey values become what the network was trained on.

    Attributes:
        low, high: grey values of the volume (percentiles taken once at ingest) that become ``to``.
        to: the network's input range.
        invert: membranes are bright in the volume and the network wants them dark (or the reverse).
    """

    low: float
    high: float
    to: tuple[float, float] = (-1.0, 1.0)
    invert: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.high > self.low):
            raise ValueError(
                f"an intensity range needs low < high, got low {self.low}, high {self.high}: is the volume constant?"
            )

    @classmethod
    def of_model(
        cls, spec: Mapping[str, Any], low: float, high: float, *, invert: bool = False, equalised: bool = False
    ) -> IntensityRule:
        """The rule that a model folder names, over a volume's range.

        ``equalised``: the voxels are CLAHE-equalised (`cisterna.clahe.equalised`), as the rule ``clahe`` wants them;
        they run from 0 to 255.

        Raises:
            ValueError: the model wants equalised voxels and these are not.
        """
        rule = spec["intensity"]
        if rule["rule"] not in ("range", "clahe"):
            raise ValueError(
                f"unknown intensity rule {rule['rule']!r} of model {spec.get('name', '')}: expected 'range' or 'clahe'"
            )
        if rule["rule"] == "clahe":
            if not equalised:
                raise ValueError(
                    f"model {spec.get('name', '')} was trained on CLAHE-equalised volumes: equalise the volume "
                    "(cisterna.clahe.equalised) and say equalised=True"
                )
            low, high = 0.0, 255.0
        a, b = rule.get("to", (-1.0, 1.0))
        return cls(low, high, (float(a), float(b)), invert)

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Grey values (float) to the network's range, clipped; NaN counts as ``low``."""
        share = torch.nan_to_num((x - self.low) / (self.high - self.low), nan=0.0).clamp_(0, 1)
        if self.invert:
            share = 1 - share
        return share * (self.to[1] - self.to[0]) + self.to[0]


def foreground(logits: torch.Tensor) -> torch.Tensor:
    """Logits (N, C, …) → uint8 probability (N, 1, …) of the last channel, softmax over C, rounded.

    Raises ValueError where a logit is not finite: float16 ends at 65,504, and activations can grow beyond it.
    """
    if not torch.isfinite(logits).all():
        raise ValueError(
            "the network's logits are not finite: write segment.precision bfloat16 or float32, which have a wider range"
        )
    share = torch.softmax(logits.float(), dim=1)[:, -1:]
    return (share * 255).round_().to(torch.uint8)


def memory_budget(device: str | torch.device) -> int:
    """Bytes that one forward pass may take: `MEMORY_BYTES` on a CPU, half of a GPU's memory.

    It depends on the kind of device alone, so the tiles, and with them the last bits of the result, do too.
    """
    if torch.device(device).type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory // 2)
    return MEMORY_BYTES


def bytes_per_voxel(network: nn.Module) -> float:
    """Peak memory of a forward pass per input voxel."""
    width = getattr(network, "num_fmaps", 32)
    return BYTES_PER_MAP_VOXEL * int(width)


def block_probability(
    block: NDArray[Any],
    origin: Sequence[int],
    box: Box,
    network: nn.Module,
    rule: IntensityRule,
    *,
    device: str | torch.device = "cpu",
    memory_bytes: int = MEMORY_BYTES,
    tile: int | Sequence[int] | None = None,
    factor: Sequence[float] = (),
) -> NDArray[np.uint8]:
    """The probability of one block.

    Args:
        block: (Z, Y, X) grey values, already with the halo (`block_halo`).
        origin: volume coordinates of its first voxel.
        box: what to compute, in volume coordinates.
        network: eval mode, on ``device``, of the ASEM geometry.
        rule: intensity.
        device: where to compute.
        memory_bytes: budget of a forward pass; chooses the tiles unless ``tile`` does.
        tile: outputs per tile and axis.
        factor: the model's voxels per voxel of the volume and axis (`cisterna.lattice.factor_between`): the network
            sees its own lattice, and the probability comes back on the volume's. Empty: the voxels as they are.

    Returns:
        uint8 of ``box.shape``; 0 = 0.0, 255 = 1.0.
    """
    probability: NDArray[np.uint8] = _inference(
        block, origin, box, network, rule, foreground, device, memory_bytes, tile, factor
    )[0]
    return probability


def block_halo(box: Box, factor: Sequence[float] = ()) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Voxels (low, high), per axis, to read around a box of the volume to compute it."""
    return resampled_halo(box, GEOMETRY, factor) if len(factor) else required_halo(box, GEOMETRY)


def volume_probability(
    volume: NDArray[Any],
    network: nn.Module,
    rule: IntensityRule,
    *,
    device: str | torch.device = "cpu",
    memory_bytes: int = MEMORY_BYTES,
    after: Callable[[torch.Tensor], torch.Tensor] = foreground,
    factor: Sequence[float] = (),
) -> NDArray[Any]:
    """A whole volume (Z, Y, X) at once: (C', Z, Y, X) of what ``after`` makes of the logits, edges reflected.

    ``factor``: the model's voxels per voxel of the volume, where it shall be resampled (`block_probability`).
    """
    if volume.ndim != 3 or volume.size == 0:
        raise ValueError(f"expected a volume (z, y, x) with voxels in it, got shape {volume.shape}")
    box = Box.whole(volume.shape)
    low, high = block_halo(box, factor)
    padded, origin = reflect_pad(volume, low, high), [-n for n in low]
    return _inference(padded, origin, box, network, rule, after, device, memory_bytes, None, factor)


def _inference(
    block: NDArray[Any], origin: Sequence[int], box: Box, network: nn.Module, rule: IntensityRule,
    after: Callable[[torch.Tensor], torch.Tensor], device: str | torch.device, memory_bytes: int,
    tile: int | Sequence[int] | None, factor: Sequence[float],
) -> NDArray[Any]:  # fmt: skip
    before, each = shown(rule, network), bytes_per_voxel(network)
    if len(factor):
        return resampled_inference(
            block, origin, box, network, GEOMETRY, factor, limits=(rule.low, rule.high), before=before, after=after,
            device=device, memory_bytes=memory_bytes, bytes_per_voxel=each, tile=tile,
        )  # fmt: skip
    if tile is None:
        tile = choose_tile(box.shape, GEOMETRY, memory_bytes, each)
    run = torch_network(network, device=device, before=before, after=after)
    return infer(block, box, run, GEOMETRY, origin=origin, tile=tile)


def shown(rule: IntensityRule, network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The rule, and then the type of the network's weights."""
    dtype = next((w.dtype for w in network.parameters()), torch.float32)
    return lambda x: rule.apply(x).to(dtype)


def prepare(network: nn.Module, device: str | torch.device = "cpu", *, precision: str = "float32") -> nn.Module:
    """The network as it runs fastest on a device: eval mode, channels last, wide ones folded (`FoldedAsem`).

    ``network`` itself is moved too in float32, and the logits are its own but for rounding. ``bfloat16`` and
    ``float16`` are copies with weights of that type, whose last layer stays float32: logits there would step by
    1/32 between 4 and 8 in bfloat16.

    Raises:
        ValueError: unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
    narrow = precision != "float32"
    if narrow:
        network = copy.deepcopy(network)
    if isinstance(network, AsemUNet) and network.num_fmaps >= FOLD_FROM:
        network = FoldedAsem(network)
    network = network.eval().requires_grad_(False).to(device=device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if narrow:
        network = network.to(PRECISIONS[precision])
        last = (network.network if isinstance(network, FoldedAsem) else network).final_conv_pass
        assert isinstance(last, nn.Module)
        last.float().register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    return network
