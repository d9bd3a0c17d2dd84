"""A whole run says how far to trust it: flicker beside its floor, the gate in every table, the model's noise curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cisterna.tables.networks import (
    DYNAMICS,
    EDGES,
    EVENTS,
    FLOOR_FRAMES,
    FRAMES,
    JUNCTIONS,
    MULTI_WAY,
    NODES,
    TIPS,
)
from stacks import Stack

pytestmark = [pytest.mark.system, pytest.mark.long]

FRAME_COUNT, EDGE = 5, 128


@pytest.mark.parametrize(("snr", "flag"), [(20.0, "ok"), (3.0, "low")])
def test_a_run_says_how_far_to_trust_it(stack: Stack, tmp_path: Path, snr: float, flag: str) -> None:
    from cisterna.phantoms import er_movie, save_movie

    save_movie(tmp_path / "movie", er_movie(FRAME_COUNT, (EDGE, EDGE), snr=snr, seed=920_000))
    run = stack.wait(stack.submit("er-movie", tmp_path / "movie/movie.tif"))
    assert (run["state"], run["exit"]) == ("SUCCEEDED", 0)

    def table(schema):  # type: ignore[no-untyped-def]
        return schema.from_parquet_bytes(stack.store.get(run["tables"][schema.name]))

    frames, floor = table(FRAMES), table(FLOOR_FRAMES)
    assert set(frames["snr_flag"]) == {flag}
    for schema in (NODES, EDGES, MULTI_WAY, JUNCTIONS, EVENTS, TIPS):
        assert set(table(schema)["snr_flag"]) <= {flag}
    assert set(table(DYNAMICS)["low_snr_share"]) == {float(flag == "low")}
    inner = frames.iloc[1:-1]
    assert ((inner["flicker_share"] > 0) & (inner["flicker_share"] < inner["changed_share"])).all()
    assert np.isnan(frames["flicker_share"].iloc[[0, -1]]).all()
    assert len(floor) == FRAME_COUNT
    assert floor["flicker_share"].iloc[1:-1].between(0, 0.5, inclusive="neither").all()
    assert frames["tubule_confidence"].between(0.5, 1).all()
    html = stack.store.get(f"runs/{run['run_id']}/report.html").decode()
    assert "demo-ernet finds" in html
    assert "in the static scene, where nothing moves" in html
    assert ("frames have an SNR below 5" in html) == (flag == "low")
    print({c: float(np.nanmean(frames[c])) for c in ("changed_share", "flicker_share", "tubule_confidence")})
    print("floor", float(np.nanmean(floor["flicker_share"])))
