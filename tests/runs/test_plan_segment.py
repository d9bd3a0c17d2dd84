"""How the settings of segmentation enter the plan: keys, requests, halos, the cost that is shown and what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from acquisitions import install_models, volume
from cisterna.runs.plan import Plan, make_plan
from cisterna.runs.recipes import RecipeError, parse_recipe
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


@pytest.mark.parametrize("settings", ["precision: float8"])
def test_unknown_settings_name_the_known_ones(store: ObjectStore, settings: str) -> None:
    with pytest.raises(RecipeError, match=r"segment\.\w+ is '.*'; (did you mean|known are)"):
        plan(store, settings)
