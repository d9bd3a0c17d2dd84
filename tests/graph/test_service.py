"""The service over a real store and a real channel: parts, tables, refusals, the same bytes twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pandas as pd
import pytest
from cisterna.chunks import BlockGrid, Box
from cisterna.graph import TracingParameters
from cisterna.graph.flicker import class_changes
from cisterna.graph.frames import trace_frame
from cisterna.graph.service import STAGE_VERSION, GraphService
from cisterna.phantoms.er_movie import er_movie
from cisterna.rpc.errors import failure_of
from cisterna.rpc.server import ServerConfig, Worker
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, read_box, write_block
from cisterna.tables.networks import (
    CELLS,
    DYNAMICS,
    EDGES,
    EPISODES,
    EVENTS,
    FLOOR,
    FLOOR_FRAMES,
    FLOOR_SCENE,
    FLOOR_SURVIVAL,
    FRAMES,
    JUNCTIONS,
    MULTI_WAY,
    NODES,
    TIP_PHASES,
    TIPS,
)
from cisterna.v1 import common_pb2, graph_pb2, graph_pb2_grpc

FRAME_COUNT, EDGE = 4, 128


@pytest.fixture(scope="module")
def movie() -> SimpleNamespace:
    drawn = er_movie(frames=FRAME_COUNT, shape_yx=(EDGE, EDGE), seed=3)
    classes = drawn.classes.copy()
    classes[2] = 0  # a frame where nothing was found
    return SimpleNamespace(classes=classes, confidence=np.full_like(classes, 204), raw=drawn.frames)


@pytest.fixture
def place(tmp_path: Path, movie: SimpleNamespace) -> Iterator[SimpleNamespace]:
    with serving(tmp_path / "store", movie, threads=1) as one:
        yield one


@contextmanager
def serving(folder: Path, movie: SimpleNamespace, threads: int) -> Iterator[SimpleNamespace]:
    """A service that computes with so many threads, over a fresh store that holds the movie."""
    store = open_store(folder.as_uri())
    shape, block = movie.classes.shape, (1, EDGE, EDGE)
    grid = BlockGrid(shape, block)
    for name, data in vars(movie).items():
        create_image(store, name, ImageSpec(shape, str(data.dtype), block, "tyx", (1.0, 0.1, 0.1)))
        for index in range(grid.blocks):
            write_block(store, f"{name}/0", grid.box(index), data[grid.box(index).slices])
    server = grpc.server(ThreadPoolExecutor(4))
    worker = Worker(ServerConfig("graph", "", "", "", "", "cpu", threads, 3), store, "cpu", lambda: None)
    graph_pb2_grpc.add_GraphServiceServicer_to_server(GraphService(worker), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield SimpleNamespace(store=store, stub=graph_pb2_grpc.GraphServiceStub(channel), grid=grid)
    server.stop(None).wait()


def task(stage: str, block: int = 0, key: str = "k", version: int = STAGE_VERSION) -> common_pb2.TaskRef:
    return common_pb2.TaskRef(stage=stage, stage_version=version, stage_key=key, block_index=block, attempt=1)


def trace(place: SimpleNamespace, block: int, key: str = "k", **changes: object) -> graph_pb2.TraceFramesRequest:
    box = place.grid.box(block)
    proto = common_pb2.Box(offset=box.offset, shape=box.shape)
    fields = {
        name: common_pb2.ChunkRef(array=common_pb2.ArrayRef(path=f"{name}/0"), box=proto)
        for name in ("classes", "confidence", "raw")
    }
    fields |= {
        "task": task("graph-trace", block, key),
        "parts": common_pb2.ArrayRef(path=f"stages/graph-trace/{key}/parts"),
        "pixel_size_um": [0.1, 0.1],
        "frame_interval_s": 2.0,
        "tracing_json": "{}",
    }
    return graph_pb2.TraceFramesRequest(**(fields | changes))


def summarise(place: SimpleNamespace, key: str = "k", tracking: str = "{}") -> graph_pb2.SummariseMovieRequest:
    return graph_pb2.SummariseMovieRequest(
        task=task("graph-summary", 0, key),
        parts=common_pb2.ArrayRef(path=f"stages/graph-trace/{key}/parts"),
        blocks=place.grid.blocks,
        output=common_pb2.ArrayRef(path=f"stages/graph-summary/{key}/tables"),
        pixel_size_um=[0.1, 0.1],
        frame_interval_s=2.0,
        tracking_json=tracking,
    )


def tables(place: SimpleNamespace, key: str) -> dict[str, bytes]:
    folder = f"stages/graph-summary/{key}/tables"
    return {t.name: place.store.get(f"{folder}/{t.name}.parquet") for t in (FRAMES, NODES, EDGES, JUNCTIONS)}


def test_a_movie_becomes_four_tables(place: SimpleNamespace, movie: SimpleNamespace):
    for block in range(place.grid.blocks):
        assert place.stub.TraceFrames(trace(place, block)).outcome == common_pb2.OUTCOME_COMPUTED
    assert place.stub.SummariseMovie(summarise(place)).outcome == common_pb2.OUTCOME_COMPUTED
    files = tables(place, "k")
    frames = FRAMES.from_parquet_bytes(files["frames"])
    nodes = NODES.from_parquet_bytes(files["nodes"])
    edges = EDGES.from_parquet_bytes(files["edges"])
    junctions = JUNCTIONS.from_parquet_bytes(files["junctions"])
    assert frames["time_s"].tolist() == [0.0, 2.0, 4.0, 6.0]
    _, first = trace_frame(movie.classes[0], movie.confidence[0], movie.raw[0], 0, [0.1, 0.1], 2.0, TracingParameters())
    pd.testing.assert_frame_equal(frames.head(1), first.frames)
    assert frames["mean_confidence"][0] == pytest.approx(0.8)
    empty = frames.iloc[2]
    assert (empty["nodes"], empty["edges"], empty["er_share_of_image"]) == (0, 0, 0)
    assert np.isnan(empty["tubule_share"])
    assert empty["snr_flag"] == "snr_not_applicable"
    for row in edges[edges["frame"].isin([0, 3])].head(40).itertuples():
        start = nodes[(nodes["frame"] == row.frame) & (nodes["node_id"] == row.node_a)]
        np.testing.assert_allclose(row.path_yx_um[:2], start[["y_um", "x_um"]].to_numpy()[0], atol=1e-4)
    tracked = nodes.query("junction_id > 0")
    assert set(tracked["kind"]) == {"junction"}
    assert set(tracked["junction_id"]) == set(junctions["junction_id"])
    # The empty frame is bridged by the gap of one frame.
    assert (junctions["last_frame"] == 3).sum() > 0.7 * (nodes.query("frame == 0")["kind"] == "junction").sum()


def with_neighbours(place: SimpleNamespace, block: int, key: str) -> graph_pb2.TraceFramesRequest:
    request = trace(place, block, key)
    request.classes.halo.extend([1, 0, 0])
    return request


def test_flicker_does_not_depend_on_how_frames_are_cut_into_blocks(place: SimpleNamespace, movie: SimpleNamespace):
    for block in range(place.grid.blocks):
        place.stub.TraceFrames(with_neighbours(place, block, "single"))
    whole = trace(place, 0, "whole")
    for chunk in (whole.classes, whole.confidence, whole.raw):
        chunk.box.CopyFrom(common_pb2.Box(offset=[0, 0, 0], shape=movie.classes.shape))
    place.stub.TraceFrames(whole)
    request = summarise(place, "whole")
    request.blocks = 1
    for job in (summarise(place, "single"), request):
        place.stub.SummariseMovie(job)
    single, together = (FRAMES.from_parquet_bytes(tables(place, key)["frames"]) for key in ("single", "whole"))
    pd.testing.assert_frame_equal(single, together)
    expected = class_changes(*movie.classes[:3])
    assert single["flicker_share"][1] == expected["flicker_share"]
    # Frame 2 is empty between two alike: all that its neighbours agree on is gone in it.
    assert single["tubule_flicker_share"][2] == 1
    assert np.isnan(single["flicker_share"][[0, 3]]).all()
    assert np.isnan(single["changed_share"][0])
    assert not np.isnan(single["changed_share"][3])


def test_the_gate_is_a_flag_in_every_table(place: SimpleNamespace):
    for block in range(place.grid.blocks):
        place.stub.TraceFrames(trace(place, block))
    place.stub.SummariseMovie(summarise(place))
    folder = "stages/graph-summary/k/tables"
    frames = FRAMES.from_parquet_bytes(place.store.get(f"{folder}/frames.parquet"))
    flags = frames["snr_flag"].tolist()
    assert flags == ["ok", "ok", "snr_not_applicable", "ok"]
    for table in (NODES, EDGES, MULTI_WAY):
        rows = table.from_parquet_bytes(place.store.get(f"{folder}/{table.name}.parquet"))
        assert rows["snr_flag"].tolist() == [flags[f] for f in rows["frame"]]
    for table in (JUNCTIONS, EPISODES, TIPS, TIP_PHASES):
        rows = table.from_parquet_bytes(place.store.get(f"{folder}/{table.name}.parquet"))
        over = (rows["first_frame"] <= 2) & (rows["last_frame"] >= 2)
        assert rows["snr_flag"].tolist() == np.where(over, "snr_not_applicable", "ok").tolist()
    events = EVENTS.from_parquet_bytes(place.store.get(f"{folder}/events.parquet"))
    near = events["frame"].isin([2, 3])
    assert events["snr_flag"].tolist() == np.where(near, "snr_not_applicable", "ok").tolist()
    dynamics = DYNAMICS.from_parquet_bytes(place.store.get(f"{folder}/dynamics.parquet"))
    assert (dynamics["low_snr_share"] == 0).all()


def test_two_threads_give_the_bytes_of_one(place: SimpleNamespace, movie: SimpleNamespace, tmp_path: Path):
    for block in range(place.grid.blocks):
        place.stub.TraceFrames(trace(place, block))
    with serving(tmp_path / "second", movie, threads=2) as two, ThreadPoolExecutor(3) as callers:
        replies = callers.map(lambda block: two.stub.TraceFrames(trace(two, block)), range(two.grid.blocks))
        assert {reply.outcome for reply in replies} == {common_pb2.OUTCOME_COMPUTED}
        parts = sorted(place.store.list("stages/graph-trace/k/parts/"))
        assert len(parts) >= place.grid.blocks
        assert parts == sorted(two.store.list("stages/graph-trace/k/parts"))
        assert all(place.store.get(part) == two.store.get(part) for part in parts)


def draw(place: SimpleNamespace, frame: int, key: str = "s") -> graph_pb2.DrawStaticFrameRequest:
    box = common_pb2.Box(offset=(1, 0, 0), shape=(1, EDGE, EDGE))
    classes, raw = (
        common_pb2.ChunkRef(array=common_pb2.ArrayRef(path=f"{name}/0"), box=box) for name in ("classes", "raw")
    )
    return graph_pb2.DrawStaticFrameRequest(
        task=task("graph-static", frame, key),
        classes=classes,
        raw=raw,
        scene=common_pb2.ArrayRef(path=f"{key}/scene/0"),
        scene_box=common_pb2.Box(offset=(frame, 0, 0), shape=(1, EDGE, EDGE)),
        frames=3,
        output=common_pb2.ArrayRef(path=f"stages/graph-static/{key}/tables"),
    )


def test_the_static_scene_is_drawn_and_its_floor_summed_up(place: SimpleNamespace, movie: SimpleNamespace):
    shape = (3, EDGE, EDGE)
    for key in ("s", "t"):
        create_image(place.store, f"{key}/scene", ImageSpec(shape, "uint16", (1, EDGE, EDGE), "tyx", (1.0, 0.1, 0.1)))
        for frame in range(3):
            assert place.stub.DrawStaticFrame(draw(place, frame, key)).outcome == common_pb2.OUTCOME_COMPUTED
    scene, again = (read_box(place.store, f"{key}/scene/0", Box.whole(shape)) for key in ("s", "t"))
    np.testing.assert_array_equal(scene, again)
    assert (scene[0] != scene[1]).mean() > 0.9
    row = FLOOR_SCENE.from_parquet_bytes(place.store.get("stages/graph-static/s/tables/floor_scene.parquet")).iloc[0]
    assert (row["source_frame"], row["frames"], row["noise_source"]) == (1, 3, "background")
    assert row["snr_power"] == pytest.approx(10, rel=0.15)
    # Summed up from frames of the true movie here: the floor's tables are those of any traced frames.
    for block in range(place.grid.blocks):
        place.stub.TraceFrames(trace(place, block, "f"))
    assert place.stub.SummariseFloor(summarise(place, "f")).outcome == common_pb2.OUTCOME_COMPUTED
    folder = "stages/graph-summary/f/tables"
    floor = FLOOR.from_parquet_bytes(place.store.get(f"{folder}/floor.parquet")).set_index("population")
    assert floor.loc["junctions", "n"] > 0
    FLOOR_SURVIVAL.from_parquet_bytes(place.store.get(f"{folder}/floor_survival.parquet"))
    frames = FLOOR_FRAMES.from_parquet_bytes(place.store.get(f"{folder}/floor_frames.parquet"))
    assert frames["frame"].tolist() == [0, 1, 2, 3]
    assert (frames["junctions"] > 0).any()
    assert not place.store.exists(f"{folder}/junctions.parquet")


def test_the_same_movie_gives_the_same_bytes(place: SimpleNamespace):
    for key, blocks in (("a", [0, 1, 2, 3]), ("b", [3, 1, 0, 2])):
        for block in blocks:
            place.stub.TraceFrames(trace(place, block, key))
        place.stub.SummariseMovie(summarise(place, key))
    assert tables(place, "a") == tables(place, "b")
    assert place.stub.TraceFrames(trace(place, 0, "a")).outcome == common_pb2.OUTCOME_CACHED


def test_cells_and_the_point_spread_travel_with_the_frames(place: SimpleNamespace, movie: SimpleNamespace):
    cells = np.zeros((1, EDGE, EDGE), np.uint32)
    cells[0, :, :70], cells[0, 20:90, 75:] = 3, 8
    create_image(place.store, "cells", ImageSpec(cells.shape, "uint32", cells.shape, "tyx", (1.0, 0.1, 0.1)))
    write_block(place.store, "cells/0", Box((0, 0, 0), cells.shape), cells)
    chunk = common_pb2.ChunkRef(
        array=common_pb2.ArrayRef(path="cells/0"), box=common_pb2.Box(offset=(0, 0, 0), shape=cells.shape)
    )
    for block in range(place.grid.blocks):
        place.stub.TraceFrames(trace(place, block, "c", cells=chunk, figures_json='{"psf_fwhm_um": 0.28}'))
    place.stub.SummariseMovie(summarise(place, "c"))
    folder = "stages/graph-summary/c/tables"
    found = CELLS.from_parquet_bytes(place.store.get(f"{folder}/cells.parquet"))
    assert found["cell"].tolist() == [3, 8] * FRAME_COUNT
    assert found["area_um2"].tolist() == pytest.approx([70 * EDGE / 100, 70 * 53 / 100] * FRAME_COUNT)
    curve = MULTI_WAY.from_parquet_bytes(place.store.get(f"{folder}/multi_way.parquet"))
    assert set(curve["frame"]) == set(range(FRAME_COUNT))
    edges = EDGES.from_parquet_bytes(place.store.get(f"{folder}/edges.parquet"))
    np.testing.assert_array_equal(edges["apparent_width"] == 1, edges["width_um"] < 1.2 * 0.28)
    assert 0 < edges["apparent_width"].mean() < 1


def test_requests_that_cannot_be_done_say_why(place: SimpleNamespace):
    def refusal(call: object) -> tuple[str, str]:
        with pytest.raises(grpc.RpcError) as error:
            call()  # type: ignore[operator]
        failure = failure_of(error.value)
        return failure.reason_name, failure.message

    stub = place.stub
    reason, message = refusal(lambda: stub.TraceFrames(trace(place, 0, tracing_json='{"spur": 3}')))
    assert reason == "BAD_REQUEST"
    assert "unknown key spur" in message
    assert refusal(lambda: stub.TraceFrames(trace(place, 0, pixel_size_um=[0.0, 0.1])))[0] == "BAD_REQUEST"
    assert "psf_fwhm_um" in refusal(lambda: stub.TraceFrames(trace(place, 0, figures_json='{"psf_fwhm_um": -1}')))[1]
    assert (
        refusal(lambda: stub.TraceFrames(trace(place, 0, task=task("graph-trace", 0, "k", 99))))[0] == "STAGE_VERSION"
    )
    other = common_pb2.ChunkRef(array=common_pb2.ArrayRef(path="nothing/0"), box=trace(place, 0).classes.box)
    assert refusal(lambda: stub.TraceFrames(trace(place, 0, classes=other)))[0] == "MISSING_INPUT"
    assert refusal(lambda: stub.SummariseMovie(summarise(place, "untraced")))[0] == "MISSING_INPUT"
    place.store.put("stages/graph-trace/torn/parts/00000000.npz", b"no archive")
    assert refusal(lambda: stub.SummariseMovie(summarise(place, "torn")))[0] == "CORRUPT_CHUNK"


def test_the_service_needs_no_torch():
    code = "import sys, cisterna.graph.service; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
