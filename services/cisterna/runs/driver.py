"""The driver: keeps every service busy with the blocks that can run, until all have receipts.

It holds nothing that is not in the store: kill it anywhere, start it anywhere, and it lists once and goes on.
"""

from __future__ import annotations

import calendar
import logging
import queue
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from cisterna.rpc.client import Addresses, ServiceClient
from cisterna.rpc.errors import Failure, failure_of
from cisterna.rpc.retry import MAX_TRIES, MAX_TRIES_ONE_WORKER, MIN_WORKERS, Then, rule_for
from cisterna.runs import record
from cisterna.runs.lease import LeaseLost, acquire
from cisterna.runs.metrics import BACKLOG, QUARANTINED, RETRIES
from cisterna.runs.plan import Plan
from cisterna.runs.stages import Stage
from cisterna.store import ObjectStore, StoreUnavailable
from cisterna.store.arrays import create_image
from cisterna.store.objects import json_bytes
from cisterna.store.receipts import finished_blocks, read_receipt
from cisterna.v1.common_pb2 import Outcome

log = logging.getLogger("cisterna.driver")

FIRST_WINDOW = 4
LARGEST_WINDOW = 256
STRAGGLER_FACTOR = 6.0
STRAGGLER_LEAST_S = 120.0
WRITE_PROGRESS_S = 3.0
UNREACHABLE_S = 120.0
"""So long a store may stay away before the driver gives up with exit code 5."""

Task = tuple[str, int]


class RunStopped(Exception):
    """A failure that no retry of a block can mend; the sentence says what to do."""


@dataclass
class _Window:
    """How many calls a service takes at a time: grows with every success, halves when it says BUSY."""

    size: float = FIRST_WINDOW
    in_flight: int = 0

    def succeeded(self) -> None:
        self.size = min(LARGEST_WINDOW, self.size + 1 / max(1.0, self.size))

    def busy(self) -> None:
        self.size = max(1.0, self.size / 2)

    @property
    def room(self) -> bool:
        return self.in_flight < int(self.size)


@dataclass
class _Progress:
    """What is known of one stage."""

    stage: Stage
    done: set[int]
    waiting: set[int]
    flying: dict[int, list[float]] = field(default_factory=dict)
    quarantined: set[int] = field(default_factory=set)
    not_before: dict[int, float] = field(default_factory=dict)
    charged: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return len(self.done) == self.stage.blocks


class Driver:
    """Drives one run; `run` returns its final state."""

    def __init__(
        self, store: ObjectStore, plan: Plan, addresses: Addresses, say: Callable[[str], None] | None = None
    ) -> None:
        self.store = store
        self.plan = plan
        self._say = say or (lambda text: log.info("%s", text))
        services = sorted({s.service for s in plan.stages})
        self.clients = {s: ServiceClient(s, addresses) for s in services}
        self.windows = {s: _Window() for s in services}
        self.serving = dict.fromkeys(services, False)
        self.events: record.EventLog
        self.progress: dict[str, _Progress] = {}
        self._answers: queue.SimpleQueue[tuple[Task, float, Any]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._created = time.time()
        self._cancelling = False
        self._retried = 0
        self._computed = 0

    def run(self, after: Callable[[str], None] = lambda state: None) -> str:
        """Runs to the end and returns the final state; ``after(state)`` runs before the lease is given back.

        Raises LeaseHeld, LeaseLost, RunStopped or StoreUnavailable.
        """
        lease = acquire(self.store, self.plan.run_id)
        self.events = record.EventLog(self.store, self.plan.run_id, lease.number)
        for service in self.clients:
            threading.Thread(target=self._watch, args=(service,), daemon=True).start()
        try:
            with lease.kept() as lost:
                self._prepare()
                self._write("RUNNING")
                state = self._loop(lost)
                self._finish(state)
                after(state)
        except RunStopped as e:
            self.events.add("stopped", str(e))
            self._finish("FAILED", error=str(e))
            lease.release()
            raise
        finally:
            self._stop.set()
            for client in self.clients.values():
                client.close()
        lease.release()
        return state

    # -- before ---------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        previous = record.read_run(self.store, self.plan.run_id)
        if previous:
            self._created = _seconds(previous["created"])
        for stage in self.plan.stages:
            self.store.put_new(f"{stage.folder}/stage.json", json_bytes(_stage_document(stage)))
            for image in stage.images:
                create_image(self.store, image.path, image.spec)
            done = finished_blocks(self.store, stage.name, stage.key)
            self.progress[stage.name] = _Progress(stage, done, set(range(stage.blocks)) - done)
        for q in record.read_quarantine(self.store, self.plan.run_id):
            p = self.progress.get(q["stage"])
            if p is not None and q["block"] in p.waiting:
                p.waiting.discard(q["block"])
                p.quarantined.add(q["block"])
        total, done_total = self._counts()
        self.events.add(
            "started", f"{done_total} of {total} blocks have receipts already", done=done_total, total=total
        )

    # -- the loop -------------------------------------------------------------------------------------------------

    def _loop(self, lost: threading.Event) -> str:
        last_write = 0.0
        away_since: float | None = None
        while True:
            now = time.monotonic()
            self._take_answers()
            try:
                if lost.is_set():
                    raise LeaseLost(f"another driver has taken run {self.plan.run_id} over")
                if now - last_write > WRITE_PROGRESS_S:
                    self._cancelling = self._cancelling or record.cancel_requested(self.store, self.plan.run_id)
                    self._write("RUNNING")
                    self.events.flush()
                    last_write = now
                away_since = None
            except StoreUnavailable as e:
                away_since = away_since or now
                if now - away_since > UNREACHABLE_S:
                    raise
                self._say(f"{e}; waiting")
                time.sleep(1)
            flying = sum(len(p.flying) for p in self.progress.values())
            if self._cancelling:
                if not flying:
                    return "CANCELLED"
                continue
            started = self._start_ready()
            if not flying and not started and not self._pending():
                break
        if all(p.complete for p in self.progress.values()):
            return "SUCCEEDED"
        return "DEGRADED" if any(p.complete for p in self.progress.values()) else "FAILED"

    def _pending(self) -> bool:
        """Whether some block can still run, now or later: one whose inputs are done or may come to be."""
        possible: dict[str, set[int]] = {}
        found = False
        for p in self.progress.values():
            able = {
                b
                for b in p.waiting
                if all(
                    set(n.blocks(b)) <= self.progress[n.stage].done | possible.get(n.stage, set())
                    for n in p.stage.needs
                )
            }
            possible[p.stage.name] = able | set(p.flying)
            found = found or bool(possible[p.stage.name])
        return found

    def _start_ready(self) -> int:
        started = 0
        now = time.monotonic()
        for p in self.progress.values():
            service = p.stage.service
            BACKLOG.labels(service).set(
                sum(len(q.waiting) + len(q.flying) for q in self.progress.values() if q.stage.service == service)
            )
            window = self.windows[service]
            if not self.serving[service]:
                continue
            for block in sorted(p.waiting):
                if not window.room:
                    break
                if p.not_before.get(block, 0.0) <= now and self._inputs_done(p.stage, block):
                    self._start(p, block)
                    started += 1
            self._reissue_stragglers(p, window, now)
        return started

    def _inputs_done(self, stage: Stage, block: int) -> bool:
        return all(all(b in self.progress[n.stage].done for b in n.blocks(block)) for n in stage.needs)

    def _start(self, p: _Progress, block: int) -> None:
        p.tries[block] = p.tries.get(block, 0) + 1
        p.waiting.discard(block)
        begun = time.monotonic()
        p.flying.setdefault(block, []).append(begun)
        self.windows[p.stage.service].in_flight += 1
        future = self.clients[p.stage.service].start(p.stage.method, p.stage.request(block, p.tries[block]))
        task = (p.stage.name, block)
        future.add_done_callback(lambda f: self._answers.put((task, begun, f)))

    def _reissue_stragglers(self, p: _Progress, window: _Window, now: float) -> None:
        if len(p.seconds) < 3:
            return
        limit = max(STRAGGLER_LEAST_S, STRAGGLER_FACTOR * statistics.median(p.seconds))
        for block, begun in list(p.flying.items()):
            if len(begun) == 1 and now - begun[0] > limit and window.room:
                self.events.add(
                    "straggler",
                    f"{p.stage.name} block {block} is slow; sent to a second worker",
                    stage=p.stage.name,
                    block=block,
                )
                self._start(p, block)

    def _take_answers(self) -> None:
        """Handles all answers that are there; waits a moment where there is none."""
        timeout = 0.05
        while True:
            try:
                task, begun, future = self._answers.get(timeout=timeout)
            except queue.Empty:
                return
            timeout = 0.0
            p = self.progress[task[0]]
            self.windows[p.stage.service].in_flight -= 1
            calls = p.flying.get(task[1], [])
            if begun in calls:
                calls.remove(begun)
            if not calls:
                p.flying.pop(task[1], None)
            try:
                reply = future.result()
            except grpc.RpcError as e:
                if task[1] not in p.done:
                    self._failed(p, task[1], failure_of(e))
                continue
            self._succeeded(p, task[1], reply, time.monotonic() - begun)

    def _succeeded(self, p: _Progress, block: int, reply: Any, seconds: float) -> None:
        self.windows[p.stage.service].succeeded()
        p.waiting.discard(block)
        p.flying.pop(block, None)  # a second, slower call of the block is not waited for
        p.done.add(block)
        if reply.outcome == Outcome.OUTCOME_COMPUTED:
            self._computed += 1
            p.seconds.append(seconds)
        if p.complete:
            self.events.add("stage", f"{p.stage.name} is done: {p.stage.blocks} blocks", stage=p.stage.name)
            total, done = self._counts()
            self._say(f"{p.stage.name} done ({p.stage.blocks} blocks); run {100 * done // total} %")

    def _failed(self, p: _Progress, block: int, failure: Failure) -> None:
        rule = rule_for(failure)
        where = f"{p.stage.name} block {block}"
        self._retried += 1
        RETRIES.labels(p.stage.service, failure.reason_name).inc()
        if failure.reason_name == "BUSY":
            self.windows[p.stage.service].busy()
        else:
            self.events.add(
                "retry",
                f"{where}: {failure.reason_name}: {failure.message}",
                stage=p.stage.name,
                block=block,
                reason=failure.reason_name,
            )
        if rule.then is Then.STOP:
            raise RunStopped(f"{where}: {failure.message}")
        if block in p.flying:  # a second call of the same block still runs
            return
        p.not_before[block] = time.monotonic() + max(rule.wait_s, failure.retry_after_s)
        p.waiting.add(block)
        if rule.then is Then.CHARGE:
            charges = p.charged.setdefault(block, [])
            # A worker that vanished did not say its name; it is another process than the one that comes after it.
            charges.append((failure.worker or f"lost-{len(charges)}", failure.reason_name))
            workers = len({w for w, _ in charges})
            if (len(charges) >= MAX_TRIES and workers >= MIN_WORKERS) or len(charges) >= MAX_TRIES_ONE_WORKER:
                self._quarantine(p, block, failure, charges)

    def _quarantine(self, p: _Progress, block: int, failure: Failure, charges: list[tuple[str, str]]) -> None:
        p.waiting.discard(block)
        p.quarantined.add(block)
        QUARANTINED.labels(p.stage.service).inc()
        document = {
            "stage": p.stage.name,
            "block": block,
            "reason": failure.reason_name,
            "message": failure.message,
            "tries": [{"worker": w, "reason": r} for w, r in charges],
        }
        self.store.put_new(record.quarantine_path(self.plan.run_id, p.stage.name, block), json_bytes(document))
        text = f"{p.stage.name} block {block} is quarantined after {len(charges)} tries: {failure.message}"
        self.events.add("quarantine", text, stage=p.stage.name, block=block)
        self._say(text)

    def _watch(self, service: str) -> None:
        """Asks a service's health; while no worker is ready the run waits, it never fails."""
        while not self._stop.is_set():
            was, self.serving[service] = self.serving[service], self.clients[service].serving()
            if was != self.serving[service]:
                self._say(
                    f"{service} is ready" if self.serving[service] else f"waiting for {service}: no worker is ready"
                )
            self._stop.wait(5.0 if self.serving[service] else 1.0)

    # -- after ----------------------------------------------------------------------------------------------------

    def _counts(self) -> tuple[int, int]:
        return sum(p.stage.blocks for p in self.progress.values()), sum(len(p.done) for p in self.progress.values())

    def _document(self, state: str) -> dict[str, Any]:
        document = record.run_document(self.plan, state, self._created)
        for name, p in self.progress.items():
            document["stages"][name]["done"] = len(p.done)
        document["quarantined"] = list(record.read_quarantine(self.store, self.plan.run_id))
        document["skipped"] = sorted(n for n, p in self.progress.items() if not p.complete and not p.quarantined)
        document["computed_blocks"] = self._computed
        document["retries"] = self._retried
        return document

    def _write(self, state: str) -> None:
        self.store.put_json(f"{record.run_folder(self.plan.run_id)}/run.json", self._document(state))

    def _finish(self, state: str, error: str | None = None) -> None:
        document = self._document(state)
        if state == "CANCELLED":
            document["skipped"] = []  # nothing was given up: a retry goes on
        document["finished"] = record.utc(time.time())
        document["error"] = error
        document["timings"] = {n: _timings(self.store, p) for n, p in self.progress.items()}
        if state == "SUCCEEDED":
            _copy_tables(self.store, self.plan, document)
        self.store.put_json(f"{record.run_folder(self.plan.run_id)}/run.json", document)
        self.events.add("finished", f"run {state}", state=state)
        self.events.flush()


def _copy_tables(store: ObjectStore, plan: Plan, document: dict[str, Any]) -> None:
    """Tables of the run under its own folder, where people look for them."""
    for name, path in plan.tables.items():
        if name.startswith("merged/"):
            continue
        target = f"{record.run_folder(plan.run_id)}/tables/{path.rsplit('/', 1)[1]}"
        store.put(target, store.get(path))
        document["tables"][name] = target


def _timings(store: ObjectStore, p: _Progress) -> Mapping[str, float]:
    """Sums of a stage's receipts: seconds of reading, computing and writing, and bytes."""
    receipts = [r for b in sorted(p.done) if (r := read_receipt(store, p.stage.name, p.stage.key, b)) is not None]
    return {
        "blocks": len(receipts),
        "read_s": round(sum(r.read_s for r in receipts), 3),
        "compute_s": round(sum(r.compute_s for r in receipts), 3),
        "write_s": round(sum(r.write_s for r in receipts), 3),
        "voxels": sum(r.voxels for r in receipts),
        "bytes": sum(o.bytes for r in receipts for o in r.objects),
        "wall_s": round(sum(p.seconds), 3),
    }


def _stage_document(stage: Stage) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "stage_key": stage.key,
        "stage_version": stage.version,
        "blocks": stage.blocks,
        "service": stage.service,
        "method": stage.method,
        "params": dict(stage.document),
    }


def _seconds(utc: str) -> float:
    return float(calendar.timegm(time.strptime(utc, "%Y-%m-%dT%H:%M:%SZ")))
