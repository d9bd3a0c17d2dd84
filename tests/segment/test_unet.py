"""The published topology, its checkpoints, and what is refused."""

import os
import pickle
import subprocess
import sys

import pytest
import torch
from cisterna.models import read_model_folder
from cisterna.segment import load_asem
from cisterna.segment.folded import FoldedAsem
from cisterna.segment.probability import prepare
from cisterna.segment.published import write_published_model
from cisterna.segment.unet import GEOMETRY, build, flop_per_voxel, topology_of
from torch.nn import functional


def published_shapes():
    """Keys and shapes of the published checkpoints, in their order."""
    widths = [32, 64, 128, 256]
    convolutions = {}
    for level, width in enumerate(widths):
        before = 1 if level == 0 else widths[level - 1]
        convolutions[f"unet.l_conv.{level}.conv_pass.0"] = (width, before)
        convolutions[f"unet.l_conv.{level}.conv_pass.2"] = (width, width)
    for level, width in enumerate(widths[:3]):
        convolutions[f"unet.r_conv.0.{level}.conv_pass.0"] = (width, width + widths[level + 1])
        convolutions[f"unet.r_conv.0.{level}.conv_pass.2"] = (width, width)
    convolutions["final_conv_pass.conv_pass.0"] = (2, 32)
    shapes = []
    for name, (after, before) in convolutions.items():
        shapes += [(f"{name}.weight", (after, before, 3, 3, 3)), (f"{name}.bias", (after,))]
    return shapes


def test_keys_shapes_and_parameters_are_the_published_ones():
    network = build()
    assert [(key, tuple(value.shape)) for key, value in network.state_dict().items()] == published_shapes()
    assert sum(p.numel() for p in network.parameters()) == 5_837_730
    assert len(network.state_dict()) == 30


def test_cost_is_the_known_one():
    assert flop_per_voxel(32, output=264) == pytest.approx(767e3, rel=1e-3)


@pytest.mark.parametrize("edges", [(100, 100, 100), (108, 100, 116)])
def test_output_is_94_smaller(edges):
    with torch.inference_mode():
        logits = build(num_fmaps=2).eval()(torch.zeros(1, 1, *edges))
    assert logits.shape == (1, 2, *(n - 94 for n in edges))


@pytest.mark.parametrize("shape", [(1, 1, 101, 100, 100), (1, 1, 92, 100, 100), (1, 100, 100, 100)])
def test_illegal_sizes_are_refused_with_the_legal_ones(shape):
    with pytest.raises(ValueError, match=r"100 \+ 8·k|N, C, Z, Y, X"):
        build(num_fmaps=1)(torch.zeros(shape))


def test_a_shift_by_the_stride_shifts_the_output():
    network = build(num_fmaps=2).double().eval()
    x = torch.randn(1, 1, 116, 100, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole, moved, off = network(x), network(x[:, :, 8:108]), network(x[:, :, 4:104])
    assert torch.allclose(whole[:, :, 8:14], moved, rtol=0, atol=1e-12)
    assert (whole[:, :, 4:10] - off).abs().max() > 1e-6


def test_forward_is_the_described_formulation():
    """Written out a second time, with explicit crops, from the description of the topology."""
    network = build(num_fmaps=2).double().eval()
    weights = network.state_dict()
    x = torch.randn(1, 1, 100, 100, 108, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def block(x, name):
        for layer in (0, 2):
            x = torch.relu(
                functional.conv3d(
                    x, weights[f"{name}.conv_pass.{layer}.weight"], weights[f"{name}.conv_pass.{layer}.bias"]
                )
            )
        return x

    def cut(x, each_side):
        return x[(..., *[slice(each_side, -each_side or None)] * 3)]

    def double(x):
        for axis in (2, 3, 4):
            x = x.repeat_interleave(2, dim=axis)
        return x

    a = block(x, "unet.l_conv.0")
    b = block(functional.max_pool3d(a, 2), "unet.l_conv.1")
    c = block(functional.max_pool3d(b, 2), "unet.l_conv.2")
    d = block(functional.max_pool3d(c, 2), "unet.l_conv.3")
    c = block(torch.cat([cut(c, 4), double(d)], 1), "unet.r_conv.0.2")
    b = block(torch.cat([cut(b, 16), double(c)], 1), "unet.r_conv.0.1")
    a = block(torch.cat([cut(a, 42), cut(double(b), 2)], 1), "unet.r_conv.0.0")
    expected = functional.conv3d(
        a, weights["final_conv_pass.conv_pass.0.weight"], weights["final_conv_pass.conv_pass.0.bias"]
    )
    with torch.inference_mode():
        assert torch.allclose(network(x), expected, rtol=0, atol=1e-12)


@pytest.fixture
def checkpoint(tmp_path):
    network = build(num_fmaps=2)
    path = tmp_path / "model_checkpoint_1841_er_CF.pt"
    optimiser = torch.optim.Adam(network.parameters())
    torch.save({"model_state_dict": network.state_dict(), "optimizer_state_dict": optimiser.state_dict()}, path)
    return path, network


def test_a_checkpoint_comes_back_as_it_was(checkpoint):
    path, network = checkpoint
    loaded = load_asem(path)
    assert not loaded.training
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), network.state_dict().values(), strict=True)
    )
    x = torch.rand(1, 1, 100, 100, 100) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(loaded(x), network.eval()(x))


def _altered(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


CHANGES = {
    "unknown": (lambda c: c["model_state_dict"].update({"unet.extra.weight": torch.zeros(1)}), "1 unknown"),
    "missing": (lambda c: c["model_state_dict"].pop("unet.r_conv.0.1.conv_pass.2.bias"), "1 tensors missing"),
    "shape": (
        lambda c: c["model_state_dict"].update({"unet.l_conv.2.conv_pass.0.weight": torch.zeros(8, 4, 1, 3, 3)}),
        r"has shape \(8, 4, 1, 3, 3\), expected \(8, 4, 3, 3, 3\)",
    ),
    "other network": (lambda c: c.update(model_state_dict={"fc.weight": torch.zeros(3)}), "not an ASEM checkpoint"),
    "no weights": (lambda c: c.pop("model_state_dict"), "optimizer_state_dict"),
    "not tensors": (lambda c: c["model_state_dict"].update(extra=3), "not tensors"),
    "nan": (lambda c: c["model_state_dict"]["final_conv_pass.conv_pass.0.bias"].fill_(float("nan")), "not finite"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_that_does_not_fit_is_refused(checkpoint, change):
    path, _ = checkpoint
    alter, sentence = CHANGES[change]
    _altered(path, alter)
    with pytest.raises(ValueError, match=sentence):
        load_asem(path)


@pytest.mark.parametrize("kept", [0, 10, 1000, -100])
def test_a_truncated_checkpoint_is_refused(checkpoint, kept):
    path, _ = checkpoint
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=path.name):
        load_asem(path)


class _Opens:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("legacy", [True, False])
def test_code_in_a_checkpoint_is_not_run(tmp_path, legacy):
    path, trace = tmp_path / "evil.pt", tmp_path / "trace"
    content = {"model_state_dict": build(num_fmaps=1).state_dict(), "extra": _Opens(trace)}
    if legacy:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"evil\.pt"):
        load_asem(path)
    assert not trace.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        load_asem(tmp_path / "none.pt")


def test_widths_are_read_off_the_shapes():
    topology = {"num_fmaps": 3, "in_channels": 1, "num_fmaps_out": 2, "fmap_inc_factor": 3}
    assert topology_of(build(**topology).state_dict()) == topology


def test_nonsense_widths_are_refused():
    with pytest.raises(ValueError, match="num_fmaps 0"):
        build(num_fmaps=0)


def test_importing_segment_does_not_import_torch():
    program = "import sys, cisterna.segment, cisterna.tiles; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, env=dict(os.environ), timeout=60)


def test_geometry_agrees_with_the_network():
    assert GEOMETRY.input_size(110) == 204
    assert GEOMETRY.input_size(270) == 364
    assert GEOMETRY.input_size(256) == 356


def test_the_folded_network_is_the_plain_one():
    network = build(num_fmaps=2).double().eval()
    for name, value in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value)
    x = torch.randn(1, 1, 108, 100, 116, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        assert torch.allclose(FoldedAsem(network)(x), network(x), rtol=0, atol=1e-12)


def test_wide_networks_run_folded_and_narrow_ones_plain():
    wide, narrow = build(num_fmaps=16), build(num_fmaps=2)
    assert isinstance(prepare(wide), FoldedAsem)
    assert prepare(narrow) is narrow
    x = torch.rand(1, 1, 100, 100, 100) * 2 - 1
    plain = build(num_fmaps=16)
    plain.load_state_dict(wide.state_dict())
    with torch.inference_mode():
        expected, found = plain.eval()(x), prepare(wide)(x)
    assert (expected - found).abs().max() <= 1e-5 * (expected.max() - expected.min())


def test_a_published_checkpoint_becomes_a_model_folder(checkpoint, tmp_path):
    path, network = checkpoint
    folder = tmp_path / "asem-er"
    write_published_model(path, folder, class_name="er", voxel_size_nm=(5.24, 4, 4), intensity_rule="range")
    model = read_model_folder(folder)
    assert (model.name, model.family, model.spec["class"], model.spec["demo"]) == ("asem-er", "asem", "er", False)
    assert model.spec["voxel_size_nm"] == [5.24, 4, 4]
    x = torch.rand(1, 1, 100, 100, 100) * 2 - 1
    with torch.inference_mode():
        expected, found = network.eval()(x), model.module()(x)
    assert (expected - found).abs().max() <= 5e-3 * (expected.max() - expected.min())  # float16 weights


@pytest.mark.parametrize(
    "wrong", [{"intensity_rule": "percentile"}, {"voxel_size_nm": (5, 0, 5)}, {"voxel_size_nm": (5,)}]
)
def test_an_import_with_nonsense_is_refused(checkpoint, tmp_path, wrong):
    fields = {"class_name": "er", "voxel_size_nm": (5, 5, 5)} | wrong
    with pytest.raises(ValueError, match=next(iter(wrong))):
        write_published_model(checkpoint[0], tmp_path / "m", **fields)
