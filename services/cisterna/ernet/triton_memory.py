"""Frames and logits of one host through shared memory instead of through gRPC messages.

A region is a file in /dev/shm that both processes map. Its name is removed as soon as Triton has mapped it, so a
kill -9 of either leaves nothing there: the memory goes with the last process that maps it. What Triton still maps for
a dead service is given back by any living one (`sweep`): the name says whose it was.
"""

from __future__ import annotations

import itertools
import logging
import mmap
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

log = logging.getLogger("cisterna.ernet")

FOLDER = Path("/dev/shm")
PREFIX = "cisterna-ernet"
SMALLEST_BYTES = 1 << 20
TIMEOUT_S = 5.0
CLOSING_S = 1.0


@dataclass(eq=False)
class Region:
    """Memory that Triton maps under the same name: the input from byte 0 on, the output after it."""

    name: str
    bytes: mmap.mmap

    def array(self, shape: tuple[int, ...], offset: int) -> NDArray[np.float32]:
        count = int(np.prod(shape))
        return np.frombuffer(self.bytes, np.float32, count, offset).reshape(shape)


class SharedMemory:
    """The regions of one process at one Triton server. Safe to use from several threads.

    `lend` gives a region for one request. One that came through well is handed back with `give_back`; after a failed
    request Triton may still write into it, so it goes to `retire` and is never used again.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._free: list[Region] = []
        self._retired: list[str] = []
        self._numbers = itertools.count()

    def lend(self, size: int) -> Region:
        """A region of at least `size` bytes. Raises InferenceServerException or OSError where none can be had."""
        with self._lock:
            self._free.sort(key=lambda region: len(region.bytes))
            for region in self._free:
                if len(region.bytes) >= size:
                    self._free.remove(region)
                    return region
            outgrown = self._free.pop() if self._free else None  # or regions of every size would stay
        if outgrown is not None:
            self.retire(outgrown)
        return self._make(max(SMALLEST_BYTES, 1 << (size - 1).bit_length()))

    def give_back(self, region: Region) -> None:
        with self._lock:
            self._free.append(region)

    def retire(self, region: Region) -> None:
        """Gives a region up; Triton refuses while a request still uses it, and is asked again by `sweep`."""
        with self._lock:
            self._retired.append(region.name)
        self._unregister_retired()

    def forget(self) -> None:
        """Drops all regions without asking the server: it has been restarted and knows none of them."""
        with self._lock:
            self._free.clear()
            self._retired.clear()

    def close(self) -> None:
        """Gives all regions up. Triton holds one for a moment after its answer, so it is asked for a while."""
        with self._lock:
            self._retired += [region.name for region in self._free]
            self._free.clear()
        until = time.monotonic() + CLOSING_S
        while True:
            self._unregister_retired()
            if not self._retired or time.monotonic() > until:
                return
            time.sleep(0.02)

    def sweep(self) -> None:
        """Unregisters what is no longer used: own retired regions, and those of processes of this host that died."""
        self._unregister_retired()
        status = self._client.get_system_shared_memory_status(client_timeout=TIMEOUT_S)
        for name in status.regions:
            if orphaned(name):
                log.info("giving back shared memory %s of a service that died", name)
                self._unregister(name)
        for path in FOLDER.glob(f"{PREFIX}.*"):  # killed between making and registering
            if orphaned(path.name):
                path.unlink(missing_ok=True)

    def _make(self, size: int) -> Region:
        name = f"{PREFIX}.{namespace()}.{os.getpid()}.{started(os.getpid())}.{id(self):x}-{next(self._numbers)}"
        path = FOLDER / name
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            # Where /dev/shm is too small this says so; with ftruncate alone the first write would end the process.
            os.posix_fallocate(descriptor, 0, size)
            mapped = mmap.mmap(descriptor, size)
            self._client.register_system_shared_memory(name, f"/{name}", size, client_timeout=TIMEOUT_S)
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)
        return Region(name, mapped)

    def _unregister_retired(self) -> None:
        with self._lock:
            names, self._retired = self._retired, []
        kept = [name for name in names if not self._unregister(name)]
        with self._lock:
            self._retired += kept

    def _unregister(self, name: str) -> bool:
        """False where it has to be tried again: a request still uses the region, or the server does not answer."""
        try:
            self._client.unregister_system_shared_memory(name, client_timeout=TIMEOUT_S)
        except InferenceServerException as error:
            log.debug("Triton keeps shared memory %s for now: %s", name, error)
            return False
        return True


def orphaned(name: str) -> bool:
    """True for a region of ours whose process, of this pid namespace, is gone (or its pid is another process's now)."""
    parts = name.split(".")
    if len(parts) != 5 or parts[0] != PREFIX or parts[1] != namespace() or not parts[2].isdigit():
        return False
    return started(int(parts[2])) != parts[3]


def namespace() -> str:
    """Number of this process's pid namespace: pids of another one say nothing here."""
    return str(os.stat("/proc/self/ns/pid").st_ino)


def started(pid: int) -> str:
    """When a process was started, in clock ticks since boot; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""


def is_own_host(address: str) -> bool:
    host = address.rsplit(":", 1)[0].strip("[]").lower()
    return host == "localhost" or host == "::1" or host.startswith("127.")


def memory_setting() -> str:
    """`CISTERNA_TRITON_SHARED_MEMORY`: auto, on or off."""
    value = os.environ.get("CISTERNA_TRITON_SHARED_MEMORY", "auto")
    if value not in ("auto", "on", "off"):
        raise SystemExit(f"ernet: CISTERNA_TRITON_SHARED_MEMORY is {value!r}; set auto, on or off")
    return value
