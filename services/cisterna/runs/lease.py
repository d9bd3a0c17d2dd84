"""One driver a run: numbered leases in the store, each with a heartbeat.

A lease is taken by create-if-absent on the next number, so two drivers cannot both hold one. A holder that finds a
higher number stops at once: it has been superseded.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cisterna.store import ObjectMissing, ObjectStore, StoreUnavailable
from cisterna.store.objects import json_bytes

EXPIRES_S = 20.0
"""A lease whose heartbeat is older may be taken over."""

BEAT_S = 3.0


class LeaseHeld(Exception):
    """Another driver is at work on the run."""


class LeaseLost(Exception):
    """Another driver has taken the run over."""


@dataclass(frozen=True)
class Lease:
    store: ObjectStore
    run_id: str
    number: int

    @property
    def _beat(self) -> str:
        return f"runs/{self.run_id}/leases/{self.number:06d}.beat.json"

    def beat(self) -> None:
        """Renews the heartbeat; raises LeaseLost where a higher lease exists."""
        if latest_number(self.store, self.run_id) > self.number:
            raise LeaseLost(f"another driver has taken run {self.run_id} over")
        self.store.put(self._beat, json_bytes({"time": time.time(), "released": False}))

    @contextmanager
    def kept(self) -> Iterator[threading.Event]:
        """Renews the heartbeat beside the work; the event is set once another driver has taken over."""
        lost, ended = threading.Event(), threading.Event()

        def keep() -> None:
            while not ended.wait(BEAT_S) and not lost.is_set():
                try:
                    self.beat()
                except LeaseLost:
                    lost.set()
                except StoreUnavailable:
                    continue

        thread = threading.Thread(target=keep, name="lease", daemon=True)
        thread.start()
        try:
            yield lost
        finally:
            ended.set()
            thread.join()

    def release(self) -> None:
        """Says that the driver has ended, so that the next need not wait for the heartbeat to expire."""
        self.store.put(self._beat, json_bytes({"time": time.time(), "released": True}))


def acquire(store: ObjectStore, run_id: str) -> Lease:
    """Takes the run's next lease; raises LeaseHeld while another driver lives."""
    number = latest_number(store, run_id)
    if number and alive(store, run_id, number):
        raise LeaseHeld(f"run {run_id} has a driver at work; `cisterna wait {run_id}` follows it")
    lease = Lease(store, run_id, number + 1)
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "start": _start_of(os.getpid()), "time": time.time()}
    if not store.put_new(_lease_path(run_id, lease.number), json_bytes(holder)):
        raise LeaseHeld(f"run {run_id} was taken by another driver just now")
    lease.beat()
    return lease


def driver_alive(store: ObjectStore, run_id: str) -> bool:
    """True while some driver holds the run."""
    number = latest_number(store, run_id)
    return bool(number) and alive(store, run_id, number)


def latest_number(store: ObjectStore, run_id: str) -> int:
    names = store.list(f"runs/{run_id}/leases")
    return max((int(n.rsplit("/", 1)[1].split(".")[0]) for n in names), default=0)


def alive(store: ObjectStore, run_id: str, number: int) -> bool:
    """Whether the holder of a lease lives: by its process on this host, by its heartbeat on another."""
    try:
        holder = store.get_json(_lease_path(run_id, number))
    except ObjectMissing:
        return False
    try:
        beat = store.get_json(f"runs/{run_id}/leases/{number:06d}.beat.json")
    except ObjectMissing:
        beat = {"time": holder["time"], "released": False}
    if beat["released"]:
        return False
    if holder["host"] == socket.gethostname() and _start_of(holder["pid"]) != holder["start"]:
        return False
    return bool(time.time() - beat["time"] < EXPIRES_S)


def _lease_path(run_id: str, number: int) -> str:
    return f"runs/{run_id}/leases/{number:06d}.json"


def _start_of(pid: int) -> int:
    """Start time of a living process in clock ticks, else 0: tells a process from a later one of its number.

    A process that has ended but was not waited for yet (a zombie) does not live.
    """
    try:
        with open(f"/proc/{pid}/stat") as f:
            state, *fields = f.read().rsplit(")", 1)[1].split()
        return 0 if state in "ZX" else int(fields[18])
    except (OSError, IndexError, ValueError):
        return 0
