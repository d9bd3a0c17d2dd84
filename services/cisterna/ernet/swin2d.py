"""ERnet, family A: the one-frame network of the released weights, and narrower versions of it.

Lu et al., Nature Methods 2023; the layers and their names follow the released checkpoint, so that it loads strictly:
`conv_first` 3×3 → layer norm → groups of blocks {norm, 2×2-window attention, +; norm, MLP, +} → 3×3 (+ group input)
→ norm → 3×3 (+ conv_first) → 3×3, LeakyReLU → 3×3 → 1×1 to four logits. Windows never shift.

Attention and MLP see only one 2×2 window, so a whole group runs on tokens laid out window by window: pixels are moved
twice a group instead of twice a block. Receptive field: six 3×3 convolutions and the window's own reach, 8 px on an
even grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW = 2  # px; the released net's window, to which every larger setting is clamped
TOKENS = WINDOW * WINDOW
CONTEXT_PX = 8  # halo, on an even grid, after which a tile equals the whole frame


class WindowAttention(nn.Module):
    """Multi-head attention among the four pixels of a window, with a learned bias per relative position."""

    relative_position_index: Tensor
    channels_of_head: Tensor  # (embed, heads), 1 where the channel belongs to the head

    def __init__(self, embed: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index())
        self.register_buffer(
            "channels_of_head", torch.eye(heads).repeat_interleave(embed // heads, 0), persistent=False
        )
        self.qkv = nn.Linear(embed, 3 * embed)
        self.proj = nn.Linear(embed, embed)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def bias(self) -> Tensor:
        """(heads, 4, 4): what is added to the scores of query i and key j."""
        rows = self.relative_position_bias_table[self.relative_position_index.reshape(-1)]
        return rows.reshape(TOKENS, TOKENS, self.heads).permute(2, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(windows, 4, embed) → the same shape."""
        embed = x.shape[2]
        weight, shift, scale = self.qkv.weight, self.qkv.bias, (embed // self.heads) ** -0.5
        query = F.linear(x, weight[:embed] * scale, shift[:embed] * scale)
        key = F.linear(x, weight[embed : 2 * embed], shift[embed : 2 * embed])
        value = F.linear(x, weight[2 * embed :], shift[2 * embed :])
        # A window has four keys. One at a time, its products with all queries of all heads are summed per head by one
        # matrix; 4×4 products per window and head would be millions of tiny matrix products, each mostly call.
        bias = self.bias().permute(2, 1, 0)
        scores = [(query * key[:, j : j + 1]) @ self.channels_of_head + bias[j] for j in range(TOKENS)]
        largest = torch.maximum(torch.maximum(scores[0], scores[1]), torch.maximum(scores[2], scores[3]))
        odds = [(score - largest).exp() for score in scores]
        total = odds[0] + odds[1] + odds[2] + odds[3]
        spread = self.channels_of_head.t()
        mixed = (odds[0] / total) @ spread * value[:, 0:1]
        for j in range(1, TOKENS):
            mixed = mixed + (odds[j] / total) @ spread * value[:, j : j + 1]
        out: Tensor = self.proj(mixed)
        return out


class Mlp(nn.Module):
    def __init__(self, embed: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed, hidden)
        self.fc2 = nn.Linear(hidden, embed)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    def __init__(self, embed: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed)
        self.attn = WindowAttention(embed, heads)
        self.norm2 = nn.LayerNorm(embed)
        self.mlp = Mlp(embed, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x


class Blocks(nn.Module):
    def __init__(self, depth: int, embed: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(embed, heads, hidden) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class Group(nn.Module):
    """Blocks, a 3×3 convolution, and the group's input added."""

    def __init__(self, depth: int, embed: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.residual_group = Blocks(depth, embed, heads, hidden)
        self.resi_connection1 = nn.Conv2d(embed, embed, 3, padding=1)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        image = to_image(self.residual_group(tokens), height, width)
        return tokens + to_windows(self.resi_connection1(image))


class TokenNorm(nn.Module):
    def __init__(self, embed: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x)
        return out


class Swin2d(nn.Module):
    """(N, 1, H, W) in [0, 1], H and W even → logits (N, 4, H, W): 0 background, 1 SBT, 2 tubule, 3 sheet."""

    def __init__(self, embed: int, depths: Sequence[int], heads: int, mlp_ratio: float, classes: int = 4) -> None:
        super().__init__()
        if embed % heads:
            raise ValueError(f"embed {embed} does not divide into {heads} heads; choose a multiple")
        hidden = round(embed * mlp_ratio)
        self.conv_first = nn.Conv2d(1, embed, 3, padding=1)
        self.patch_embed = TokenNorm(embed)
        self.layers = nn.ModuleList(Group(depth, embed, heads, hidden) for depth in depths)
        self.norm = nn.LayerNorm(embed)
        self.conv_after_body = nn.Conv2d(embed, embed, 3, padding=1)
        self.conv_before_upsample = nn.Sequential(nn.Conv2d(embed, embed, 3, padding=1), nn.LeakyReLU(0.01))
        self.conv_last = nn.Conv2d(embed, embed, 3, padding=1)
        # The released checkpoint carries this layer for several input channels; with one it takes no part.
        self.conv_combine = nn.Conv2d(1, 1, 3, padding=1)
        self.segmentation_decode = nn.Conv2d(embed, classes, 1)

    def forward(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[2], frames.shape[3]
        if not torch.onnx.is_in_onnx_export():  # traced sizes are no numbers to compare
            check_frames(frames)
        first = self.conv_first(frames)
        tokens = self.patch_embed(to_windows(first))
        for group in self.layers:
            tokens = group(tokens, height, width)
        features = self.conv_after_body(to_image(self.norm(tokens), height, width)) + first
        logits: Tensor = self.segmentation_decode(self.conv_last(self.conv_before_upsample(features)))
        return logits


def build(
    embed: int = 64, depths: Sequence[int] = (6, 6), heads: int = 8, mlp_ratio: float = 2.0, classes: int = 4
) -> Swin2d:
    """The released topology by default; narrower with a smaller `embed`. Weights are random."""
    return Swin2d(embed, tuple(depths), heads, mlp_ratio, classes)


def topology_of(state: dict[str, Tensor]) -> dict[str, object]:
    """Keyword arguments of `build`, read off the shapes of a state dict."""
    embed = state["conv_first.weight"].shape[0]
    depths: list[int] = []
    while f"layers.{len(depths)}.resi_connection1.weight" in state:
        prefix = f"layers.{len(depths)}.residual_group.blocks."
        depths.append(len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)}))
    block = "layers.0.residual_group.blocks.0."
    return {
        "embed": embed,
        "depths": depths,
        "heads": state[block + "attn.relative_position_bias_table"].shape[1],
        "mlp_ratio": state[block + "mlp.fc1.weight"].shape[0] / embed,
        "classes": state["segmentation_decode.weight"].shape[0],
    }


def relative_position_index() -> Tensor:
    """(4, 4) int64: row of the bias table for query i and key j, pixels of a window in raster order."""
    y, x = torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")
    y, x = y.reshape(-1), x.reshape(-1)
    dy = y[:, None] - y[None] + WINDOW - 1
    dx = x[:, None] - x[None] + WINDOW - 1
    return dy * (2 * WINDOW - 1) + dx


def to_windows(image: Tensor) -> Tensor:
    """(N, C, H, W) → (N·H/2·W/2, 4, C)."""
    n, channels, height, width = image.shape
    # Two moves, each of whole rows of channels: one five-axis transpose takes a CPU several times as long.
    rows = image.permute(0, 2, 3, 1).reshape(n, height // WINDOW, WINDOW, width // WINDOW, WINDOW * channels)
    return rows.permute(0, 1, 3, 2, 4).reshape(-1, TOKENS, channels)


def to_image(tokens: Tensor, height: int, width: int) -> Tensor:
    """(N·H/2·W/2, 4, C) → (N, C, H, W)."""
    channels = tokens.shape[2]
    grid = tokens.reshape(-1, height // WINDOW, width // WINDOW, WINDOW, WINDOW * channels)
    return grid.permute(0, 1, 3, 2, 4).reshape(-1, height, width, channels).permute(0, 3, 1, 2)


def check_frames(frames: Tensor) -> None:
    if frames.ndim != 4 or frames.shape[1] != 1:
        raise ValueError(f"this ERnet takes (N, 1, H, W); got {tuple(frames.shape)}: one frame at a time, one channel")
    if frames.shape[2] % WINDOW or frames.shape[3] % WINDOW:
        raise ValueError(f"height and width must be even; got {tuple(frames.shape[2:])}: reflect one row or column")
