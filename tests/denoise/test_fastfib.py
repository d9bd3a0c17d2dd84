"""The topology: size, reach, and the trimmed pass against the padded one."""

import pytest

torch = pytest.importorskip("torch", reason="denoising needs torch")

from cisterna.denoise.fastfib import build, flop_per_voxel, reach  # noqa: E402


def test_size_of_the_default_network() -> None:
    network = build()
    assert sum(p.numel() for p in network.parameters()) == 10_053_625
    assert flop_per_voxel(42) == pytest.approx(892e3, rel=1e-3)
    assert (network.stride, network.context) == (8, 52)


def test_size_of_the_other_reading() -> None:
    assert sum(p.numel() for p in build(width=21, levels=5).parameters()) == pytest.approx(10.14e6, rel=1e-3)
    assert reach(5).radius == 108


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_reach_is_what_the_gradient_reaches(levels: int) -> None:
    """The input voxels with any influence on a voxel of each phase, found by back-propagation along one axis."""
    torch.manual_seed(levels)
    network = build(width=1, levels=levels).double()
    with torch.no_grad():
        for p in network.parameters():
            p.abs_().add_(0.1)  # positive: no ReLU cuts a path
    found = reach(levels)
    middle = -(-found.radius // found.stride) * found.stride + found.stride
    farthest = 0
    for phase in range(found.stride):
        # Strictly increasing along the axis would let max-pooling hide one of each two voxels, so both ends are tried.
        for sign in (1, -1):
            x = torch.linspace(0, sign, 2 * middle, dtype=torch.float64)[:, None, None].expand(
                -1, found.stride, found.stride
            )
            x = (x + 2)[None, None].clone().requires_grad_()
            network(x)[0, 0, middle + phase].sum().backward()
            touched = x.grad[0, 0].abs().sum((1, 2)).nonzero()[:, 0]
            at = middle + phase
            farthest = max(farthest, at - int(touched.min()), int(touched.max()) - at)
    assert farthest == found.radius


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_trimmed_equals_padded_inside(levels: int) -> None:
    torch.manual_seed(0)
    network = build(width=1, levels=levels).double().eval()
    found = reach(levels)
    edge = -(-found.aligned // found.stride) * found.stride
    x = torch.randn(1, 1, 2 * edge + found.stride, 2 * edge + 2 * found.stride, 2 * edge + found.stride).double()
    cut = edge - found.aligned
    inner = (..., *(slice(cut, n - cut) for n in x.shape[2:]))
    with torch.inference_mode():
        padded = network(x)[(..., *(slice(edge, n - edge) for n in x.shape[2:]))]
        trimmed = network.forward_trimmed(x[inner])
    assert padded.std() > 1e-6
    assert (padded - trimmed).abs().max() < 1e-12


def test_shapes_off_the_stride_are_refused() -> None:
    network = build(width=1)
    with pytest.raises(ValueError, match="multiple of the stride 8"):
        network(torch.zeros(1, 1, 8, 8, 9))
    with pytest.raises(ValueError, match="92 plus a multiple of 8"):
        network.forward_trimmed(torch.zeros(1, 1, 100, 100, 92))
