"""What stands in a phantom cell: shapes in nanometres, before any voxel."""

from dataclasses import dataclass, field

import numpy as np

from .shapes import Floats, Shape


@dataclass(frozen=True)
class Planted:
    """One planted vesicle or tubular site; `group` 0 is none, `site_class` what the rules should make of it."""

    kind: str  # copi_like | copii_like | ccv | tubular_eres
    number: int
    shapes: list[Shape]
    centre_nm: Floats
    diameter_nm: float
    er_distance_nm: float
    group: int
    site_class: str


@dataclass
class Scene:
    """All shapes of a cell of `extent_nm`."""

    extent_nm: Floats
    er: list[Shape] = field(default_factory=list)
    golgi: list[Shape] = field(default_factory=list)
    mitochondria: list[Shape] = field(default_factory=list)
    cristae: list[Shape] = field(default_factory=list)
    endosomes: list[Shape] = field(default_factory=list)
    planted: list[Planted] = field(default_factory=list)
    ribosomes_nm: Floats = field(default_factory=lambda: np.zeros((0, 3)))

    def of(self, *kinds: str) -> list[Planted]:
        """Planted objects of the named kinds."""
        return [p for p in self.planted if p.kind in kinds]
