"""How the settings of denoising enter the plan: keys, halos, the cost that `cisterna plan` prints, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from acquisitions import install_models, volume
from cisterna.cli.submit import estimates
from cisterna.runs.plan import Plan, make_plan
from cisterna.runs.recipes import RecipeError, parse_recipe
from cisterna.store import ObjectStore, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    store = open_store("memory://")
    install_models(store, tmp_path_factory.mktemp("models"))
    return store


def plan(store: ObjectStore, settings: str = "", scale: tuple[float, ...] = (8.0, 8.0, 8.0)) -> Plan:
    return make_plan(store, parse_recipe(f"denoise: {{{settings}}}", "fibsem"), replace(volume(), scale=scale))


def denoise_gflop(made: Plan) -> float:
    return next(e["flop"] for e in estimates(made) if e["stage"] == "denoise") / 1e9


def test_another_precision_is_another_stage(store: ObjectStore) -> None:
    single, half = (plan(store, f"precision: {p}").stage("denoise") for p in ("float32", "bfloat16"))
    assert single.key == plan(store).stage("denoise").key
    assert half.key != single.key
    assert half.request(0, 1).precision == "bfloat16"


def test_upsampling_costs_what_the_finer_grid_has_more_and_says_so(store: ObjectStore) -> None:
    scale = (5.24, 4.0, 4.0)
    plain, fine = plan(store, scale=scale), plan(store, "upsample: isotropic", scale)
    assert denoise_gflop(fine) == pytest.approx(1.31 * denoise_gflop(plain), rel=1e-6)
    assert any("1.31 times the arithmetic" in w for w in fine.warnings)
    request = fine.stage("denoise").request(0, 1)
    assert list(request.upsample) == pytest.approx([1.31, 1, 1])
    assert fine.stage("denoise").key != plain.stage("denoise").key
    halo = list(request.inputs[0].halo)
    assert halo[0] < halo[1], "fewer thick planes hold the same fine ones"
    assert denoise_gflop(plan(store, "upsample: isotropic", (1.0, 2.0, 2.0))) == pytest.approx(
        4 * denoise_gflop(plan(store, scale=(1.0, 2.0, 2.0)))
    )


def test_cubes_are_not_upsampled(store: ObjectStore) -> None:
    asked = plan(store, "upsample: isotropic")
    assert asked.stage("denoise").key == plan(store).stage("denoise").key
    assert any("cubes already" in w for w in asked.warnings)


def test_regions_off_the_stride_have_keys_of_their_own(store: ObjectStore) -> None:
    def cut(first: int) -> str:
        whole = volume()
        region = {"offset": [first, 0, 0], "of_shape": [500, 130, 130]}
        piece = replace(whole, manifest={**whole.manifest, "region": region})
        return make_plan(store, parse_recipe("", "fibsem"), piece).stage("denoise").key

    assert cut(8) == cut(16), "on the stride the same voxels give the same result"
    assert cut(8) != cut(9)


@pytest.mark.parametrize("settings", ["precision: float23", "upsample: cubic"])
def test_unknown_settings_name_the_known_ones(store: ObjectStore, settings: str) -> None:
    with pytest.raises(RecipeError, match="denoise"):
        plan(store, settings)
