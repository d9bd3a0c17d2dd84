"""Asks Triton, and brings its models back when their worker died.

Triton says it is ready while a model's worker process is dead, and starts no new one. So health here is a small
inference, and a dead or unknown model is loaded again (the server runs under explicit model control).
"""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from .triton_config import DIGEST_PARAMETER, INPUT, OUTPUT, pushed_config

LIVE_TIMEOUT_S = 2.0
CANARY_TIMEOUT_S = 30.0  # it may stand behind a whole frame
LOAD_TIMEOUT_S = 60.0
LOAD_ROUNDS = 4
LOAD_JITTER_S = 0.5
INFER_TIMEOUT_S = 30.0
INFER_TIMEOUT_S_PER_MEGAPIXEL = 150.0  # the full network takes about 50 s for one on one CPU core
CANARY_EDGE_PX = 16

log = logging.getLogger("cisterna.ernet")


class TritonUnavailable(RuntimeError):
    """Triton does not answer, or its model could not be brought back. Trying later can help."""


class TritonRefused(ValueError):
    """Triton holds another model than the one asked for, or does not accept this request. Trying later won't help."""


class Triton:
    """One Triton server, `host:port` of its gRPC endpoint. Safe to use from several threads."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._client = triton.InferenceServerClient(address)
        self._reload = threading.Lock()
        self._checked: dict[str, str] = {}  # model → digest of its ONNX as the server's configuration names it
        self._used: set[str] = set()
        self._sources: dict[str, tuple[str, Callable[[], bytes]]] = {}
        self._in_flight = 0

    def close(self) -> None:
        self._client.close()

    def infer(
        self,
        model: str,
        frames: NDArray[np.float32],
        onnx_sha256: str | None = None,
        onnx: Callable[[], bytes] | None = None,
    ) -> NDArray[np.float32]:
        """(N, 1, H, W) float32 → logits (N, 4, H, W).

        `onnx_sha256`: digest of the ONNX file meant; TritonRefused when the server's model of that name is another.
        A dead worker or a model not loaded is loaded again before TritonUnavailable is raised: from the server's
        repository, or, where that has no such model, from the bytes that `onnx` gives (both digests must agree).
        """
        self._used.add(model)
        if onnx is not None and onnx_sha256 is not None:
            self._sources[model] = (onnx_sha256, onnx)
        timeout_s = INFER_TIMEOUT_S + INFER_TIMEOUT_S_PER_MEGAPIXEL * frames.size / 1e6
        for attempt in range(LOAD_ROUNDS):
            try:
                if onnx_sha256 is not None:
                    self._check_digest(model, onnx_sha256)
                return self._infer(model, frames, timeout_s)
            except InferenceServerException as error:
                if not curable(error) or attempt + 1 == LOAD_ROUNDS:
                    self._checked.pop(model, None)  # the server may come back with another repository
                    raise told(error, self.address, model) from error
                log.warning("Triton at %s: %s; loading model %s again", self.address, first_line(error), model)
            self._load_again(model)
        raise AssertionError("the last round answers or raises")

    def healthy(self) -> bool:
        """True when the server answers a small inference with every model used so far (or, at first, that it has).

        A dead worker is brought back on the way, so an idle service heals too. While a frame of ours is being computed
        no canary is queued behind it: that frame's own answer or error tells as much.
        """
        try:
            if not self._client.is_server_live(client_timeout=LIVE_TIMEOUT_S):
                return False
            if self._in_flight:
                return True
            models = self._used or {
                entry.name for entry in self._client.get_model_repository_index(client_timeout=LIVE_TIMEOUT_S).models
            }
            for model in sorted(models):
                self._canary_or_load(model)
        except (InferenceServerException, TritonUnavailable, TritonRefused) as error:
            log.warning("Triton at %s is not healthy: %s", self.address, error)
            return False
        return True

    def _infer(self, model: str, frames: NDArray[np.float32], timeout_s: float) -> NDArray[np.float32]:
        tensor = triton.InferInput(INPUT, list(frames.shape), "FP32")
        tensor.set_data_from_numpy(np.ascontiguousarray(frames, np.float32))
        wanted = [triton.InferRequestedOutput(OUTPUT)]
        self._in_flight += 1
        try:
            answer = self._client.infer(model, [tensor], outputs=wanted, client_timeout=timeout_s)
        finally:
            self._in_flight -= 1
        logits: NDArray[np.float32] | None = answer.as_numpy(OUTPUT)
        if logits is None:
            raise TritonUnavailable(f"Triton at {self.address} answered without {OUTPUT} for model {model}")
        return logits

    def _canary(self, model: str) -> None:
        self._infer(model, np.zeros((1, 1, CANARY_EDGE_PX, CANARY_EDGE_PX), np.float32), CANARY_TIMEOUT_S)

    def _canary_or_load(self, model: str) -> None:
        try:
            self._canary(model)
        except InferenceServerException as error:
            if not curable(error):
                raise
            self._load_again(model)

    def _load_again(self, model: str) -> None:
        with self._reload:
            self._checked.pop(model, None)
            failure: InferenceServerException | None = None
            # Other processes use this server too: what one has just loaded another may take away, hence the rounds.
            # A random moment's wait lets one of them go first; the others then find the model back, or being loaded.
            for _ in range(LOAD_ROUNDS):
                time.sleep(random.uniform(0, LOAD_JITTER_S))
                try:
                    self._canary(model)
                    return
                except InferenceServerException as error:
                    if not curable(error):
                        raise told(error, self.address, model) from error
                    failure = error
                try:
                    # Loading a model whose files are unchanged does nothing, dead worker or not: it has to go first.
                    if dead_worker(failure):
                        self._client.unload_model(model, client_timeout=LOAD_TIMEOUT_S)
                    self._load(model)
                except InferenceServerException as error:
                    failure = error
            assert failure is not None
            raise TritonUnavailable(
                f"Triton at {self.address} cannot load model {model}: {first_line(failure)}; "
                "is it in the server's model repository?"
            ) from failure

    def _load(self, model: str) -> None:
        """From the server's repository, else by sending the ONNX file."""
        try:
            self._client.load_model(model, client_timeout=LOAD_TIMEOUT_S)
        except InferenceServerException as error:
            if model not in self._sources or unreachable(error):
                raise
            digest, onnx = self._sources[model]
            data = onnx()
            if hashlib.sha256(data).hexdigest() != digest:
                raise TritonRefused(f"the ONNX file of model {model} is not the one its model.json names") from error
            log.info("Triton at %s has no model %s in its repository; sending it", self.address, model)
            config = pushed_config(model, digest)
            self._client.load_model(
                model, config=config, files={"file:1/model.onnx": data}, client_timeout=LOAD_TIMEOUT_S
            )

    def _check_digest(self, model: str, onnx_sha256: str) -> None:
        if model not in self._checked:
            config = self._client.get_model_config(model, client_timeout=CANARY_TIMEOUT_S).config
            self._checked[model] = config.parameters[DIGEST_PARAMETER].string_value
        if self._checked[model] != onnx_sha256:
            found = self._checked.pop(model)
            raise TritonRefused(
                f"Triton at {self.address} serves another model named {model} "
                f"(ONNX sha256 {found[:12] or 'unknown'}…, wanted {onnx_sha256[:12]}…); rebuild its model repository"
            )


def curable(error: InferenceServerException) -> bool:
    """True where loading the model again is the cure: its worker died, or it is not loaded."""
    message = str(error.message() or "").lower()
    return (
        dead_worker(error)
        or "unknown model" in message
        or "is not ready" in message
        or "no available versions" in message
    )


def unreachable(error: InferenceServerException) -> bool:
    return any(code in str(error.status() or "") for code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"))


def dead_worker(error: InferenceServerException) -> bool:
    message = str(error.message() or "").lower()
    return "stub process" in message and "not healthy" in message


def told(error: InferenceServerException, address: str, model: str) -> TritonUnavailable | TritonRefused:
    status: Any = str(error.status() or "")
    if "INVALID_ARGUMENT" in status:
        return TritonRefused(f"Triton at {address} refuses this request to {model}: {first_line(error)}")
    return TritonUnavailable(f"Triton at {address} did not compute model {model} ({status}): {first_line(error)}")


def first_line(error: InferenceServerException) -> str:
    lines = str(error.message() or "no message").strip().splitlines()
    return lines[0][:200] if lines else "no message"
