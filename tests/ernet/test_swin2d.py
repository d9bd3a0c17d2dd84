"""The network of the released weights: names, shapes, arithmetic, and what a wrong file is answered."""

import math
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cisterna.ernet import load_ernet  # noqa: E402
from cisterna.ernet.swin2d import build  # noqa: E402


def published_keys():
    """Name → (shape, dtype) of `20220306_ER_4class_swinir_nch1.pth`: 188 keys, 588,334 parameters."""
    keys = {"conv_first.weight": (64, 1, 3, 3), "conv_first.bias": (64,)}
    keys |= {f"patch_embed.norm.{kind}": (64,) for kind in ("weight", "bias")}
    for group in range(2):
        for block in range(6):
            name = f"layers.{group}.residual_group.blocks.{block}."
            keys |= {f"{name}norm{n}.{kind}": (64,) for n in (1, 2) for kind in ("weight", "bias")}
            keys[name + "attn.relative_position_bias_table"] = (9, 8)
            keys[name + "attn.relative_position_index"] = (4, 4)
            for layer, rows, columns in (
                ("attn.qkv", 192, 64),
                ("attn.proj", 64, 64),
                ("mlp.fc1", 128, 64),
                ("mlp.fc2", 64, 128),
            ):
                keys |= {name + layer + ".weight": (rows, columns), name + layer + ".bias": (rows,)}
        keys |= {
            f"layers.{group}.resi_connection1.weight": (64, 64, 3, 3),
            f"layers.{group}.resi_connection1.bias": (64,),
        }
    keys |= {"norm.weight": (64,), "norm.bias": (64,)}
    for layer in ("conv_after_body", "conv_before_upsample.0", "conv_last"):
        keys |= {layer + ".weight": (64, 64, 3, 3), layer + ".bias": (64,)}
    keys |= {"conv_combine.weight": (1, 1, 3, 3), "conv_combine.bias": (1,)}
    keys |= {"segmentation_decode.weight": (4, 64, 1, 1), "segmentation_decode.bias": (4,)}
    return keys


def random_state(network, seed=0):
    """Every weight random, so that no part of the network can hide behind a zero or a one."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: value if value.dtype == torch.int64 else torch.randn(value.shape, generator=generator) * 0.15
        for key, value in network.state_dict().items()
    }


def test_the_default_network_has_the_published_keys_shapes_and_size():
    state = build().state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == published_keys()
    assert len(state) == 188
    assert sum(parameter.numel() for parameter in build().parameters()) == 588_334
    assert all((value.dtype == torch.int64) == key.endswith("relative_position_index") for key, value in state.items())


def plain(state, frames, heads):
    """The same network written naively: windows cut one by one in each block, all heads by their definition."""
    F = torch.nn.functional
    part = lambda name: (state[name + ".weight"], state[name + ".bias"])  # noqa: E731
    conv = lambda x, name: F.conv2d(x, *part(name), padding=1)  # noqa: E731
    norm = lambda x, name: F.layer_norm(x, (x.shape[-1],), *part(name))  # noqa: E731

    def attention(x, name):  # (N, H, W, C)
        out = torch.zeros_like(x)
        d = x.shape[-1] // heads
        places = [(0, 0), (0, 1), (1, 0), (1, 1)]
        table = state[name + "relative_position_bias_table"]
        for y in range(0, x.shape[1], 2):
            for z in range(0, x.shape[2], 2):
                q, k, v = F.linear(x[:, y : y + 2, z : z + 2], *part(name + "qkv")).chunk(3, -1)
                for h in range(heads):
                    of = slice(h * d, (h + 1) * d)
                    for iy, ix in places:
                        scores = [
                            (q[:, iy, ix, of] * k[:, jy, jx, of]).sum(-1) / math.sqrt(d)
                            + table[(iy - jy + 1) * 3 + ix - jx + 1, h]
                            for jy, jx in places
                        ]
                        share = torch.stack(scores).softmax(0)
                        mixed = [s[:, None] * v[:, jy, jx, of] for s, (jy, jx) in zip(share, places, strict=True)]
                        out[:, y + iy, z + ix, of] = sum(mixed)
        return F.linear(out, *part(name + "proj"))

    first = conv(frames, "conv_first")
    x = norm(first.permute(0, 2, 3, 1), "patch_embed.norm")
    group = 0
    while f"layers.{group}.resi_connection1.weight" in state:
        entry, block = x, 0
        while (name := f"layers.{group}.residual_group.blocks.{block}.") + "norm1.weight" in state:
            x = x + attention(norm(x, name + "norm1"), name + "attn.")
            hidden = F.gelu(F.linear(norm(x, name + "norm2"), *part(name + "mlp.fc1")))
            x = x + F.linear(hidden, *part(name + "mlp.fc2"))
            block += 1
        x = entry + conv(x.permute(0, 3, 1, 2), f"layers.{group}.resi_connection1").permute(0, 2, 3, 1)
        group += 1
    x = conv(norm(x, "norm").permute(0, 3, 1, 2), "conv_after_body") + first
    x = F.leaky_relu(conv(x, "conv_before_upsample.0"), 0.01)
    return F.conv2d(conv(x, "conv_last"), *part("segmentation_decode"))


@pytest.mark.parametrize("topology", [{"embed": 12, "depths": (2, 1), "heads": 3}, {"embed": 64, "depths": (1, 1)}])
def test_it_equals_the_plain_formulation(topology):
    network = build(**topology).eval().double()
    state = {k: v.double() if v.is_floating_point() else v for k, v in random_state(network).items()}
    network.load_state_dict(state)
    frames = torch.rand(2, 1, 8, 12, dtype=torch.float64)
    with torch.no_grad():
        expected = plain(state, frames, topology.get("heads", 8))
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(network(frames), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_loads_whatever_stands_beside_the_weights(tmp_path, prefix):
    network = build(embed=16, depths=(2, 3), heads=4, mlp_ratio=3)
    state = random_state(network)
    path = tmp_path / "net.pth"
    torch.save({"state_dict": {prefix + k: v for k, v in state.items()}, "epoch": 7, "optimizer": {"lr": 1e-4}}, path)
    loaded = load_ernet(path)
    assert not loaded.training
    assert {k: v.tolist() for k, v in loaded.state_dict().items()} == {k: v.tolist() for k, v in state.items()}
    network.load_state_dict(state)
    frames = torch.rand(1, 1, 10, 6)
    with torch.no_grad():
        torch.testing.assert_close(loaded(frames), network.eval()(frames))
        assert loaded(frames).shape == (1, 4, 10, 6)


BLOCK = "layers.0.residual_group.blocks.0."


def saved(tmp_path, change):
    state = random_state(build(embed=8, depths=(1,), heads=2))
    path = tmp_path / "net.pth"
    torch.save({"state_dict": change(state)}, path)
    return path


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "norm.bias"}, "norm.bias"),
        (lambda s: s | {"upsampler.0.weight": torch.zeros(1)}, "upsampler.0.weight"),
        (lambda s: {k: v for k, v in s.items() if "conv_first" not in k}, "conv_first.weight is missing"),
        (lambda s: s | {"conv_first.weight": torch.zeros(8, 3, 3, 3)}, "3 input channels"),
        (
            lambda s: s | {"layers.0.residual_group.blocks.0.attn.relative_position_index": torch.zeros(4, 4).long()},
            "2×2",
        ),
        (lambda s: s | {"norm.bias": torch.zeros(9)}, "norm.bias"),
        (lambda s: {"patch_unembed.proj.weight": torch.zeros(96, 1, 1, 4, 4)}, "family B"),
        (lambda s: {}, "holds no weights"),
        (lambda s: {"name": "text"}, "holds no weights"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(tmp_path, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_ernet(saved(tmp_path, change))


class Runs:
    def __reduce__(self):
        return (print, ("this must never be printed",))


def test_a_file_that_runs_code_or_is_no_checkpoint_is_refused(tmp_path, capsys):
    evil, noise = tmp_path / "evil.pth", tmp_path / "noise.pth"
    torch.save({"state_dict": {}, "extra": Runs()}, evil)
    noise.write_bytes(b"no checkpoint at all")
    for path in (evil, noise):
        with pytest.raises(ValueError, match="does not load as a plain checkpoint"):
            load_ernet(path)
    assert "never" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="is not there"):
        load_ernet(tmp_path / "none.pth")


def test_odd_or_several_frames_are_refused():
    network = build(embed=8, depths=(1,), heads=2)
    with pytest.raises(ValueError, match="even"):
        network(torch.rand(1, 1, 7, 8))
    with pytest.raises(ValueError, match="one frame at a time"):
        network(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="heads"):
        build(embed=10, heads=4)


def test_importing_the_package_and_the_service_brings_no_torch():
    modules = "cisterna.ernet, cisterna.ernet.service, cisterna.ernet.triton_server"
    script = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_exported_onnx_answers_as_torch_for_other_sizes_than_the_traced_one():
    export = pytest.importorskip("cisterna.ernet.export")
    network = build(embed=8, depths=(1, 1), heads=2).eval()
    network.load_state_dict(random_state(network))
    onnx = export.to_onnx(network)
    assert export.onnx_difference(network, onnx, [(2, 2), (32, 32), (30, 130)]) <= 1e-4
    with torch.no_grad():
        network.segmentation_decode.bias += 0.01
    assert export.onnx_difference(network, onnx) > 1e-4
    assert np.isclose(export.flop_per_pixel(export.PUBLISHED_TOPOLOGY) * 1024**2, 1.23e12, rtol=0.02)


def test_a_published_checkpoint_becomes_a_model_folder(tmp_path):
    export = pytest.importorskip("cisterna.ernet.export")
    models = pytest.importorskip("cisterna.models")
    network = build(embed=8, depths=(2, 1), heads=2)
    network.load_state_dict(random_state(network))
    torch.save({"state_dict": {"module." + k: v for k, v in network.state_dict().items()}}, tmp_path / "net.pth")
    digest = export.import_checkpoint(tmp_path / "net.pth", tmp_path / "published", 0.042, "CC-BY-4.0")
    model = models.read_model_folder(tmp_path / "published")
    assert model.digest == digest
    assert model.spec["name"] == "published"
    assert model.spec["topology"] == {"embed": 8, "depths": [2, 1], "heads": 2, "mlp_ratio": 2.0, "classes": 4}
    assert model.spec["demo"] is False
    assert 0 < model.spec["training"]["rounding_difference"] < 0.01
    frames = torch.rand(1, 1, 12, 20)
    with torch.no_grad():
        found, expected = models.load_model(tmp_path / "published")(frames), network.eval()(frames)
        torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01)
        onnx = (tmp_path / "published/1/model.onnx").read_bytes()
        assert export.onnx_difference(models.load_model(tmp_path / "published"), onnx) <= 1e-4
    with pytest.raises(ValueError, match="positive"):
        export.import_checkpoint(tmp_path / "net.pth", tmp_path / "other", 0.0, "CC-BY-4.0")
