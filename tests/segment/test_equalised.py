"""A model with rule clahe, from file to probability: whole, region, and a file that is equalised already."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
import tifffile
import torch
from cisterna.acquire import UnusableInput, ingest_volume
from cisterna.chunks import Box
from cisterna.clahe import Grey, equalised
from cisterna.models import demo_models, install_model, read_model
from cisterna.rpc.errors import failure_of
from cisterna.rpc.server import ServerConfig, Worker
from cisterna.runs.acquisition import read_acquisition
from cisterna.runs.plan import make_plan
from cisterna.runs.recipes import DenoiseRecipe, FibsemRecipe, RecipeError, SegmentRecipe
from cisterna.segment.probability import IntensityRule, prepare, volume_probability
from cisterna.segment.published import write_published_model
from cisterna.segment.service import SegmentService
from cisterna.segment.unet import build
from cisterna.store import open_store
from cisterna.store.arrays import create_image, read_box
from cisterna.store.parts import from_npz, part_path
from cisterna.v1 import segment_pb2_grpc

SHAPE = (13, 50, 128)
REGION = Box((0, 0, 11), (13, 50, 117))  # cut at one face, off the stride
REACH = 54  # the network's context and its step in legal sizes: nearer to a cut face a region sees reflections
BYTE = Grey("uint8", 0, 255)
CLASSES = ("er", "copi", "tubular_eres")


def tissue() -> np.ndarray:
    rng = np.random.default_rng(7)
    volume = rng.normal(120, 30, SHAPE) + np.linspace(-60, 60, SHAPE[2])
    return np.clip(volume, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    folder: Path = tmp_path_factory.mktemp("equalised")
    store = open_store((folder / "store").as_uri())
    torch.manual_seed(5)
    torch.save({"model_state_dict": build(num_fmaps=1).state_dict()}, folder / "checkpoint.pt")
    write_published_model(folder / "checkpoint.pt", folder / "asem-er", class_name="er", voxel_size_nm=(8, 8, 8))
    install_model(store, folder / "asem-er")
    install_model(store, next(m for m in demo_models() if m.name == "demo-fastfib"))
    volume = tissue()
    tifffile.imwrite(folder / "raw.tif", volume)
    tifffile.imwrite(folder / "done.tif", equalised(volume, BYTE))
    worker = Worker(ServerConfig("segment", "", "", "", "", "cpu", 1, 3), store, "cpu", lambda: None)
    server = grpc.server(ThreadPoolExecutor(4))
    segment_pb2_grpc.add_SegmentServiceServicer_to_server(SegmentService(worker), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = segment_pb2_grpc.SegmentServiceStub(channel)
        yield SimpleNamespace(store=store, stub=stub, folder=folder, volume=volume)
    server.stop(None).wait()


def ingest(place: SimpleNamespace, name: str, **options: Any) -> str:
    return ingest_volume(place.store, place.folder / name, voxel_size_nm=8, polarity="dark", **options).id


def plan(place: SimpleNamespace, acquisition: str, **segment: Any) -> Any:
    recipe = FibsemRecipe(
        denoise=DenoiseRecipe(enabled=segment.get("input") == "denoised"),
        segment=SegmentRecipe(models=dict.fromkeys(CLASSES, "asem-er"), **segment),
    )
    return make_plan(place.store, recipe, read_acquisition(place.store, acquisition))


def segmented(place: SimpleNamespace, acquisition: str) -> np.ndarray:
    """The stage as the driver would run it."""
    stage = plan(place, acquisition).stage("segment-er")
    image = stage.images[0]
    create_image(place.store, image.path, image.spec)
    for block in range(stage.blocks):
        place.stub.SegmentBlock(stage.request(block, 1))
    return read_box(place.store, image.level(0), Box.whole(image.spec.shape))


@pytest.fixture(scope="module")
def whole(place: SimpleNamespace) -> np.ndarray:
    return segmented(place, ingest(place, "raw.tif", equalise=True))


def differing(a: np.ndarray, b: np.ndarray) -> float:
    difference = np.abs(a.astype(int) - b)
    assert difference.max() <= 1
    return float((difference > 0).mean())


def test_blocks_are_those_of_the_volume_equalised_at_once(place: SimpleNamespace, whole: np.ndarray) -> None:
    model = read_model(place.store, "asem-er")
    rule = IntensityRule.of_model(model.spec, 3, 4, equalised=True)
    network = prepare(model.module())
    assert differing(whole, volume_probability(equalised(place.volume, BYTE), network, rule)[0]) <= 1e-4
    assert whole.std() > 1


def test_what_is_counted_is_the_equalised_input(place: SimpleNamespace, whole: np.ndarray) -> None:
    stage = plan(place, ingest(place, "raw.tif", equalise=True)).stage("segment-er")
    parts = [from_npz(place.store.get(part_path(f"{stage.folder}/parts", n))) for n in range(stage.blocks)]
    seen = np.sum([p["input_histogram"] for p in parts], axis=0)
    assert np.array_equal(seen, np.histogram(equalised(place.volume, BYTE) / 255, bins=32, range=(0, 1))[0])
    assert not np.array_equal(seen, np.histogram(place.volume / 255, bins=32, range=(0, 1))[0])


def test_a_region_is_the_whole_inside(place: SimpleNamespace, whole: np.ndarray) -> None:
    found = segmented(place, ingest(place, "raw.tif", equalise=True, region=REGION))
    inside, cut = (slice(None), slice(None), slice(REACH, None)), whole[REGION.slices]
    assert differing(found[inside], cut[inside]) == 0
    assert (found != cut)[:, :, :20].mean() > 0.01  # at the cut face it sees reflections instead of tissue
    # equalised by itself, the same box is another input
    alone = equalised(place.volume[REGION.slices], BYTE)
    assert (alone != equalised(place.volume, BYTE)[REGION.slices]).mean() > 0.2


def test_a_file_that_is_equalised_already_gives_the_same(place: SimpleNamespace, whole: np.ndarray) -> None:
    acquisition = ingest(place, "done.tif", equalised=True)
    stage = plan(place, acquisition).stage("segment-er")
    assert not stage.request(0, 1).equalisation.path
    assert differing(segmented(place, acquisition), whole) == 0
    assert acquisition != ingest(place, "done.tif")
    tifffile.imwrite(place.folder / "wide.tif", place.volume.astype(np.uint16))
    with pytest.raises(UnusableInput, match="8-bit"):
        ingest(place, "wide.tif", equalised=True)


def test_tables_are_taken_once_and_only_when_they_are_wanted(place: SimpleNamespace) -> None:
    tifffile.imwrite(place.folder / "other.tif", place.volume[:, ::-1])
    acquisition = ingest(place, "other.tif")
    with pytest.raises(RecipeError, match="submit its file again"):
        plan(place, acquisition)
    assert ingest(place, "other.tif", equalise=True) == acquisition
    first = plan(place, acquisition)
    path = f"acquisitions/{acquisition}/clahe.safetensors"
    before = place.store.get(path)
    assert ingest(place, "other.tif", equalise=True) == acquisition
    assert place.store.get(path) == before
    assert len(before) < 512 * 2 + 1000  # two cells
    assert plan(place, acquisition).stage("segment-er").key == first.stage("segment-er").key
    with pytest.raises(RecipeError, match=r"write segment\.input raw"):
        plan(place, acquisition, input="denoised")


def test_damaged_tables_and_voxels_that_are_not_equalised_are_refused(place: SimpleNamespace) -> None:
    acquisition = ingest(place, "raw.tif", equalise=True)
    stage = plan(place, acquisition).stage("segment-er")
    request = stage.request(0, 1)
    request.task.stage_key = "x"
    path = "acquisitions/damaged/clahe.safetensors"
    place.store.put(path, place.store.get(request.equalisation.path)[:-9] + b"123456789")
    request.equalisation.path = path
    request.equalisation.identity = "0" * 64
    with pytest.raises(grpc.RpcError) as caught:
        place.stub.SegmentBlock(request)
    assert failure_of(caught.value).reason_name == "CORRUPT_CHUNK"
    request.ClearField("equalisation")
    with pytest.raises(grpc.RpcError) as caught:
        place.stub.SegmentBlock(request)
    assert failure_of(caught.value).reason_name == "BAD_REQUEST"
    assert "CLAHE" in caught.value.details()
