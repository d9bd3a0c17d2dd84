"""FastFIB: the 3-D U-Net that denoises FIB-SEM volumes.

Four resolutions (three 2x poolings), two 3x3x3 convolutions with ReLU at each on the way down and up, nearest-neighbour
upsampling, concatenation [skip, up], no normalisation layer and a final 3x3x3 convolution to one channel: 10.05 million
parameters at a base width of 42. That is our reading of "four levels of depth, ~10 M parameters" in Nair et al.,
J. Cell Biol. 2025, which does not print its topology.

The network is translation-equivariant on multiples of its stride (8) only, because pooling has a phase.  `forward` is
the same-padding form used for training.  `forward_trimmed` computes the inner voxels alone: every level is cut to what
the levels above it still need, so a block pays for its halo in the coarse layers and hardly in the fine ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = 2  # 3x3x3 convolutions of a level on the way down, and again on the way up


@dataclass(frozen=True)
class Reach:
    """What voxels of the input an output depends on, in voxels, for a U-Net of `levels` resolutions.

    `stride`: total pooling factor; block and tile origins must lie on its multiples.
    `aligned`: input needed on each side of a block whose two ends lie on multiples of the stride.
    `radius`: the receptive radius: the most that a single voxel of any pooling phase reaches to one side.
    """

    stride: int
    aligned: int
    radius: int


def interval_read(start: int, stop: int, levels: int) -> tuple[int, int]:
    """Half-open interval of input voxels that the outputs [start, stop) depend on, along one axis."""
    low, high = start - 1, stop + 1  # the final convolution
    for _ in range(levels - 1):
        low, high = low - CONVOLUTIONS, high + CONVOLUTIONS
        low, high = low // 2, -(-high // 2)  # nearest-neighbour upsampling reads the cell that holds the voxel
    low, high = low - CONVOLUTIONS, high + CONVOLUTIONS
    for _ in range(levels - 1):
        low, high = 2 * low - CONVOLUTIONS, 2 * high + CONVOLUTIONS
    return low, high


def reach(levels: int) -> Reach:
    """Stride, halo of an aligned block and receptive radius, computed from the topology (levels 4: 8, 46, 52)."""
    if levels < 1:
        raise ValueError(f"levels is {levels}; a U-Net has at least one resolution")
    stride = 2 ** (levels - 1)
    radius = 0
    for phase in range(stride):
        low, high = interval_read(phase, phase + 1, levels)
        radius = max(radius, phase - low, high - 1 - phase)
    return Reach(stride=stride, aligned=-interval_read(0, stride, levels)[0], radius=radius)


class FastFib(nn.Module):
    """The network. Input and output are (N, 1, Z, Y, X) in the model's intensity range, usually [-1, 1].

    `stride` and `context` (receptive radius) are in voxels and enter the model folder as they are.
    """

    def __init__(self, width: int, levels: int, growth: int) -> None:
        super().__init__()
        if width < 1 or growth < 1:
            raise ValueError(f"width {width} and growth {growth} must be at least 1")
        self.width, self.levels, self.growth = width, levels, growth
        self.reach = reach(levels)
        self.stride, self.context = self.reach.stride, self.reach.radius
        widths = [width * growth**level for level in range(levels)]
        self.down = nn.ModuleList(_two_convolutions(1 if n == 0 else widths[n - 1], widths[n]) for n in range(levels))
        self.up = nn.ModuleList(_two_convolutions(widths[n] + widths[n + 1], widths[n]) for n in range(levels - 1))
        self.final = nn.Conv3d(width, 1, 3)

    def forward(self, volume: Tensor) -> Tensor:
        """Same padding: the output has the input's shape, whose axes must be multiples of `stride`.

        The convolutions pad with zeros, so a band as wide as `context` along each face differs from what a larger
        volume would give.
        """
        if any(n % self.stride or n == 0 for n in volume.shape[2:]):
            raise ValueError(
                f"shape {tuple(volume.shape[2:])}: every axis must be a multiple of the stride {self.stride}"
            )
        skips = []
        x = volume
        for level, convolutions in enumerate(self.down):
            x = _convolve(convolutions, x if level == 0 else F.max_pool3d(x, 2), padding=1)
            skips.append(x)
        for level in reversed(range(self.levels - 1)):
            x = torch.cat([skips[level], F.interpolate(x, scale_factor=2, mode="nearest")], dim=1)
            x = _convolve(self.up[level], x, padding=1)
        return F.conv3d(x, self.final.weight, self.final.bias, padding=1)

    def forward_trimmed(self, volume: Tensor) -> Tensor:
        """Only the voxels `reach.aligned` or more from every face: input n + 2 * aligned, output n, n on the stride.

        Equal to `forward` on any larger array at the same pooling phase; no padding is involved.
        """
        halo = self.reach.aligned
        inner = [n - 2 * halo for n in volume.shape[2:]]
        if any(n % self.stride or n <= 0 for n in inner):
            raise ValueError(
                f"shape {tuple(volume.shape[2:])}: every axis must be {2 * halo} plus a multiple of {self.stride}"
            )
        skips = []
        x = volume
        for level, convolutions in enumerate(self.down):
            x = _convolve(convolutions, x if level == 0 else F.max_pool3d(x, 2), padding=0)
            if level < self.levels - 1:
                # A copy, so that the wide activation is freed before the next level is computed.
                skips.append(_centre(x, self._wanted(inner, level)).clone(memory_format=torch.preserve_format))
        for level in reversed(range(self.levels - 1)):
            upsampled = _centre(F.interpolate(x, scale_factor=2, mode="nearest"), self._wanted(inner, level))
            x = torch.cat([skips.pop(), upsampled], dim=1)
            x = _convolve(self.up[level], x, padding=0)
        # The final layer may be kept in float32 where the others are not: it decides how finely grey values step.
        return F.conv3d(x.to(self.final.weight.dtype), self.final.weight, self.final.bias)

    def _wanted(self, inner: list[int], level: int) -> list[int]:
        """Shape that the upward convolutions of a level must be given for an output of shape `inner`."""
        margin = 1 + CONVOLUTIONS
        for _ in range(level):
            margin = -(-margin // 2) + CONVOLUTIONS
        return [n // 2**level + 2 * margin for n in inner]


def build(*, width: int = 42, levels: int = 4, growth: int = 2) -> FastFib:
    """The network of a topology as model.json states it; weights are Kaiming-initialised, biases zero."""
    network = FastFib(width, levels, growth)
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    # The last layer is linear and starts small, so that training begins near zero and not at a random texture.
    with torch.no_grad():
        network.final.weight.mul_(0.1)
    return network


def flop_per_voxel(width: int, levels: int = 4, growth: int = 2) -> float:
    """FLOP of one output voxel without halo (multiply-add = 2); width 42: 892 thousand."""
    widths = [width * growth**level for level in range(levels)]
    total = 27.0 * width
    for level, here in enumerate(widths):
        below = 1 if level == 0 else widths[level - 1]
        weights = below * here + here * here
        if level < levels - 1:
            weights += (here + widths[level + 1]) * here + here * here
        total += 27.0 * weights / 8**level
    return 2.0 * total


def _two_convolutions(channels_in: int, channels_out: int) -> nn.ModuleList:
    return nn.ModuleList([nn.Conv3d(channels_in, channels_out, 3), nn.Conv3d(channels_out, channels_out, 3)])


def _convolve(convolutions: nn.Module, x: Tensor, padding: int) -> Tensor:
    assert isinstance(convolutions, nn.ModuleList)
    for convolution in convolutions:
        assert isinstance(convolution, nn.Conv3d)
        x = F.relu(F.conv3d(x, convolution.weight, convolution.bias, padding=padding), inplace=True)
    return x


def _centre(x: Tensor, shape: list[int]) -> Tensor:
    """The central part of the last three axes; differences are even because both sides are trimmed alike."""
    cut = [(n - m) // 2 for n, m in zip(x.shape[2:], shape, strict=True)]
    return x[..., cut[0] : cut[0] + shape[0], cut[1] : cut[1] + shape[1], cut[2] : cut[2] + shape[2]]
