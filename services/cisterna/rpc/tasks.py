"""How every service does a task: admit → read → compute → write → receipt → reply."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import grpc

from cisterna.rpc import metrics
from cisterna.rpc.device import DeviceThread
from cisterna.rpc.errors import TaskError, abort, as_task_error
from cisterna.store.objects import ObjectStore
from cisterna.store.receipts import Receipt, Written, read_receipt
from cisterna.v1.common_pb2 import Outcome, Reason, TaskRef, TaskReply

log = logging.getLogger("cisterna.tasks")

Data = TypeVar("Data")
Result = TypeVar("Result")
WriteResult = Sequence[Written] | tuple[Sequence[Written], Mapping[str, float]]


class TaskRunner:
    """Runs tasks for the RPC threads of one worker process.

    ``max_in_flight`` tasks are admitted at a time (one reading, one computing, one writing keeps the device busy);
    the next one is sent away with BUSY and a time to come back. ``computing`` of them compute at a time: one, where a
    device is owned.
    """

    def __init__(
        self,
        service: str,
        store: ObjectStore,
        worker: str,
        device: str,
        max_in_flight: int,
        on_device_lost: Callable[[], None],
        computing: int = 1,
    ) -> None:
        self.service = service
        self.store = store
        self.worker = worker
        self.device = device
        self.draining = threading.Event()
        self._device_thread = DeviceThread(threads=computing)
        self._places = threading.BoundedSemaphore(max_in_flight)
        self._on_device_lost = on_device_lost

    def run(
        self,
        context: grpc.ServicerContext,
        task: TaskRef,
        stage_version: int,
        read: Callable[[], Data],
        compute: Callable[[Data], Result],
        write: Callable[[Result], WriteResult],
        *,
        model: str = "",
        voxels: int = 0,
    ) -> TaskReply:
        """Does one task and answers its call.

        ``read`` and ``write`` run on the calling RPC thread, ``compute`` on the device thread. ``write`` puts whole
        objects (create-if-absent) and returns them, with quality figures for the receipt if it has any. A task whose
        receipt exists is answered from it. Exceptions become the error model's statuses (`as_task_error`).
        """
        stage = metrics.stage_family(task.stage)
        if self.draining.is_set():
            abort(
                context, TaskError(Reason.REASON_GOING_AWAY, "this worker is draining", retry_after_s=0.5), self.worker
            )
        if not self._places.acquire(blocking=False):
            metrics.REJECTED.labels(self.service).inc()
            busy = TaskError(Reason.REASON_BUSY, "all places of this worker are taken", retry_after_s=0.25)
            abort(context, busy, self.worker)
        metrics.QUEUE_DEPTH.labels(self.service).inc()
        try:
            reply = self._run(context, task, stage_version, read, compute, write, model, voxels, stage)
            metrics.BLOCKS.labels(
                self.service, stage, Outcome.Name(reply.outcome).removeprefix("OUTCOME_").lower()
            ).inc()
            return reply
        except Exception as e:
            metrics.BLOCKS.labels(self.service, stage, "failed").inc()
            error = as_task_error(e)
            where = f"{task.stage} block {task.block_index}"
            if error.reason == Reason.REASON_INTERNAL:
                log.exception("%s failed", where)
            else:
                log.warning("%s: %s: %s", where, Reason.Name(error.reason), error.message)
            if type(e).__name__ == "AcceleratorError":
                self._on_device_lost()
            abort(context, error, self.worker)
        finally:
            metrics.QUEUE_DEPTH.labels(self.service).dec()
            self._places.release()

    def _run(
        self,
        context: grpc.ServicerContext,
        task: TaskRef,
        stage_version: int,
        read: Callable[[], Data],
        compute: Callable[[Data], Result],
        write: Callable[[Result], WriteResult],
        model: str,
        voxels: int,
        stage: str,
    ) -> TaskReply:
        if task.stage_version != stage_version:
            raise TaskError(
                Reason.REASON_STAGE_VERSION,
                f"stage {task.stage}: planned is version {task.stage_version}, this worker computes {stage_version}; "
                "deploy driver and services of one release",
            )
        done = read_receipt(self.store, task.stage, task.stage_key, task.block_index)
        if done is not None:
            return _reply(done, Outcome.OUTCOME_CACHED)
        times = [time.perf_counter()]
        data = read()
        times.append(time.perf_counter())
        if not context.is_active():  # the driver gave up: nobody wants the result
            raise TaskError(Reason.REASON_GOING_AWAY, "the caller has left")
        result = self._device_thread.call(lambda: compute(data))
        times.append(time.perf_counter())
        written = write(result)
        times.append(time.perf_counter())
        objects, figures = written if isinstance(written, tuple) else (written, {})
        read_s, compute_s, write_s = (b - a for a, b in itertools.pairwise(times))
        receipt = Receipt(
            stage=task.stage,
            stage_key=task.stage_key,
            stage_version=stage_version,
            block_index=task.block_index,
            attempt=task.attempt,
            worker=self.worker,
            device=self.device,
            model=model,
            objects=tuple(objects),
            read_s=round(read_s, 6),
            compute_s=round(compute_s, 6),
            write_s=round(write_s, 6),
            voxels=voxels,
            figures={k: float(v) for k, v in figures.items()},
        )
        won = self.store.put_new(receipt.path, receipt.to_bytes())
        for phase, seconds in (("read", read_s), ("compute", compute_s), ("write", write_s)):
            metrics.PHASE_SECONDS.labels(self.service, stage, phase).observe(seconds)
        metrics.VOXELS.labels(self.service, stage).inc(voxels)
        metrics.BYTES_WRITTEN.labels(self.service, stage).inc(sum(o.bytes for o in receipt.objects))
        if not won:
            other = read_receipt(self.store, task.stage, task.stage_key, task.block_index)
            return _reply(other or receipt, Outcome.OUTCOME_LOST_RACE)
        return _reply(receipt, Outcome.OUTCOME_COMPUTED)


def _reply(receipt: Receipt, outcome: Outcome) -> TaskReply:
    cached = outcome == Outcome.OUTCOME_CACHED
    return TaskReply(
        outcome=outcome,
        receipt_path=receipt.path,
        worker=receipt.worker,
        read_s=0.0 if cached else receipt.read_s,
        compute_s=0.0 if cached else receipt.compute_s,
        write_s=0.0 if cached else receipt.write_s,
        voxels=receipt.voxels,
        bytes_written=sum(o.bytes for o in receipt.objects),
    )
