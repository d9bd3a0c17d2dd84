"""Triton's model configuration (config.pbtxt) of an ERnet: one for the cluster, one for a machine without a GPU.

Both name the `onnxruntime` backend and the same `1/model.onnx`. The cluster's adds the TensorRT accelerator and
dynamic batching. The local one takes one frame a time: the batch size moves logits by some 5e-7, and a stage must be
byte-identical however its frames arrived.
"""

from __future__ import annotations

import json

INPUT = "frames"  # FP32 (N, T, H, W) in [0, 1]; T frames, H and W as the network takes them
OUTPUT = "logits"  # FP32 (N, 4, H, W)
DIGEST_PARAMETER = "onnx_sha256"
LARGEST_BATCH = 8

_HEAD = """name: "{name}"
backend: "onnxruntime"
max_batch_size: {batch}
input [ {{ name: "{input}" data_type: TYPE_FP32 dims: [ {frames}, -1, -1 ] }} ]
output [ {{ name: "{output}" data_type: TYPE_FP32 dims: [ {classes}, -1, -1 ] }} ]
parameters {{ key: "{parameter}" value: {{ string_value: "{digest}" }} }}
"""

_CLUSTER = """instance_group [ { count: 1 kind: KIND_GPU } ]
dynamic_batching { max_queue_delay_microseconds: 2000 }
optimization { execution_accelerators { gpu_execution_accelerator : [ {
  name : "tensorrt"
  parameters { key: "precision_mode" value: "FP32" }
  parameters { key: "max_workspace_size_bytes" value: "4294967296" }
} ] } }
"""

_LOCAL = """instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""


def cluster_config(name: str, onnx_sha256: str, classes: int = 4, frames: int = 1) -> str:
    """config.pbtxt for a GPU server: TensorRT, dynamic batching. `frames`: the network's T, 1 for family A."""
    return _head(name, onnx_sha256, classes, frames, LARGEST_BATCH) + _CLUSTER


def local_config(name: str, onnx_sha256: str, classes: int = 4, frames: int = 1) -> str:
    """configs/local.pbtxt (`--model-config-name=local`): CPU, one thread, one frame a time."""
    return _head(name, onnx_sha256, classes, frames, 1) + _LOCAL


def pushed_config(name: str, onnx_sha256: str, classes: int = 4, frames: int = 1) -> str:
    """The configuration, as JSON, that goes with a model sent to a running server; the server chooses the device."""
    return json.dumps(
        {
            "name": name,
            "backend": "onnxruntime",
            "max_batch_size": 1,
            "input": [{"name": INPUT, "data_type": "TYPE_FP32", "dims": [frames, -1, -1]}],
            "output": [{"name": OUTPUT, "data_type": "TYPE_FP32", "dims": [classes, -1, -1]}],
            "parameters": {DIGEST_PARAMETER: {"string_value": onnx_sha256}},
        }
    )


def _head(name: str, onnx_sha256: str, classes: int, frames: int, batch: int) -> str:
    return _HEAD.format(
        name=name,
        batch=batch,
        input=INPUT,
        output=OUTPUT,
        classes=classes,
        frames=frames,
        parameter=DIGEST_PARAMETER,
        digest=onnx_sha256,
    )
