"""Artefacts that both detectors share survive denoising: planted stripes and charged planes are found, others are not.

Denoising is stood in for by the noise-free detectors with the little noise that a network leaves: what is judged here
is the search, not a network.
"""

import numpy as np
import pytest
from cisterna.denoise.trust_map import trust_part
from cisterna.phantoms.cell import fibsem_cell
from cisterna.report.denoising import DenoisingReport, add_up
from cisterna.report.denoising_section import artefact_warnings

SHAPE, BLOCK = (40, 128, 128), 64
LEFT_NOISE = 1.5


def judged(picture: np.ndarray) -> DenoisingReport:
    """As a run's report reads it: block by block."""
    rng = np.random.default_rng(0)
    picture = picture + rng.normal(0, LEFT_NOISE, picture.shape)
    raw = picture + rng.normal(0, 8, picture.shape)

    def blocks():
        for y in range(0, picture.shape[1], BLOCK):
            for x in range(0, picture.shape[2], BLOCK):
                cut = (slice(None), slice(y, y + BLOCK), slice(x, x + BLOCK))
                part = trust_part([raw[cut]], [picture[cut]], picture[cut])
                yield {"voxels": picture[cut].size}, part | {"offset": np.array([0, y, x])}

    report = add_up(blocks(), picture.shape)
    assert report is not None
    return report


def cell(seed: int, curtaining: float = 0.0, plane_jitter: float = 1.5) -> np.ndarray:
    phantom = fibsem_cell(SHAPE, 8.0, seed, noise=0.0, curtaining=curtaining, plane_jitter=plane_jitter)
    return phantom.inlens.astype(np.float64)


def test_a_clean_cell_raises_no_alarm() -> None:
    assert artefact_warnings(judged(cell(31))) == []


def test_stripes_a_quarter_as_strong_as_the_noise_are_found() -> None:
    """Detector noise of these phantoms is 8 grey values; the stripes have a deviation of 2."""
    report = judged(cell(31, curtaining=2.0))
    assert report.planes is not None
    assert list(report.planes.striped) == ["y"]
    (sentence,) = artefact_warnings(report)
    assert "stripes along y (curtains)" in sentence
    turned = judged(np.swapaxes(cell(31, curtaining=2.0), 1, 2))
    assert turned.planes is not None
    assert list(turned.planes.striped) == ["x"]


def test_stripes_in_a_few_planes_are_named() -> None:
    picture = cell(32)
    picture[20:26] = cell(32, curtaining=5.0)[20:26]
    report = judged(picture)
    assert report.planes is not None
    found = report.planes.striped["y"]
    assert found.size >= 3
    assert set(found.tolist()) <= set(range(20, 26))


def test_charged_planes_are_found_and_named() -> None:
    picture = cell(33)
    picture[17] += 12
    picture[30] = picture[30].mean() + 1.6 * (picture[30] - picture[30].mean())
    report = judged(picture)
    assert report.planes is not None
    assert {17, 30} <= set(report.planes.uneven.tolist())
    assert len(report.planes.uneven) <= 4
    (sentence,) = artefact_warnings(report)
    assert "17" in sentence
    assert "charging" in sentence


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40, 60))
def test_twenty_clean_cells_raise_no_alarm(seed: int) -> None:
    assert artefact_warnings(judged(cell(seed, plane_jitter=1.5 * (seed % 2)))) == []


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40, 50))
def test_weak_stripes_are_found_in_every_cell(seed: int) -> None:
    report = judged(cell(seed, curtaining=2.0))
    assert report.planes is not None
    assert "y" in report.planes.striped
