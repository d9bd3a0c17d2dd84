"""Movies of very many frames: work grows with their number, and no faster."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tifffile
from acquisitions import install_models, movie
from cisterna.acquire import ingest_movie
from cisterna.cli.submit import estimates
from cisterna.runs.plan import make_plan
from cisterna.runs.recipes import parse_recipe
from cisterna.store import ObjectStore, open_store
from movie_line import QUICK, movie_line


@pytest.fixture
def operations(monkeypatch):
    """How often each operation of the store was asked for."""
    counted: Counter[str] = Counter()
    for name in ("get", "get_json", "put", "put_new", "list", "exists"):
        whole = getattr(ObjectStore, name)

        def call(self, *args, _name=name, _whole=whole, **options):
            counted[_name] += 1
            return _whole(self, *args, **options)

        monkeypatch.setattr(ObjectStore, name, call)
    return counted


def test_ingest_asks_the_store_a_fixed_number_of_times_a_frame(tmp_path, operations):
    asked = []
    for frames in (20, 80):
        path = tmp_path / f"{frames}.tif"
        tifffile.imwrite(path, np.arange(frames * 64, dtype=np.uint16).reshape(frames, 8, 8), photometric="minisblack")
        operations.clear()
        ingest_movie(open_store("memory://"), path, pixel_size_um=0.1, frame_interval_s=1)
        asked.append(dict(operations))
    more = {name: asked[1][name] - asked[0][name] for name in asked[1]}
    assert more["put_new"] == 60
    assert all(count in (0, 60, 120) for count in more.values()), more


def test_ten_thousand_frames_are_planned(tmp_path):
    store = open_store("memory://")
    install_models(store, tmp_path)
    plan = make_plan(store, parse_recipe("", "er-movie"), movie(10_000))
    blocks = {s.name: s.blocks for s in plan.stages}
    assert blocks["ernet"] == blocks["graph-trace"] == 10_000
    assert blocks["graph-summary"] == 1
    for needs in plan.stage("graph-trace").needs:
        assert max(len(needs.blocks(b)) for b in range(10_000)) <= 3
    assert sum(e["blocks"] for e in estimates(plan)) == sum(blocks.values())
    assert plan.stage("graph-trace").request(9_999, 1).classes.box.offset[0] == 9_999


@pytest.mark.long
def test_ten_thousand_frames_run_to_their_end(tmp_path):
    lines = np.zeros((32, 32), bool)
    lines[10:13], lines[:, 10:13] = True, True
    frames = (np.random.default_rng(0).normal(100, 8, (10_000, 32, 32)) + 1000 * lines).astype(np.uint16)
    with movie_line(tmp_path) as line:
        document = line.run(line.written("many", frames), QUICK)
        assert document["state"] == "SUCCEEDED"
        found = line.table(document, "frames")
    assert found["frame"].tolist() == list(range(10_000))
    assert (found["junctions"] == 1).all()
