"""Published ERnet checkpoints, of either family → networks. Needs torch."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from . import swin2d, swin3d

Ernet = swin2d.Swin2d | swin3d.Swin3d
State = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)

# What the sizes of a network are read off: keys, and how many axes their shapes have.
SWIN2D_SIZES = {
    "conv_first.weight": 4,
    "layers.0.resi_connection1.weight": 4,
    "layers.0.residual_group.blocks.0.attn.qkv.weight": 2,
    "layers.0.residual_group.blocks.0.attn.relative_position_bias_table": 2,
    "layers.0.residual_group.blocks.0.mlp.fc1.weight": 2,
    "segmentation_decode.weight": 4,
}
SWIN3D_SIZES = {
    "patch_embed.proj.weight": 5,
    "layers.0.resi_connection1.weight": 4,
    "layers.0.basic_layer.blocks.0.attn.relative_position_bias_table": 2,
    "layers.0.basic_layer.blocks.0.attn.relative_position_index": 2,
    "layers.0.basic_layer.blocks.0.mlp.fc1.weight": 2,
    "layers.0.resi_connection2.residual_group.0.rcab.3.attention.1.weight": 4,
    "segmentation_decode.weight": 4,
}


def load_ernet(checkpoint: str | Path) -> Ernet:
    """Loads a published ERnet checkpoint: (N, T, H, W) in [0, 1] → logits (N, 4, H, W) of the middle frame.

    Both families: A (one frame, `swin2d`; T = 1, H and W even) and B (the temporal network, `swin3d`; T as its first
    patch is long, H and W multiples of 4). The file holds `{"state_dict": …}` beside whatever else (epoch, optimiser),
    or the state dict alone; keys may carry the `module.` of data-parallel training. Sizes are read off the shapes.
    Class order: 0 background, 1 SBT, 2 tubule, 3 sheet. The network comes back in eval mode, on the CPU, in float32.

    Raises ValueError, in one sentence, for a file that is not a checkpoint, that would run code when read, or whose
    keys are not those of one of the families (see docs/ernet.md).
    """
    path = Path(checkpoint)
    if not path.is_file():
        raise ValueError(f"{path} is not there; give the path of an ERnet checkpoint (.pth)")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} does not load as a plain checkpoint; it must hold tensors and numbers only "
            f"(objects that run code when read are refused): {str(error).splitlines()[0][:120]}"
        ) from error
    return network_of(state_of(content, path), path)


def state_of(content: object, path: Path) -> State:
    """The state dict inside a checkpoint, `module.` taken off."""
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f'{path} holds no weights: expected {{"state_dict": {{name: tensor, …}}, …}}')
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def family_of(state: State) -> str:
    """`ernet-swin3d` for the keys of the temporal network, else `ernet-swin2d`."""
    temporal = any(key.startswith(("patch_embed.proj.", "patch_unembed.")) or ".basic_layer." in key for key in state)
    return "ernet-swin3d" if temporal else "ernet-swin2d"


def network_of(state: State, source: object = "the state dict") -> Ernet:
    """The network of a state dict, in eval mode and float32. ValueError names `source` and the key that is wrong."""
    if family_of(state) == "ernet-swin3d":
        return swin3d_of(state, source)
    return swin2d_of(state, source)


def swin2d_of(state: State, source: object) -> swin2d.Swin2d:
    what = "ERnet of family A"
    check_sizes(state, SWIN2D_SIZES, source, what)
    inputs = state["conv_first.weight"].shape[1]
    if inputs != 1:
        raise ValueError(
            f"{source} takes {inputs} input channels (conv_first.weight); family A is for one frame, one channel"
        )
    network: swin2d.Swin2d = built(swin2d.build, swin2d.topology_of, state, source, what)
    check_index(state, swin2d.relative_position_index(), source, "of a 2×2 window; other windows are not family A")
    return load(network, state, source, what)


def swin3d_of(state: State, source: object) -> swin3d.Swin3d:
    what = "ERnet of family B"
    check_sizes(state, SWIN3D_SIZES, source, what)
    patch = tuple(state["patch_embed.proj.weight"].shape)
    if patch[1] != 1 or patch[3:] != (swin3d.PATCH, swin3d.PATCH):
        raise ValueError(
            f"{source}: patch_embed.proj.weight is {patch}; family B has one channel and patches of 4 × 4 px, "
            "(embed, 1, T, 4, 4)"
        )
    network: swin3d.Swin3d = built(swin3d.build, swin3d.topology_of, state, source, what)
    depth, edge = network.window
    index = swin3d.relative_position_index(depth, edge)
    check_index(state, index, source, f"of a window of {depth} × {edge} × {edge} tokens, which its shape names")
    return load(network, state, source, what)


def check_sizes(state: State, sizes: dict[str, int], source: object, what: str) -> None:
    for key, axes in sizes.items():
        if key not in state:
            raise ValueError(f"{source} is no {what}: {key} is missing")
        if state[key].ndim != axes:
            raise ValueError(f"{source} is no {what}: {key} is {tuple(state[key].shape)}, it should have {axes} axes")


def built(
    build: Callable[..., Any], topology_of: Callable[[State], Any], state: State, source: object, what: str
) -> Any:
    try:
        return build(**topology_of(state))
    except KeyError as error:
        raise ValueError(f"{source} is no {what}: {error.args[0]} is missing") from error
    except (ValueError, IndexError) as error:
        raise ValueError(f"{source} is no {what}: {error}") from error


def check_index(state: State, expected: Tensor, source: object, meaning: str) -> None:
    for key, value in state.items():
        if key.endswith("relative_position_index") and not torch.equal(value, expected):
            raise ValueError(f"{source}: {key} is not that {meaning}")


def load(network: Network, state: State, source: object, what: str) -> Network:
    """Strictly: every key, no other key, every shape, weights as floating-point numbers."""
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in state]
    unknown = [key for key in state if key not in wanted]
    for kind, keys in (("is missing", missing), ("is unknown", unknown)):
        if keys:
            rest = f" (so are {len(keys) - 1} others)" if keys[1:] else ""
            raise ValueError(f"{source} is no {what} of the sizes that its shapes name: {keys[0]} {kind}{rest}")
    for key, value in state.items():
        if value.shape != wanted[key].shape:
            raise ValueError(
                f"{source} is no {what} of the sizes that its other shapes name: {key} is {tuple(value.shape)}, "
                f"it should be {tuple(wanted[key].shape)}"
            )
        if value.is_floating_point() != wanted[key].is_floating_point():
            raise ValueError(f"{source}: {key} holds {value.dtype}, it should hold {wanted[key].dtype}")
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, strict=True)
    return network.eval()
