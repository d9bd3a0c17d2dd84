"""A temporal ERnet through a real Triton and the real service: torch's numbers, however the movie is cut."""

import os
import signal
import socket
import subprocess
import sys

import grpc
import numpy as np
import pytest
from cisterna.chunks import Box
from cisterna.ernet.frames import scaled_frame, to_shape
from cisterna.ernet.triton_client import Triton
from cisterna.models import install_model, load_model, read_model
from cisterna.rpc.errors import failure_of
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, read_box, write_block
from cisterna.store.receipts import read_receipt
from cisterna.v1 import common_pb2, ernet_pb2, ernet_pb2_grpc

torch = pytest.importorskip("torch")

from cisterna.ernet.export import import_checkpoint, model_spec, write_ernet_folder  # noqa: E402
from cisterna.ernet.swin3d import build  # noqa: E402
from published_swin3d import PUBLISHED, random_state  # noqa: E402

MODELS = {"three": 3, "four": 4}  # frames at once
PIXEL_UM = 0.1
SHAPE = (5, 41, 50)  # neither edge a multiple of 4
SHORT = (1, 22, 70)  # one frame, and lower than the network takes


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of narrow, random networks that see several frames at once."""
    home = tmp_path_factory.mktemp("models")
    for name, frames in MODELS.items():
        topology = {"frames": frames, "embed": 24, "depths": [2, 2], "heads": [3, 3], "window": [2, 7]}
        topology |= {"mlp_ratio": 2.0, "channels": 8, "squeezed": 2, "residual_blocks": 2, "classes": 4}
        torch.manual_seed(frames)
        network = build(**topology)
        with torch.no_grad():
            for key, parameter in network.named_parameters():
                size = 1.0 if "bias_table" in key else 0.5 / max(1, parameter[0].numel()) ** 0.5
                parameter.add_(torch.randn_like(parameter) * size)
            network.segmentation_decode.weight.mul_(3)
        write_ernet_folder(home / name, model_spec(name, topology, PIXEL_UM, "BSD-3-Clause", True, {}, {}), network)
    return home


@pytest.fixture(scope="module")
def server(triton_over, models):
    return triton_over([models / name for name in MODELS])


@pytest.fixture(scope="module")
def movie():
    """A drifting texture: every frame is another, so a wrong neighbour shows in the classes."""
    rng = np.random.default_rng(4)
    wide = rng.random((SHAPE[1] + 20, SHAPE[2] + 20))
    frames = [wide[3 * t : 3 * t + SHAPE[1], 2 * t : 2 * t + SHAPE[2]] for t in range(SHAPE[0])]
    return (100 + 2000 * np.stack(frames) + rng.normal(0, 100, SHAPE)).clip(0).astype(np.uint16)


@pytest.fixture(scope="module")
def store(tmp_path_factory, models):
    store = open_store("file://" + str(tmp_path_factory.mktemp("store")))
    for name in MODELS:
        install_model(store, models / name)
    return store


@pytest.fixture(scope="module")
def service(store, server, tmp_path_factory):
    """Address of the service, a process of its own."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    env = os.environ | {
        "CISTERNA_STORE": store.url, "CISTERNA_LISTEN": addresses[0], "CISTERNA_METRICS": addresses[1],
        "CISTERNA_TRITON": server.address,
    }  # fmt: skip
    log = tmp_path_factory.mktemp("service") / "log"
    with open(log, "wb") as out:
        argv = [sys.executable, "-m", "cisterna.ernet"]
        process = subprocess.Popen(argv, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        with grpc.insecure_channel(addresses[0]) as channel:
            grpc.channel_ready_future(channel).result(timeout=40)
        yield addresses[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)


def image_of(movie, dtype, per_block, pixel_um):
    """Blocks of `per_block` frames, and of one section where there are several."""
    leading = (per_block,) if movie.ndim == 3 else (per_block, 1)
    scale = (1.0, pixel_um, pixel_um) if movie.ndim == 3 else (1.0, 0.5, pixel_um, pixel_um)
    axes = "tyx" if movie.ndim == 3 else "tzyx"
    return ImageSpec(movie.shape, dtype, (*leading, *movie.shape[-2:]), axes, scale)


def segmented(service, store, movie, model, per_block, key, pixel_um=PIXEL_UM, halo=None):
    """Classes and confidence of a movie, computed by the service in blocks of `per_block` frames."""
    raw = image_of(movie, "uint16", 1, pixel_um)
    create_image(store, f"{key}.ome.zarr", raw)
    for number in range(raw.grid.blocks):
        box = raw.grid.box(number)
        write_block(store, f"{key}.ome.zarr/0", box, movie[box.slices])
    spec = image_of(movie, "uint8", per_block, pixel_um)
    paths = {name: f"stages/ernet/{key}/{name}.ome.zarr" for name in ("classes", "confidence")}
    for path in paths.values():
        create_image(store, path, spec)
    with grpc.insecure_channel(service) as channel:
        for number in range(spec.grid.blocks):
            box = spec.grid.box(number)
            request = ernet_pb2.SegmentFramesRequest(
                task=common_pb2.TaskRef(stage="ernet", stage_version=1, stage_key=key, block_index=number, attempt=1),
                input=common_pb2.ChunkRef(
                    array=common_pb2.ArrayRef(path=f"{key}.ome.zarr/0"),
                    box=common_pb2.Box(offset=box.offset, shape=box.shape),
                    halo=halo or [MODELS[model] // 2, *[0] * (movie.ndim - 1)],
                ),
                classes=common_pb2.ArrayRef(path=paths["classes"] + "/0"),
                confidence=common_pb2.ArrayRef(path=paths["confidence"] + "/0"),
                model=common_pb2.ModelRef(name=model, digest=read_model(store, model).digest),
                stack_min=float(movie.min()),
                stack_max=float(movie.max()),
            )
            ernet_pb2_grpc.ErnetServiceStub(channel).SegmentFrames(request, timeout=60)
    return [read_box(store, path + "/0", Box.whole(movie.shape)) for path in paths.values()]


def directly(network, movie, frames, factor=1.0):
    """Probabilities (frame, class, y, x) of a movie without service, store or Triton, every rule written out anew."""
    low, high = float(movie.min()), float(movie.max())
    grey = []
    for frame in movie:
        scaled = (frame - low) / (high - low)
        dark, bright = np.percentile(scaled, (1, 99))
        grey.append(np.floor(np.clip((scaled - dark) / (bright - dark), 0, 1) * 255).astype(np.float32) / 255)
    found = []
    if factor != 1:
        grey = [scaled_frame(frame, (factor, factor)) for frame in grey]
    height, width = grey[0].shape
    pad = [(0, max(-(-edge // 4) * 4, 32) - edge) for edge in (height, width)]
    for t in range(len(movie)):
        shown = []
        for place in range(frames):
            number = t - frames // 2 + place
            number = 0 if number < 0 else len(movie) - 1 if number >= len(movie) else number
            shown.append(np.pad(grey[number], pad, mode="reflect"))
        with torch.no_grad():
            logits = network(torch.from_numpy(np.stack(shown)[None]))[0, :, :height, :width].numpy()
        if factor != 1:
            logits = np.stack([to_shape(part, movie.shape[1:]) for part in logits])
        found.append(torch.from_numpy(logits).softmax(0).numpy())
    return np.stack(found)


def check(maps, expected):
    """Equal but for classes that are equally probable, and the last digit of the confidence."""
    classes, confidence = maps
    first, second = np.sort(expected, axis=1)[:, :-3:-1].swapaxes(0, 1)
    clear = first - second > 1e-4
    assert clear.mean() > 0.99
    assert len(np.unique(classes)) > 1
    np.testing.assert_array_equal(classes[clear], expected.argmax(1)[clear])
    assert np.abs(confidence.astype(int) - 255 * first).max() <= 0.51


@pytest.mark.parametrize("shape", [(32, 32), (36, 100), (64, 48)])
@pytest.mark.parametrize("name", MODELS)
def test_triton_answers_as_torch_does(server, models, name, shape):
    images = np.random.default_rng(0).random((1, MODELS[name], *shape), dtype=np.float32)
    with torch.no_grad():
        expected = load_model(models / name)(torch.from_numpy(images)).numpy()
    client = Triton(server.address)
    found = client.infer(name, images)
    client.close()
    assert np.abs(expected).max() > 0.5
    assert np.abs(found - expected).max() <= 1e-4


@pytest.mark.parametrize("per_block", [1, 2, 5])
@pytest.mark.parametrize("name", MODELS)
def test_any_cut_of_the_movie_gives_what_the_whole_movie_gives(service, store, models, movie, name, per_block):
    maps = segmented(service, store, movie, name, per_block, f"{name}-{per_block}")
    check(maps, directly(load_model(models / name), movie, MODELS[name]))


def test_a_section_of_a_stack_is_seen_with_the_frames_before_and_after_it(service, store, models, movie):
    stack = np.stack([movie, movie[::-1]], axis=1)
    classes, confidence = segmented(service, store, stack, "three", 2, "sections")
    network = load_model(models / "three")
    for section in range(2):
        check((classes[:, section], confidence[:, section]), directly(network, stack[:, section], 3))


def test_the_receipt_counts_frames_that_stand_for_none(service, store, movie):
    segmented(service, store, movie, "four", 1, "receipts")
    counts = [read_receipt(store, "ernet", "receipts", t).figures["repeated_frames"] for t in range(len(movie))]
    assert counts == [2, 1, 0, 0, 1]


def test_neighbours_matter(models, movie):
    network = load_model(models / "three")
    shuffled = directly(network, movie[[0, 2, 1, 3, 4]], 3)
    assert np.abs(shuffled[3] - directly(network, movie, 3)[3]).max() > 0.01


def test_a_movie_of_one_low_frame(service, store, models):
    frame = np.random.default_rng(1).integers(0, 900, SHORT).astype(np.uint16)
    check(segmented(service, store, frame, "three", 1, "short"), directly(load_model(models / "three"), frame, 3))


def test_a_movie_of_other_pixels_goes_through_whole_at_the_models_pixel_size(service, store, models, movie):
    maps = segmented(service, store, movie[:2], "three", 1, "fine", pixel_um=PIXEL_UM / 2)
    check(maps, directly(load_model(models / "three"), movie[:2], 3, factor=0.5))


def test_a_constant_movie_has_classes(service, store):
    classes, _ = segmented(service, store, np.full((2, 40, 44), 7, np.uint16), "three", 1, "constant")
    np.testing.assert_array_equal(classes[0], classes[1])


def test_a_block_without_its_neighbours_is_refused(service, store, movie):
    with pytest.raises(grpc.RpcError) as raised:
        segmented(service, store, movie, "three", 1, "bare", halo=[0, 0, 0])
    failure = failure_of(raised.value)
    assert failure.reason_name == "BAD_REQUEST"
    assert "halo of (1, 0, 0)" in raised.value.details()


@pytest.mark.long
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_network_of_full_width_is_served_as_torch_computes_it(triton_over, tmp_path, name):
    torch.save({"state_dict": random_state(PUBLISHED[name][0])}, tmp_path / "net.pth")
    import_checkpoint(tmp_path / "net.pth", tmp_path / "published", 0.042, "unknown")
    server, network = triton_over([tmp_path / "published"]), load_model(tmp_path / "published")
    client = Triton(server.address)
    for shape in ((36, 36), (40, 100)):
        images = np.random.default_rng(0).random((1, PUBLISHED[name][0]["frames"], *shape), dtype=np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(images)).numpy()
        assert np.abs(expected).max() > 0.5
        assert np.abs(client.infer("published", images) - expected).max() <= 1e-4
    client.close()
