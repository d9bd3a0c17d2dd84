"""Frames traced side by side, in as many processes as a worker may use cores.

Tables are built under the interpreter's lock, so threads would share one core; a frame and its rows are small beside
the work, so processes share nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from cisterna.graph.frames import FrameTables, trace_frame


class SideBySide:
    """Calls of `trace_frame` on up to `processes` cores; with one, in the caller's own process.

    The processes are started by the first call and kept, and threads may share them. They end with their parent, also
    when it is killed.
    """

    def __init__(self, processes: int) -> None:
        if processes < 1:
            raise ValueError(f"{processes} processes: give 1 or more")
        self.processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self._starting = threading.Lock()

    def traced(self, calls: Sequence[tuple[Any, ...]]) -> list[FrameTables]:
        """The tables of every call, in order. A call is the arguments of `trace_frame`, positional."""
        if self.processes == 1:
            return [_tables(call) for call in calls]
        pool = self._started()
        try:
            return list(pool.map(_tables, calls))
        except BrokenProcessPool:
            # One of them was killed, for memory say. Fresh ones try once more; what kills twice is its own fault.
            with self._starting:
                if self._pool is pool:
                    self._pool = None
            return list(self._started().map(_tables, calls))

    def _started(self) -> ProcessPoolExecutor:
        with self._starting:
            if self._pool is None:
                # Not forked: the caller may be a server with threads.
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(self.processes, mp_context=context, initializer=_end_with_parent)
            return self._pool

    def close(self) -> None:
        """Ends the processes."""
        with self._starting:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def _tables(call: tuple[Any, ...]) -> FrameTables:
    return trace_frame(*call)[1]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    _when(parent.join, lambda: os._exit(1))


def _when(done: Callable[[], None], then: Callable[[], None]) -> None:
    def wait() -> None:
        done()
        then()

    threading.Thread(target=wait, daemon=True).start()
