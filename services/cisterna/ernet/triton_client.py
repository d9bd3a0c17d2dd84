"""Asks Triton, and brings its models back when their worker died.

Triton says it is ready while a model's worker process is dead, and starts no new one. So health here is a small
inference, and a dead or unknown model is loaded again (the server runs under explicit model control).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from cisterna.rpc import metrics

from .triton_canary import canaries, canary_frames
from .triton_config import CANARY_EDGE_PX, DIGEST_PARAMETER, INPUT, OUTPUT, pushed_config
from .triton_errors import (
    BUSY,
    CURABLE,
    DEAD_WORKER,
    DEADLINE,
    LOST_MEMORY,
    REFUSED,
    UNREACHABLE,
    TritonBusy,
    TritonRefused,
    TritonUnavailable,
    first_line,
    kind,
    told,
)
from .triton_memory import Region, SharedMemory, is_own_host

__all__ = ["Triton", "TritonBusy", "TritonRefused", "TritonUnavailable"]

LIVE_TIMEOUT_S = 2.0
CANARY_TIMEOUT_S = 30.0  # it may stand behind a whole frame
LOAD_TIMEOUT_S = 60.0
LOAD_ROUNDS = 4
LOAD_JITTER_S = 0.5
INFER_TIMEOUT_S = 30.0
INFER_TIMEOUT_S_PER_MEGAPIXEL = 150.0  # the published network takes some 25 s for one on one CPU core
LARGEST_PUSHED_CANARY_PX = 64
log = logging.getLogger("cisterna.ernet")


class Triton:
    """One Triton server, `host:port` of its gRPC endpoint. Safe to use from several threads.

    `memory`: whether frames go through shared memory: `auto` (where the address is this machine's own), `on` (whatever
    the address) or `off`. A canary sent both ways decides whether it works, and again after the server's restart.
    """

    def __init__(self, address: str, memory: str = "auto") -> None:
        self.address = address
        self._client = triton.InferenceServerClient(address)
        self._reload = threading.Lock()
        self._reloads: dict[str, int] = {}  # how often this process has brought a model back
        self._configs: dict[str, tuple[float, Any]] = {}  # model → when it was asked for, its configuration
        self._used: set[str] = set()
        self._sources: dict[str, tuple[str, int, int, Callable[[], bytes]]] = {}
        self._in_flight = 0
        self._counting = threading.Lock()
        self._stalled = False  # a request ran out of time, and none has been answered since
        self._unwell = False
        self._gone = False  # the server was not to be reached
        self._memory_wanted = memory == "on" or (memory == "auto" and is_own_host(address))
        self._memory_probe = threading.Lock()
        self._memory = SharedMemory(self._client)
        self._memory_works: bool | None = None if self._memory_wanted else False

    def close(self) -> None:
        if self._memory_works:
            self._memory.close()
        self._client.close()

    def infer(
        self,
        model: str,
        frames: NDArray[np.float32],
        onnx_sha256: str | None = None,
        onnx: Callable[[], bytes] | None = None,
    ) -> NDArray[np.float32]:
        """(N, T, H, W) float32 → logits (N, 4, H, W).

        `onnx_sha256`: digest of the ONNX file meant; TritonRefused when the server's model of that name is another.
        TritonBusy when its queue is full. A dead worker or a model not loaded is loaded again before TritonUnavailable
        is raised: from the server's repository, or, where that lacks it, from the bytes that `onnx` gives.
        """
        if onnx is not None and onnx_sha256 is not None:
            edge_px = min(LARGEST_PUSHED_CANARY_PX, *frames.shape[2:]) if frames.shape[1] > 1 else CANARY_EDGE_PX
            self._sources[model] = (onnx_sha256, frames.shape[1], edge_px, onnx)
        timeout_s = INFER_TIMEOUT_S + INFER_TIMEOUT_S_PER_MEGAPIXEL * frames.size / 1e6
        for attempt in range(LOAD_ROUNDS):
            seen = self._reloads.get(model, 0)
            try:
                logits = self._infer(model, frames, timeout_s)
                if onnx_sha256 is not None:
                    # Asked after the answer: a server that came back with another repository is found out, too.
                    self._check_digest(model, onnx_sha256, time.monotonic())
                self._used.add(model)
                return logits
            except InferenceServerException as error:
                if kind(error) == REFUSED and onnx_sha256 is not None:
                    with contextlib.suppress(InferenceServerException):  # another model says more than its complaint
                        self._check_digest(model, onnx_sha256, time.monotonic())
                if kind(error) not in CURABLE or attempt + 1 == LOAD_ROUNDS:
                    raise told(error, self.address, model) from error
                log.warning("Triton at %s: %s; loading model %s again", self.address, first_line(error), model)
            self._load_again(model, seen)
        raise AssertionError("the last round answers or raises")

    def healthy(self) -> bool:
        """True when the server answers a small inference with every model used so far (or, at first, that it has).

        A dead worker is brought back on the way. While frames of ours are being computed no canary is queued behind
        them: their own answers or errors tell as much, unless they run out of time.
        """
        try:
            if not self._client.is_server_live(client_timeout=LIVE_TIMEOUT_S):
                return False
            if self._in_flight and not self._stalled:
                return True
            models = self._used or {
                entry.name for entry in self._client.get_model_repository_index(client_timeout=LIVE_TIMEOUT_S).models
            }
            for model in sorted(models):
                seen = self._reloads.get(model, 0)
                wounded = self._wounded(model)
                if wounded is not None:
                    log.warning("Triton at %s: %s; loading model %s again", self.address, first_line(wounded), model)
                    self._load_again(model, seen)
            if self._memory_works:
                self._memory.sweep()
        except (InferenceServerException, TritonUnavailable, TritonRefused) as error:
            if isinstance(error, InferenceServerException):
                self._note(kind(error))
            level = logging.DEBUG if self._unwell else logging.WARNING  # said once, not every two seconds
            log.log(level, "Triton at %s is not healthy: %s", self.address, error)
            self._unwell = True
            return False
        if self._unwell:
            log.info("Triton at %s is healthy again", self.address)
        self._unwell = False
        return True

    def answers(self, timeout_s: float) -> bool:
        """True when every model that is loaded answers a canary in time. Brings nothing back."""
        try:
            index = self._client.get_model_repository_index(client_timeout=timeout_s).models
            for model in sorted({entry.name for entry in index if entry.state == "READY"}):
                self._infer(model, canary_frames(self._config(model)), timeout_s, canary=True)
        except InferenceServerException:
            return False
        return True

    def transport(self) -> str:
        """`shared_memory` or `grpc`: how the next frames go."""
        return "shared_memory" if self._memory_works else "grpc"

    def _infer(
        self, model: str, frames: NDArray[np.float32], timeout_s: float, canary: bool = False
    ) -> NDArray[np.float32]:
        """One request, through shared memory where that works. The server drops it from its queue at the deadline."""
        frames = np.ascontiguousarray(frames, np.float32)
        if self._memory_works is None:
            self._probe_memory(model)
        with self._counted():
            region = None
            begun = time.perf_counter()
            try:
                region = self._region(model, frames) if self._memory_works else None
                if region is None:
                    logits = self._by_message(model, frames, timeout_s)
                else:
                    logits = self._by_memory(model, frames, region, timeout_s)
            except InferenceServerException as error:
                if region is None or kind(error) != LOST_MEMORY:
                    self._note(kind(error))
                    raise
                # The server was restarted, or someone unregistered the region: this frame goes by message.
                self._forget_memory()
                logits = self._by_message(model, frames, timeout_s)
                region = None
            transport = "grpc" if region is None else "shared_memory"
            if not canary:
                metrics.TRITON_SECONDS.labels("ernet", transport).observe(time.perf_counter() - begun)
        self._note("ok")
        return logits

    def _by_message(self, model: str, frames: NDArray[np.float32], timeout_s: float) -> NDArray[np.float32]:
        tensor = triton.InferInput(INPUT, list(frames.shape), "FP32")
        tensor.set_data_from_numpy(frames)
        answer = self._send(model, tensor, triton.InferRequestedOutput(OUTPUT), timeout_s)
        logits: NDArray[np.float32] | None = answer.as_numpy(OUTPUT)
        if logits is None:
            raise TritonUnavailable(f"Triton at {self.address} answered without {OUTPUT} for model {model}")
        return logits

    def _by_memory(
        self, model: str, frames: NDArray[np.float32], region: Region, timeout_s: float
    ) -> NDArray[np.float32]:
        shape = (frames.shape[0], self._classes(model), *frames.shape[2:])
        tensor = triton.InferInput(INPUT, list(frames.shape), "FP32")
        wanted = triton.InferRequestedOutput(OUTPUT)
        tensor.set_shared_memory(region.name, frames.nbytes, 0)
        wanted.set_shared_memory(region.name, 4 * int(np.prod(shape)), frames.nbytes)
        try:
            region.array(frames.shape, 0)[...] = frames
            answer = self._send(model, tensor, wanted, timeout_s).get_output(OUTPUT)
            if answer is None or tuple(answer.shape) != shape:
                raise TritonUnavailable(f"Triton at {self.address} answered without {OUTPUT} {shape} for model {model}")
            logits = region.array(shape, frames.nbytes).copy()
        except BaseException:
            self._memory.retire(region)
            raise
        self._memory.give_back(region)
        return logits

    def _send(self, model: str, tensor: Any, wanted: Any, timeout_s: float) -> Any:
        return self._client.infer(
            model, [tensor], outputs=[wanted], client_timeout=timeout_s, timeout=int(timeout_s * 1e6)
        )

    def _region(self, model: str, frames: NDArray[np.float32]) -> Region | None:
        logits = 4 * frames.shape[0] * self._classes(model) * frames.shape[2] * frames.shape[3]
        try:
            return self._memory.lend(frames.nbytes + logits)
        except (InferenceServerException, OSError) as error:
            log.warning("no shared memory for a frame, sending it by message: %s", error)
            return None

    def _probe_memory(self, model: str) -> None:
        """Whether the server maps our memory and answers the same through it: a canary sent both ways."""
        with self._memory_probe:
            if self._memory_works is not None:
                return
            frames = canary_frames(self._config(model))
            expected = self._by_message(model, frames, CANARY_TIMEOUT_S)
            region = self._region(model, frames)
            works = False
            if region is not None:
                try:
                    works = bool(np.array_equal(expected, self._by_memory(model, frames, region, CANARY_TIMEOUT_S)))
                    self._memory.sweep()
                except InferenceServerException as error:
                    if kind(error) in (*CURABLE, BUSY, DEADLINE, UNREACHABLE):
                        raise  # says nothing about memory: asked again with the next frame
                    log.warning("Triton at %s does not take shared memory: %s", self.address, first_line(error))
            self._memory_works = works
            log.info("frames go to Triton at %s through %s", self.address, self.transport())

    def _forget_memory(self) -> None:
        with self._memory_probe:
            self._memory.forget()
            if self._memory_works:
                metrics.TRITON_RECOVERIES.labels("ernet", "memory").inc()
            self._memory_works = None if self._memory_wanted else False

    def _canary(self, model: str) -> None:
        self._infer(model, canary_frames(self._config(model)), CANARY_TIMEOUT_S, canary=True)

    def _wounded(self, model: str) -> InferenceServerException | None:
        """What loading the model again would cure; None where canaries come back, or stand in a long queue."""

        def ask(_: int) -> InferenceServerException | None:
            try:
                self._canary(model)
            except InferenceServerException as error:
                return error
            return None

        try:
            count = canaries(self._config(model))
        except InferenceServerException as unknown:
            failures = [unknown]
        else:
            with ThreadPoolExecutor(count) as pool:
                failures = [failure for failure in pool.map(ask, range(count)) if failure is not None]
        for failure in failures:
            if kind(failure) in CURABLE:
                return failure
        for failure in failures:
            if kind(failure) != BUSY:
                raise failure
        return None

    def _load_again(self, model: str, seen: int) -> None:
        """`seen`: how often the model had been brought back when the failing request was sent."""
        with self._reload:
            if self._reloads.get(model, 0) != seen:
                return  # another thread of this process was first
            self._configs.pop(model, None)
            failure: InferenceServerException | None = None
            # Other processes use this server too: what one has just loaded another may take away, hence the rounds.
            # A random moment's wait lets one of them go first; the others then find the model back, or being loaded.
            for _ in range(LOAD_ROUNDS):
                time.sleep(random.uniform(0, LOAD_JITTER_S))
                try:
                    failure = self._wounded(model)
                except InferenceServerException as error:
                    raise told(error, self.address, model) from error
                if failure is None:
                    self._reloads[model] = seen + 1
                    return
                try:
                    # Loading a model whose files are unchanged does nothing, dead worker or not: it has to go first.
                    dead = kind(failure) == DEAD_WORKER
                    if dead:
                        self._client.unload_model(model, client_timeout=LOAD_TIMEOUT_S)
                    how = self._load(model)
                    metrics.TRITON_RECOVERIES.labels("ernet", "reloaded" if dead else how).inc()
                except InferenceServerException as error:
                    failure = error
            assert failure is not None
            raise TritonUnavailable(
                f"Triton at {self.address} cannot load model {model}: {first_line(failure)}; "
                "is it in the server's model repository?"
            ) from failure

    def _load(self, model: str) -> str:
        """From the server's repository, `loaded`; else by sending the ONNX file, `sent`."""
        try:
            self._client.load_model(model, client_timeout=LOAD_TIMEOUT_S)
            return "loaded"
        except InferenceServerException as error:
            if model not in self._sources or kind(error) in (UNREACHABLE, DEADLINE):
                raise
            digest, frames, edge_px, onnx = self._sources[model]
            data = onnx()
            if hashlib.sha256(data).hexdigest() != digest:
                raise TritonRefused(f"the ONNX file of model {model} is not the one its model.json names") from error
            log.info("Triton at %s has no model %s in its repository; sending it", self.address, model)
            config = pushed_config(model, digest, frames=frames, canary_edge_px=edge_px)
            self._client.load_model(
                model, config=config, files={"file:1/model.onnx": data}, client_timeout=LOAD_TIMEOUT_S
            )
            return "sent"

    def _config(self, model: str, since: float = 0.0) -> Any:
        """The server's configuration of a model, asked for at `since` (monotonic) or later."""
        asked, config = self._configs.get(model, (-1.0, None))
        if config is None or asked < since:
            asked = time.monotonic()
            config = self._client.get_model_config(model, client_timeout=CANARY_TIMEOUT_S).config
            self._configs[model] = (asked, config)
        return config

    def _classes(self, model: str) -> int:
        return int(self._config(model).output[0].dims[0])

    def _check_digest(self, model: str, onnx_sha256: str, since: float) -> None:
        found = self._config(model, since).parameters[DIGEST_PARAMETER].string_value
        if found != onnx_sha256:
            self._configs.pop(model, None)
            raise TritonRefused(
                f"Triton at {self.address} serves another model named {model} "
                f"(ONNX sha256 {found[:12] or 'unknown'}…, wanted {onnx_sha256[:12]}…); rebuild its model repository"
            )

    def _note(self, outcome: str) -> None:
        """Counts an answer and learns from it how the server is."""
        metrics.TRITON_ANSWERS.labels("ernet", outcome).inc()
        if outcome == "ok":
            self._stalled = False
            if self._gone:
                self._gone = False
                metrics.TRITON_RECOVERIES.labels("ernet", "reconnected").inc()
                log.info("Triton at %s is back", self.address)
        elif outcome == DEADLINE:
            self._stalled = True
        elif outcome == UNREACHABLE and not self._gone:
            self._gone = True
            self._configs.clear()  # it may come back with another repository
            self._forget_memory()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts a request while it is at the server."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._counting:
            self._in_flight += change
            metrics.TRITON_IN_FLIGHT.labels("ernet").set(self._in_flight)
