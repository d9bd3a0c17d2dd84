"""Recipes: defaults written back, mistakes named."""

from __future__ import annotations

import pytest
from cisterna.runs.recipes import FibsemRecipe, RecipeError, as_mapping, parse_recipe, to_yaml


def test_an_empty_recipe_is_all_defaults_and_comes_back() -> None:
    recipe = parse_recipe("", "fibsem")
    assert recipe == FibsemRecipe()
    assert parse_recipe(to_yaml(recipe), "fibsem") == recipe


def test_a_part_keeps_the_other_defaults() -> None:
    recipe = parse_recipe(
        "eres: {rules: {link_nm: 40}, min_diameter_nm: {copi: 10}}\nsegment: {models: {er: mine}}", "fibsem"
    )
    values = as_mapping(recipe)
    assert values["eres"]["rules"] == {"name": "nair2025", "link_nm": 40}
    assert values["eres"]["min_diameter_nm"]["copi"] == 10
    assert values["eres"]["min_diameter_nm"]["ccv"] == 50
    assert values["segment"]["models"] == {"er": "mine"}, "the choice of models is the user's, whole"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("segmnt: {}", "did you mean 'segment'"),
        ("segment: {inputs: raw}", "unknown key 'segment.inputs'; did you mean 'input'"),
        ("segment: {input: smooth}", "write raw or denoised"),
        ("segment: {input: denoised}\ndenoise: {enabled: false}", "enable it or segment raw"),
        ("segment: {models: {cop: x}}", "did you mean 'copi'"),
        ("eres: {thresholds: {er: 1.5}}", "write a probability"),
        ("eres: {min_diameter_nm: {er: -1}}", "write a length"),
        ("denoise: {enabled: maybe}", "write a bool"),
        ("denoise: yes please", "must hold keys"),
        ("recipe: er-movie", "recipe for 'er-movie'"),
        ("[1, 2]", "must be a mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_mistakes_are_named_with_their_remedy(text: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "fibsem", "r.yaml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("graph: {static_floor_frames: 2}", "from 3 on, or 0"),
        ("graph: {static_floor_frames: true}", "from 3 on, or 0"),
        ("graph: {psf_fwhm_um: wide}", "write a float or null"),
        ("graph: {psf_fwhm_um: 0}", "a length in µm"),
        ("graph: {psf_fwhm_um: true}", "write a float or null"),
        ("graph: {resamples: 20}", "200 or more"),
        ("graph: {psf_fwhm: 0.2}", "did you mean 'psf_fwhm_um'"),
    ],
)
def test_mistakes_about_networks_are_named(text: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        parse_recipe(text, "er-movie")


def test_an_unknown_point_spread_stays_unknown_and_a_known_one_comes_back() -> None:
    assert as_mapping(parse_recipe("", "er-movie"))["graph"]["psf_fwhm_um"] is None
    for text, value in (("graph: {psf_fwhm_um: 1}", 1.0), ("graph: {psf_fwhm_um: null}", None)):
        recipe = parse_recipe(text, "er-movie")
        assert as_mapping(recipe)["graph"]["psf_fwhm_um"] == value
        assert parse_recipe(to_yaml(recipe), "er-movie") == recipe
