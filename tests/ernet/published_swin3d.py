"""The key lists of the published temporal networks, and their forward pass written out plainly (slow, obvious)."""

import math

import torch
from torch.nn import functional as F

CODE = {"embed": 96, "depths": (2, 2, 6, 2), "heads": (3, 6, 12, 24), "edge": 7, "ratio": 4}
PAPER = {"embed": 192, "depths": (6,) * 5, "heads": (8,) * 5, "edge": 8, "ratio": 2}
PUBLISHED = {
    "nch1_code": (CODE | {"frames": 1}, 634, 5_156_305),
    "nch3_code": (CODE | {"frames": 3}, 634, 5_196_627),
    "paper_T3": (PAPER | {"frames": 3}, 998, 13_857_791),
    "paper_T5_patch544": (PAPER | {"frames": 5}, 998, 13_943_933),
}
"""Name → (sizes, number of keys, number of parameters)."""


def key_list(embed, depths, heads, edge, ratio, frames, channels=64, squeezed=4, residual_blocks=12):
    """Name → shape of every entry of a checkpoint of these sizes; index tables included."""
    keys = {}

    def layer(name, *shape):
        keys[name + ".weight"] = shape
        keys[name + ".bias"] = shape[:1]

    def patches(name):
        layer(name + "patch_embed.proj", embed, 1, frames, 4, 4)
        layer(name + "patch_embed.norm", embed)
        layer(name + "patch_unembed.proj", embed, 1, frames, 4, 4)
        keys[name + "patch_unembed.proj.bias"] = (1,)
        layer(name + "patch_unembed.conv", frames, frames, 3, 3)
        layer(name + "patch_unembed.norm", 1)

    patches("")
    for n, depth in enumerate(depths):
        for b in range(depth):
            name = f"layers.{n}.basic_layer.blocks.{b}."
            layer(name + "norm1", embed)
            keys[name + "attn.relative_position_bias_table"] = (3 * (2 * edge - 1) ** 2, heads[n])
            keys[name + "attn.relative_position_index"] = (2 * edge * edge, 2 * edge * edge)
            layer(name + "attn.qkv", 3 * embed, embed)
            layer(name + "attn.proj", embed, embed)
            layer(name + "norm2", embed)
            layer(name + "mlp.fc1", ratio * embed, embed)
            layer(name + "mlp.fc2", embed, ratio * embed)
        name = f"layers.{n}."
        layer(name + "resi_connection1", channels, frames, 3, 3)
        for r in range(residual_blocks):
            inner = f"{name}resi_connection2.residual_group.{r}.rcab."
            layer(inner + "0", channels, channels, 3, 3)
            layer(inner + "2", channels, channels, 3, 3)
            layer(inner + "3.attention.1", squeezed, channels, 1, 1)
            layer(inner + "3.attention.3", channels, squeezed, 1, 1)
        layer(name + "resi_connection2.conv", channels, channels, 3, 3)
        layer(name + "resi_connection3", frames, channels, 3, 3)
        patches(name)
    layer("norm", embed)
    layer("upsampler.expand", 20, 9, 3, 3)
    layer("upsampler.fusion", 1, 5, 3, 3)
    layer("segmentation_decode", 4, frames, 1, 1)
    return keys


def index_table(edge):
    """Row of the bias table for every two tokens of a window of 2 × edge × edge, one pair at a time."""
    places = [(t, y, x) for t in range(2) for y in range(edge) for x in range(edge)]
    rows = []
    for ti, yi, xi in places:
        row = []
        for tj, yj, xj in places:
            steps = (ti - tj + 1, yi - yj + edge - 1, xi - xj + edge - 1)
            row.append(steps[0] * (2 * edge - 1) ** 2 + steps[1] * (2 * edge - 1) + steps[2])
        rows.append(row)
    return torch.tensor(rows)


def random_state(sizes, seed=0, scale=1.0):
    """Random weights under a key list, float32, of a size that lets every part of the network be seen in the logits.

    Bias tables are large: a wrong row, a lost shift or a lost mask must move the logits.
    """
    generator = torch.Generator().manual_seed(seed)
    index, state = index_table(sizes["edge"]), {}
    for name, shape in key_list(**sizes).items():
        if name.endswith("relative_position_index"):
            state[name] = index.clone()
            continue
        values = torch.randn(shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            state[name] = 1 + 0.2 * values
        elif name.endswith("bias_table"):
            state[name] = values
        elif name.endswith("bias"):
            state[name] = 0.2 * values
        else:
            fan_in = math.prod(shape[1:])
            if "unembed.proj" in name:
                fan_in = shape[0]
            state[name] = scale * values / math.sqrt(fan_in)
    return state


def plain(state, images, heads, edge, mask=True, shift=True, pad=True):
    """(N, T, H, W) → logits, as the facts say it: one window, one head at a time.

    `mask`, `shift`, `pad` False leave one rule out (without padding, incomplete windows attend among themselves).
    """
    part = lambda name: (state[name + ".weight"], state[name + ".bias"])  # noqa: E731
    conv = lambda x, name, padding=1: F.conv2d(x, *part(name), padding=padding)  # noqa: E731
    norm = lambda x, name: F.layer_norm(x, (x.shape[-1],), *part(name))  # noqa: E731
    leaky = lambda x: torch.where(x >= 0, x, 0.2 * x)  # noqa: E731
    count, frames = images.shape[:2]

    def embed(x, name):  # → (N, 1, h, w, C)
        size = (frames, 4, 4)
        tokens = F.conv3d(x[:, None], *part(name + "patch_embed.proj"), stride=size).permute(0, 2, 3, 4, 1)
        return norm(tokens, name + "patch_embed.norm")

    def unembed(tokens, name):
        size = (frames, 4, 4)
        x = F.conv_transpose3d(tokens.permute(0, 4, 1, 2, 3), *part(name + "patch_unembed.proj"), stride=size)
        x = leaky(x).reshape(count, frames, x.shape[3], x.shape[4])
        return leaky(conv(x, name + "patch_unembed.conv"))

    def attention(x, name, number, odd):  # x: (N, h, w, C), normalised
        height, width, channels = x.shape[1:]
        window = [min(edge, height), min(edge, width)]
        step = [0 if height <= edge else edge // 2, 0 if width <= edge else edge // 2]
        if not (odd and shift):
            step = [0, 0]
        padded = [height, width]
        if pad:
            padded = [math.ceil(height / window[0]) * window[0], math.ceil(width / window[1]) * window[1]]
        big = torch.zeros(count, *padded, channels, dtype=x.dtype)
        big[:, :height, :width] = x
        out = torch.zeros_like(big)
        head_dim = channels // number

        def region(place, size, w, s):
            if s == 0:
                return 0
            return 0 if place < size - w else 1 if place < size - s else 2

        table = state[name + "relative_position_bias_table"]
        index = state[name + "relative_position_index"]
        for top in range(0, padded[0], window[0]):
            for left in range(0, padded[1], window[1]):
                # Places of the rolled grid, and where their tokens stood before the roll.
                places = [
                    (y, x)
                    for y in range(top, min(top + window[0], padded[0]))
                    for x in range(left, min(left + window[1], padded[1]))
                ]
                ys = [(y + step[0]) % padded[0] for y, _ in places]
                xs = [(x + step[1]) % padded[1] for _, x in places]
                parts = [
                    (region(y, padded[0], window[0], step[0]), region(x, padded[1], window[1], step[1]))
                    for y, x in places
                ]
                apart = torch.tensor([[-100.0 if a != b else 0.0 for b in parts] for a in parts], dtype=x.dtype)
                qkv = F.linear(big[:, ys, xs], *part(name + "qkv"))
                rows = index[: len(places), : len(places)]
                for head in range(number):
                    q, k, v = (
                        qkv[..., which * channels + head * head_dim : which * channels + (head + 1) * head_dim]
                        for which in range(3)
                    )
                    scores = torch.einsum("nic,njc->nij", q, k) * head_dim**-0.5 + table[rows, head]
                    if mask:
                        scores = scores + apart
                    mixed = torch.einsum("nij,njc->nic", scores.softmax(-1), v)
                    out[:, ys, xs, head * head_dim : (head + 1) * head_dim] = mixed
        return F.linear(out, *part(name + "proj"))[:, :height, :width]

    def attended(x, name):  # a residual block with channel attention
        y = conv(torch.relu(conv(x, name + "0")), name + "2")
        means = y.mean((2, 3), keepdim=True)
        squeezed = torch.relu(conv(means, name + "3.attention.1", 0))
        return x + y * torch.sigmoid(conv(squeezed, name + "3.attention.3", 0))

    x = embed(images, "")
    layer = 0
    while (prefix := f"layers.{layer}.") + "resi_connection1.weight" in state:
        shortcut, block = x, 0
        while (name := f"{prefix}basic_layer.blocks.{block}.") + "norm1.weight" in state:
            mixed = attention(norm(x, name + "norm1")[:, 0], name + "attn.", heads[layer], block % 2 == 1)
            x = x + mixed[:, None]
            hidden = F.linear(norm(x, name + "norm2"), *part(name + "mlp.fc1"))
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
            x = x + F.linear(hidden, *part(name + "mlp.fc2"))
            block += 1
        first = leaky(conv(unembed(x, prefix), prefix + "resi_connection1"))
        y, block = first, 0
        while (name := f"{prefix}resi_connection2.residual_group.{block}.rcab.") + "0.weight" in state:
            y = attended(y, name)
            block += 1
        y = leaky(first + conv(y, prefix + "resi_connection2.conv"))
        x = leaky(embed(leaky(conv(y, prefix + "resi_connection3")), prefix) + shortcut)
        layer += 1
    return conv(unembed(norm(x, "norm"), "") + images, "segmentation_decode", 0)
