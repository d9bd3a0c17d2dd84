"""The ASEM network rearranged for speed: upsampling folded into the convolution that follows it.

Nearest upsampling by 2 followed by a valid 3-tap filter sees each coarse voxel once or twice: two outputs that share
their coarse neighbours are two 2-tap filters of the coarse row (w₀+w₁, w₂ and w₀, w₁+w₂). In 3-D the 27 taps on
the fine grid become 8 on the coarse one, and neither the upsampled nor the concatenated array is ever made. The same
sums in another order: equal to the plain network but for rounding.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from cisterna.segment.unet import KERNEL, LEVELS, POOLING, AsemUNet, ConvPass, _centre, _check_input

# FOLD[phase][coarse tap][fine tap]
FOLD = (((1.0, 1.0, 0.0), (0.0, 0.0, 1.0)), ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0)))


def fold(weight: torch.Tensor) -> torch.Tensor:
    """(O, I, 3, 3, 3) on the fine grid → (8·O, I, 2, 2, 2) on the coarse one, phases (z, y, x) before O."""
    f = torch.tensor(FOLD, dtype=torch.float64, device=weight.device)
    folded = torch.einsum("paz,qby,rcx,oizyx->pqroiabc", f, f, f, weight.double())
    return folded.reshape(8 * weight.shape[0], weight.shape[1], 2, 2, 2).to(weight.dtype)


class FoldedAsem(nn.Module):
    """The same function as the `AsemUNet` it is made from: (N, 1, Z, Y, X) → (N, 2, Z−94, Y−94, X−94).

    It keeps weights of its own, made once: for inference only.
    """

    def __init__(self, network: AsemUNet) -> None:
        super().__init__()
        self.num_fmaps = network.num_fmaps
        self.network = network
        rising = network.unet.r_conv[0]
        assert isinstance(rising, nn.ModuleList)
        for level in range(LEVELS - 1):
            first = _first(rising[level])
            skip = first.out_channels  # a level takes as many channels from its skip as it gives
            self.register_buffer(f"skip_{level}", first.weight[:, :skip].detach().clone(), persistent=False)
            self.register_buffer(f"rise_{level}", fold(first.weight[:, skip:].detach()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _check_input(x)
        unet = self.network.unet
        skips = []
        for level in range(LEVELS - 1):
            x = unet.l_conv[level](x)
            skips.append(x)
            x = functional.max_pool3d(x, POOLING)
        x = unet.l_conv[LEVELS - 1](x)
        rising = unet.r_conv[0]
        assert isinstance(rising, nn.ModuleList)
        lost = 2 * (KERNEL - 1)
        for level in reversed(range(LEVELS - 1)):
            factor = POOLING ** (LEVELS - 1 - level)
            edges = [(n * POOLING - lost) // factor * factor + lost for n in x.shape[2:]]
            coarse = _centre(x, [n // POOLING for n in edges])
            risen = _interleave(functional.conv3d(coarse, self.get_buffer(f"rise_{level}")))
            convolutions = rising[level]
            skip = _centre(skips.pop(), edges)
            y = functional.conv3d(skip, self.get_buffer(f"skip_{level}"), _first(convolutions).bias)
            y += risen
            del risen
            assert isinstance(convolutions, ConvPass)
            x = functional.relu_(y)
            for layer in list(convolutions.conv_pass)[2:]:
                x = layer(x)
        logits: torch.Tensor = self.network.final_conv_pass(x)
        return logits


def _first(convolutions: nn.Module) -> nn.Conv3d:
    assert isinstance(convolutions, ConvPass)
    layer = convolutions.conv_pass[0]
    assert isinstance(layer, nn.Conv3d)
    return layer


def _interleave(x: torch.Tensor) -> torch.Tensor:
    """(N, 8·O, z, y, x), phases before O → (N, O, 2z, 2y, 2x), channels last in memory."""
    n, channels, *edges = x.shape
    out = channels // 8
    z, y, w = edges
    x = x.permute(0, 2, 3, 4, 1).reshape(n, z, y, w, 2, 2, 2, out)
    fine = x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(n, 2 * z, 2 * y, 2 * w, out)
    return fine.permute(0, 4, 1, 2, 3)
