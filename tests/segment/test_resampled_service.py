"""Anisotropic input through ingest, plan and service: a model's voxel size, the input's grid, regions as the whole."""

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
from cisterna.acquire import ingest_volume
from cisterna.chunks import Box
from cisterna.clahe import Grey, equalised
from cisterna.lattice import factor_between
from cisterna.models import install_model, read_model
from cisterna.rpc.errors import failure_of
from cisterna.rpc.server import ServerConfig, Worker
from cisterna.runs.acquisition import read_acquisition
from cisterna.runs.plan import make_plan
from cisterna.runs.recipes import DenoiseRecipe, FibsemRecipe, SegmentRecipe
from cisterna.segment.probability import IntensityRule, prepare, volume_probability
from cisterna.segment.published import write_published_model
from cisterna.segment.service import SegmentService
from cisterna.segment.unet import build
from cisterna.store import open_store
from cisterna.store.arrays import create_image, read_box
from cisterna.v1 import segment_pb2_grpc

SHAPE = (20, 30, 130)
SCALE = (5.24, 4.0, 8.0)
MODEL = (8.0, 8.0, 8.0)
REGION = Box((0, 0, 3), (20, 30, 127))  # cut at one face, off the stride and off the model's lattice
REACH = 57  # nearer to a cut face a region sees reflections: context, its step in legal sizes, interpolation


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    folder: Path = tmp_path_factory.mktemp("resampled")
    store = open_store((folder / "store").as_uri())
    torch.manual_seed(5)
    network = build(num_fmaps=1)
    with torch.no_grad():
        network.final_conv_pass.conv_pass[0].weight.mul_(4)
    torch.save({"model_state_dict": network.state_dict()}, folder / "checkpoint.pt")
    for name, rule in (("ranged", "range"), ("levelled", "clahe")):
        write_published_model(
            folder / "checkpoint.pt", folder / name, class_name="er", voxel_size_nm=MODEL, intensity_rule=rule
        )
        install_model(store, folder / name)
    rng = np.random.default_rng(7)
    volume = np.clip(rng.normal(120, 30, SHAPE) + np.linspace(-60, 60, SHAPE[2]), 0, 255).astype(np.uint8)
    tifffile.imwrite(folder / "raw.tif", volume)
    worker = Worker(ServerConfig("segment", "", "", "", "", "cpu", 1, 3), store, "cpu", lambda: None)
    server = grpc.server(ThreadPoolExecutor(4))
    segment_pb2_grpc.add_SegmentServiceServicer_to_server(SegmentService(worker), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = segment_pb2_grpc.SegmentServiceStub(channel)
        yield SimpleNamespace(store=store, stub=stub, folder=folder, volume=volume)
    server.stop(None).wait()


def stage_of(place: SimpleNamespace, model: str, region: Box | None = None, **segment: Any) -> Any:
    """The stage as the planner makes it."""
    taken = ingest_volume(
        place.store, place.folder / "raw.tif", voxel_size_nm=SCALE, polarity="dark", equalise=True, region=region
    )
    models = dict.fromkeys(("er", "copi", "tubular_eres"), model)
    recipe = FibsemRecipe(denoise=DenoiseRecipe(enabled=False), segment=SegmentRecipe(models=models, **segment))
    return make_plan(place.store, recipe, read_acquisition(place.store, taken.id)).stage("segment-er")


def segmented(place: SimpleNamespace, stage: Any) -> np.ndarray:
    """The stage as the driver would run it."""
    image = stage.images[0]
    create_image(place.store, image.path, image.spec)
    for block in range(stage.blocks):
        place.stub.SegmentBlock(stage.request(block, 1))
    return read_box(place.store, image.level(0), Box.whole(image.spec.shape))


@pytest.fixture(scope="module")
def whole(place: SimpleNamespace) -> np.ndarray:
    stage = stage_of(place, "levelled")
    assert stage.blocks == 3
    return segmented(place, stage)


def test_equalised_on_the_grid_of_the_input_and_resampled_then(place: SimpleNamespace, whole: np.ndarray) -> None:
    network = prepare(read_model(place.store, "levelled").module())
    level, factor = equalised(place.volume, Grey("uint8", 0, 255)), factor_between(SCALE, MODEL)
    expected = volume_probability(level, network, IntensityRule(0, 255), factor=factor)[0]
    assert whole.shape == SHAPE
    assert np.abs(whole.astype(int) - expected).max() <= 1
    assert whole.std() > 5
    plain = volume_probability(level, network, IntensityRule(0, 255))[0]
    assert np.abs(plain.astype(int) - whole).mean() > 2, "at its own scale the network sees something else"


def test_a_region_is_the_whole_inside(place: SimpleNamespace, whole: np.ndarray) -> None:
    found = segmented(place, stage_of(place, "levelled", REGION))
    cut = whole[REGION.slices]
    assert np.abs(found.astype(int) - cut)[:, :, REACH:].max() <= 1
    assert (found != cut)[:, :, :20].mean() > 0.01


def test_precision_and_resampling_together(place: SimpleNamespace) -> None:
    single = segmented(place, stage_of(place, "ranged"))
    half = segmented(place, stage_of(place, "ranged", precision="bfloat16"))
    difference = np.abs(half.astype(int) - single)
    assert 0 < difference.max() <= 12
    assert difference.mean() < 1


def test_mistakes_are_one_sentence(place: SimpleNamespace) -> None:
    for changes, sentence in (
        ({"resample": [1.0, 2.0]}, "give a factor per axis"),
        ({"resample": [1.0, 0.0, 1.0]}, "give a factor per axis"),
        ({"precision": "int4"}, "unknown precision 'int4'; use one of float32, bfloat16, float16"),
    ):
        request = stage_of(place, "ranged", precision="float16").request(0, 1)
        for name, value in changes.items():
            if isinstance(value, list):
                del getattr(request, name)[:]
                getattr(request, name).extend(value)
            else:
                setattr(request, name, value)
        with pytest.raises(grpc.RpcError) as caught:
            place.stub.SegmentBlock(request)
        assert failure_of(caught.value).reason_name == "BAD_REQUEST"
        assert sentence in str(caught.value.details())
