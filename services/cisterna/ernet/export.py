"""ERnet → ONNX for Triton, checked against torch, and the model folder around it. Needs torch and onnxruntime."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cisterna.models import write_model_folder
from cisterna.models.digest import sha256

from . import swin2d, swin3d
from .checkpoint import Ernet, load_ernet
from .triton_config import CANARY_EDGE_PX, INPUT, OUTPUT, cluster_config

OPSET = 17  # the newest that every Triton since 2022 accepts, and the first with layer norm as one operation
TOLERANCE = 1e-4  # largest difference of a logit, torch v onnxruntime, relative to the largest logit above 1
PUBLISHED_TOPOLOGY: dict[str, Any] = {"embed": 64, "depths": [6, 6], "heads": 8, "mlp_ratio": 2.0, "classes": 4}


def to_onnx(network: Ernet) -> bytes:
    """The network as ONNX, opset 17, N, H and W free, float32.

    Family A: H and W even. Family B: multiples of 4 from `smallest_frame_px` on; smaller frames would need clamped
    windows, which a graph of free sizes does not hold.
    It is run by onnxruntime on frames of other sizes than the traced one and compared with torch; ValueError when a
    logit differs by more than 1e-4 (of the largest logit, where that is above 1).
    """
    network = network.eval().cpu().float()
    traced, *others = trial_sizes(network)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is marked as legacy; its graph is the smaller one
        torch.onnx.export(
            network,
            (torch.rand(1, frames_of(network), *traced),),
            buffer,  # type: ignore[arg-type]
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "n", 2: "h", 3: "w"}, OUTPUT: {0: "n", 2: "h", 3: "w"}},
            opset_version=OPSET,
            dynamo=False,
        )
    data = buffer.getvalue()
    difference = onnx_difference(network, data, others)
    if not difference <= TOLERANCE:
        raise ValueError(f"the exported ONNX differs from torch by {difference:.1e} (limit {TOLERANCE:.0e}); not used")
    return data


def frames_of(network: torch.nn.Module) -> int:
    """T: how many frames the network takes at once."""
    return network.frames if isinstance(network, swin3d.Swin3d) else 1


def smallest_frame_px(window: Sequence[int]) -> int:
    """Shortest edge of a frame whose token grid is larger than a window of family B: 36 px for 8 tokens, 32 for 7."""
    return swin3d.PATCH * (window[1] + 1)


def trial_sizes(network: torch.nn.Module) -> list[tuple[int, int]]:
    """(height, width) of the frame to trace, then of those to compare: whole and broken windows, each edge longer."""
    if not isinstance(network, swin3d.Swin3d):
        return [(32, 32), (48, 70), (96, 34)]
    least, window = smallest_frame_px(network.window), swin3d.PATCH * network.window[1]
    return [(least + 8, least + 16), (least, 3 * window), (2 * window, least)]


def onnx_difference(network: torch.nn.Module, onnx: bytes, shapes: Sequence[tuple[int, int]] | None = None) -> float:
    """Largest difference of a logit between torch and onnxruntime on noise, over max(1, largest logit)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    worst = 0.0
    for count, (height, width) in enumerate(shapes or trial_sizes(network)[1:], start=1):
        frames = rng.random((count, frames_of(network), height, width), dtype=np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(frames)).numpy()
        found = session.run([OUTPUT], {INPUT: frames})[0]
        size = max(1.0, float(np.abs(expected).max()))
        worst = max(worst, float(np.abs(found - expected).max()) / size)
    return worst


def flop_per_pixel(topology: Mapping[str, Any]) -> float:
    """Multiply-adds times two, per pixel: convolutions, linear layers and the attention products."""
    if "frames" in topology:
        return swin3d_flop_per_pixel(topology)
    embed, hidden = topology["embed"], round(topology["embed"] * topology["mlp_ratio"])
    linear = 3 * embed * embed + embed * embed + 2 * embed * hidden
    attention = 2 * swin2d.TOKENS * embed
    blocks = sum(topology["depths"]) * (linear + attention)
    convolutions = 9 * embed + 9 * embed * embed * (len(topology["depths"]) + 3) + embed * topology["classes"]
    return float(2 * (blocks + convolutions))


def swin3d_flop_per_pixel(topology: Mapping[str, Any]) -> float:
    """Of family B; windows padded at the frame's end and the means of channel attention are left out (below 1 %)."""
    embed, frames, channels = topology["embed"], topology["frames"], topology["channels"]
    hidden, layers = round(embed * topology["mlp_ratio"]), len(topology["depths"])
    token = 4 * embed * embed + 2 * embed * hidden + 2 * topology["window"][1] ** 2 * embed
    embedding = frames * embed  # T·4·4 numbers to `embed` ones, a token; and the same back
    unembedding = embedding + 9 * frames * frames
    images = 2 * 9 * frames * channels + (2 * topology["residual_blocks"] + 1) * 9 * channels * channels
    ends = (layers + 1) * (embedding + unembedding) + frames * topology["classes"]
    return float(2 * (sum(topology["depths"]) * token / swin3d.PATCH**2 + layers * images + ends))


def model_spec(
    name: str,
    topology: Mapping[str, Any],
    pixel_size_um: float,
    licence: str,
    demo: bool,
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """model.json of an ERnet, without what write_model_folder adds. Pixel size of its training, in µm.

    A topology with `frames` is of family B. That sees whole frames only (`whole_frame`), of at least
    `smallest_frame_px`, `frames` of them at once: the frame itself and `temporal_context` on either side.
    """
    if "frames" in topology:
        family: dict[str, Any] = {
            "family": "ernet-swin3d",
            "context": None,
            "whole_frame": True,
            "stride": swin3d.PATCH,
            "frames": topology["frames"],
            "temporal_context": topology["frames"] // 2,
            "smallest_frame_px": smallest_frame_px(topology["window"]),
        }
    else:
        family = {"family": "ernet-swin2d", "context": swin2d.CONTEXT_PX, "stride": swin2d.WINDOW, "frames": 1}
    return {
        "name": name,
        **family,
        "topology": dict(topology),
        "padding": "same",
        "classes": ["background", "sbt", "tubule", "sheet"],
        "pixel_size_um": pixel_size_um,
        "polarity": "bright_membranes",
        "intensity": {"rule": "ernet", "to": [0.0, 1.0]},
        "flop_per_voxel": round(flop_per_pixel(topology)),
        "demo": demo,
        "licence": licence,
        "training": dict(training),
        "metrics": dict(metrics),
    }


def write_ernet_folder(folder: Path | str, spec: Mapping[str, Any], network: Ernet) -> str:
    """Writes the model folder with ONNX and config.pbtxt; returns the model's digest.

    Weights are stored as float16; the ONNX file is made of those rounded weights, so both say the same.
    """
    state = rounded(network)
    onnx = to_onnx(network)
    edge_px = spec.get("smallest_frame_px", CANARY_EDGE_PX)
    config = cluster_config(str(spec["name"]), sha256(onnx), frames=frames_of(network), canary_edge_px=edge_px)
    return write_model_folder(folder, spec, state, onnx, config)


def rounded(network: Ernet) -> dict[str, NDArray[Any]]:
    """Rounds the network's weights to float16 in place (kept as float32) and returns them as arrays."""
    network.cpu().float()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    if not all(torch.isfinite(parameter).all() for parameter in network.parameters()):
        raise ValueError("a weight does not fit float16 (above 65504) or is not finite; the network is broken")
    return {key: value.detach().numpy() for key, value in network.state_dict().items()}


def import_checkpoint(
    checkpoint: Path | str, folder: Path | str, pixel_size_um: float, licence: str, name: str | None = None
) -> str:
    """A published checkpoint (see `load_ernet`) → a model folder with ONNX; returns the model's digest.

    `pixel_size_um`: of the images it was trained on; frames of other sizes are resampled to it. Weights are rounded to
    float16, and model.json says by how much that moves the logits of noise (`rounding_difference`).
    """
    if not pixel_size_um > 0:
        raise ValueError(f"the pixel size of the training images must be positive, in µm; got {pixel_size_um}")
    network = load_ernet(checkpoint)
    frames = torch.rand(1, frames_of(network), 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = network(frames)
        rounded(network)
        difference = float((network(frames) - before).abs().max() / before.abs().max().clamp(min=1.0))
    training = {"checkpoint": Path(checkpoint).name, "rounding_difference": difference}
    family = swin3d if isinstance(network, swin3d.Swin3d) else swin2d
    topology = family.topology_of(network.state_dict())
    spec = model_spec(name or Path(folder).name, topology, pixel_size_um, licence, False, training, {})
    return write_ernet_folder(folder, spec, network)
