"""How the settings of segmentation enter the plan: keys, requests, halos, the cost that is shown and what is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from acquisitions import install_models, volume
from cisterna.chunks import Box
from cisterna.cli.submit import estimates
from cisterna.models import install_model, write_model_folder
from cisterna.models.folder import read_spec
from cisterna.runs.plan import Plan, make_plan
from cisterna.runs.recipes import RecipeError, parse_recipe
from cisterna.segment.probability import block_halo
from cisterna.store import ObjectStore, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    store = open_store("memory://")
    install_models(store, tmp_path_factory.mktemp("models"))
    return store


def plan(store: ObjectStore, settings: str = "", scale: tuple[float, ...] = (8.0, 8.0, 8.0)) -> Plan:
    recipe = parse_recipe(f"{{denoise: {{enabled: false}}, segment: {{{settings}}}}}", "fibsem")
    return make_plan(store, recipe, replace(volume(), scale=scale))


def test_another_precision_is_another_stage(store: ObjectStore) -> None:
    single, half = (plan(store, f"precision: {p}").stage("segment-er") for p in ("float32", "bfloat16"))
    assert single.key == plan(store).stage("segment-er").key
    assert half.key != single.key
    assert half.request(0, 1).precision == half.document["precision"] == "bfloat16"


@pytest.mark.parametrize("settings", ["precision: float8", "resample: sometimes"])
def test_unknown_settings_name_the_known_ones(store: ObjectStore, settings: str) -> None:
    with pytest.raises(RecipeError, match=r"segment\.\w+ is '.*'; (did you mean|known are)"):
        plan(store, settings)


def gflop(made: Plan, stage: str = "segment-er") -> float:
    return float(next(e["flop"] for e in estimates(made) if e["stage"] == stage)) / 1e9


def said(made: Plan) -> list[str]:
    return [w for w in made.warnings if "phantoms only" not in w]


def test_voxels_near_enough_are_taken_as_they_are(store: ObjectStore) -> None:
    for scale in ((8.0, 8.0, 8.0), (8.7, 7.4, 8.0)):
        made = plan(store, scale=scale)
        assert made.stage("segment-er").document["resample"] == []
        assert not made.stage("segment-er").request(0, 1).resample
        assert list(made.stage("segment-er").request(0, 1).input.halo) == [47] * 3
        assert said(made) == []


def test_other_voxels_are_resampled_to_the_models_and_the_plan_says_so(store: ObjectStore) -> None:
    scale = (5.24, 4.0, 8.0)
    plain, made = plan(store), plan(store, scale=scale)
    stage = made.stage("segment-er")
    request = stage.request(0, 1)
    assert list(request.resample) == pytest.approx([0.655, 0.5, 1])
    assert stage.key not in (
        plain.stage("segment-er").key,
        plan(store, "resample: never", scale).stage("segment-er").key,
    )
    halo = list(request.input.halo)
    assert halo[1] > 2 * 47
    assert halo[1] > halo[0] > halo[2]
    assert said(made) == [
        "Segmentation of er, copi, ccv, tubular_eres resamples voxels of 5.24 × 4 × 8 nm to 8 × 8 × 8 nm (the models "
        "were trained at 8 × 8 × 8 nm) and brings probabilities back: 0.328 times the arithmetic."
    ]
    assert gflop(plain) / 3 < gflop(made) < gflop(plain), "less to compute, in blocks that are mostly halo"
    fine = plan(store, scale=(16.0, 16.0, 16.0))
    assert 4 * gflop(plain) < gflop(fine) < 8 * gflop(plain)


def test_detail_that_is_not_there_is_warned_of(store: ObjectStore) -> None:
    for settings, first in (("", "resamples voxels of 12 × 8 × 8 nm"), ("resample: never", "expect errors at other")):
        notes = said(plan(store, settings, (12.0, 8.0, 8.0)))
        assert len(notes) == 2
        assert first in notes[0]
        assert notes[1].startswith("Voxels of 12 × 8 × 8 nm are coarser along z than the 8 × 8 × 8 nm")
        assert "cannot be made" in notes[1]


def test_always_and_never(store: ObjectStore) -> None:
    scale = (8.4, 8.0, 8.0)
    assert plan(store, scale=scale).stage("segment-er").document["resample"] == []
    assert plan(store, "resample: always", scale).stage("segment-er").document["resample"] == pytest.approx(
        [1.05, 1, 1]
    )
    assert "nothing is resampled" in said(plan(store, "resample: always"))[0]
    apart = plan(store, "resample: never", (4.0, 4.0, 4.0))
    assert apart.stage("segment-er").document["resample"] == []
    assert "expect errors at other scales" in said(apart)[0]


def test_a_scale_of_another_world_is_refused(store: ObjectStore) -> None:
    with pytest.raises(
        RecipeError, match=r"class copi: voxels of 65 × 8 × 8 nm are more than 8 times .*resample never"
    ):
        plan(store, scale=(65.0, 8.0, 8.0))
    assert plan(store, "resample: never", (65.0, 8.0, 8.0)).stages


def test_models_of_two_scales_are_resampled_each_by_itself(store: ObjectStore, tmp_path: Path) -> None:
    spec = read_spec(store.get("models/demo-asem-er/model.json"), "er")
    spec = {k: v for k, v in spec.items() if k not in ("weights", "digest", "format", "voxel_size_nm")}
    for name, size in (("fine", {"voxel_size_nm": [4.0] * 3}), ("untold", {})):
        write_model_folder(tmp_path / name, {**spec, "name": name, **size}, {"w": np.zeros(1, np.float32)})
        install_model(store, tmp_path / name)
    made = plan(store, "models: {er: fine, copi: demo-asem-copi, tubular_eres: untold}")
    factors = {c: made.stage(f"segment-{c}").document["resample"] for c in ("er", "copi", "tubular_eres")}
    assert factors == {"er": [2.0] * 3, "copi": [], "tubular_eres": []}
    notes = said(made)
    assert notes[0] == "Model untold does not say its voxel size: tubular_eres is segmented without resampling."
    assert notes[1].startswith("Segmentation of er resamples voxels of 8 × 8 × 8 nm to 4 × 4 × 4 nm")
    assert notes[2].startswith("Voxels of 8 × 8 × 8 nm are coarser along z, y, x")


def test_the_halo_asked_for_holds_what_the_service_reads(store: ObjectStore) -> None:
    """Blocks of denoised voxels are waited for by the halo that is planned."""
    for scale in ((5.24, 4.0, 8.0), (12.0, 20.0, 3.0)):
        request = plan(store, scale=scale).stage("segment-er").request(7, 1)
        box = Box(tuple(request.input.box.offset), tuple(request.input.box.shape))
        for needed in block_halo(box, tuple(request.resample)):
            assert all(n <= h for n, h in zip(needed, request.input.halo, strict=True))
