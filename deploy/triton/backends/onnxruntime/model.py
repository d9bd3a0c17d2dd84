"""Serves `model.onnx` through Triton's Python backend, under the name of Triton's own `onnxruntime` backend.

A GPU cluster's server brings that backend in C++; here this file stands in for it (Triton calls it a python-based
backend), so that one model repository serves both. Differences: no accelerator block, CPU only.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        if int(np.__version__.split(".")[0]) >= 2:
            # With numpy 2 this backend silently answers zeros: refuse to load instead.
            raise RuntimeError(
                f"numpy {np.__version__} in Triton's Python; it needs numpy < 2: run the installer again"
            )
        config = json.loads(args["model_config"])
        file = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / file
        options = onnxruntime.SessionOptions()
        threads = config.get("parameters", {}).get("intra_op_thread_count", {}).get("string_value", "1")
        options.intra_op_num_threads = int(threads)
        options.inter_op_num_threads = 1
        self.batched = config["max_batch_size"] > 1
        self.inputs = [entry["name"] for entry in config["input"]]
        self.outputs = [entry["name"] for entry in config["output"]]
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        """One response a request, in order. Requests of one shape run as one batch where batching is on."""
        responses = [None] * len(requests)
        for places in self.groups(requests):
            try:
                feeds = [self.feed(requests[place]) for place in places]
                joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in self.inputs}
                results = self.session.run(self.outputs, joined)
            except Exception as error:
                for place in places:
                    responses[place] = pb_utils.InferenceResponse(error=pb_utils.TritonError(f"onnxruntime: {error}"))
                continue
            start = 0
            for place, feed in zip(places, feeds, strict=True):
                end = start + len(feed[self.inputs[0]])
                parts = [np.ascontiguousarray(result[start:end]) for result in results]
                tensors = [pb_utils.Tensor(name, part) for name, part in zip(self.outputs, parts, strict=True)]
                responses[place] = pb_utils.InferenceResponse(output_tensors=tensors)
                start = end
        return responses

    def groups(self, requests):
        if not self.batched:
            return [[place] for place in range(len(requests))]
        by_shape = {}
        for place, request in enumerate(requests):
            tensors = [pb_utils.get_input_tensor_by_name(request, name) for name in self.inputs]
            by_shape.setdefault(tuple(tuple(tensor.shape())[1:] for tensor in tensors), []).append(place)
        return list(by_shape.values())

    def feed(self, request):
        return {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
