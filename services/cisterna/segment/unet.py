"""The ASEM 3-D U-Net, with the parameter names of the published checkpoints.

Source: Gallusser et al., J. Cell Biol. 2023 (ASEM); the topology is that of funlib's valid 3-D U-Net: two valid
3³ convolutions a level, max-pooling by 2, nearest upsampling, concatenation [skip, up], no normalisation, a final
valid 3³ convolution to two classes. Every output voxel of an aligned tile equals that of the whole volume.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from cisterna.tiles import NetworkGeometry

LEVELS = 4
POOLING = 2
KERNEL = 3
STRIDE = POOLING ** (LEVELS - 1)
CONTEXT = 47
SMALLEST_INPUT = 100
GEOMETRY = NetworkGeometry("valid", CONTEXT, STRIDE, SMALLEST_INPUT)


class ConvPass(nn.Module):
    """Valid convolutions, each followed by the activation."""

    def __init__(self, channels: Sequence[int], *, activation: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layers.append(nn.Conv3d(before, after, KERNEL))
            if activation:
                layers.append(nn.ReLU(inplace=True))
        self.conv_pass = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv_pass(x)
        return y


def _centre(x: torch.Tensor, edges: Sequence[int]) -> torch.Tensor:
    """The central part of (N, C, Z, Y, X) with these edges."""
    for axis, edge in enumerate(edges, start=2):
        x = x.narrow(axis, (x.shape[axis] - edge) // 2, edge)
    return x


class UNet(nn.Module):
    """(N, in_channels, Z, Y, X) → (N, num_fmaps, Z−92, Y−92, X−92)."""

    def __init__(self, in_channels: int, num_fmaps: int, fmap_inc_factor: int) -> None:
        super().__init__()
        widths = [num_fmaps * fmap_inc_factor**level for level in range(LEVELS)]
        self.l_conv = nn.ModuleList(
            ConvPass([in_channels if level == 0 else widths[level - 1], widths[level], widths[level]])
            for level in range(LEVELS)
        )
        rising = nn.ModuleList(
            ConvPass([widths[level] + widths[level + 1], widths[level], widths[level]]) for level in range(LEVELS - 1)
        )
        self.r_conv = nn.ModuleList([rising])  # the published checkpoints number decoders; there is one

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level in range(LEVELS - 1):
            x = self.l_conv[level](x)
            skips.append(x)
            x = functional.max_pool3d(x, POOLING)
        x = self.l_conv[LEVELS - 1](x)
        rising = self.r_conv[0]
        assert isinstance(rising, nn.ModuleList)
        for level in reversed(range(LEVELS - 1)):
            x = functional.interpolate(x, scale_factor=POOLING, mode="nearest")
            # Outputs come in whole cells of the pooling below this level, so that a shift by the stride shifts them.
            lost = 2 * (KERNEL - 1)
            factor = POOLING ** (LEVELS - 1 - level)
            edges = [(n - lost) // factor * factor + lost for n in x.shape[2:]]
            x = rising[level](torch.cat([_centre(skips[level], edges), _centre(x, edges)], dim=1))
        return x


class AsemUNet(nn.Module):
    """(N, 1, Z, Y, X) in [−1, 1] → logits (N, 2, Z−94, Y−94, X−94); channel 1 is the class."""

    def __init__(
        self, in_channels: int = 1, num_fmaps: int = 32, num_fmaps_out: int = 2, fmap_inc_factor: int = 2
    ) -> None:
        super().__init__()
        self.num_fmaps = num_fmaps
        self.unet = UNet(in_channels, num_fmaps, fmap_inc_factor)
        self.final_conv_pass = ConvPass([num_fmaps, num_fmaps_out], activation=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _check_input(x)
        logits: torch.Tensor = self.final_conv_pass(self.unet(x))
        return logits


def _check_input(x: torch.Tensor) -> None:
    if x.ndim != 5:
        raise ValueError(f"the network takes (N, C, Z, Y, X), got an array of shape {tuple(x.shape)}")
    if any(n < SMALLEST_INPUT or (n - SMALLEST_INPUT) % STRIDE for n in x.shape[2:]):
        raise ValueError(
            f"input edges must be {SMALLEST_INPUT} + {STRIDE}·k voxels (100, 108, … 204, … 364), "
            f"got {tuple(x.shape[2:])}: pad by reflection"
        )


def build(num_fmaps: int = 32, in_channels: int = 1, num_fmaps_out: int = 2, fmap_inc_factor: int = 2) -> AsemUNet:
    """The published topology, with He-initialised weights; narrower with a smaller ``num_fmaps``."""
    if min(num_fmaps, in_channels, num_fmaps_out, fmap_inc_factor) < 1:
        raise ValueError(
            f"widths must be at least 1, got num_fmaps {num_fmaps}, in_channels {in_channels}, "
            f"num_fmaps_out {num_fmaps_out}, fmap_inc_factor {fmap_inc_factor}"
        )
    network = AsemUNet(in_channels, num_fmaps, num_fmaps_out, fmap_inc_factor)
    initialise(network)
    return network


def initialise(network: nn.Module) -> None:
    """He initialisation of every convolution, zero biases."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


def topology_of(weights: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Keyword arguments of `build`, read off the shapes of a checkpoint's tensors.

    Raises:
        ValueError: tensors that the topology is read from are missing.
    """
    first = weights.get("unet.l_conv.0.conv_pass.0.weight")
    second = weights.get("unet.l_conv.1.conv_pass.0.weight")
    final = weights.get("final_conv_pass.conv_pass.0.weight")
    if first is None or second is None or final is None or {first.ndim, second.ndim, final.ndim} != {5}:
        raise ValueError(
            "this is not an ASEM checkpoint: it has no 3-D convolutions named unet.l_conv.0…, unet.l_conv.1… and "
            f"final_conv_pass… (its first tensors: {', '.join(list(weights)[:3]) or 'none'})"
        )
    width = first.shape[0]
    return {
        "num_fmaps": width,
        "in_channels": first.shape[1],
        "num_fmaps_out": final.shape[0],
        "fmap_inc_factor": max(1, second.shape[0] // width),
    }


def load_asem(checkpoint_path: str | Path) -> AsemUNet:
    """A published ASEM checkpoint as a network in eval mode, on the CPU, float32.

    Args:
        checkpoint_path: a file holding ``{"model_state_dict": …}`` (other entries are ignored). It is read with
            ``weights_only=True``: no code in it is run.

    Returns:
        (N, 1, Z, Y, X) in [−1, 1] → logits (N, 2, Z−94, Y−94, X−94). Widths are read off the shapes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, not a checkpoint, carries code, or its keys or shapes are not the published ones.
    """
    path = Path(checkpoint_path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path.name} holds objects other than tensors, or is damaged, and was not loaded ({first}): "
            "save {'model_state_dict': model.state_dict()} and nothing else"
        ) from None
    except Exception as error:  # damaged bytes fail in whatever way the reader meets them first
        raise ValueError(
            f"{path.name} is not a readable PyTorch checkpoint; it may be truncated: download it again "
            f"({type(error).__name__})"
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("model_state_dict"), dict):
        held = ", ".join(map(str, list(content)[:5])) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path.name} has no 'model_state_dict'; it holds: {held or 'nothing'}")
    weights = content["model_state_dict"]
    if not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ValueError(f"'model_state_dict' of {path.name} holds entries that are not tensors")
    return from_weights(weights, name=path.name)


def from_weights(weights: Mapping[str, torch.Tensor], *, name: str = "the checkpoint") -> AsemUNet:
    """The network that these tensors belong to, strictly: each key and shape must be the topology's."""
    topology = topology_of(weights)
    with torch.device("meta"):
        network = AsemUNet(**topology)
    expected = network.state_dict()
    missing = [key for key in expected if key not in weights]
    unknown = [key for key in weights if key not in expected]
    if missing or unknown:
        raise ValueError(
            f"{name} does not fit the ASEM U-Net: {len(missing)} tensors missing"
            f"{_some(missing)}, {len(unknown)} unknown{_some(unknown)}"
        )
    for key, value in expected.items():
        if weights[key].shape != value.shape:
            raise ValueError(
                f"{name} does not fit the ASEM U-Net: {key} has shape {tuple(weights[key].shape)}, "
                f"expected {tuple(value.shape)}"
            )
        if not weights[key].is_floating_point() or not torch.isfinite(weights[key]).all():
            raise ValueError(f"{name} holds numbers in {key} that are not finite floats")
    network.load_state_dict({key: weights[key].detach().float() for key in expected}, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def _some(keys: Sequence[str]) -> str:
    return f" ({', '.join(keys[:2])}{', …' if len(keys) > 2 else ''})" if keys else ""


def flop_per_voxel(num_fmaps: int = 32, fmap_inc_factor: int = 2, output: int = 264) -> float:
    """Floating-point operations (a multiply-add is 2) per output voxel in tiles of ``output``³."""
    edge = GEOMETRY.input_size(output)
    widths = [num_fmaps * fmap_inc_factor**level for level in range(LEVELS)]
    total = 0

    def pair(before: int, after: int, edge: int) -> int:
        nonlocal total
        for channels in (before, after):
            edge -= KERNEL - 1
            total += 2 * channels * after * KERNEL**3 * edge**3
        return edge

    for level, width in enumerate(widths):
        edge = pair(1 if level == 0 else widths[level - 1], width, edge)
        if level < LEVELS - 1:
            edge //= POOLING
    for level in reversed(range(LEVELS - 1)):
        lost, factor = 2 * (KERNEL - 1), POOLING ** (LEVELS - 1 - level)
        edge = (edge * POOLING - lost) // factor * factor + lost
        edge = pair(widths[level] + widths[level + 1], widths[level], edge)
    total += 2 * num_fmaps * 2 * KERNEL**3 * (edge - 2) ** 3
    return total / output**3
