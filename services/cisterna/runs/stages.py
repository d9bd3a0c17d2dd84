"""A stage: one kind of work over one grid of blocks, with all that the driver must know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cisterna.store.arrays import ImageSpec
from cisterna.store.receipts import stage_folder

VERSIONS: Mapping[str, int] = {
    "denoise": 2,
    "segment": 3,
    "ernet": 1,
    "eres-label": 2,
    "eres-merge": 2,
    "eres-split": 1,
    "eres-number": 1,
    "eres-relabel": 2,
    "eres-profile": 1,
    "eres-measure": 2,
    "eres-regions": 2,
    "eres-region": 2,
    "eres-sites": 2,
    "eres-survey": 2,
    "eres-statistics": 2,
    "graph-trace": 3,
    "graph-summary": 3,
    "graph-trace-stack": 3,
    "graph-summary-stack": 3,
    "graph-static": 3,
    "ernet-static": 1,
    "graph-trace-static": 3,
    "graph-summary-static": 3,
    "pyramid": 1,
}
"""STAGE_VERSION of every stage as this driver plans it; a worker of another version refuses the task."""


@dataclass(frozen=True)
class Needs:
    """Blocks of another stage that must have receipts before a block can start."""

    stage: str
    blocks: Callable[[int], list[int]]


@dataclass(frozen=True)
class Image:
    """A multiscale image that a stage (level 0) and its pyramid stages (the others) fill."""

    path: str
    spec: ImageSpec

    def level(self, n: int) -> str:
        return f"{self.path}/{n}"


@dataclass(frozen=True)
class Stage:
    """One stage of a plan.

    ``request(block, attempt)`` builds the RPC request; ``voxels(block)`` is what the block computes, for progress
    and estimates.
    """

    name: str
    service: str
    method: str
    key: str
    version: int
    blocks: int
    document: Mapping[str, Any]
    request: Callable[[int, int], Any]
    voxels: Callable[[int], int]
    needs: tuple[Needs, ...] = ()
    images: tuple[Image, ...] = ()
    model: str | None = None
    flop_per_voxel: float = 0.0
    tables: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return stage_folder(self.name, self.key)


def every(blocks: int) -> Callable[[int], list[int]]:
    """All blocks: the dependency of a barrier."""
    everything = list(range(blocks))
    return lambda _: everything


def same() -> Callable[[int], list[int]]:
    """The block of the same number."""
    return lambda block: [block]
