"""Dead levels are counted, said, and cost the network the surroundings that the sentence names."""

import numpy as np
import pytest
import torch
from cisterna.segment.living_channels import levels, reach_without, summary, warning, watched
from cisterna.segment.probability import IntensityRule, volume_probability
from cisterna.segment.shared_trunk import SharedAsem
from cisterna.segment.unet import LEVELS, build


def killed(network, prefix, keep=0):
    """The same network, the channels from ``keep`` on of a level's convolutions pushed below zero for good."""
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.startswith(f"unet.{prefix}.conv_pass"):
                value[keep:] = 0 if name.endswith("weight") else -1
    return network


def fresh(width=2):
    torch.manual_seed(3)
    return build(width)


def noise(shape=(12, 14, 16), seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def test_every_convolution_with_a_relu_is_counted_and_the_hooks_leave():
    network = fresh()
    with watched(network) as living:
        volume_probability(noise(), network, IntensityRule(-1, 1))
    shares = living.shares()
    assert len(shares) == 2 * (2 * LEVELS - 1)
    assert set(levels(shares)) == {f"l_conv.{n}" for n in range(4)} | {f"r_conv.0.{n}" for n in range(3)}
    assert all(not layer._forward_hooks for layer in network.modules())


def test_a_share_is_that_of_the_channels_above_zero_anywhere():
    network = killed(fresh(width=4), "l_conv.1", keep=3)  # 8 channels, 3 left at most
    with watched(network) as living:
        volume_probability(noise(), network, IntensityRule(-1, 1))
    assert living.shares()["l_conv.1.conv_pass.2"] <= 3 / 8
    whole = torch.from_numpy(np.pad(noise(), 47, mode="reflect")[:100, :100, :100])[None, None]
    with torch.inference_mode():
        first = network.unet.l_conv[0].conv_pass[:2](whole)
    assert living.shares()["l_conv.0.conv_pass.0"] == pytest.approx(
        float((first.amax((0, 2, 3, 4)) > 0).float().mean())
    )


def test_a_channel_counts_once_it_was_above_zero_in_any_pass():
    network = SharedAsem(("er",), 1).eval()
    with torch.no_grad():
        conv = network.unet.l_conv[0].conv_pass[0]
        conv.weight.fill_(1.0)
        conv.bias.zero_()
    dark, bright = (torch.full((1, 1, 8, 8, 8), v) for v in (-1.0, 1.0))
    with torch.inference_mode(), watched(network) as living:
        network.forward_padded(dark)
        assert living.shares()["l_conv.0.conv_pass.0"] == 0
        network.forward_padded(bright)
        network.forward_padded(dark)
    assert living.shares()["l_conv.0.conv_pass.0"] == 1


@pytest.mark.parametrize("level", ["r_conv.0.0", "r_conv.0.1", "l_conv.2", "r_conv.0.2", "l_conv.3"])
def test_the_sentence_names_how_far_a_killed_network_sees(level):
    """Voxels beyond that distance change nothing; nearer ones do."""
    network = killed(fresh(), level)
    x = torch.rand(1, 1, 116, 100, 100) * 2 - 1
    reach = reach_without(level)
    with torch.inference_mode(), watched(network) as living:
        before = network(x)[0, :, 8:16]  # outputs at 55 … 62 of the input
        x[:, :, : 55 - reach] = 0.5
        x[:, :, 63 + reach :] = 0.5
        assert torch.equal(network(x)[0, :, 8:16], before)
        x[:, :, 55 - reach : 55] *= -1
        assert torch.equal(network(x)[0, :, 8:16], before) == (reach == 0)
    said = warning(living.shares())
    assert f"0% of the channels of {level}" in said or reach == 0
    assert (f"beyond {reach} voxels" if reach else "its input") in said
    assert "learning rate" in said
    assert "0%" in summary(living.shares())


def test_a_living_network_warns_of_nothing():
    shares = {"l_conv.0.conv_pass.0": 1.0, "l_conv.0.conv_pass.2": 0.4}
    assert warning(shares) == ""
    assert summary(shares) == "living channels at least 40% (l_conv.0)"
    assert summary({}) == warning({}) == ""
    assert "hardly uses" in warning({"l_conv.3.conv_pass.0": 0.05})
