"""What tracing and tracking can be told, as frozen values that travel in canonical JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, TypeVar

# Order of the class maps that the ernet stage writes.
CLASS_INDEX = {"background": 0, "sbt": 1, "tubule": 2, "sheet": 3}

P = TypeVar("P", bound="_Parameters")


@dataclass(frozen=True)
class _Parameters:
    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, so that equal parameters are equal text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls: type[P], text: str) -> P:
        """Reads `to_json`; missing keys take their defaults, an empty text is all defaults.

        Raises ValueError naming an unknown key or a value out of range.
        """
        try:
            given: Any = json.loads(text) if text.strip() else {}
        except json.JSONDecodeError as error:
            raise ValueError(f"{cls.__name__}: not JSON ({error}); write an object such as {cls().to_json()}") from None
        if not isinstance(given, dict):
            raise ValueError(f"{cls.__name__}: expected a JSON object, got {type(given).__name__}")
        known = [f.name for f in dataclasses.fields(cls)]
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(f"{cls.__name__}: unknown key {', '.join(unknown)}; known keys are {', '.join(known)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})

    def _check_number(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{name} must be a number, not {value!r}")
        if not low <= value <= high:
            raise ValueError(f"{name} = {value} is outside {low} … {high}")


@dataclass(frozen=True)
class TracingParameters(_Parameters):
    """How a mask becomes a graph. Lengths are multiples of the local tubule width and pixels, never µm.

    So a mask gives the same graph, in pixels, whatever the pixel size is.
    """

    # Which classes of the class map carry the network. The paper traces tubules only; add "sbt" to
    # follow sheet-based tubules too.
    classes: tuple[str, ...] = ("tubule",)
    # Junctions closer than this along a tubule are one junction: merge_widths local widths plus merge_pixels, about the
    # two pixels by which drawing on a grid blurs two tubules into one (both 0: touching pixels only).
    merge_widths: float = 1.0
    merge_pixels: float = 1.9
    # Branches that end freely and are shorter than this are pruned (0: keep all).
    spur_widths: float = 1.5
    # Loops that start and end at one junction vanish when shorter than this.
    loop_widths: float = 4.5
    # Parts of the mask below this many pixels are not traced.
    min_part_pixels: int = 1
    # Holes of the mask below this many pixels are filled: where tubules meet they are noise, and split a junction.
    min_hole_pixels: int = 7

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        wrong = [c for c in self.classes if c not in CLASS_INDEX or c == "background"]
        if wrong or not self.classes:
            raise ValueError(f"classes = {list(self.classes)}: name at least one of tubule, sbt, sheet")
        self._check_number("merge_widths", 0, 20)
        self._check_number("merge_pixels", 0, 100)
        self._check_number("spur_widths", 0, 100)
        self._check_number("loop_widths", 0, 100)
        self._check_number("min_part_pixels", 0, 10**9)
        self._check_number("min_hole_pixels", 0, 10**9)


@dataclass(frozen=True)
class TrackingParameters(_Parameters):
    """How junctions and tips are followed from frame to frame."""

    # Farthest a junction may move between two sightings, µm.
    max_displacement_um: float = 0.7
    # Farthest a tip may: growing tubules are faster than junctions.
    max_tip_displacement_um: float = 1.0
    # Least change of a tip's length that counts as growth or retraction, µm.
    min_phase_um: float = 0.3
    # Frames (0, 1 or 2) that a junction or tip may be unseen and still be the same.
    gap_frames: int = 1

    def __post_init__(self) -> None:
        self._check_number("max_displacement_um", 1e-6, 1e6)
        self._check_number("max_tip_displacement_um", 1e-6, 1e6)
        self._check_number("min_phase_um", 1e-6, 1e6)
        if self.gap_frames not in (0, 1, 2) or isinstance(self.gap_frames, bool):
            raise ValueError(f"gap_frames = {self.gap_frames!r}: choose 0, 1 or 2")


@dataclass(frozen=True)
class FigureParameters(_Parameters):
    """What the figures of a frame need besides its network."""

    # Full width at half maximum of the microscope's point spread, µm: tubules narrower than 1.2 of it look as wide as
    # it is. None: not known, and no width is judged.
    psf_fwhm_um: float | None = None
    # Networks that an interval is taken over (0: no intervals).
    resamples: int = 200

    def __post_init__(self) -> None:
        if self.psf_fwhm_um is not None:
            self._check_number("psf_fwhm_um", 1e-6, 1e6)
        self._check_number("resamples", 0, 100_000)
        if self.resamples != int(self.resamples) or 0 < self.resamples < 200:
            raise ValueError(f"resamples = {self.resamples}: give at least 200, or 0 for no intervals")
