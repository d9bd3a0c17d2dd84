"""The temporal network: published names and shapes, arithmetic, and what a wrong file is answered."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cisterna.ernet import load_ernet  # noqa: E402
from cisterna.ernet.swin3d import build, relative_position_index, topology_of  # noqa: E402
from published_swin3d import PUBLISHED, index_table, key_list, plain, random_state  # noqa: E402

SMALL = {"channels": 8, "squeezed": 2, "residual_blocks": 2}
NARROW = {
    "window 7, one frame": SMALL | {"embed": 12, "depths": (2, 3), "heads": (3, 2), "edge": 7, "ratio": 4, "frames": 1},
    "window 7, four frames": SMALL | {"embed": 8, "depths": (2,), "heads": (2,), "edge": 7, "ratio": 3, "frames": 4},
    "window 8, five frames": SMALL | {"embed": 16, "depths": (4,), "heads": (4,), "edge": 8, "ratio": 2, "frames": 5},
}
FRAMES = [(36, 52), (28, 28), (32, 32), (20, 68), (64, 64), (4, 4), (4, 40)]
"""Grids of 9×13, 7×7, 8×8, 5×17, 16×16, 1×1 and 1×10 tokens: padded, clamped, exact, on one axis or both."""


def doubled(state):
    return {key: value.double() if value.is_floating_point() else value for key, value in state.items()}


def compare(sizes, shape, count=2):
    """Logits of the network and of the plain formulation, float64."""
    state = doubled(random_state(sizes))
    network = build(**topology_of(state)).double().eval()
    network.load_state_dict(state)
    images = torch.rand(count, sizes["frames"], *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return network(images), plain(state, images, sizes["heads"], sizes["edge"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_key_list_loads_strictly_and_all_sizes_come_from_its_shapes(name, tmp_path):
    sizes, count, parameters = PUBLISHED[name]
    state = random_state(sizes)
    assert len(state) == count
    torch.save({"state_dict": {"module." + k: v for k, v in state.items()}, "epoch": 3, "best": 0.9}, tmp_path / "net")
    network = load_ernet(tmp_path / "net")
    assert not network.training
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    loaded = network.state_dict()
    assert {k: tuple(v.shape) for k, v in loaded.items()} == key_list(**sizes)
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    with torch.no_grad():
        assert network(torch.rand(1, sizes["frames"], 8, 12)).shape == (1, 4, 8, 12)


@pytest.mark.parametrize("shape", FRAMES)
@pytest.mark.parametrize("name", NARROW)
def test_it_equals_the_plain_formulation(name, shape):
    found, expected = compare(NARROW[name], shape)
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "shape"), [("nch1_code", (20, 36)), ("paper_T5_patch544", (12, 36))])
def test_it_equals_the_plain_formulation_at_full_width(name, shape):
    found, expected = compare(PUBLISHED[name][0], shape, count=1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.long
@pytest.mark.parametrize("shape", FRAMES)
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_network_equals_the_plain_formulation(name, shape):
    found, expected = compare(PUBLISHED[name][0], shape)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rule", ["mask", "shift", "pad"])
@pytest.mark.parametrize("name", NARROW)
def test_every_rule_of_the_windows_is_seen_in_the_logits(name, rule):
    sizes = NARROW[name]
    state = doubled(random_state(sizes))
    images = torch.rand(1, sizes["frames"], 36, 44, dtype=torch.float64)
    whole = plain(state, images, sizes["heads"], sizes["edge"])
    without = plain(state, images, sizes["heads"], sizes["edge"], **{rule: False})
    assert (whole - without).abs().max() > 0.01


def test_float32_is_close_to_float64():
    sizes = NARROW["window 8, five frames"]
    state = random_state(sizes)
    network = build(**topology_of(state)).eval()
    network.load_state_dict(state)
    images = torch.rand(2, 5, 44, 64)
    with torch.no_grad():
        found = network(images)
        expected = plain(doubled(state), images.double(), sizes["heads"], sizes["edge"])
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_frames_of_a_batch_do_not_see_one_another():
    sizes = NARROW["window 7, four frames"]
    state = random_state(sizes)
    network = build(**topology_of(state)).eval()
    network.load_state_dict(state)
    images = torch.rand(3, 4, 40, 36)
    with torch.no_grad():
        together, alone = network(images), torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_every_weight_but_the_unused_ones_can_be_trained():
    sizes = NARROW["window 7, one frame"]
    state = random_state(sizes)
    network = build(**topology_of(state))
    network.load_state_dict(state)
    network(torch.rand(1, 1, 36, 44)).square().sum().backward()
    idle = {key for key, parameter in network.named_parameters() if parameter.grad is None}
    assert idle == {key for key in key_list(**sizes) if "unembed.norm" in key or "upsampler" in key}


@pytest.mark.parametrize(("depth", "edge"), [(2, 7), (2, 8)])
def test_the_index_of_relative_positions_is_the_published_one(depth, edge):
    assert torch.equal(relative_position_index(depth, edge), index_table(edge))


def test_frames_that_do_not_fit_are_refused():
    network = build(frames=3, embed=8, depths=(1,), heads=(2,), **SMALL)
    with pytest.raises(ValueError, match="3 frames at once"):
        network(torch.rand(1, 5, 8, 8))
    with pytest.raises(ValueError, match="3 frames at once"):
        network(torch.rand(3, 8, 8))
    with pytest.raises(ValueError, match="multiples of 4"):
        network(torch.rand(1, 3, 8, 10))
    with pytest.raises(ValueError, match="heads"):
        build(embed=8, depths=(1,), heads=(3,))
    with pytest.raises(ValueError, match="one number for each"):
        build(embed=8, depths=(1, 1), heads=(2,))


BLOCK = "layers.0.basic_layer.blocks.0."
INDEX = BLOCK + "attn.relative_position_index"


def without(*parts):
    return lambda state: {key: value for key, value in state.items() if not any(part in key for part in parts)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without("layers.1.resi_connection3.bias"), "layers.1.resi_connection3.bias is missing"),
        (without("upsampler.fusion"), r"upsampler.fusion.weight is missing \(so are 1 others\)"),
        (without("patch_embed.proj.weight"), "patch_embed.proj.weight is missing"),
        (without("layers.1.basic_layer.blocks.0.attn"), "layers.1.*relative_position_bias_table is missing"),
        (lambda s: s | {"head.weight": torch.zeros(2)}, "head.weight is unknown"),
        (lambda s: s | {"norm.bias": torch.zeros(9)}, r"norm.bias is \(9,\), it should be \(12,\)"),
        (lambda s: s | {"norm.bias": torch.zeros(12).long()}, "norm.bias holds torch.int64"),
        (lambda s: s | {INDEX: torch.zeros_like(s[INDEX])}, INDEX + " is not that of a window of 2 × 7 × 7"),
        (lambda s: s | {INDEX: torch.zeros(97, 97).long()}, "507 rows and an index of 97 tokens fit no window"),
        (lambda s: s | {"patch_embed.proj.weight": torch.zeros(12, 1, 1, 2, 2)}, "patches of 4 × 4"),
        (lambda s: s | {"patch_embed.proj.weight": torch.zeros(12, 3, 1, 4, 4)}, "one channel"),
        (lambda s: s | {"patch_embed.proj.weight": torch.zeros(12, 16)}, "should have 5 axes"),
        (lambda s: s | {"patch_embed.proj.weight": torch.zeros(13, 1, 1, 4, 4)}, "13 does not divide into 3 heads"),
        (without("patch", "basic_layer"), "no ERnet of family A"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence_with_its_key(tmp_path, change, sentence):
    torch.save({"state_dict": change(random_state(NARROW["window 7, one frame"]))}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=sentence) as raised:
        load_ernet(tmp_path / "net.pth")
    assert "\n" not in str(raised.value)
    assert "net.pth" in str(raised.value)


@pytest.fixture(scope="module")
def small_network():
    state = random_state(NARROW["window 7, four frames"], seed=3)
    network = build(**topology_of(state)).eval()
    network.load_state_dict(state)
    return network


def test_exported_onnx_answers_as_torch_for_other_sizes_than_the_traced_one(small_network):
    export = pytest.importorskip("cisterna.ernet.export")
    least = export.smallest_frame_px(small_network.window)
    assert least == 32
    onnx = export.to_onnx(small_network)
    assert export.onnx_difference(small_network, onnx, [(least, least), (56, 84), (36, 100)]) <= 1e-4
    # A frame of one window's size or less would need a clamped window: the reason for the least size.
    assert export.onnx_difference(small_network, onnx, [(28, 28)]) > 1e-3
    with torch.no_grad():
        small_network.segmentation_decode.bias += 0.01
    assert export.onnx_difference(small_network, onnx) > 1e-4


def test_the_paper_s_network_costs_what_was_counted():
    export = pytest.importorskip("cisterna.ernet.export")
    topology = {"frames": 5, "embed": 192, "depths": [6] * 5, "window": [2, 8], "mlp_ratio": 2.0}
    topology |= {"channels": 64, "residual_blocks": 12, "classes": 4}
    assert np.isclose(export.flop_per_pixel(topology) * 1024**2, 11.0e12, rtol=0.01)


def test_a_published_checkpoint_becomes_a_model_folder(tmp_path):
    export = pytest.importorskip("cisterna.ernet.export")
    models = pytest.importorskip("cisterna.models")
    state = random_state(NARROW["window 7, four frames"])
    torch.save({"state_dict": {"module." + key: value for key, value in state.items()}}, tmp_path / "net.pth")
    digest = export.import_checkpoint(tmp_path / "net.pth", tmp_path / "temporal", 0.042, "CC-BY-4.0")
    model = models.read_model_folder(tmp_path / "temporal")
    assert (model.digest, model.family) == (digest, "ernet-swin3d")
    said = {"frames": 4, "temporal_context": 2, "stride": 4, "smallest_frame_px": 32, "whole_frame": True}
    assert {key: model.spec[key] for key in said} == said
    assert model.spec["context"] is None
    assert "dims: [ 4, -1, -1 ]" in (tmp_path / "temporal/config.pbtxt").read_text()
    network, original = models.load_model(tmp_path / "temporal"), load_ernet(tmp_path / "net.pth")
    frames = torch.rand(1, 4, 32, 36)
    with torch.no_grad():
        torch.testing.assert_close(network(frames), original(frames), rtol=0.02, atol=0.02)
    assert export.onnx_difference(network, (tmp_path / "temporal/1/model.onnx").read_bytes()) <= 1e-4
