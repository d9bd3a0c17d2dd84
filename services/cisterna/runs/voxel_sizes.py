"""A volume's voxel size beside those of the models: what is resampled, and what a user is told of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cisterna.lattice import NEAR, factor_between
from cisterna.runs.building import Builder, sizes
from cisterna.runs.recipes import FibsemRecipe, RecipeError


def resampling(b: Builder, recipe: FibsemRecipe, class_name: str, model: Mapping[str, Any]) -> tuple[float, ...]:
    """Voxels of the model's lattice per voxel and axis; empty where the class is segmented on the voxels as they are.

    Raises RecipeError where the two are too far apart.
    """
    trained = model.get("voxel_size_nm")
    if not trained:
        return ()
    try:
        return factor_between(b.acquisition.scale, trained, recipe.segment.resample)
    except ValueError as e:
        raise RecipeError(
            f"class {class_name}: {e}, the voxel size of model {model['name']}: use a model of that scale, or write "
            "segment.resample never"
        ) from e


def segmentation_notes(b: Builder, recipe: FibsemRecipe, models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences about the voxel sizes of a run, for ``models`` by class; classes of one voxel size share theirs."""
    groups: dict[tuple[float, ...], list[str]] = {}
    notes = []
    for name, model in models.items():
        if model.get("voxel_size_nm"):
            groups.setdefault(tuple(float(n) for n in model["voxel_size_nm"]), []).append(name)
        else:
            notes.append(f"Model {model['name']} does not say its voxel size: {name} is segmented without resampling.")
    for trained, classes in sorted(groups.items()):
        notes += _of_group(b, recipe, trained, ", ".join(classes), models[classes[0]])
    return notes


def _of_group(
    b: Builder, recipe: FibsemRecipe, trained: Sequence[float], classes: str, model: Mapping[str, Any]
) -> list[str]:
    scale, notes = b.acquisition.scale, []
    factor = resampling(b, recipe, classes, model)
    if factor:
        lattice = [s / f for s, f in zip(scale, factor, strict=True)]
        notes.append(
            f"Segmentation of {classes} resamples voxels of {sizes(scale)} nm to {sizes(lattice)} nm (the models were "
            f"trained at {sizes(trained)} nm) and brings probabilities back: {math.prod(factor):.3g} times the "
            "arithmetic."
        )
    elif recipe.segment.resample == "always":
        notes.append(
            f"segment.resample is always, but the voxels are those that the models of {classes} were trained at "
            "already: nothing is resampled."
        )
    elif off_axes(scale, trained):
        notes.append(
            f"segment.resample is never: {classes} are segmented on voxels of {sizes(scale)} nm by models that were "
            f"trained at {sizes(trained)} nm: expect errors at other scales."
        )
    coarse = [a for a, s, t in zip("zyx", scale, trained, strict=True) if s > NEAR * t * (1 + 1e-9)]
    if coarse:
        notes.append(
            f"Voxels of {sizes(scale)} nm are coarser along {', '.join(coarse)} than the {sizes(trained)} nm that the "
            f"models of {classes} were trained at: detail that is not there cannot be made; expect small objects to "
            "be missed."
        )
    return notes


def off_axes(scale: Sequence[float], trained: Sequence[float]) -> bool:
    """Whether any axis is too far from what a model was trained at to be taken as it is."""
    return any(max(s / t, t / s) > NEAR * (1 + 1e-9) for s, t in zip(scale, trained, strict=True))
