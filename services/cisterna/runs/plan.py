"""Recipe and acquisition → stages. Pure planning: reads model.json and manifests, computes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from cisterna.runs.acquisition import Acquisition
from cisterna.runs.building import Builder, Plan, UsedArray, find_model
from cisterna.runs.er_movie import plan_er_movie
from cisterna.runs.fibsem import plan_fibsem
from cisterna.runs.recipes import ErMovieRecipe, FibsemRecipe, Recipe, RecipeError
from cisterna.store import ObjectStore

__all__ = ["Plan", "UsedArray", "check_models", "make_plan"]


def make_plan(
    store: ObjectStore, recipe: Recipe, acquisition: Acquisition, uses: Mapping[str, UsedArray] | None = None
) -> Plan:
    """The plan of a run. Raises RecipeError where the recipe does not fit the acquisition or names an absent model."""
    uses = dict(uses or {})
    if isinstance(recipe, FibsemRecipe) and acquisition.kind == "volume":
        return plan_fibsem(Builder(store, acquisition), recipe, uses)
    if isinstance(recipe, ErMovieRecipe) and acquisition.kind == "movie":
        return plan_er_movie(Builder(store, acquisition), recipe, uses)
    raise RecipeError(
        f"recipe {recipe.recipe} does not fit a {acquisition.kind}: submit fibsem for volumes, er-movie for movies"
    )


def check_models(store: ObjectStore, recipe: Recipe) -> None:
    """Raises RecipeError where the recipe names a model that is absent, altered or of another family."""
    if isinstance(recipe, FibsemRecipe):
        wanted = [(f"segment.models.{c}", m, "asem") for c, m in recipe.segment.models.items()]
        wanted += [("denoise.model", recipe.denoise.model, "fastfib")] if recipe.denoise.enabled else []
    else:
        wanted = [("ernet.model", recipe.ernet.model, "ernet")]
    for where, name, family in wanted:
        find_model(store, name, family, where)
