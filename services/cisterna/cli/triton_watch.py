"""What only the machine's own supervisor can see of its Triton: that it hangs, and what it has forgotten.

A server that has ended is started again anyway; one that hangs would stay so for ever. And where one of a model's
workers died, unloading the model leaves its other workers behind: nobody sends them frames again, nobody ends them.
"""

from __future__ import annotations

import threading
import time

ASK_S = 5.0
STUCK_S = 60.0
LEFT_S = 15.0
IDLE_SHARE = 0.02
"""Of one core, over the whole time without an answer. A server behind on work uses a core: that is no hanging."""


class TritonWatch:
    """Asks one server, `host:port` of its gRPC endpoint, from a thread of its own; `stuck(pid)` is the verdict."""

    def __init__(self, address: str, stuck_s: float = STUCK_S, ask_s: float = ASK_S) -> None:
        self.address = address
        self._stuck_s, self._ask_s = stuck_s, ask_s
        self._answered = time.monotonic()
        self._since = 0.0
        self._mark: tuple[int, float, float] | None = None  # pid, its last answer, its processor time at `_since`
        self._looked = 0.0
        self._superseded: dict[int, float] = {}  # pid → its processor time when looked at last
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="triton-watch", daemon=True)
        self._thread.start()

    def stuck(self, pid: int) -> bool:
        """Whether the server of this pid has neither answered nor computed for the whole time allowed."""
        answered = self._answered
        if self._mark is None or self._mark[:2] != (pid, answered):
            self._mark = (pid, answered, processor_s(pid))
            self._since = time.monotonic()
            return False
        waited = time.monotonic() - self._since
        if waited < self._stuck_s:
            return False
        idle = processor_s(pid) - self._mark[2] < IDLE_SHARE * waited
        self._mark = None  # where it computes, a new span begins
        return idle

    def forgotten(self, pid: int, left_s: float = LEFT_S) -> list[int]:
        """Workers of the server of this pid that newer ones have replaced, and that have done nothing for `left_s`."""
        if time.monotonic() - self._looked < left_s:
            return []
        self._looked = time.monotonic()
        before, self._superseded = self._superseded, {}
        for older in superseded(pid):
            self._superseded[older] = processor_s(older)
        return [each for each, used in self._superseded.items() if used - before.get(each, -1.0) < IDLE_SHARE * left_s]

    def stop(self) -> None:
        self._ending.set()

    def _ask(self) -> None:
        from cisterna.ernet.triton_client import Triton

        triton = Triton(self.address, memory="off")
        while not self._ending.wait(self._ask_s):
            if triton.answers(self._ask_s):
                self._answered = time.monotonic()
        triton.close()


def processor_s(pid: int) -> float:
    """Processor time that a process and its children have used, in seconds; 0 where it is gone."""
    import psutil

    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        return float(sum(sum(p.cpu_times()[:2]) for p in processes))
    except psutil.Error:
        return 0.0


def superseded(pid: int) -> list[int]:
    """Worker processes of a server of which there is a younger one for the same instance of the same model."""
    import psutil

    youngest: dict[tuple[str, str], psutil.Process] = {}
    older = []
    try:
        workers = psutil.Process(pid).children()
    except psutil.Error:
        return []
    for worker in workers:
        try:
            command = (
                worker.cmdline()
            )  # …/triton_python_backend_stub MODEL REGION … PYTHON_BACKEND 336 INSTANCE BACKEND
            if len(command) < 9 or not command[0].endswith("triton_python_backend_stub"):
                continue
            instance = (command[1], command[8])
            other = youngest.get(instance)
            if other is None:
                youngest[instance] = worker
            elif worker.create_time() > other.create_time():
                youngest[instance] = worker
                older.append(other.pid)
            else:
                older.append(worker.pid)
        except psutil.Error:
            continue
    return older
