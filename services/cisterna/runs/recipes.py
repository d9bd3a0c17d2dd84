"""Recipes: what a run shall do, as frozen values read from YAML, every default written back."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

CLASSES = ("er", "copi", "ccv", "tubular_eres", "golgi")
"""Classes that a FIB-SEM run knows. ``copi`` is the vesicle class of the exit-site rules; ``golgi`` has no model."""

PRECISIONS = ("float32", "bfloat16", "float16")
"""`denoise.precision` and `segment.precision`."""

UPSAMPLE = ("none", "isotropic")
"""`denoise.upsample`."""

RESAMPLE = ("auto", "always", "never")
"""`segment.resample`."""

MASKS = ("cell", "organelles")
"""Arrays that `--use` takes beside the classes: where the cell is, and what else no vesicle can lie in."""

SENSITIVITY = {"none": 1.0, "rules": 1.2, "full": 1.2}
"""`eres.sensitivity`, and the factor that thresholds are moved by."""

REQUIRED_CLASSES = ("er", "copi", "tubular_eres")
"""Without one of these the exit-site rules cannot be applied."""


Z_MODES = ("single", "max_projection", "per_section")
"""`z_mode` of an er-movie run over a z-stack."""


class RecipeError(ValueError):
    """A recipe that cannot be followed: the sentence names the key and what to write instead."""


@dataclass(frozen=True)
class DenoiseRecipe:
    """The branch for looking: denoised.ome.zarr. Off saves about a third of the time."""

    enabled: bool = True
    model: str = "demo-fastfib"
    precision: str = "float32"
    """Arithmetic of the network: float32, bfloat16 or float16 (docs/denoise.md says what each costs and changes)."""
    upsample: str = "none"
    """``isotropic``: anisotropic voxels reach the network upsampled to cubes; the result has the input's grid."""


@dataclass(frozen=True)
class SegmentRecipe:
    """One ASEM model per class, on ``raw`` (as the paper) or on ``denoised`` voxels."""

    input: str = "raw"
    models: Mapping[str, str] = field(
        default_factory=lambda: {
            "er": "demo-asem-er",
            "copi": "demo-asem-copi",
            "ccv": "demo-asem-ccv",
            "tubular_eres": "demo-asem-tubular-eres",
        }
    )
    precision: str = "float32"
    """Arithmetic of the networks: float32, bfloat16 or float16 (docs/segment.md says what each changes)."""
    resample: str = "auto"
    """To each model's voxel size and back: ``auto`` along axes more than 10 % off it, ``always``, or ``never``."""


@dataclass(frozen=True)
class EresRecipe:
    """Objects and rules. A voxel is positive where probability >= threshold (0…1)."""

    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Per class; a class left out takes its model's validated threshold, or 0.5."""
    min_diameter_nm: Mapping[str, float] = field(
        default_factory=lambda: {"er": 0.0, "copi": 30.0, "ccv": 50.0, "tubular_eres": 80.0, "golgi": 0.0}
    )
    """Objects with less volume than a sphere of this diameter are dropped as noise."""
    splitting: Mapping[str, Any] = field(default_factory=lambda: {"classes": ["copi", "ccv"]})
    """Classes whose touching objects are cut apart, and when two are two (docs/eres.md); no classes: none."""
    rules: Mapping[str, Any] = field(default_factory=lambda: {"name": "nair2025"})
    chance: Mapping[str, Any] = field(default_factory=lambda: {"places": 200_000, "relocations": 1000, "seed": 0})
    """Random places surveyed in the volume, relocations drawn from them, and the seed of both."""
    sensitivity: str = "rules"
    """Counts with each rule ± 20 % (``rules``), also with each segmentation threshold (``full``), or ``none``."""


@dataclass(frozen=True)
class FibsemRecipe:
    """FIB-SEM volume → denoised volume, probabilities, labels, exit sites."""

    recipe: str = "fibsem"
    denoise: DenoiseRecipe = DenoiseRecipe()
    segment: SegmentRecipe = SegmentRecipe()
    eres: EresRecipe = EresRecipe()


@dataclass(frozen=True)
class ErnetRecipe:
    model: str = "demo-ernet"


@dataclass(frozen=True)
class GraphRecipe:
    """Tracing and tracking parameters (docs/graph.md); keys left out take their defaults."""

    tracing: Mapping[str, Any] = field(default_factory=dict)
    tracking: Mapping[str, Any] = field(default_factory=dict)
    psf_fwhm_um: float | None = None
    """Width of the microscope's point spread at half its height, µm; null: not known, and no width is judged."""
    resamples: int = 200
    """Networks that the interval of every figure is taken over; 0: no intervals."""
    static_floor_frames: int = 12
    """Frames of the static scene that the floor of lifetimes is measured on (docs/graph-dynamics.md); 0: no floor."""


@dataclass(frozen=True)
class ErMovieRecipe:
    """ER movie → classes, networks, metrics, junction lifetimes."""

    recipe: str = "er-movie"
    z_mode: str | None = None
    """What a z-stack becomes: single, max_projection or per_section; null: the movie has no z (docs/ingest.md)."""
    z_section: int | None = None
    """The section of z_mode single, from 0; null: there is one."""
    ernet: ErnetRecipe = ErnetRecipe()
    graph: GraphRecipe = GraphRecipe()


Recipe = FibsemRecipe | ErMovieRecipe
RECIPES: dict[str, type[FibsemRecipe] | type[ErMovieRecipe]] = {"fibsem": FibsemRecipe, "er-movie": ErMovieRecipe}


def parse_recipe(text: str, kind: str, source: str = "recipe") -> Recipe:
    """Reads a recipe from YAML; keys left out keep their defaults.

    Raises RecipeError naming an unknown key (with the nearest known one), a wrong type or a wrong value.
    """
    try:
        values = yaml.safe_load(text) if text.strip() else {}
    except yaml.YAMLError as e:
        raise RecipeError(f"{source} is not YAML: {str(e).splitlines()[0]}") from e
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise RecipeError(f"{source} must be a mapping of keys to values, not {type(values).__name__}")
    if values.get("recipe", kind) != kind:
        raise RecipeError(f"{source} is a recipe for {values['recipe']!r}, but {kind!r} was submitted")
    recipe = _fill(RECIPES[kind], values, source, "")
    assert isinstance(recipe, FibsemRecipe | ErMovieRecipe)
    check_recipe(recipe, source)
    return recipe


def as_mapping(recipe: Recipe) -> dict[str, Any]:
    """The recipe with every default written out."""
    return _plain(dataclasses.asdict(recipe))  # type: ignore[no-any-return]


def to_yaml(recipe: Recipe) -> str:
    """The recipe with every default, as it stands in the run."""
    return yaml.safe_dump(as_mapping(recipe), sort_keys=True)


def check_recipe(recipe: Recipe, source: str = "recipe") -> None:
    """Values that types cannot express; raises RecipeError."""
    if not isinstance(recipe, FibsemRecipe):
        _check_z(recipe, source)
        _check_graph(recipe.graph, source)
        return
    if recipe.segment.input not in ("raw", "denoised"):
        raise RecipeError(f"{source}: segment.input is {recipe.segment.input!r}; write raw or denoised")
    for where, wrong in (("denoise", recipe.denoise.precision), ("segment", recipe.segment.precision)):
        if wrong not in PRECISIONS:
            raise RecipeError(f"{source}: {where}.precision is {wrong!r}; {_nearest(wrong, PRECISIONS)}")
    if recipe.denoise.upsample not in UPSAMPLE:
        wrong = recipe.denoise.upsample
        raise RecipeError(f"{source}: denoise.upsample is {wrong!r}; {_nearest(wrong, UPSAMPLE)}")
    if recipe.segment.resample not in RESAMPLE:
        wrong = recipe.segment.resample
        raise RecipeError(f"{source}: segment.resample is {wrong!r}; {_nearest(wrong, RESAMPLE)}")
    if recipe.segment.input == "denoised" and not recipe.denoise.enabled:
        raise RecipeError(
            f"{source}: segment.input is denoised, but denoise.enabled is false; enable it or segment raw"
        )
    for where, mapping in (
        ("segment.models", recipe.segment.models),
        ("eres.thresholds", recipe.eres.thresholds),
        ("eres.min_diameter_nm", recipe.eres.min_diameter_nm),
    ):
        for name in mapping:
            if name not in CLASSES:
                raise RecipeError(f"{source}: {where} names the class {name!r}; {_nearest(name, CLASSES)}")
    if recipe.eres.sensitivity not in SENSITIVITY:
        raise RecipeError(f"{source}: eres.sensitivity is {recipe.eres.sensitivity!r}; write rules, full or none")
    for name, least in (("places", 1000), ("relocations", 100), ("seed", 0)):
        number = recipe.eres.chance.get(name)
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= 10_000_000:
            raise RecipeError(f"{source}: eres.chance.{name} is {number!r}; write a whole number, {least} or more")
    for name in recipe.eres.chance:
        if name not in ("places", "relocations", "seed"):
            raise RecipeError(
                f"{source}: unknown key 'eres.chance.{name}'; {_nearest(name, ('places', 'relocations', 'seed'))}"
            )
    classes = recipe.eres.splitting.get("classes", [])
    if not isinstance(classes, list) or any(c not in CLASSES for c in classes):
        raise RecipeError(f"{source}: eres.splitting.classes is {classes!r}; write a list of {', '.join(CLASSES)}")
    for name, value in recipe.eres.thresholds.items():
        if not isinstance(value, int | float) or not 0 < value <= 1:
            raise RecipeError(f"{source}: eres.thresholds.{name} is {value!r}; write a probability above 0 and up to 1")
    for name, value in recipe.eres.min_diameter_nm.items():
        if not isinstance(value, int | float) or not value >= 0:
            raise RecipeError(f"{source}: eres.min_diameter_nm.{name} is {value!r}; write a length in nm, 0 or more")


def _check_z(recipe: ErMovieRecipe, source: str) -> None:
    if recipe.z_mode is not None and recipe.z_mode not in Z_MODES:
        raise RecipeError(f"{source}: z_mode is {recipe.z_mode!r}; write {', '.join(Z_MODES)} or null")
    section = recipe.z_section
    if section is not None and (isinstance(section, bool) or section < 0):
        raise RecipeError(f"{source}: z_section is {section!r}; write the number of a section, from 0, or null")
    if section is not None and recipe.z_mode != "single":
        raise RecipeError(
            f"{source}: z_section is {section}, but z_mode is {recipe.z_mode or 'null'}; it belongs to z_mode single"
        )


def _check_graph(graph: GraphRecipe, source: str) -> None:
    psf, resamples = graph.psf_fwhm_um, graph.resamples
    if psf is not None and (isinstance(psf, bool) or not 0 < psf < 1e3):
        raise RecipeError(
            f"{source}: graph.psf_fwhm_um is {psf!r}; write a length in µm, or null where it is not known"
        )
    if isinstance(resamples, bool) or (resamples != 0 and not 200 <= resamples <= 100_000):
        raise RecipeError(f"{source}: graph.resamples is {resamples!r}; write 200 or more, or 0 for no intervals")
    floor = graph.static_floor_frames
    if isinstance(floor, bool) or (floor != 0 and not 3 <= floor <= 1000):
        raise RecipeError(
            f"{source}: graph.static_floor_frames is {floor!r}; write a number of frames from 3 on, or 0 for no floor"
        )


def _fill(cls: type, values: Mapping[str, Any], source: str, path: str) -> Any:
    kinds = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    filled = {}
    for key, value in values.items():
        where = f"{path}{key}"
        if key not in names:
            raise RecipeError(f"{source}: unknown key {where!r}; {_nearest(str(key), names)}")
        kind = kinds[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise RecipeError(f"{source}: {where} must hold keys and values, not {value!r}")
            filled[key] = _fill(kind, value, source, f"{where}.")  # type: ignore[arg-type]
        elif isinstance(kind, types.UnionType):
            if isinstance(value, int) and float in typing.get_args(kind) and not isinstance(value, bool):
                value = float(value)
            if not isinstance(value, kind):
                names_of = " or ".join("null" if t is type(None) else t.__name__ for t in typing.get_args(kind))
                raise RecipeError(f"{source}: {where} is {value!r}; write a {names_of}")
            filled[key] = value
        elif typing.get_origin(kind) is not None or kind is Mapping:
            if not isinstance(value, Mapping):
                raise RecipeError(f"{source}: {where} must hold keys and values, not {value!r}")
            filled[key] = dict(value)
        elif not isinstance(value, kind):
            raise RecipeError(f"{source}: {where} is {value!r}; write a {kind.__name__}")
        else:
            filled[key] = value
    for f in dataclasses.fields(cls):
        # A mapping given in part keeps the defaults of the keys it leaves out, except the choice of models.
        if isinstance(filled.get(f.name), dict) and callable(f.default_factory) and f.name != "models":
            filled[f.name] = {**f.default_factory(), **filled[f.name]}
    return cls(**filled)


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
