"""A whole run with a temporal ERnet: movie, static scene, tables and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cisterna.chunks import Box
from cisterna.store.arrays import read_box
from stacks import Stack

pytestmark = [pytest.mark.system, pytest.mark.long]

FRAMES, EDGE = 4, 90  # fewer frames than the network takes; the edge is no multiple of 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames at once, weights random but for the end: what is bright for five frames is tubule."""
    torch = pytest.importorskip("torch")
    from cisterna.ernet.export import model_spec, write_ernet_folder
    from cisterna.ernet.swin3d import build

    torch.manual_seed(2)
    topology: dict[str, Any] = {"frames": 5, "embed": 24, "depths": [2, 2], "heads": [3, 3], "window": [2, 8]}
    topology |= {"mlp_ratio": 2.0, "channels": 8, "squeezed": 2, "residual_blocks": 2, "classes": 4}
    network = build(**topology)
    with torch.no_grad():
        network.patch_unembed.conv.weight.mul_(0.2)
        network.segmentation_decode.weight.zero_()[2] = 6.0
        network.segmentation_decode.bias.copy_(torch.tensor([0.0, -10.0, -12.0, -10.0]))
    folder = tmp_path_factory.mktemp("models") / "temporal"
    write_ernet_folder(folder, model_spec("temporal", topology, 0.1, "BSD-3-Clause", False, {}, {}), network)
    return folder


def test_the_run_gives_what_the_network_gives_on_the_whole_movie(stack: Stack, model: Path, tmp_path: Path) -> None:
    import torch
    from cisterna.ernet.frames import normalise_frame
    from cisterna.models import load_model
    from cisterna.phantoms import er_movie, save_movie
    from tifffile import imread

    save_movie(tmp_path / "movie", er_movie(FRAMES, (EDGE, EDGE), snr=20, seed=9600))
    assert stack.cli("models", "add", model).returncode == 0
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("ernet: {model: temporal}\n")
    run = stack.wait(stack.submit("er-movie", tmp_path / "movie/movie.tif", "--recipe", recipe))
    assert (run["state"], run["exit"]) == ("SUCCEEDED", 0)
    assert {"ernet", "ernet-static", "graph-summary-static"} <= set(run["stages"])

    movie = imread(tmp_path / "movie/movie.tif")
    grey = np.stack([normalise_frame(frame, float(movie.min()), float(movie.max())) for frame in movie])
    grey = np.pad(grey, [(0, 0), (0, -EDGE % 4), (0, -EDGE % 4)], mode="reflect")
    network = load_model(model)
    found = read_box(stack.store, run["arrays"]["ernet/classes"] + "/0", Box.whole(movie.shape))
    for frame, around in enumerate([(0, 0, 0, 1, 2), (0, 0, 1, 2, 3), (0, 1, 2, 3, 3), (1, 2, 3, 3, 3)]):
        with torch.no_grad():
            logits = network(torch.from_numpy(grey[list(around)][None]))[0, :, :EDGE, :EDGE]
        assert (found[frame] == logits.argmax(0).numpy()).mean() > 0.9999
        assert 0.02 < (found[frame] == 2).mean() < 0.9

    (sentence,) = (w for w in run["warnings"] if "repeated" in w)
    html = stack.store.get(f"runs/{run['run_id']}/report.html").decode()
    assert sentence.split(";")[0] in html
