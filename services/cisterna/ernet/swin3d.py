"""ERnet, family B: the temporal network of the paper (T frames in, labels of the middle one out), and narrower ones.

Lu et al., Nature Methods 2023; the layers and their names follow the published checkpoints, so that those load
strictly. Patches of T×4×4 become one token each; a layer is {blocks of window attention and MLP on tokens → back to
T images → 3×3 convolutions with channel attention at full resolution → tokens again, + the layer's input}. The first
patch swallows the whole time axis, so the windows are in truth two-dimensional.

Channel attention takes means over the whole frame: tiles of a frame give other numbers than the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .swin2d import Mlp

PATCH = 4  # px a token, along y and x
SLOPE = 0.2  # of every LeakyReLU
MASKED = -100.0  # added to the score of two tokens that are neighbours only because the grid was rolled


@dataclass(frozen=True)
class Windows:
    """How the token grid of one input is cut: sizes along (y, x) in tokens, and the mask of shifted blocks.

    A window as large as the grid or larger is clamped to it and never shifts on that axis.
    """

    grid: tuple[int, int]
    window: tuple[int, int]
    shift: tuple[int, int]
    counts: tuple[int, int]  # windows along (y, x), the last ones padded
    pad: tuple[int, int]
    mask: Tensor | None  # (windows, L, L) of 0 and MASKED, L tokens a window; None where no axis shifts

    def cut(self, x: Tensor, shifted: bool) -> Tensor:
        """(N, h, w, C) → (N·windows, L, C), zeros behind the end of the grid."""
        (wy, wx), (ny, nx), (pad_y, pad_x) = self.window, self.counts, self.pad
        if torch.onnx.is_in_onnx_export() or pad_y or pad_x:
            x = F.pad(x, (0, 0, 0, pad_x, 0, pad_y))
        if shifted and any(self.shift):
            x = x.roll((-self.shift[0], -self.shift[1]), (1, 2))
        channels = x.shape[3]
        return x.reshape(-1, ny, wy, nx, wx, channels).transpose(2, 3).reshape(-1, wy * wx, channels)

    def join(self, windows: Tensor, shifted: bool) -> Tensor:
        """The inverse of `cut`."""
        (height, width), (wy, wx), (ny, nx) = self.grid, self.window, self.counts
        channels = windows.shape[2]
        x = windows.reshape(-1, ny, nx, wy, wx, channels).transpose(2, 3).reshape(-1, ny * wy, nx * wx, channels)
        if shifted and any(self.shift):
            x = x.roll(self.shift, (1, 2))
        return x[:, :height, :width]


def windows_of(tokens: Tensor, window: int) -> Windows:
    """Windows of `window`×`window` tokens over (N, h, w, C).

    A traced graph (ONNX) holds for grids larger than the window on both axes only: the sizes are not compared there.
    """
    grid = (tokens.shape[1], tokens.shape[2])
    clamped = [not torch.onnx.is_in_onnx_export() and size <= window for size in grid]
    wy, wx = (size if clamp else window for size, clamp in zip(grid, clamped, strict=True))
    shift_y, shift_x = (0 if clamp else window // 2 for clamp in clamped)
    ny, nx = (grid[0] + wy - 1) // wy, (grid[1] + wx - 1) // wx
    pad = (ny * wy - grid[0], nx * wx - grid[1])
    if shift_y == shift_x == 0:
        return Windows(grid, (wy, wx), (0, 0), (ny, nx), pad, None)
    rows = regions(ny * wy, wy, shift_y, tokens.device)
    columns = regions(nx * wx, wx, shift_x, tokens.device)
    region = (3 * rows[:, None] + columns[None]).reshape(ny, wy, nx, wx).transpose(1, 2).reshape(ny * nx, wy * wx)
    apart = region[:, :, None] != region[:, None]
    mask = apart.to(tokens.dtype) * MASKED
    return Windows(grid, (wy, wx), (shift_y, shift_x), (ny, nx), pad, mask)


def regions(size: int, window: int, shift: int, device: torch.device) -> Tensor:
    """(size,) int64: the stretch of the rolled axis a token lies in; what the roll wrapped around is one of its own."""
    position = torch.arange(size, device=device)
    if shift == 0:
        return torch.zeros_like(position)
    return (position >= size - window).long() + (position >= size - shift).long()


class WindowAttention(nn.Module):
    """Multi-head attention among the tokens of a window, with a learned bias per relative position.

    The index of a clamped window is the first rows and columns of the full window's, as in the published program: its
    tokens are counted as if they stood in raster order in the full window.
    """

    relative_position_index: Tensor

    def __init__(self, embed: int, heads: int, window: tuple[int, int]) -> None:
        super().__init__()
        self.heads = heads
        depth, edge = window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * depth - 1) * (2 * edge - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index(depth, edge))
        self.qkv = nn.Linear(embed, 3 * embed)
        self.proj = nn.Linear(embed, embed)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N·windows, L, embed) → the same shape. `mask`: (windows, L, L), added to the scores."""
        tokens, embed = x.shape[1], x.shape[2]
        index = self.relative_position_index[:tokens, :tokens].reshape(-1)
        bias = self.relative_position_bias_table[index].reshape(1, tokens, tokens, self.heads).permute(0, 3, 1, 2)
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(x.shape[0] // mask.shape[0], 1, 1, 1)
        parts = self.qkv(x).reshape(-1, tokens, 3, self.heads, embed // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=bias)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(-1, tokens, embed))
        return out


class Block(nn.Module):
    def __init__(self, embed: int, heads: int, window: tuple[int, int], hidden: int, shifted: bool) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(embed)
        self.attn = WindowAttention(embed, heads, window)
        self.norm2 = nn.LayerNorm(embed)
        self.mlp = Mlp(embed, hidden)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """(N, h, w, embed) → the same shape."""
        mixed = self.attn(windows.cut(self.norm1(x), self.shifted), windows.mask if self.shifted else None)
        x = x + windows.join(mixed, self.shifted)
        x = x + self.mlp(self.norm2(x))
        return x


class Blocks(nn.Module):
    """Every second block shifts its windows by half."""

    def __init__(self, depth: int, embed: int, heads: int, window: tuple[int, int], hidden: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(embed, heads, window, hidden, n % 2 == 1) for n in range(depth))

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        for block in self.blocks:
            x = block(x, windows)
        return x


class PatchEmbed(nn.Module):
    """(N, T, H, W) → normalised tokens (N, H/4, W/4, embed): one patch of all T frames each."""

    def __init__(self, embed: int, frames: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(1, embed, (frames, PATCH, PATCH), stride=(frames, PATCH, PATCH))
        self.norm = nn.LayerNorm(embed)

    def forward(self, images: Tensor) -> Tensor:
        # With one patch along time the 3-D convolution is a 2-D one whose channels are the frames.
        tokens = F.conv2d(images, self.proj.weight[:, 0], self.proj.bias, stride=PATCH)
        out: Tensor = self.norm(tokens.permute(0, 2, 3, 1))
        return out


class PatchUnembed(nn.Module):
    """Tokens (N, h, w, embed) → (N, T, 4h, 4w)."""

    def __init__(self, embed: int, frames: int) -> None:
        super().__init__()
        self.proj = nn.ConvTranspose3d(embed, 1, (frames, PATCH, PATCH), stride=(frames, PATCH, PATCH))
        self.conv = nn.Conv2d(frames, frames, 3, padding=1)
        self.norm = nn.LayerNorm(1)  # in the published checkpoints, but takes no part

    def forward(self, tokens: Tensor) -> Tensor:
        weight = self.proj.weight[:, 0]
        assert self.proj.bias is not None
        bias = self.proj.bias.expand(weight.shape[1])  # one for all frames
        images = F.leaky_relu(F.conv_transpose2d(tokens.permute(0, 3, 1, 2), weight, bias, stride=PATCH), SLOPE)
        return F.leaky_relu(self.conv(images), SLOPE)


class ChannelAttention(nn.Module):
    """(N, C, H, W) → (N, C, 1, 1): what the means of all channels over the whole frame say of each channel's weight."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(x)
        return out


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.rcab = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            ChannelAttention(channels, squeezed),
        )

    def forward(self, x: Tensor) -> Tensor:
        first, rectify, second, weigh = self.rcab
        change = second(rectify(first(x)))
        # One pass over the full-resolution channels where scaling and adding would be two.
        return torch.addcmul(x, change, weigh(change))


class ResidualGroup(nn.Module):
    def __init__(self, channels: int, squeezed: int, count: int) -> None:
        super().__init__()
        self.residual_group = nn.Sequential(*(ResidualBlock(channels, squeezed) for _ in range(count)))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv(self.residual_group(x))
        return out


class Layer(nn.Module):
    """Blocks on tokens, then channel attention on the T images they stand for; + the layer's input."""

    def __init__(
        self, frames: int, embed: int, depth: int, heads: int, window: tuple[int, int], hidden: int, channels: int,
        squeezed: int, residual_blocks: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.basic_layer = Blocks(depth, embed, heads, window, hidden)
        self.resi_connection1 = nn.Conv2d(frames, channels, 3, padding=1)
        self.resi_connection2 = ResidualGroup(channels, squeezed, residual_blocks)
        self.resi_connection3 = nn.Conv2d(channels, frames, 3, padding=1)
        self.patch_embed = PatchEmbed(embed, frames)
        self.patch_unembed = PatchUnembed(embed, frames)

    def forward(self, tokens: Tensor, windows: Windows) -> Tensor:
        images = self.patch_unembed(self.basic_layer(tokens, windows))
        features = F.leaky_relu(self.resi_connection1(images), SLOPE)
        if not torch.onnx.is_in_onnx_export():
            # 25 convolutions of the group run twice as fast with the channels last, on a CPU too.
            features = features.contiguous(memory_format=torch.channels_last)
        features = F.leaky_relu(self.resi_connection2(features), SLOPE)
        images = F.leaky_relu(self.resi_connection3(features), SLOPE)
        return F.leaky_relu(self.patch_embed(images) + tokens, SLOPE)


class Upsampler(nn.Module):
    """In the published checkpoints, but takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(9, 20, 3, padding=1)
        self.fusion = nn.Conv2d(5, 1, 3, padding=1)


class Swin3d(nn.Module):
    """(N, T, H, W) in [0, 1], H and W multiples of 4 → logits (N, 4, H, W) of the middle frame.

    Classes: 0 background, 1 SBT, 2 tubule, 3 sheet.
    """

    def __init__(
        self, frames: int, embed: int, depths: Sequence[int], heads: Sequence[int], window: tuple[int, int],
        mlp_ratio: float, channels: int, squeezed: int, residual_blocks: int, classes: int,
    ) -> None:  # fmt: skip
        super().__init__()
        if len(depths) != len(heads):
            raise ValueError(f"heads {list(heads)} must name one number for each of the depths {list(depths)}")
        for number in heads:
            if number < 1 or embed % number:
                raise ValueError(f"embed {embed} does not divide into {number} heads; choose a multiple")
        self.frames, self.window = frames, window
        hidden = round(embed * mlp_ratio)
        self.patch_embed = PatchEmbed(embed, frames)
        self.patch_unembed = PatchUnembed(embed, frames)
        self.layers = nn.ModuleList(
            Layer(frames, embed, depth, number, window, hidden, channels, squeezed, residual_blocks)
            for depth, number in zip(depths, heads, strict=True)
        )
        self.norm = nn.LayerNorm(embed)
        self.upsampler = Upsampler()
        self.segmentation_decode = nn.Conv2d(frames, classes, 1)

    def forward(self, frames: Tensor) -> Tensor:
        if not torch.onnx.is_in_onnx_export():  # traced sizes are no numbers to compare
            check_frames(frames, self.frames)
        tokens = self.patch_embed(frames)
        windows = windows_of(tokens, self.window[1])
        for layer in self.layers:
            tokens = layer(tokens, windows)
        logits: Tensor = self.segmentation_decode(self.patch_unembed(self.norm(tokens)) + frames)
        return logits


def build(
    frames: int = 5,
    embed: int = 192,
    depths: Sequence[int] = (6, 6, 6, 6, 6),
    heads: Sequence[int] = (8, 8, 8, 8, 8),
    window: Sequence[int] = (2, 8),
    mlp_ratio: float = 2.0,
    channels: int = 64,
    squeezed: int = 4,
    residual_blocks: int = 12,
    classes: int = 4,
) -> Swin3d:
    """The paper's topology with five frames by default; narrower with smaller numbers. Weights are random.

    `heads`: one number a layer. `window`: tokens along time, and along y and x; of the first only the size of the
    bias tables tells. `channels`, `squeezed`, `residual_blocks`: of the full-resolution part of each layer.
    """
    depth, edge = window
    return Swin3d(
        frames, embed, tuple(depths), tuple(heads), (depth, edge), mlp_ratio, channels, squeezed, residual_blocks,
        classes,
    )  # fmt: skip


def topology_of(state: dict[str, Tensor]) -> dict[str, object]:
    """Keyword arguments of `build`, read off the shapes of a state dict."""
    embed, _, frames = state["patch_embed.proj.weight"].shape[:3]
    depths: list[int] = []
    heads: list[int] = []
    while f"layers.{len(depths)}.resi_connection1.weight" in state:
        prefix = f"layers.{len(depths)}.basic_layer.blocks."
        heads.append(state[prefix + "0.attn.relative_position_bias_table"].shape[1])
        depths.append(count(state, prefix))
    block, group = "layers.0.basic_layer.blocks.0.", "layers.0.resi_connection2.residual_group."
    squeeze = state[group + "0.rcab.3.attention.1.weight"]
    return {
        "frames": frames,
        "embed": embed,
        "depths": depths,
        "heads": heads,
        "window": list(window_of(state, block)),
        "mlp_ratio": state[block + "mlp.fc1.weight"].shape[0] / embed,
        "channels": squeeze.shape[1],
        "squeezed": squeeze.shape[0],
        "residual_blocks": count(state, group),
        "classes": state["segmentation_decode.weight"].shape[0],
    }


def count(state: dict[str, Tensor], prefix: str) -> int:
    """How many numbered modules stand under a prefix."""
    return len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)})


def window_of(state: dict[str, Tensor], block: str) -> tuple[int, int]:
    """(tokens along time, tokens along y and x), from rows of the bias table and tokens of the index."""
    rows = state[block + "attn.relative_position_bias_table"].shape[0]
    tokens = state[block + "attn.relative_position_index"].shape[0]
    for edge in range(1, int(tokens**0.5) + 1):
        depth = tokens // edge**2
        if depth * edge**2 == tokens and (2 * depth - 1) * (2 * edge - 1) ** 2 == rows:
            return depth, edge
    raise ValueError(
        f"{block}attn: a bias table of {rows} rows and an index of {tokens} tokens fit no window as high as wide"
    )


def relative_position_index(depth: int, edge: int) -> Tensor:
    """(n, n) int64, n = depth·edge²: row of the bias table for query i and key j, tokens in the order t, y, x."""
    t, y, x = torch.cartesian_prod(torch.arange(depth), torch.arange(edge), torch.arange(edge)).unbind(1)
    dt = t[:, None] - t[None] + depth - 1
    dy = y[:, None] - y[None] + edge - 1
    dx = x[:, None] - x[None] + edge - 1
    return (dt * (2 * edge - 1) + dy) * (2 * edge - 1) + dx


def check_frames(frames: Tensor, count: int) -> None:
    if frames.ndim != 4 or frames.shape[1] != count:
        raise ValueError(f"this ERnet takes (N, {count}, H, W), {count} frames at once; got {tuple(frames.shape)}")
    if frames.shape[2] % PATCH or frames.shape[3] % PATCH or 0 in frames.shape:
        raise ValueError(
            f"height and width must be multiples of {PATCH}, not 0; got {tuple(frames.shape[2:])}: reflect"
        )
