"""The one thread that owns the device, or the few that hand work to processes of their own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class DeviceThread:
    """Runs computations one at a time, in order, on one thread.

    Torch and CUDA contexts stay on that thread, while the RPC threads read the next block and write the last one. A
    service without a device may have several such threads: then that many computations run at a time.
    """

    def __init__(self, name: str = "device", threads: int = 1) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[[], object], Future[object]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def call(self, compute: Callable[[], T]) -> T:
        """Runs ``compute`` on the device thread and returns its result or raises its exception."""
        future: Future[object] = Future()
        self._queue.put((compute, future))
        return future.result()  # type: ignore[return-value]

    def stop(self) -> None:
        """Ends the threads after the work that is queued."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            compute, future = item
            try:
                future.set_result(compute())
            except BaseException as e:
                future.set_exception(e)
