"""Several classes learnt at once: one U-Net, one final convolution per class.

Each class leaves as an ordinary ASEM network (`SharedAsem.single`), so nothing but training knows of the sharing.
Four classes cost what one does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from cisterna.segment.unet import LEVELS, POOLING, AsemUNet, ConvPass, UNet, initialise


class SharedAsem(nn.Module):
    """(N, 1, Z, Y, X) in [−1, 1] → logits (N, classes, 2, Z−94, Y−94, X−94)."""

    def __init__(self, classes: Sequence[str], num_fmaps: int, fmap_inc_factor: int = 2) -> None:
        super().__init__()
        if not classes or len(set(classes)) != len(classes):
            raise ValueError(f"training needs distinct class names, got {list(classes)}")
        self.classes = tuple(classes)
        self.num_fmaps = num_fmaps
        self.topology = {
            "num_fmaps": num_fmaps,
            "fmap_inc_factor": fmap_inc_factor,
            "in_channels": 1,
            "num_fmaps_out": 2,
        }
        self.unet = UNet(1, num_fmaps, fmap_inc_factor)
        self.heads = nn.ModuleList(ConvPass([num_fmaps, 2], activation=False) for _ in classes)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.unet(x)
        return torch.stack([head(features) for head in self.heads], dim=1)

    def forward_padded(self, x: torch.Tensor) -> torch.Tensor:
        """The same layers with zero-padded convolutions: (N, 1, Z, Y, X) → (N, classes, 2, Z, Y, X).

        Edges are multiples of 8. Away from the border the outputs are those of the valid network at another pooling
        phase, for a fraction of the arithmetic per supervised voxel: a valid 132³ patch supervises 38³ voxels.
        """
        stride = POOLING ** (LEVELS - 1)
        if any(n % stride for n in x.shape[2:]):
            raise ValueError(f"padded patches have edges that are multiples of {stride}, got {tuple(x.shape[2:])}")
        skips = []
        for level in range(LEVELS - 1):
            x = _padded(self.unet.l_conv[level], x)
            skips.append(x)
            x = functional.max_pool3d(x, POOLING)
        x = _padded(self.unet.l_conv[LEVELS - 1], x)
        rising = self.unet.r_conv[0]
        assert isinstance(rising, nn.ModuleList)
        for level in reversed(range(LEVELS - 1)):
            x = functional.interpolate(x, scale_factor=POOLING, mode="nearest")
            x = _padded(rising[level], torch.cat([skips[level], x], dim=1))
        return torch.stack([_padded(head, x) for head in self.heads], dim=1)

    def take(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Begin with the weights of an `AsemUNet`, its last convolution for each class.

        Raises:
            ValueError: they are of another width.
        """
        for prefix, parts in (("unet.", [self.unet]), ("final_conv_pass.", list(self.heads))):
            own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            for part in parts:
                for key, value in part.state_dict().items():
                    if key not in own or own[key].shape != value.shape:
                        found = tuple(own[key].shape) if key in own else "missing"
                        raise ValueError(
                            f"the weights to begin with do not fit {self.num_fmaps} feature maps: {prefix}{key} is "
                            f"{found}, expected {tuple(value.shape)}: train with the same --num-fmaps"
                        )
                part.load_state_dict(own)

    def single(self, name: str) -> AsemUNet:
        """A copy of one class as a network of the published topology, eval mode, on the CPU."""
        head = self.heads[self.classes.index(name)]
        network = AsemUNet(**self.topology)
        weights = {f"unet.{key}": value for key, value in self.unet.state_dict().items()}
        weights |= {f"final_conv_pass.{key}": value for key, value in head.state_dict().items()}
        network.load_state_dict({key: value.detach().cpu().float() for key, value in weights.items()}, strict=True)
        return network.eval().requires_grad_(False)


def _padded(convolutions: nn.Module, x: torch.Tensor) -> torch.Tensor:
    assert isinstance(convolutions, ConvPass)
    for layer in convolutions.conv_pass:
        if isinstance(layer, nn.Conv3d):
            x = functional.conv3d(x, layer.weight, layer.bias, padding=1)
        else:
            x = layer(x)
    return x
