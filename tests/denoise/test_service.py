"""The service over a real store and a real channel: block by block it writes what `denoise_volume` computes."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="denoising needs torch")

from cisterna.chunks import BlockGrid  # noqa: E402
from cisterna.denoise.__main__ import register  # noqa: E402
from cisterna.denoise.apply import IntensityRange, denoise_volume, prepare  # noqa: E402
from cisterna.denoise.fastfib import build  # noqa: E402
from cisterna.denoise.service import STAGE_VERSION  # noqa: E402
from cisterna.denoise.train import write_fastfib_model  # noqa: E402
from cisterna.denoise.training import FastFibSettings, TrainingResult  # noqa: E402
from cisterna.denoise.upsampling import denoise_upsampled  # noqa: E402
from cisterna.models import demo_models, install_model, read_model  # noqa: E402
from cisterna.rpc.errors import failure_of  # noqa: E402
from cisterna.rpc.server import ServerConfig, Worker  # noqa: E402
from cisterna.store import open_store  # noqa: E402
from cisterna.store.arrays import ImageSpec, create_image, read_box, write_block  # noqa: E402
from cisterna.store.receipts import read_receipt  # noqa: E402
from cisterna.tiles import reflect_pad  # noqa: E402
from cisterna.v1 import common_pb2, denoise_pb2, denoise_pb2_grpc  # noqa: E402

SHAPE, BLOCK = (20, 30, 75), (64, 64, 64)
RANGES = {"inlens": (20.0, 230.0), "esb": (10.0, 240.0)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    folder: Path = tmp_path_factory.mktemp("denoise")
    torch.manual_seed(0)
    settings = FastFibSettings(width=1, patch=16)
    network = build(width=1).eval()
    with torch.no_grad():
        network.final.weight.mul_(10)
    result = TrainingResult(network, [{"iteration": 0.0}], 0.0)
    write_fastfib_model(
        folder / "tiny", result, settings, voxel_size_nm=(8, 8, 8), demo=True, licence="none", data="nothing"
    )
    store = open_store((folder / "store").as_uri())
    install_model(store, folder / "tiny")
    rng = np.random.default_rng(0)
    volumes = {name: rng.integers(0, 256, SHAPE).astype(np.uint8) for name in RANGES}
    grid = BlockGrid(SHAPE, BLOCK)
    spec = ImageSpec(SHAPE, "uint8", BLOCK, "zyx", (8.0, 8.0, 8.0))
    for name in (*RANGES, "denoised"):
        create_image(store, f"{name}.ome.zarr", spec)
    for name, volume in volumes.items():
        for block in range(grid.blocks):
            write_block(store, f"{name}.ome.zarr/0", grid.box(block), volume[grid.box(block).slices])
    config = ServerConfig("denoise", "", "", "", "", "cpu", 1, 3)
    server = grpc.server(ThreadPoolExecutor(4))
    register(server, Worker(config, store, "cpu", lambda: None))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = denoise_pb2_grpc.DenoiseServiceStub(channel)
        yield SimpleNamespace(store=store, stub=stub, volumes=volumes, grid=grid, model=read_model(store, "tiny"))
    server.stop(None).wait()


def request(
    place: SimpleNamespace, block: int, halo: int = 56, key: str = "k", **changes
) -> denoise_pb2.DenoiseBlockRequest:
    box = place.grid.box(block)
    proto = common_pb2.Box(offset=box.offset, shape=box.shape)
    ranges = [common_pb2.IntensityRange(low=low, high=high) for low, high in RANGES.values()]
    fields = {
        "task": common_pb2.TaskRef(
            stage="denoise", stage_version=STAGE_VERSION, stage_key=key, block_index=block, attempt=1
        ),
        "inputs": [
            common_pb2.ChunkRef(array=common_pb2.ArrayRef(path=f"{name}.ome.zarr/0"), box=proto, halo=[halo] * 3)
            for name in RANGES
        ],
        "output": common_pb2.ArrayRef(path="denoised.ome.zarr/0"),
        "model": common_pb2.ModelRef(name="tiny", digest=place.model.digest),
        "intensity": ranges,
    }
    return denoise_pb2.DenoiseBlockRequest(**(fields | changes))


def test_blocks_make_the_mean_of_the_denoised_detectors(place: SimpleNamespace) -> None:
    for block in range(place.grid.blocks):
        assert place.stub.DenoiseBlock(request(place, block)).outcome == common_pb2.OUTCOME_COMPUTED
    found = read_box(place.store, "denoised.ome.zarr/0", place.grid.box(0).from_bounds((0, 0, 0), SHAPE))
    each = [
        denoise_volume(v.astype(np.float32), place.model, range=IntensityRange(*RANGES[n]))
        for n, v in place.volumes.items()
    ]
    expected = np.clip(np.rint(np.mean(each, axis=0)), 0, 255)
    different = np.abs(found.astype(int) - expected)
    assert different.max() <= 1
    assert (different > 0).mean() < 1e-4
    assert found.std() > 1
    receipt = read_receipt(place.store, "denoise", "k", 0)
    assert receipt is not None
    assert receipt.model == "tiny"
    assert receipt.figures["noise_sigma_before"] > 50
    assert {"residual_whiteness", "fsc_before", "fsc_after"} <= set(receipt.figures)
    part = next(o.path for o in receipt.objects if o.path.endswith("parts/00000000.npz"))
    with np.load(io.BytesIO(place.store.get(part)), allow_pickle=False) as arrays:
        assert arrays["offset"].tolist() == [0, 0, 0]
        assert arrays["shared_score"].shape == (2, 2, 4)
        assert arrays["plane_count"].sum() == place.grid.box(0).size
    assert place.stub.DenoiseBlock(request(place, 0)).outcome == common_pb2.OUTCOME_CACHED


def test_mistakes_have_a_reason(place: SimpleNamespace) -> None:
    stranger = common_pb2.ModelRef(name="tiny", digest="0" * 64)
    cases = [
        (request(place, 0, halo=40, key="a"), "BAD_REQUEST", "receptive radius"),
        (request(place, 0, key="b", intensity=[]), "BAD_REQUEST", "intensity ranges"),
        (request(place, 0, key="c", inputs=[]), "BAD_REQUEST", "no detector"),
        (request(place, 0, key="d", model=stranger), "MODEL_MISMATCH", "digest"),
        (request(place, 0, key="f", precision="int8"), "BAD_REQUEST", "float32, bfloat16"),
        (request(place, 0, key="e", task=common_pb2.TaskRef(stage="denoise", stage_version=99)), "STAGE_VERSION", "99"),
    ]
    for wrong, reason, sentence in cases:
        with pytest.raises(grpc.RpcError) as caught:
            place.stub.DenoiseBlock(wrong)
        failure = failure_of(caught.value)
        assert failure.reason_name == reason
        assert sentence in caught.value.details()


ODD = {
    "one plane": np.random.default_rng(1).integers(0, 256, (1, 20, 24)).astype(np.uint8),
    "uint16": np.random.default_rng(2).integers(0, 60000, (8, 16, 16)).astype(np.uint16),
    "float with gaps": np.where(
        np.random.default_rng(3).random((8, 16, 16)) < 0.1, np.nan, np.random.default_rng(4).random((8, 16, 16))
    ).astype(np.float32),
    "only gaps": np.full((8, 16, 16), np.nan, np.float32),
    "constant": np.full((8, 16, 16), 93, np.uint8),
    "saturated": np.where(np.random.default_rng(5).random((8, 16, 16)) < 0.5, 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_volumes_go_through_the_service(place: SimpleNamespace, kind: str) -> None:
    grey = ODD[kind]
    name = f"odd-{kind.replace(' ', '-')}"
    for path in (f"{name}.ome.zarr", f"{name}-out.ome.zarr"):
        create_image(place.store, path, ImageSpec(grey.shape, str(grey.dtype), BLOCK, "zyx", (8.0, 8.0, 8.0)))
    whole = BlockGrid(grey.shape, BLOCK).box(0)
    write_block(place.store, f"{name}.ome.zarr/0", whole, grey)
    box = common_pb2.Box(offset=whole.offset, shape=whole.shape)
    seen = grey[np.isfinite(grey)]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
    place.stub.DenoiseBlock(
        request(
            place,
            0,
            key=name,
            inputs=[common_pb2.ChunkRef(array=common_pb2.ArrayRef(path=f"{name}.ome.zarr/0"), box=box, halo=[56] * 3)],
            output=common_pb2.ArrayRef(path=f"{name}-out.ome.zarr/0"),
            intensity=[common_pb2.IntensityRange(low=low, high=high)],
        )
    )
    found = read_box(place.store, f"{name}-out.ome.zarr/0", whole)
    assert found.dtype == grey.dtype
    if kind in ("constant", "only gaps"):
        assert np.array_equal(found, grey, equal_nan=True)
    else:
        assert np.array_equal(np.isfinite(found), np.isfinite(grey))
        assert np.nanstd(found.astype(float)) > 0
        assert not np.array_equal(found, grey, equal_nan=True)
    receipt = read_receipt(place.store, "denoise", name, 0)
    assert receipt is not None
    assert all(np.isfinite(v) for v in receipt.figures.values())


def test_precisions_differ_by_little(place: SimpleNamespace) -> None:
    spec = ImageSpec(SHAPE, "uint8", BLOCK, "zyx", (8.0, 8.0, 8.0))
    create_image(place.store, "half.ome.zarr", spec)
    create_image(place.store, "single.ome.zarr", spec)
    found = []
    for name, precision in (("single", "float32"), ("half", "bfloat16")):
        output = common_pb2.ArrayRef(path=f"{name}.ome.zarr/0")
        place.stub.DenoiseBlock(request(place, 1, key=name, output=output, precision=precision))
        found.append(read_box(place.store, f"{name}.ome.zarr/0", place.grid.box(1)).astype(int))
    assert 0 < np.abs(found[0] - found[1]).max() <= 4


def test_upsampled_blocks_are_those_of_the_library(place: SimpleNamespace) -> None:
    factor, halo = (1.31, 1.0, 1.0), (42, 54, 54)
    create_image(place.store, "fine.ome.zarr", ImageSpec(SHAPE, "uint8", BLOCK, "zyx", (5.24, 4.0, 4.0)))
    box = place.grid.box(1)
    image = common_pb2.ArrayRef(path="inlens.ome.zarr/0")
    proto = common_pb2.Box(offset=box.offset, shape=box.shape)
    wanted = request(
        place,
        1,
        key="fine",
        inputs=[common_pb2.ChunkRef(array=image, box=proto, halo=halo)],
        intensity=[common_pb2.IntensityRange(low=20, high=230)],
        output=common_pb2.ArrayRef(path="fine.ome.zarr/0"),
        upsample=factor,
    )
    place.stub.DenoiseBlock(wanted)
    held = reflect_pad(place.volumes["inlens"], halo, halo)[:, :, box.offset[2] :]
    span = [IntensityRange(20, 230)]
    own = denoise_upsampled([held], halo, span, prepare(place.model), factor, offset=box.offset)[0]
    found = read_box(place.store, "fine.ome.zarr/0", box)
    assert np.abs(found - np.clip(np.rint(own), 0, 255)).max() <= 1
    with pytest.raises(grpc.RpcError) as caught:
        place.stub.DenoiseBlock(request(place, 1, key="short", upsample=(0.5, 1, 1)))
    assert "from 1 to 64" in caught.value.details()


def test_a_model_of_another_family_is_refused_by_name(place: SimpleNamespace) -> None:
    install_model(place.store, next(p for p in demo_models() if p.name == "demo-asem-copi"))
    model = read_model(place.store, "demo-asem-copi")
    with pytest.raises(grpc.RpcError) as caught:
        place.stub.DenoiseBlock(
            request(place, 0, key="family", model=common_pb2.ModelRef(name=model.name, digest=model.digest))
        )
    assert "demo-asem-copi is of family asem, not fastfib" in caught.value.details()


def test_pyramid_level(place: SimpleNamespace) -> None:
    shape = tuple(-(-n // 2) for n in SHAPE)
    create_image(place.store, "coarse.ome.zarr", ImageSpec(shape, "uint8", BLOCK, "zyx", (16.0, 16.0, 16.0)))
    reply = place.stub.DownsampleBlock(
        common_pb2.DownsampleBlockRequest(
            task=common_pb2.TaskRef(stage="denoise-pyramid1", stage_version=1, stage_key="p", attempt=1),
            source=common_pb2.ArrayRef(path="inlens.ome.zarr/0"),
            target=common_pb2.ArrayRef(path="coarse.ome.zarr/0"),
            target_box=common_pb2.Box(offset=[0, 0, 0], shape=shape),
            factor=[2, 2, 2],
            mode=common_pb2.DownsampleBlockRequest.MODE_MEAN,
        )
    )
    assert reply.outcome == common_pb2.OUTCOME_COMPUTED
