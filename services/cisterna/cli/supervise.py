"""The supervisor of the one-machine stack: ``python -m cisterna.cli.supervise HOME/stack``.

Starts every process of stack.json in a process group of its own, restarts what ends (with a growing pause) and a
Triton that hangs, and stops all by group. state.json says what it sees.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cisterna.cli.triton_watch import STUCK_S, TritonWatch

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""A process that ran this long starts again with the first pause."""
GRACE_S = 20.0
TICK_S = 0.2

_PR_SET_PDEATHSIG = 1


@dataclass
class _Child:
    name: str
    argv: list[str]
    env: dict[str, str]
    log: Path
    memory: str = ""
    """Prefix of what it keeps in /dev/shm; after a kill -9 that would stay."""
    watch: TritonWatch | None = None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    start_at: float = 0.0
    restarts: int = 0
    last_exit: int | None = None
    history: list[int] = field(default_factory=list)

    def start(self) -> None:
        remove_memory(self.memory)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.argv,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self.started = time.monotonic()

    def look(self) -> bool:
        """Restarts the process where it has ended; True where something changed."""
        now = time.monotonic()
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                if self.watch is None:
                    return False
                for forgotten in self.watch.forgotten(self.process.pid):
                    print(f"{self.name}: ending worker {forgotten}, which a younger one has replaced", flush=True)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(forgotten, signal.SIGKILL)
                if not self.watch.stuck(self.process.pid):
                    return False
                print(f"{self.name} hangs: no answer and no work for {STUCK_S:.0f} s; starting it again", flush=True)
                kill_group(self.process.pid, signal.SIGKILL)
                code = self.process.wait()
            kill_group(self.process.pid, signal.SIGKILL)  # what it left behind in its group
            self.last_exit, self.process = code, None
            self.pause_s = FIRST_PAUSE_S if now - self.started > STEADY_S else min(LONGEST_PAUSE_S, self.pause_s * 2)
            self.start_at = now + self.pause_s
            self.restarts += 1
            return True
        if now >= self.start_at:
            self.start()
            return True
        return False


def remove_memory(prefix: str) -> None:
    """Removes what ended processes left in /dev/shm under a prefix of theirs alone; nothing for an empty one."""
    for path in Path("/dev/shm").glob(f"{prefix}*") if prefix else ():
        path.unlink(missing_ok=True)


def kill_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _die_with_parent() -> None:
    # A supervisor that is killed takes its processes along: none is left holding ports.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> int:
    stack = Path(sys.argv[1])
    spec: dict[str, Any] = json.loads((stack / "stack.json").read_text())
    (stack / "logs").mkdir(parents=True, exist_ok=True)
    children = [
        _Child(
            p["name"],
            p["argv"],
            {**os.environ, **p["env"]},
            stack / "logs" / f"{p['name']}.log",
            p.get("memory", ""),
            TritonWatch(p["grpc"]) if p["service"] == "triton" else None,
        )
        for p in spec["processes"]
    ]
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _: stopping.append(n))
    _write_state(stack, children)
    while not stopping:
        if any(c.look() for c in children):
            _write_state(stack, children)
        time.sleep(TICK_S)
    _stop(children)
    (stack / "state.json").unlink(missing_ok=True)
    return 0


def _stop(children: list[_Child]) -> None:
    alive = [c.process for c in children if c.process is not None]
    for p in alive:
        kill_group(p.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    for p in alive:
        try:
            p.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue
    for p in alive:
        kill_group(p.pid, signal.SIGKILL)
        p.wait()
    for c in children:
        remove_memory(c.memory)


def _write_state(stack: Path, children: list[_Child]) -> None:
    state = {
        "supervisor": os.getpid(),
        "processes": {
            c.name: {
                "pid": c.process.pid if c.process else None,
                "restarts": c.restarts,
                "last_exit": c.last_exit,
                "log": str(c.log),
            }
            for c in children
        },
    }
    fresh = stack / "state.json.new"
    fresh.write_text(json.dumps(state, indent=1))
    fresh.replace(stack / "state.json")


if __name__ == "__main__":
    raise SystemExit(main())
