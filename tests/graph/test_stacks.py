"""Networks through z sections: drawn in 3-D, found again in 3-D, through the service and as rows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from cisterna.graph import TracingParameters, trace_network
from cisterna.graph.parameters import FigureParameters
from cisterna.graph.service import STAGE_VERSION, GraphService
from cisterna.graph.stacks import join, trace_stack
from cisterna.phantoms.er_stack import er_stack
from cisterna.rpc.errors import failure_of
from cisterna.rpc.server import ServerConfig, Worker
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, write_block
from cisterna.tables.stacks import STACK_EDGES, STACK_FRAMES, STACK_NODES
from cisterna.v1 import common_pb2, graph_pb2, graph_pb2_grpc
from scipy.spatial import cKDTree


def traced(stack, frame=0, confidence=230, **figures):
    classes = stack.classes[frame]
    sure = np.full(classes.shape, confidence, np.uint8)
    wanted = FigureParameters(**figures)
    return trace_stack(classes, sure, stack.frames[frame], frame, stack.voxel_size_um, 2.0, TracingParameters(), wanted)


@pytest.mark.parametrize("seed", [1, 2])
def test_drawn_junctions_are_found_in_their_sections_and_crossings_are_none(seed):
    stack = er_stack(seed=seed)
    _, tables = traced(stack, resamples=0)
    found = tables.stack_nodes.query("degree >= 3")[["z_um", "y_um", "x_um"]].to_numpy()
    size = np.array(stack.classes.shape[2:]) * stack.voxel_size_um[1:]
    inside = ((found[:, 1:] > 0.5) & (found[:, 1:] < size - 0.5)).all(axis=1)
    truth = stack.junctions_um
    assert (cKDTree(found).query(truth)[0] < 0.4).mean() >= 0.97
    assert (cKDTree(truth).query(found[inside])[0] < 0.4).mean() >= 0.97
    assert abs(int(inside.sum()) - len(truth)) <= 0.03 * len(truth)
    row = tables.stack_frames.iloc[0]
    assert row["total_length_um"] == pytest.approx(stack.length_um, rel=0.05)
    # Two layers that never meet: each is a part of its own, seen along z they are one network with false junctions.
    assert row["largest_component_node_share"] < 0.6
    flat = trace_network(stack.classes[0].max(axis=0) > 0, stack.voxel_size_um[1:])
    places = flat.nodes.query("degree >= 3")[["y_um", "x_um"]].to_numpy()
    assert (cKDTree(truth[:, 1:]).query(places)[0] < 0.4).mean() < 0.75
    assert flat.metrics()["largest_component_node_share"] > 0.9


def test_z_is_measured_in_its_own_spacing():
    stack = er_stack(seed=3, layers=1, shape_zyx=(7, 96, 96))
    thick = trace_stack(
        stack.classes[0], None, stack.frames[0], 0, (0.6, 0.1, 0.1), 1.0, TracingParameters()
    )[1].stack_nodes  # fmt: skip
    thin = traced(stack)[1].stack_nodes
    assert thick["z_um"].max() > 2 * thin["z_um"].max()
    assert np.isnan(thick["confidence"]).all()
    assert thin["confidence"].between(0, 1).all()


def test_a_tubule_that_ends_in_a_sheet_is_no_growing_tip():
    classes = np.zeros((7, 64, 64), np.uint8)
    classes[2:5, 30:34, 6:40] = 2
    classes[1:6, 20:44, 40:60] = 3
    raw = np.random.default_rng(0).normal(100, 5, classes.shape).astype(np.float32)
    nodes = trace_stack(classes, None, raw, 0, (0.1, 0.1, 0.1), 1.0, TracingParameters())[1].stack_nodes
    assert sorted(nodes["kind"]) == ["sheet", "tip"]
    classes[classes == 3] = 1
    frames = trace_stack(classes, None, raw, 0, (0.1, 0.1, 0.1), 1.0, TracingParameters())[1].stack_frames
    assert frames[["growth_tips", "sbt_contacts", "sheet_contacts"]].iloc[0].tolist() == [1, 1, 0]


@pytest.mark.parametrize("shape", [(3, 20, 24), (2, 1, 1), (5, 3, 5), (2, 64, 1)])
@pytest.mark.parametrize("value", [0, 2, 3])
def test_empty_and_tiny_stacks_have_ordinary_rows(shape, value):
    classes = np.full(shape, value, np.uint8)
    tables = trace_stack(
        classes, np.full(shape, 200, np.uint8), np.zeros(shape, np.uint16), 4, (0.3, 0.1, 0.1), 2.0, TracingParameters()
    )[1]
    row = tables.stack_frames.iloc[0]
    assert (row["frame"], row["time_s"], row["sections"], row["snr_flag"]) == (4, 8.0, shape[0], "snr_not_applicable")
    assert row["nodes"] == len(tables.stack_nodes)
    assert set(tables.stack_nodes["snr_flag"]) | set(tables.stack_edges["snr_flag"]) <= {"snr_not_applicable"}
    assert row["er_share_of_volume"] == (1.0 if value else 0.0)


def test_other_shapes_are_refused():
    flat = np.zeros((8, 8), np.uint8)
    with pytest.raises(ValueError, match=r"sections are \(z, y, x\)"):
        trace_stack(flat, None, flat, 0, (0.3, 0.1, 0.1), 1.0, TracingParameters())


def test_a_time_point_twice_is_an_error():
    one = traced(er_stack(shape_zyx=(9, 48, 48), layers=1))[1]
    with pytest.raises(ValueError, match="occurs twice"):
        join([one, one])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[SimpleNamespace]:
    stack = er_stack(2, (9, 64, 64), layers=1, seed=4)
    store = open_store(f"{tmp_path.as_uri()}/store")
    shape = stack.classes.shape
    arrays = {"classes": stack.classes, "confidence": np.full(shape, 200, np.uint8), "raw": stack.frames}
    for name, data in arrays.items():
        spec = ImageSpec(shape, str(data.dtype), (1, 1, *shape[2:]), "tzyx", (2.0, *stack.voxel_size_um))
        create_image(store, name, spec)
        for block in range(spec.grid.blocks):
            box = spec.grid.box(block)
            write_block(store, f"{name}/0", box, data[box.slices])
    server = grpc.server(ThreadPoolExecutor(2))
    worker = Worker(ServerConfig("graph", "", "", "", "", "cpu", 1, 3), store, "cpu", lambda: None)
    graph_pb2_grpc.add_GraphServiceServicer_to_server(GraphService(worker), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield SimpleNamespace(store=store, stub=graph_pb2_grpc.GraphServiceStub(channel), stack=stack)
    server.stop(None).wait()


def request(place: SimpleNamespace, frame: int, **changes: object) -> graph_pb2.TraceStackRequest:
    shape = place.stack.classes.shape
    box = common_pb2.Box(offset=(frame, 0, 0, 0), shape=(1, *shape[1:]))

    def chunk(name: str) -> common_pb2.ChunkRef:
        return common_pb2.ChunkRef(array=common_pb2.ArrayRef(path=f"{name}/0", identity=name), box=box)

    fields = {
        "task": common_pb2.TaskRef(
            stage="graph-trace-stack", stage_version=STAGE_VERSION, stage_key="k", block_index=frame, attempt=1
        ),
        **{name: chunk(name) for name in ("classes", "confidence", "raw")},
        "parts": common_pb2.ArrayRef(path="parts", identity="k"),
        "voxel_size_um": place.stack.voxel_size_um,
        "frame_interval_s": 2.0,
    }
    return graph_pb2.TraceStackRequest(**(fields | changes))  # type: ignore[arg-type]


def test_the_service_traces_time_points_and_joins_them(place: SimpleNamespace):
    for frame in (0, 1):
        place.stub.TraceStack(request(place, frame))
    task = common_pb2.TaskRef(
        stage="graph-summary-stack", stage_version=STAGE_VERSION, stage_key="s", block_index=0, attempt=1
    )
    out = common_pb2.ArrayRef(path="out", identity="s")
    parts = common_pb2.ArrayRef(path="parts", identity="k")
    place.stub.SummariseStacks(graph_pb2.SummariseStacksRequest(task=task, parts=parts, blocks=2, output=out))
    tables = [
        t.from_parquet_bytes(place.store.get(f"out/{t.name}.parquet")) for t in (STACK_FRAMES, STACK_NODES, STACK_EDGES)
    ]
    alone = join(
        [trace_stack(*_arrays(place, f), f, place.stack.voxel_size_um, 2.0, TracingParameters())[1] for f in (0, 1)]
    )
    for found, expected in zip(tables, (alone.stack_frames, alone.stack_nodes, alone.stack_edges), strict=True):
        assert found.drop(columns="path_zyx_um", errors="ignore").equals(
            expected.drop(columns="path_zyx_um", errors="ignore")
        )
    assert tables[0]["time_s"].tolist() == [0.0, 2.0]
    first = tables[2]["path_zyx_um"].iloc[0]
    assert len(first) % 3 == 0


def _arrays(place: SimpleNamespace, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return place.stack.classes[frame], np.full(place.stack.classes.shape[1:], 200, np.uint8), place.stack.frames[frame]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"voxel_size_um": [0.1, 0.1]}, "2 values"),
        ({"voxel_size_um": [0.0, 0.1, 0.1]}, "positive"),
        ({"tracing_json": '{"spurs": 1}'}, "unknown key spurs"),
        ({"raw": common_pb2.ChunkRef(box=common_pb2.Box(offset=(0, 0, 0, 0), shape=(1, 2, 3, 4)))}, "one time point"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(place: SimpleNamespace, changes: dict[str, object], words: str):
    with pytest.raises(grpc.RpcError) as error:
        place.stub.TraceStack(request(place, 0, **changes))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in failure_of(error.value).message
