"""The loss against a plain numpy statement of its formula."""

import numpy as np
import pytest
from scipy.ndimage import correlate1d

torch = pytest.importorskip("torch", reason="training needs torch")

from cisterna.denoise.losses import blur_radius, charbonnier, fastfib_loss, gaussian_blur, gradient_penalty  # noqa: E402


def volume(seed: int, shape: tuple[int, ...] = (14, 15, 16)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)[None, None]


def blurred(array: np.ndarray, sigma: float) -> np.ndarray:
    """The truncated Gaussian of the whole array; its inner part is free of the padding."""
    at = np.arange(-blur_radius(sigma), blur_radius(sigma) + 1)
    kernel = np.exp(-0.5 * (at / sigma) ** 2)
    for axis in range(3):
        array = correlate1d(array, kernel / kernel.sum(), axis=axis, mode="constant")
    return array


def test_blur_is_a_normalised_gaussian() -> None:
    x = volume(0)
    assert np.allclose(gaussian_blur(tensor(x), 0.7)[0, 0].numpy(), blurred(x, 0.7)[3:-3, 3:-3, 3:-3])
    assert torch.allclose(gaussian_blur(torch.full((1, 1, 9, 9, 9), 5.0), 1.0), torch.tensor(5.0))
    assert gaussian_blur(tensor(x), 0.0).shape == (1, 1, 14, 15, 16)


@pytest.mark.parametrize("masked", [False, True])
def test_loss_is_the_formula(masked: bool) -> None:
    u, target, sigma, weight, crop = volume(1), volume(2), 0.6, 0.3, 4
    mask = volume(3) > 0
    inner = (slice(crop, -crop),) * 3
    v = blurred(u, sigma)
    data = np.sqrt((v - target) ** 2 + 1e-6)[inner]
    expected = data[mask[inner]].mean() if masked else data.mean()
    ripple = (u - v)[inner]
    differences = [np.diff(ripple, axis=axis) for axis in range(3)]
    shortest = [d[: ripple.shape[0] - 1, : ripple.shape[1] - 1, : ripple.shape[2] - 1] for d in differences]
    expected += weight * sum(np.abs(d).mean() for d in shortest)
    found = fastfib_loss(
        tensor(u),
        tensor(target),
        sigma=sigma,
        gradient_weight=weight,
        crop=crop,
        mask=tensor(mask) if masked else None,
    )
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_loss_does_not_see_the_rim() -> None:
    u, target = volume(4), volume(5)
    spoiled = u.copy()
    spoiled[0], spoiled[:, -1] = 1e6, -1e6
    settings = {"sigma": 0.5, "gradient_weight": 0.1, "crop": 3}
    assert torch.equal(
        fastfib_loss(tensor(spoiled), tensor(target), **settings), fastfib_loss(tensor(u), tensor(target), **settings)
    )


def test_charbonnier_of_zero_is_epsilon() -> None:
    assert float(charbonnier(torch.zeros(1, dtype=torch.float64))) == pytest.approx(1e-3)
    assert float(charbonnier(torch.tensor([3.0]), alpha=1.0, epsilon=2.0)) == pytest.approx(13.0)


@pytest.mark.parametrize(("norm", "stencil", "slope"), [("l1", "forward", 6.0), ("l2", "central", 14**0.5)])
def test_gradient_of_a_ramp(norm: str, stencil: str, slope: float) -> None:
    z, y, x = np.meshgrid(*[np.arange(6.0)] * 3, indexing="ij")
    assert float(gradient_penalty(tensor(z + 2 * y - 3 * x), norm, stencil)) == pytest.approx(slope)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sigma": 1.0, "crop": 3}, "at least 4"),
        ({"sigma": 0.5, "crop": 7}, "used up"),
        ({"sigma": -1.0, "crop": 3}, "sigma is -1"),
        ({"sigma": 0.5, "crop": 3, "norm": "l3"}, "norm"),
        ({"sigma": 0.5, "crop": 3, "stencil": "sobel"}, "stencil"),
    ],
)
def test_impossible_settings(settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        fastfib_loss(tensor(volume(0)), tensor(volume(1)), gradient_weight=0.1, **settings)
