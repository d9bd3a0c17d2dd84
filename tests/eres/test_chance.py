"""The chance level of "near the ER" against vesicles that are really moved about."""

import numpy as np
import pytest
from cisterna.chunks import Box
from cisterna.eres import Rules
from cisterna.eres.chance import chance_near_er
from cisterna.eres.distances import measure_block

SIZE = (5.24, 4.0, 4.0)


def tubules(shape, spacing):
    er = np.zeros(shape, bool)
    er[::spacing, ::spacing, :] = True
    return er


def test_agrees_with_moving_a_ball_for_real():
    rng = np.random.default_rng(3)
    er = np.zeros((36, 48, 48), bool)
    er[:, 0:6, :] = True
    rules = Rules(near_er_nm=50, er_search_nm=50)
    z, y, x = np.indices((11, 13, 13))
    ball = np.sqrt(((z - 5) * 5.24) ** 2 + ((y - 6) * 4) ** 2 + ((x - 6) * 4) ** 2) < 24
    near = tried = 0
    while tried < 150:
        low = [int(rng.integers(0, n - b + 1)) for n, b in zip(er.shape, ball.shape, strict=True)]
        box = tuple(slice(a, a + b) for a, b in zip(low, ball.shape, strict=True))
        if (er[box] & ball).any():
            continue
        labels = np.zeros(er.shape, np.uint8)
        labels[box][ball] = 1
        tried += 1
        found = measure_block(labels, labels * 0, er, None, Box.whole(er.shape), SIZE, rules)
        near += len(found.vesicle_er.nm) and found.vesicle_er.nm[0] <= 50
    # The moved balls stay whole inside the volume; the ER before y = 4 leaves no room there.
    level = chance_near_er([48.0], er[5:-5, 4:-6, 6:-6], SIZE, rules=rules)
    assert 0.2 < level.mean < 0.8
    assert abs(near / tried - level.mean) < 0.12


def test_more_er_leaves_less_to_chance():
    shape = (60, 60, 60)
    means = [chance_near_er([60.0] * 20, tubules(shape, s), (10.0, 10.0, 10.0)).mean for s in (50, 30, 20)]
    assert means == sorted(means)
    assert means[0] < 0.5 < 0.7 < means[-1]


def test_interval_and_p_value():
    er = tubules((40, 60, 60), 30)
    level = chance_near_er(np.full(100, 60.0), er, (10.0, 10.0, 10.0), relocations=2000)
    assert level.low < level.mean < level.high
    assert level.shares.mean() == pytest.approx(level.mean, abs=0.01)
    width = 2 * 1.96 * np.sqrt(level.mean * (1 - level.mean) / 100)
    assert level.high - level.low == pytest.approx(width, rel=0.25)
    assert level.p_at_least(level.mean) > 0.3
    assert level.p_at_least(1.0) == pytest.approx(1 / 2001, abs=0.01)


def test_a_cytosol_keeps_vesicles_whole():
    er = np.zeros((20, 40, 40), bool)
    er[:, 0, :] = True
    cytosol = np.zeros_like(er)
    cytosol[:, 20:, :] = True
    far = chance_near_er([20.0], er, (10.0, 10.0, 10.0), cytosol, Rules(near_er_nm=120))
    assert far.mean == 0.0
    with pytest.raises(ValueError, match="no vesicle fits"):
        chance_near_er([5000.0], er, (10.0, 10.0, 10.0), cytosol)
    with pytest.raises(ValueError, match="positive lengths"):
        chance_near_er([np.nan], er, (10.0, 10.0, 10.0))
    assert chance_near_er([20.0], er & False, (10.0, 10.0, 10.0)).mean == 0.0
