"""Published ERnet checkpoints → networks. Needs torch."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from .swin2d import Swin2d, build, relative_position_index, topology_of


def load_ernet(checkpoint: str | Path) -> Swin2d:
    """Loads a published ERnet checkpoint: (N, 1, H, W) in [0, 1], H and W even → logits (N, 4, H, W).

    The file holds `{"state_dict": …}` beside whatever else (epoch, optimiser), or the state dict alone; keys may carry
    the `module.` of data-parallel training. Sizes are read off the shapes. Class order: 0 background, 1 SBT, 2 tubule,
    3 sheet. The network comes back in eval mode, on the CPU, in float32.

    Raises ValueError, in one sentence, for a file that is not a checkpoint, that would run code when read, or whose
    keys are not those of family A (the one-frame network; see docs/ernet.md).
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


def state_of(content: object, path: Path) -> dict[str, Tensor]:
    """The state dict inside a checkpoint, `module.` taken off."""
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f'{path} holds no weights: expected {{"state_dict": {{name: tensor, …}}, …}}')
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def network_of(state: dict[str, Tensor], source: object = "the state dict") -> Swin2d:
    if any(key.startswith(("patch_embed.proj", "patch_unembed.")) or ".basic_layer." in key for key in state):
        raise ValueError(
            f"{source} is of family B, the temporal network (3-D windows, channel attention); "
            "this version runs family A, the one-frame network, only"
        )
    for key in ("conv_first.weight", "layers.0.residual_group.blocks.0.attn.qkv.weight", "segmentation_decode.weight"):
        if key not in state:
            raise ValueError(f"{source} is no ERnet of family A: {key} is missing")
    inputs = state["conv_first.weight"].shape[1]
    if inputs != 1:
        raise ValueError(f"{source} takes {inputs} input channels; only one-channel, one-frame networks are supported")
    topology = topology_of(state)
    network = build(**topology)  # type: ignore[arg-type]
    expected = relative_position_index()
    for key, value in state.items():
        if key.endswith("relative_position_index") and not torch.equal(value, expected):
            raise ValueError(f"{source}: {key} is not that of a 2×2 window; other windows are not family A")
    try:
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, strict=True)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise ValueError(f"{source} does not fit the one-frame network of {topology}: {detail}") from error
    return network.eval()
