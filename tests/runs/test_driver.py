"""The driver against services that misbehave in every way they can: real gRPC servers, scripted faults."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from acquisitions import install_models, movie, volume
from cisterna.rpc.client import Addresses
from cisterna.rpc.errors import TaskError, abort
from cisterna.runs import driver as driver_module
from cisterna.runs import record
from cisterna.runs.driver import Driver, RunStopped
from cisterna.runs.lease import LeaseHeld, LeaseLost, acquire, latest_number
from cisterna.runs.plan import Plan, make_plan
from cisterna.runs.recipes import parse_recipe
from cisterna.store import ObjectStore, open_store
from cisterna.store.receipts import Receipt, write_once
from cisterna.tables import networks, statistics, volumes
from cisterna.tables.schema import Table
from cisterna.v1 import common_pb2, denoise_pb2, eres_pb2, ernet_pb2, graph_pb2, segment_pb2
from cisterna.v1.common_pb2 import Outcome, Reason
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

REQUESTS = {
    method.name: GetMessageClass(method.input_type)
    for module in (denoise_pb2, segment_pb2, ernet_pb2, eres_pb2, graph_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
TABLES = [t.name for module in (networks, statistics, volumes) for t in vars(module).values() if isinstance(t, Table)]
Task = tuple[str, int]


class Fleet(grpc.GenericRpcHandler):
    """All five services in one server: does every task by writing its receipt, unless a script says otherwise."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.script: dict[Task, Callable[[int], TaskError | None]] = {}
        self.calls: Counter[Task] = Counter()
        self.order: list[Task] = []
        self.pause_s = 0.0
        self.server = grpc.server(ThreadPoolExecutor(16))
        self.server.add_generic_rpc_handlers([self])
        self.health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.serve(True)
        address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()
        self.addresses = Addresses(dict.fromkeys(("denoise", "segment", "ernet", "eres", "graph"), (address,)))

    def serve(self, ready: bool) -> None:
        self.health.set(
            "", health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        )

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        request = REQUESTS.get(details.method.rsplit("/", 1)[-1])
        if request is None:
            return None
        return grpc.unary_unary_rpc_method_handler(
            self.answer,
            request_deserializer=request.FromString,
            response_serializer=common_pb2.TaskReply.SerializeToString,
        )

    def answer(self, request: Any, context: grpc.ServicerContext) -> common_pb2.TaskReply:
        task = request.task
        name = (task.stage, task.block_index)
        self.calls[name] += 1
        self.order.append(name)
        time.sleep(self.pause_s)
        error = self.script.get(name, lambda n: None)(self.calls[name])
        if error is not None:
            abort(context, error, f"host:{self.calls[name]}:0")
        folder = f"stages/{task.stage}/{task.stage_key}"
        written = [write_once(self.store, f"{folder}/data/{task.block_index}", b"result")]
        ends = ("eres-sites", "eres-statistics", "graph-summary", "graph-summary-static")
        for table in TABLES:
            if task.stage in ends or (task.stage, task.block_index) == ("graph-static", 0):
                written.append(write_once(self.store, f"{folder}/tables/{table}.parquet", b"table"))
        for stage, name in (("eres-sites", "counts"), ("eres-statistics", "statistics")):
            if task.stage == stage:
                written.append(write_once(self.store, f"{folder}/tables/{name}.json", b"{}"))
        receipt = Receipt(
            task.stage,
            task.stage_key,
            task.stage_version,
            task.block_index,
            task.attempt,
            "w",
            "cpu",
            "",
            tuple(written),
            0,
            0,
            0,
            1,
        )
        self.store.put_new(receipt.path, receipt.to_bytes())
        return common_pb2.TaskReply(outcome=Outcome.OUTCOME_COMPUTED, receipt_path=receipt.path)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    store = open_store("memory://")
    install_models(store, tmp_path)
    return store


@pytest.fixture
def fleet(store: ObjectStore) -> Iterator[Fleet]:
    fleet = Fleet(store)
    yield fleet
    fleet.server.stop(0)


@pytest.fixture
def plan(store: ObjectStore) -> Plan:
    plan = make_plan(store, parse_recipe("", "fibsem"), volume((70, 70, 70)))
    record.register_run(store, plan)
    return plan


def run(store: ObjectStore, plan: Plan, fleet: Fleet) -> str:
    return Driver(store, plan, fleet.addresses, lambda text: None).run()


def document(store: ObjectStore, plan: Plan) -> dict[str, Any]:
    found = record.read_run(store, plan.run_id)
    assert found is not None
    return found


def fails(reason: int, times: int = 10**6) -> Callable[[int], TaskError | None]:
    return lambda call: TaskError(reason, "scripted", retry_after_s=0.01) if call <= times else None


def test_every_block_is_done_once_and_inputs_come_first(store: ObjectStore, plan: Plan, fleet: Fleet) -> None:
    assert run(store, plan, fleet) == "SUCCEEDED"
    assert set(fleet.calls.values()) == {1}
    assert sum(fleet.calls.values()) == sum(s.blocks for s in plan.stages)
    for stage in plan.stages:
        for need in stage.needs:
            for block in range(stage.blocks):
                at = fleet.order.index((stage.name, block))
                assert all(fleet.order.index((need.stage, b)) < at for b in need.blocks(block))
    final = document(store, plan)
    assert final["state"] == "SUCCEEDED"
    assert final["tables"]["sites"] == f"runs/{plan.run_id}/tables/sites.parquet"


def test_a_second_driver_computes_nothing(store: ObjectStore, plan: Plan, fleet: Fleet) -> None:
    run(store, plan, fleet)
    fleet.calls.clear()
    assert run(store, plan, fleet) == "SUCCEEDED"
    assert not fleet.calls


@pytest.mark.parametrize("reason", [Reason.REASON_BUSY, Reason.REASON_GOING_AWAY])
def test_what_is_not_the_blocks_fault_is_tried_without_limit(
    store: ObjectStore, plan: Plan, fleet: Fleet, reason: int
) -> None:
    fleet.script[("segment-er", 3)] = fails(reason, times=8)
    assert run(store, plan, fleet) == "SUCCEEDED"
    assert fleet.calls[("segment-er", 3)] == 9
    assert document(store, plan)["quarantined"] == []


def test_a_bad_block_is_quarantined_and_the_rest_is_kept(store: ObjectStore, plan: Plan, fleet: Fleet) -> None:
    fleet.script[("segment-ccv", 2)] = fails(Reason.REASON_INTERNAL)
    assert run(store, plan, fleet) == "DEGRADED"
    assert fleet.calls[("segment-ccv", 2)] == 3
    final = document(store, plan)
    assert [(q["stage"], q["block"], q["reason"]) for q in final["quarantined"]] == [("segment-ccv", 2, "INTERNAL")]
    assert "eres-merge-ccv" in final["skipped"]
    assert final["stages"]["eres-sites"]["done"] == 1, "classes that the bad block does not touch are finished"
    assert final["stages"]["segment-ccv"]["done"] == plan.stage("segment-ccv").blocks - 1


def test_retry_takes_a_quarantined_block_up_again(store: ObjectStore, plan: Plan, fleet: Fleet) -> None:
    fleet.script[("segment-ccv", 2)] = fails(Reason.REASON_INTERNAL, times=3)
    assert run(store, plan, fleet) == "DEGRADED"
    done_before = fleet.calls.copy()
    record.clear_for_retry(store, plan.run_id)
    assert run(store, plan, fleet) == "SUCCEEDED"
    again = {t for t in fleet.calls if fleet.calls[t] != done_before[t]}
    objects = {f"eres-{step}-ccv" for step in ("label", "merge", "split", "number", "relabel")}
    assert {s for s, _ in again} == {"segment-ccv", *objects}


def test_a_full_store_ends_the_run_with_its_sentence(store: ObjectStore, plan: Plan, fleet: Fleet) -> None:
    fleet.script[("segment-er", 0)] = fails(Reason.REASON_STORE_FULL)
    with pytest.raises(RunStopped, match="scripted"):
        run(store, plan, fleet)
    assert document(store, plan)["state"] == "FAILED"
    assert "scripted" in document(store, plan)["error"]


def test_the_run_waits_while_no_worker_is_ready(store: ObjectStore, fleet: Fleet) -> None:
    plan = make_plan(store, parse_recipe("", "er-movie"), movie())
    fleet.serve(False)
    threading.Timer(2.5, fleet.serve, [True]).start()
    assert run(store, plan, fleet) == "SUCCEEDED"
    assert set(fleet.calls.values()) == {1}


def test_cancel_stops_and_retry_goes_on(
    store: ObjectStore, plan: Plan, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "WRITE_PROGRESS_S", 0.1)
    fleet.pause_s = 0.05
    threading.Timer(0.6, record.request_cancel, [store, plan.run_id]).start()
    assert run(store, plan, fleet) == "CANCELLED"
    assert sum(fleet.calls.values()) < sum(s.blocks for s in plan.stages)
    record.clear_for_retry(store, plan.run_id)
    fleet.pause_s = 0.0
    assert run(store, plan, fleet) == "SUCCEEDED"
    assert set(fleet.calls.values()) == {1}, "what was done before the cancel is not done again"


def test_one_driver_at_a_time(store: ObjectStore, plan: Plan, fleet: Fleet) -> None:
    lease = acquire(store, plan.run_id)
    with pytest.raises(LeaseHeld, match="driver at work"):
        run(store, plan, fleet)
    lease.release()
    assert run(store, plan, fleet) == "SUCCEEDED"


def test_a_driver_that_was_superseded_stops(store: ObjectStore, plan: Plan) -> None:
    first = acquire(store, plan.run_id)
    number = latest_number(store, plan.run_id)
    store.put_json(
        f"runs/{plan.run_id}/leases/{number + 1:06d}.json",
        {"host": "elsewhere", "pid": 1, "start": 1, "time": time.time()},
    )
    with pytest.raises(LeaseLost):
        first.beat()


def test_events_tell_the_story_in_order(store: ObjectStore, plan: Plan, fleet: Fleet) -> None:
    fleet.script[("segment-er", 1)] = fails(Reason.REASON_INTERNAL, times=1)
    run(store, plan, fleet)
    events, place = record.read_events(store, plan.run_id)
    kinds = [e["kind"] for e in events]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    assert kinds.count("retry") == 1
    assert kinds.count("stage") == len(plan.stages)
    assert record.read_events(store, plan.run_id, place)[0] == []


def test_a_slow_block_is_sent_to_a_second_worker(
    store: ObjectStore, plan: Plan, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "STRAGGLER_LEAST_S", 0.5)
    release = threading.Event()

    def hang_once(call: int) -> TaskError | None:
        if call == 1:
            release.wait(20)
        return None

    fleet.script[("segment-er", 0)] = hang_once
    began = time.monotonic()
    threading.Timer(15, release.set).start()
    thread_state: list[str] = []
    worker = threading.Thread(target=lambda: thread_state.append(run(store, plan, fleet)))
    worker.start()
    while fleet.calls[("segment-er", 0)] < 2 and time.monotonic() - began < 14:
        time.sleep(0.05)
    assert fleet.calls[("segment-er", 0)] == 2
    release.set()
    worker.join(20)
    assert thread_state == ["SUCCEEDED"]
