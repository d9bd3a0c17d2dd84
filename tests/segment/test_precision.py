"""Half-precision networks: close to float32, a float32 last layer, one clear error for anything else."""

import numpy as np
import pytest
import torch
from cisterna.chunks import Box
from cisterna.segment.folded import FoldedAsem
from cisterna.segment.probability import IntensityRule, block_probability, prepare, volume_probability
from cisterna.segment.unet import AsemUNet, build
from cisterna.tiles import reflect_pad

RULE = IntensityRule(0, 255)


def network(width: int) -> AsemUNet:
    torch.manual_seed(width)
    made = build(num_fmaps=width)
    with torch.no_grad():
        made.final_conv_pass.conv_pass[0].weight.mul_(3)
    return made


def grey(shape: tuple[int, ...] = (6, 7, 8)) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(("width", "precision"), [(2, "bfloat16"), (16, "bfloat16"), (1, "float16")])
def test_half_precision_is_close_and_its_probabilities_do_not_step(width: int, precision: str) -> None:
    plain = network(width)
    single = volume_probability(grey(), prepare(plain), RULE)[0]
    half = prepare(plain, precision=precision)
    assert isinstance(half, FoldedAsem) == (width == 16)
    dtype = getattr(torch, precision)
    assert {w.dtype for w in half.parameters()} == {dtype, torch.float32}
    assert all(w.dtype == torch.float32 for n, w in half.named_parameters() if "final" in n)
    assert all(b.dtype == dtype for b in half.buffers())
    assert all(w.dtype == torch.float32 for w in plain.parameters()), "a copy: the network itself stays"
    logits = []
    found = volume_probability(grey(), half, RULE, after=lambda y: logits.append(y) or y[:, -1:])[0]
    assert found.dtype == np.float32
    assert (logits[0] != logits[0].to(dtype).float()).any(), "logits that the narrow type cannot hold"
    difference = np.abs(volume_probability(grey(), half, RULE)[0].astype(int) - single)
    assert single.std() > 0
    assert difference.max() <= (16 if precision == "bfloat16" else 2)


def test_tiles_do_not_show_in_half_precision() -> None:
    half = prepare(network(2), precision="bfloat16")
    volume = grey((20, 10, 10))
    whole = volume_probability(volume, half, RULE)[0]
    held = reflect_pad(volume, (47,) * 3, (55,) * 3)
    tiled = block_probability(held, (-47,) * 3, Box.whole(volume.shape), half, RULE, tile=8)
    assert np.abs(tiled.astype(int) - whole).max() <= 1


def test_an_unknown_precision_and_an_overflow_are_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"unknown precision 'int8'; use one of float32, bfloat16, float16"):
        prepare(network(1), precision="int8")
    loud = network(1)
    with torch.no_grad():
        loud.unet.l_conv[0].conv_pass[0].weight.mul_(1e6)
    with pytest.raises(ValueError, match=r"not finite: write segment\.precision bfloat16 or float32"):
        volume_probability(grey(), prepare(loud, precision="float16"), RULE)
    assert np.isfinite(volume_probability(grey(), prepare(loud, precision="bfloat16"), RULE)).all()
