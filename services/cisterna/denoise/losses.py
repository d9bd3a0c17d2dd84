"""The FastFIB training loss as pure functions of tensors (N, 1, Z, Y, X).

Nair et al. 2025 state: Charbonnier with alpha = 0.5 and epsilon = 1e-3, a mild 3-D Gaussian blur of the network output
before it, and a penalty on the spatial gradients of (raw output - blurred output).  With u = f(x1) and v = G_sigma * u:

    L = mean(((v - x2)^2 + epsilon^2)^alpha) + lambda * mean(|grad(u - v)|)

sigma, lambda, the norm and the stencil of the gradient are not stated; they are arguments here.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

GradientNorm = Literal["l1", "l2"]
Stencil = Literal["forward", "central"]


def blur_radius(sigma: float) -> int:
    """Half width in voxels of the truncated Gaussian kernel: 3 sigma, rounded up."""
    if not sigma >= 0:
        raise ValueError(f"blur sigma is {sigma}; give a width in voxels, 0 for none")
    return math.ceil(3 * sigma)


def gaussian_blur(volume: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian of `sigma` voxels without padding: each axis is shorter by 2 * blur_radius(sigma)."""
    radius = blur_radius(sigma)
    if radius == 0:
        return volume
    if any(n <= 2 * radius for n in volume.shape[2:]):
        raise ValueError(
            f"shape {tuple(volume.shape[2:])} is too small for a blur of {sigma} voxels; use larger patches"
        )
    at = torch.arange(-radius, radius + 1, dtype=volume.dtype, device=volume.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = 2 * radius + 1
        volume = F.conv3d(volume, kernel.reshape(shape))
    return volume


def charbonnier(difference: Tensor, alpha: float = 0.5, epsilon: float = 1e-3) -> Tensor:
    """(difference^2 + epsilon^2)^alpha, voxel by voxel; alpha 0.5 is a smooth absolute value."""
    return (difference.square() + epsilon**2).pow(alpha)


def gradient_penalty(volume: Tensor, norm: GradientNorm = "l1", stencil: Stencil = "forward") -> Tensor:
    """Mean size of the spatial gradient (per voxel step).

    `l1` is the sum of the absolute differences along the axes, `l2` their Euclidean norm (smoothed by 1e-6);
    `forward` is v[i+1] - v[i], `central` is (v[i+1] - v[i-1]) / 2, both on the voxels where all three exist.
    """
    if stencil not in ("forward", "central"):
        raise ValueError(f"unknown gradient stencil {stencil!r}; use forward or central")
    lead = 1 if stencil == "central" else 0
    size = [n - lead - 1 for n in volume.shape[2:]]
    differences = []
    for axis in range(3):
        ahead, behind = [lead] * 3, [lead] * 3
        ahead[axis], behind[axis] = lead + 1, 0
        step = _box(volume, ahead, size) - _box(volume, behind, size)
        differences.append(step / 2 if stencil == "central" else step)
    if norm == "l1":
        return torch.stack([d.abs().mean() for d in differences]).sum()
    if norm == "l2":
        return torch.sqrt(differences[0] ** 2 + differences[1] ** 2 + differences[2] ** 2 + 1e-12).mean()
    raise ValueError(f"unknown gradient norm {norm!r}; use l1 or l2")


def fastfib_loss(
    output: Tensor,
    target: Tensor,
    *,
    sigma: float,
    gradient_weight: float,
    crop: int,
    mask: Tensor | None = None,
    alpha: float = 0.5,
    epsilon: float = 1e-3,
    norm: GradientNorm = "l1",
    stencil: Stencil = "forward",
) -> Tensor:
    """The loss of the module's head, on the voxels at least `crop` from every face.

    `output` is u = f(x1), `target` x2, both (N, 1, Z, Y, X).  `mask` (same shape, bool) limits the data term to some
    voxels, as blind-spot training needs.  Raises ValueError if `crop` is under ceil(3 sigma) + 1, where the blur or
    the gradient would read the padded rim, or leaves nothing.
    """
    radius = blur_radius(sigma)
    if crop < radius + 1:
        raise ValueError(f"crop is {crop}; a blur of {sigma} voxels needs at least {radius + 1}")
    if any(n <= 2 * crop + 2 for n in output.shape[2:]):
        raise ValueError(f"patch {tuple(output.shape[2:])} is used up by a crop of {crop} voxels; use larger patches")
    rim = crop - radius
    size = [n - 2 * crop for n in output.shape[2:]]
    inner = _box(output, [crop] * 3, size)
    blurred = gaussian_blur(_box(output, [rim] * 3, [n + 2 * radius for n in size]), sigma)
    data = charbonnier(blurred - _box(target, [crop] * 3, size), alpha, epsilon)
    if mask is None:
        loss = data.mean()
    else:
        chosen = _box(mask, [crop] * 3, size).to(data.dtype)
        loss = (data * chosen).sum() / chosen.sum().clamp(min=1.0)
    if gradient_weight and sigma:
        loss = loss + gradient_weight * gradient_penalty(inner - blurred, norm, stencil)
    return loss


def _box(volume: Tensor, start: list[int], size: list[int]) -> Tensor:
    for axis, (first, length) in enumerate(zip(start, size, strict=True)):
        volume = volume.narrow(2 + axis, first, length)
    return volume
