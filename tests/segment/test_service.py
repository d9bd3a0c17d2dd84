"""The service over a real store and a real channel: its blocks are the probability of the whole volume."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from cisterna.chunks import BlockGrid, Box
from cisterna.models import install_model, read_model, write_model_folder
from cisterna.rpc.errors import failure_of
from cisterna.rpc.server import ServerConfig, Worker
from cisterna.segment.probability import IntensityRule, prepare, volume_probability
from cisterna.segment.service import STAGE_VERSION, SegmentService
from cisterna.segment.unet import build
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, read_box, write_block
from cisterna.store.parts import from_npz
from cisterna.store.receipts import read_receipt, verify_receipt
from cisterna.v1 import common_pb2, segment_pb2, segment_pb2_grpc

SHAPE, BLOCK = (14, 66, 20), (64, 64, 64)
LOW, HIGH = 30.0, 220.0


def install(store: Any, folder: Path, name: str, **changes: Any) -> None:
    torch.manual_seed(1)
    network = build(num_fmaps=1)
    spec = {
        "name": name, "family": "asem", "class": "er", "topology": {"num_fmaps": 1}, "padding": "valid", "context": 47,
        "stride": 8, "voxel_size_nm": [8, 8, 8], "polarity": "dark_membranes", "flop_per_voxel": 1, "demo": True,
        "intensity": {"rule": "range", "to": [-1.0, 1.0]}, "licence": "none",
    }  # fmt: skip
    write_model_folder(folder / name, spec | changes, {k: v.numpy() for k, v in network.state_dict().items()})
    install_model(store, folder / name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    folder: Path = tmp_path_factory.mktemp("segment")
    store = open_store((folder / "store").as_uri())
    install(store, folder, "tiny")
    install(store, folder, "equalised", intensity={"rule": "clahe"})
    volume = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    grid = BlockGrid(SHAPE, BLOCK)
    for name in ("raw", "probability"):
        create_image(store, f"{name}.ome.zarr", ImageSpec(SHAPE, "uint8", BLOCK, "zyx", (8.0, 8.0, 8.0)))
    for block in range(grid.blocks):
        write_block(store, "raw.ome.zarr/0", grid.box(block), volume[grid.box(block).slices])
    worker = Worker(ServerConfig("segment", "", "", "", "", "cpu", 1, 3), store, "cpu", lambda: None)
    server = grpc.server(ThreadPoolExecutor(4))
    segment_pb2_grpc.add_SegmentServiceServicer_to_server(SegmentService(worker), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = segment_pb2_grpc.SegmentServiceStub(channel)
        digests = {name: read_model(store, name).digest for name in ("tiny", "equalised")}
        yield SimpleNamespace(store=store, stub=stub, volume=volume, grid=grid, digests=digests)
    server.stop(None).wait()


def request(place: SimpleNamespace, block: int, key: str = "k", **changes: Any) -> segment_pb2.SegmentBlockRequest:
    box = place.grid.box(block)
    task = common_pb2.TaskRef(
        stage="segment-er", stage_version=STAGE_VERSION, stage_key=key, block_index=block, attempt=1
    )
    fields = {
        "task": task,
        "input": common_pb2.ChunkRef(
            array=common_pb2.ArrayRef(path="raw.ome.zarr/0"),
            box=common_pb2.Box(offset=box.offset, shape=box.shape),
            halo=[47] * 3,
        ),
        "output": common_pb2.ArrayRef(path="probability.ome.zarr/0"),
        "model": common_pb2.ModelRef(name="tiny", digest=place.digests["tiny"]),
        "intensity": common_pb2.IntensityRange(low=LOW, high=HIGH),
    }
    return segment_pb2.SegmentBlockRequest(**(fields | changes))


def test_blocks_make_the_probability_of_the_volume(place: SimpleNamespace) -> None:
    assert place.grid.blocks == 2
    for block in range(place.grid.blocks):
        reply = place.stub.SegmentBlock(request(place, block))
        assert reply.outcome == common_pb2.OUTCOME_COMPUTED
        assert reply.voxels == place.grid.box(block).size
    found = read_box(place.store, "probability.ome.zarr/0", Box.whole(SHAPE))
    network = prepare(read_model(place.store, "tiny").module())
    expected = volume_probability(place.volume, network, IntensityRule(LOW, HIGH))[0]
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).sum() <= 1
    assert found.std() > 1
    receipt = read_receipt(place.store, "segment-er", "k", 0)
    assert receipt is not None
    assert receipt.model == "tiny"
    share = (read_box(place.store, "probability.ome.zarr/0", place.grid.box(0)) >= 128).mean()
    assert receipt.figures["foreground_share"] == pytest.approx(share)
    assert place.stub.SegmentBlock(request(place, 0)).outcome == common_pb2.OUTCOME_CACHED


def test_what_went_in_and_came_out_is_counted_beside_the_receipts(place: SimpleNamespace) -> None:
    for block in range(place.grid.blocks):
        place.stub.SegmentBlock(request(place, block, "counted"))
    receipt = read_receipt(place.store, "segment-er", "counted", 1)
    assert receipt is not None
    path = "stages/segment-er/counted/parts/00000001.npz"
    assert [o.path for o in receipt.objects][1:] == [path]
    assert verify_receipt(place.store, receipt) == []
    parts = [from_npz(place.store.get(path.replace("1.npz", f"{n}.npz"))) for n in range(place.grid.blocks)]
    probability = read_box(place.store, "probability.ome.zarr/0", Box.whole(SHAPE))
    share = np.clip((place.volume - LOW) / (HIGH - LOW), 0, 1)
    for name, expected in (
        ("input_histogram", np.histogram(share, bins=32, range=(0, 1))[0]),
        ("probability_histogram", np.histogram(probability, bins=32, range=(0, 256))[0]),
    ):
        assert np.array_equal(np.sum([p[name] for p in parts], axis=0), expected)
    assert parts[1]["offset"].tolist() == [0, 64, 0]
    assert [p["voxels"].sum() for p in parts] == [place.grid.box(n).size for n in range(2)]
    assert sum(p["positives"].sum() for p in parts) == (probability >= 128).sum()


def test_mistakes_have_a_reason(place: SimpleNamespace) -> None:
    def model(name: str, digest: str) -> common_pb2.ModelRef:
        return common_pb2.ModelRef(name=name, digest=digest)

    flat = common_pb2.ChunkRef(
        array=common_pb2.ArrayRef(path="raw.ome.zarr/0"), box=common_pb2.Box(offset=[0, 0], shape=[4, 4])
    )
    absent = common_pb2.ChunkRef(
        array=common_pb2.ArrayRef(path="none.ome.zarr/0"), box=common_pb2.Box(offset=[0] * 3, shape=[8] * 3)
    )
    cases = [
        (request(place, 0, "a", model=model("tiny", "0" * 64)), "MODEL_MISMATCH", "digest"),
        (request(place, 0, "b", model=model("equalised", place.digests["equalised"])), "BAD_REQUEST", "CLAHE"),
        (request(place, 0, "c", intensity=common_pb2.IntensityRange(low=9, high=9)), "BAD_REQUEST", "constant"),
        (request(place, 0, "d", input=flat), "BAD_REQUEST", "three axes"),
        (request(place, 0, "e", input=absent), "MISSING_INPUT", "none.ome.zarr"),
        (request(place, 0, task=common_pb2.TaskRef(stage="segment-er", stage_version=99)), "STAGE_VERSION", "99"),
    ]
    for wrong, reason, sentence in cases:
        with pytest.raises(grpc.RpcError) as caught:
            place.stub.SegmentBlock(wrong)
        assert failure_of(caught.value).reason_name == reason
        assert sentence in caught.value.details()


def test_an_inverted_volume_gives_the_same_input() -> None:
    """Bright membranes with ``invert`` are dark membranes: the rule, on the way to the network."""
    rule, inverted = IntensityRule(30, 220), IntensityRule(30, 220, invert=True)
    x = torch.tensor([0.0, 30.0, 100.0, 125.0, 220.0, 255.0, float("nan")])
    assert rule.apply(x)[:6].tolist() == pytest.approx([-1, -1, 2 * 70 / 190 - 1, 0, 1, 1])
    assert inverted.apply(250 - x)[:6].tolist() == pytest.approx(rule.apply(x)[:6].tolist())
    assert torch.isfinite(rule.apply(x)).all()
