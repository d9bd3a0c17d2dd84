"""A task's life over a real channel: receipts, races, admission, errors with reasons, token, health, drain."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from cisterna.models import ModelError
from cisterna.rpc.client import Addresses, ServiceClient
from cisterna.rpc.errors import CODES, failure_of
from cisterna.rpc.interceptors import CallMetrics, TokenCheck
from cisterna.rpc.retry import RULES, Then, rule_for
from cisterna.rpc.tasks import TaskRunner
from cisterna.store import (
    CorruptObject,
    ObjectMissing,
    ObjectStore,
    StoreFull,
    StoreUnavailable,
    open_store,
    write_once,
)
from cisterna.store.receipts import read_receipt
from cisterna.v1 import common_pb2, segment_pb2, segment_pb2_grpc
from cisterna.v1.common_pb2 import Outcome, Reason
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

TOKEN = "a token for this test"


@dataclass
class Script:
    """What the service under test does in each phase."""

    read: Any = lambda: b"in"
    compute: Any = lambda data: data + b"!"
    before_write: Any = lambda: None
    calls: list[str] = field(default_factory=list)


class ScriptedService(segment_pb2_grpc.SegmentServiceServicer):
    def __init__(self, store: ObjectStore, tasks: TaskRunner, script: Script) -> None:
        self.store, self.tasks, self.script = store, tasks, script

    def SegmentBlock(
        self, request: segment_pb2.SegmentBlockRequest, context: grpc.ServicerContext
    ) -> common_pb2.TaskReply:
        def compute(data: bytes) -> bytes:
            self.script.calls.append("compute")
            return self.script.compute(data)

        def write(result: bytes) -> Any:
            self.script.before_write()
            return [write_once(self.store, f"stages/s/k/{request.task.block_index}", result)], {"mean": 2.0}

        return self.tasks.run(context, request.task, 3, lambda: self.script.read(), compute, write, model="m", voxels=7)


@dataclass
class Bench:
    store: ObjectStore
    script: Script
    client: ServiceClient
    address: str
    tasks: TaskRunner

    def call(self, block: int = 0, version: int = 3, deadline_s: float = 20.0) -> Any:
        task = common_pb2.TaskRef(stage="s", stage_version=version, stage_key="k", block_index=block, attempt=2)
        return self.client.start("SegmentBlock", segment_pb2.SegmentBlockRequest(task=task), deadline_s)


@pytest.fixture
def bench() -> Iterator[Bench]:
    store, script = open_store("memory://"), Script()
    tasks = TaskRunner("segment", store, "host:1:1", "cpu", 2, lambda: None)
    server = grpc.server(ThreadPoolExecutor(8), interceptors=[CallMetrics("segment"), TokenCheck(TOKEN)])
    segment_pb2_grpc.add_SegmentServiceServicer_to_server(ScriptedService(store, tasks, script), server)
    checker = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    checker.set("", health_pb2.HealthCheckResponse.SERVING)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    client = ServiceClient("segment", Addresses.parse(f"segment={address}"), TOKEN)
    yield Bench(store, script, client, address, tasks)
    client.close()
    server.stop(0)


def test_a_task_leaves_object_and_receipt(bench: Bench) -> None:
    reply = bench.call().result()
    assert reply.outcome == Outcome.OUTCOME_COMPUTED
    receipt = read_receipt(bench.store, "s", "k", 0)
    assert receipt is not None
    assert (receipt.attempt, receipt.worker, receipt.model, receipt.figures) == (2, "host:1:1", "m", {"mean": 2.0})
    assert bench.store.get(receipt.objects[0].path) == b"in!"


def test_a_receipt_answers_without_computing(bench: Bench) -> None:
    bench.call().result()
    assert bench.call().result().outcome == Outcome.OUTCOME_CACHED
    assert bench.script.calls == ["compute"]


def test_the_loser_of_a_race_names_the_winner(bench: Bench) -> None:
    gate = threading.Barrier(2)
    bench.script.before_write = lambda: gate.wait(10)
    replies = [f.result() for f in (bench.call(), bench.call())]
    assert sorted(r.outcome for r in replies) == [Outcome.OUTCOME_COMPUTED, Outcome.OUTCOME_LOST_RACE]
    assert bench.store.list("stages/s/k/receipts") == ["stages/s/k/receipts/00000000.json"]


def test_when_all_places_are_taken_the_next_is_told_when_to_come_back(bench: Bench) -> None:
    release = threading.Event()
    bench.script.compute = lambda data: release.wait(10) and data
    held = [bench.call(0), bench.call(1)]
    _until(lambda: bench.script.calls)
    failure = _failure(bench.call(2))
    assert failure.reason == Reason.REASON_BUSY
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.retry_after_s > 0
    began = time.monotonic()
    assert bench.client.serving()
    assert time.monotonic() - began < 1.0, "health must answer within a second while every place is taken"
    release.set()
    for f in held:
        f.result()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("halo is negative"), Reason.REASON_BAD_REQUEST),
        (ObjectMissing("models/x/model.json"), Reason.REASON_MISSING_INPUT),
        (CorruptObject("torn"), Reason.REASON_CORRUPT_CHUNK),
        (StoreFull("full"), Reason.REASON_STORE_FULL),
        (StoreUnavailable("away"), Reason.REASON_STORE_UNAVAILABLE),
        (ModelError("other digest"), Reason.REASON_MODEL_MISMATCH),
        (MemoryError(), Reason.REASON_OUT_OF_MEMORY),
        (KeyError("bug"), Reason.REASON_INTERNAL),
    ],
)
def test_every_failure_carries_its_reason_and_leaves_no_receipt(bench: Bench, error: Exception, reason: int) -> None:
    def fail() -> bytes:
        raise error

    bench.script.read = fail
    failure = _failure(bench.call())
    assert failure.reason == reason
    assert failure.code.value[0] == CODES[reason]
    assert failure.worker == "host:1:1"
    assert read_receipt(bench.store, "s", "k", 0) is None
    bench.script.read = lambda: b"in"
    assert bench.call().result().outcome == Outcome.OUTCOME_COMPUTED, "a failure must give its place back"


def test_a_worker_of_another_stage_version_refuses(bench: Bench) -> None:
    assert _failure(bench.call(version=4)).reason == Reason.REASON_STAGE_VERSION
    assert bench.script.calls == []


def test_a_draining_worker_sends_tasks_elsewhere(bench: Bench) -> None:
    bench.tasks.draining.set()
    failure = _failure(bench.call())
    assert failure.reason == Reason.REASON_GOING_AWAY
    assert rule_for(failure).then is Then.AGAIN


def test_a_wrong_token_is_refused_and_health_stays_open(bench: Bench) -> None:
    stranger = ServiceClient("segment", Addresses.parse(f"segment={bench.address}"), "guess")
    assert stranger.serving()
    task = common_pb2.TaskRef(stage="s", stage_version=3, stage_key="k")
    failure = _failure(stranger.start("SegmentBlock", segment_pb2.SegmentBlockRequest(task=task), 10))
    assert failure.reason == Reason.REASON_BAD_TOKEN
    assert bench.script.calls == []


def test_every_reason_has_a_status_and_a_rule() -> None:
    reasons = {v for k, v in Reason.items() if v}
    assert set(CODES) == reasons
    assert set(RULES) == reasons


@pytest.mark.parametrize("text", ["segment", "oven=1:2", "segment="])
def test_addresses_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="CISTERNA_SERVICES"):
        Addresses.parse(text)


def test_addresses_come_back() -> None:
    text = "eres=10.0.0.1:1,10.0.0.2:1;segment=segment.cisterna.svc:7102"
    addresses = Addresses.parse(text)
    assert str(addresses) == text
    assert addresses.target("eres") == "ipv4:10.0.0.1:1,10.0.0.2:1"
    assert addresses.target("segment") == "dns:///segment.cisterna.svc:7102"


def _failure(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call.result()
    return failure_of(caught.value)


def _until(condition: Any, patience_s: float = 10.0) -> None:
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.01)
