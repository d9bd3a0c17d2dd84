"""What every recipe's planning shares: finding models, spelling references and keys, pyramids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cisterna.chunks import Box
from cisterna.models.digest import digest
from cisterna.models.folder import ModelError, read_spec
from cisterna.runs.acquisition import Acquisition, Source
from cisterna.runs.recipes import Recipe, RecipeError, as_mapping
from cisterna.runs.stages import VERSIONS, Image, Needs, Stage
from cisterna.store import ObjectMissing, ObjectStore
from cisterna.store.arrays import ImageSpec
from cisterna.store.receipts import stage_folder, stage_key
from cisterna.v1 import common_pb2

NEAREST = ("labels/", "local/", "ernet/classes")
"""Images whose values are names, never averaged."""


@dataclass(frozen=True)
class UsedArray:
    """A class that comes from an existing array instead of a model (uint8 probability on the raw grid)."""

    path: str
    identity: str
    source: str


@dataclass(frozen=True)
class Plan:
    """All stages of a run, in an order in which every stage follows what it needs."""

    run_id: str
    recipe: Recipe
    acquisition: Acquisition
    stages: tuple[Stage, ...]
    arrays: Mapping[str, str]
    tables: Mapping[str, str]
    models: Mapping[str, Mapping[str, Any]]
    uses: Mapping[str, UsedArray]
    warnings: tuple[str, ...]

    def stage(self, name: str) -> Stage:
        return next(s for s in self.stages if s.name == name)

    @property
    def images(self) -> list[Image]:
        return [i for s in self.stages for i in s.images]


def find_model(store: ObjectStore, name: str, family: str, where: str) -> Mapping[str, Any]:
    """model.json of a model in the store, of the family that ``where`` needs."""
    try:
        spec = read_spec(store.get(f"models/{name}/model.json"), f"models/{name}")
    except ObjectMissing:
        raise RecipeError(
            f"{where} names model {name!r}, which is not in the store: `cisterna models list` shows what is"
        ) from None
    except ModelError as e:
        raise RecipeError(f"{where}: {e}") from e
    if not spec["family"].startswith(family):
        raise RecipeError(f"{where} names model {name!r} of family {spec['family']}; it needs one of family {family}")
    return spec


class Builder:
    """Collects stages; knows how references, keys and images are spelled."""

    def __init__(self, store: ObjectStore, acquisition: Acquisition) -> None:
        self.store = store
        self.acquisition = acquisition
        self.stages: list[Stage] = []
        self.arrays: dict[str, str] = {"raw": acquisition.raw.path}
        self.tables: dict[str, str] = {}
        self.models: dict[str, Mapping[str, Any]] = {}
        self.warnings: list[str] = []
        axes = "zyx" if acquisition.kind == "volume" else "tzyx" if len(acquisition.scale) == 4 else "tyx"
        self.spec = ImageSpec(acquisition.raw.shape, "uint8", acquisition.block, axes, acquisition.scale)
        self.grid = self.spec.grid

    def model(self, name: str, family: str, where: str) -> Mapping[str, Any]:
        spec = find_model(self.store, name, family, where)
        self.models[name] = spec
        return spec

    def image(self, name: str, stage: str, key: str, dtype: str, label: str) -> Image:
        return Image(
            f"{stage_folder(stage, key)}/{name}.ome.zarr",
            replace(
                self.spec, dtype=dtype, name=label, downsampling="nearest" if label.startswith(NEAREST) else "mean"
            ),
        )

    def add(self, stage: Stage) -> Stage:
        self.stages.append(stage)
        return stage

    def chunk(
        self, level_path: str, identity: str, block: int, halo: Sequence[int] | None = None
    ) -> common_pb2.ChunkRef:
        halo = (0,) * len(self.grid.shape) if halo is None else halo
        return common_pb2.ChunkRef(
            array=common_pb2.ArrayRef(path=level_path, identity=identity), box=box_ref(self.grid.box(block)), halo=halo
        )

    def around(self, halo: Sequence[int]) -> Any:
        """Blocks that a block and its halo touch."""
        return lambda block: self.grid.overlapping(self.grid.box(block).grow(halo))

    def pyramids(self, stage: Stage, image: Image, mode: int) -> None:
        """The coarser levels of an image, a stage each."""
        levels = image.spec.levels
        finer, finer_grid = stage, levels[0].grid
        for n in range(1, len(levels)):
            level, factor = levels[n], levels[n - 1].factor
            suffix = "" if len(stage.images) == 1 else "-" + image.spec.name.split("/")[-1]
            name = f"{stage.name}{suffix}-pyramid{n}"
            document = {"image": image.path, "level": n, "factor": list(factor), "mode": mode}
            key = stage_key(
                name,
                VERSIONS["pyramid"],
                "",
                {"level": n, "factor": list(factor), "mode": mode, "image": image.spec.name},
                {"source": stage.key},
            )
            grid = level.grid

            def request(
                block: int,
                attempt: int,
                *,
                name: str = name,
                key: str = key,
                n: int = n,
                grid: Any = grid,
                factor: Any = factor,
            ) -> Any:
                return common_pb2.DownsampleBlockRequest(
                    task=task_ref(name, VERSIONS["pyramid"], key, block, attempt),
                    source=common_pb2.ArrayRef(path=image.level(n - 1), identity=stage.key),
                    target=common_pb2.ArrayRef(path=image.level(n), identity=key),
                    target_box=box_ref(grid.box(block)),
                    factor=factor,
                    mode=mode,  # type: ignore[arg-type]
                )

            def sources(
                block: int, *, grid: Any = grid, factor: Any = factor, finer_grid: Any = finer_grid
            ) -> list[int]:
                box = grid.box(block)
                fine = Box(
                    tuple(o * f for o, f in zip(box.offset, factor, strict=True)),
                    tuple(s * f for s, f in zip(box.shape, factor, strict=True)),
                )
                return finer_grid.overlapping(fine)  # type: ignore[no-any-return]

            finer = self.add(
                Stage(
                    name=name,
                    service=stage.service,
                    method="DownsampleBlock",
                    key=key,
                    version=VERSIONS["pyramid"],
                    blocks=grid.blocks,
                    document=document,
                    request=request,
                    voxels=lambda b, grid=grid: grid.box(b).size,  # type: ignore[misc]
                    needs=(Needs(finer.name, sources),),
                )
            )
            finer_grid = grid

    def finish(self, recipe: Recipe, uses: Mapping[str, UsedArray]) -> Plan:
        identity = {
            "recipe": as_mapping(recipe),
            "acquisition": self.acquisition.identity,
            "uses": {c: u.identity for c, u in uses.items()},
            "stages": {s.name: s.key for s in self.stages},
        }
        self.warnings += [
            f"Model {n} was trained on phantoms only: judge its results on your own data before citing them."
            for n, spec in sorted(self.models.items())
            if spec["demo"]
        ]
        return Plan(
            run_id=f"{recipe.recipe}-{digest(identity)[:12]}",
            recipe=recipe,
            acquisition=self.acquisition,
            stages=tuple(self.stages),
            arrays=self.arrays,
            tables=self.tables,
            models=self.models,
            uses=uses,
            warnings=tuple(self.warnings),
        )


def sizes(scale: Iterable[float]) -> str:
    return " × ".join(f"{s:g}" for s in scale)


def task_ref(stage: str, version: int, key: str, block: int, attempt: int) -> common_pb2.TaskRef:
    return common_pb2.TaskRef(stage=stage, stage_version=version, stage_key=key, block_index=block, attempt=attempt)


def box_ref(box: Box) -> common_pb2.Box:
    return common_pb2.Box(offset=box.offset, shape=box.shape)


def range_ref(source: Source) -> common_pb2.IntensityRange:
    return common_pb2.IntensityRange(low=source.low, high=source.high, invert=source.invert)
