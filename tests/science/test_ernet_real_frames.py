"""An ERnet trained on one real cell finds the tubules of another. Minutes of training: `make test-long`."""

import os
import runpy
from pathlib import Path

import pytest

pytest.importorskip("torch")
BENCH = Path(__file__).parents[1] / "bench" / "ernet_real_frames.py"


@pytest.fixture
def data():
    folder = os.environ.get("CISTERNA_TEST_DATA")
    if not folder or not (Path(folder) / "er_cos7_widefield").is_dir():
        pytest.skip(
            "CISTERNA_TEST_DATA names no folder with er_cos7_widefield: the hand-labelled frames are not at hand"
        )
    return Path(folder) / "er_cos7_widefield"


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_trained_on_one_cell_it_finds_the_tubules_of_another(data, tmp_path):
    """Dice within 25 px of the hand mask: at least 0.80, and above Sato + Otsu at the scales that suit it best."""
    bench = runpy.run_path(str(BENCH))
    model = bench["train"](data, tmp_path / "cos7-stack1", bench["SETTINGS"], print)
    ((_, ours, sato),) = bench["judged"](model, data, ["stack3_f000"], None)
    assert 0.65 <= max(sato.values()) < 0.80
    assert ours >= 0.80
