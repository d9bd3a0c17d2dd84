"""Triton's model configuration (config.pbtxt) of an ERnet: one for the cluster, one for a machine without a GPU.

Both name the `onnxruntime` backend and the same `1/model.onnx`. The cluster's adds the TensorRT accelerator, dynamic
batching and warm-up. The local one takes one frame a time: the batch size moves logits by some 5e-7, and a stage must
be byte-identical however its frames arrived.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

INPUT = "frames"  # FP32 (N, T, H, W) in [0, 1]; T frames, H and W as the network takes them
OUTPUT = "logits"  # FP32 (N, 4, H, W)
DIGEST_PARAMETER = "onnx_sha256"
EDGE_PARAMETER = "canary_edge_px"
CANARY_EDGE_PX = 16
WARM_UP_EDGE_PX = 256  # fits both families: even, and a multiple of 4
QUEUE_PLACES = 64
"""Requests that may wait at the server; the next one is refused at once, and its sender comes back later."""
QUEUE_TIMEOUT_S = 600

_HEAD = """name: "{name}"
backend: "onnxruntime"
max_batch_size: {batch}
input [ {{ name: "{input}" data_type: TYPE_FP32 dims: [ {frames}, -1, -1 ] }} ]
output [ {{ name: "{output}" data_type: TYPE_FP32 dims: [ {classes}, -1, -1 ] }} ]
version_policy {{ latest {{ num_versions: 1 }} }}
parameters {{ key: "{digest_parameter}" value: {{ string_value: "{digest}" }} }}
parameters {{ key: "{edge_parameter}" value: {{ string_value: "{edge_px}" }} }}
"""

_QUEUE = """  default_queue_policy {{
    timeout_action: REJECT
    default_timeout_microseconds: {timeout_us}
    allow_timeout_override: true
    max_queue_size: {places}
  }}
"""

_CLUSTER = """instance_group [ {{ count: 1 kind: KIND_GPU }} ]
dynamic_batching {{
  max_queue_delay_microseconds: 2000
{queue}}}
{warm_up}optimization {{ execution_accelerators {{ gpu_execution_accelerator : [ {{
  name : "tensorrt"
  parameters {{ key: "precision_mode" value: "FP32" }}
  parameters {{ key: "max_workspace_size_bytes" value: "4294967296" }}
}} ] }} }}
"""

_LOCAL = """instance_group [ {{ count: {instances} kind: KIND_CPU }} ]
dynamic_batching {{
{queue}}}
parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}
"""

_WARM_UP = """model_warmup [ {{
  name: "batch of {batch}"
  batch_size: {batch}
  inputs {{ key: "{input}" value: {{ data_type: TYPE_FP32 dims: [ {frames}, {edge}, {edge} ] random_data: true }} }}
}} ]
"""


@dataclass(frozen=True)
class Signature:
    """What the configuration says of a network: `frames` T at once, `classes`, and the edge of its smallest canary."""

    frames: int = 1
    classes: int = 4
    canary_edge_px: int = CANARY_EDGE_PX


def largest_batch(frames: int) -> int:
    """8 frames for family A. Family B keeps 64 channels a pixel at full resolution, so 2."""
    return 8 if frames == 1 else 2


def cluster_config(
    name: str, onnx_sha256: str, classes: int = 4, frames: int = 1, canary_edge_px: int = CANARY_EDGE_PX
) -> str:
    """config.pbtxt for a GPU server: TensorRT, dynamic batching, warm-up. `frames`: the network's T, 1 for family A."""
    batch = largest_batch(frames)
    warm_up = "".join(
        _WARM_UP.format(batch=size, input=INPUT, frames=frames, edge=WARM_UP_EDGE_PX) for size in (1, batch)
    )
    head = _head(name, onnx_sha256, Signature(frames, classes, canary_edge_px), batch)
    return head + _CLUSTER.format(queue=_queue(), warm_up=warm_up)


def local_config(
    name: str,
    onnx_sha256: str,
    classes: int = 4,
    frames: int = 1,
    canary_edge_px: int = CANARY_EDGE_PX,
    instances: int = 1,
) -> str:
    """configs/local.pbtxt (`--model-config-name=local`): CPU, `instances` of one thread each, one frame a time."""
    head = _head(name, onnx_sha256, Signature(frames, classes, canary_edge_px), 1)
    return head + _LOCAL.format(queue=_queue(), instances=instances)


def pushed_config(
    name: str, onnx_sha256: str, classes: int = 4, frames: int = 1, canary_edge_px: int = CANARY_EDGE_PX
) -> str:
    """The configuration, as JSON, that goes with a model sent to a running server; the server chooses the device."""
    return json.dumps(
        {
            "name": name,
            "backend": "onnxruntime",
            "max_batch_size": 1,
            "input": [{"name": INPUT, "data_type": "TYPE_FP32", "dims": [frames, -1, -1]}],
            "output": [{"name": OUTPUT, "data_type": "TYPE_FP32", "dims": [classes, -1, -1]}],
            "dynamic_batching": {
                "default_queue_policy": {
                    "timeout_action": "REJECT",
                    "default_timeout_microseconds": QUEUE_TIMEOUT_S * 1_000_000,
                    "allow_timeout_override": True,
                    "max_queue_size": QUEUE_PLACES,
                }
            },
            "parameters": {
                DIGEST_PARAMETER: {"string_value": onnx_sha256},
                EDGE_PARAMETER: {"string_value": str(canary_edge_px)},
            },
        }
    )


def _head(name: str, onnx_sha256: str, signature: Signature, batch: int) -> str:
    return _HEAD.format(
        name=name,
        batch=batch,
        input=INPUT,
        output=OUTPUT,
        classes=signature.classes,
        frames=signature.frames,
        digest_parameter=DIGEST_PARAMETER,
        digest=onnx_sha256,
        edge_parameter=EDGE_PARAMETER,
        edge_px=signature.canary_edge_px,
    )


def _queue() -> str:
    return _QUEUE.format(timeout_us=QUEUE_TIMEOUT_S * 1_000_000, places=QUEUE_PLACES)
