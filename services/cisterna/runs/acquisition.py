"""What planning needs to know of an acquisition, read from its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cisterna.store import ObjectMissing, ObjectStore

DETECTOR_ARRAYS_EXCLUDED = ("raw",)


@dataclass(frozen=True)
class Source:
    """One image of an acquisition and its intensity range (raw grey values)."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float
    invert: bool


@dataclass(frozen=True)
class Acquisition:
    """An ingested volume or movie.

    ``scale``: voxel size per axis, nm for volumes (z,y,x); for movies seconds and µm (t,y,x; t,z,y,x where every z
    section is kept).
    ``raw`` is the analysis signal; ``detectors`` the images it was made from, empty where there is one.
    """

    id: str
    identity: str
    kind: str
    raw: Source
    detectors: Mapping[str, Source]
    scale: tuple[float, ...]
    block: tuple[int, ...]
    stack_min: float
    stack_max: float
    notes: tuple[str, ...]
    manifest: Mapping[str, Any]

    @property
    def z_mode(self) -> str | None:
        """What became of the z-stack that a movie was made from; None where there was none."""
        z = self.manifest.get("z")
        return str(z["mode"]) if z else None

    @property
    def offset(self) -> tuple[int, ...]:
        """Where a stored region begins in the volume that it was cut from (voxels)."""
        return tuple(int(n) for n in self.manifest.get("region", {}).get("offset", (0, 0, 0)))

    @property
    def equalised(self) -> bool:
        """Whether the stored voxels are CLAHE-equalised already."""
        return bool(self.manifest.get("equalised", False))


@dataclass(frozen=True)
class Tables:
    """The CLAHE tables of an acquisition: an object of the store and its digest."""

    path: str
    sha256: str


def read_tables(store: ObjectStore, acquisition_id: str) -> Tables | None:
    """Where the CLAHE tables of an acquisition are; None where none were taken at ingest."""
    try:
        document = store.get_json(f"acquisitions/{acquisition_id}/clahe.json")
    except ObjectMissing:
        return None
    return Tables(str(document["path"]), str(document["sha256"]))


def manifest_path(acquisition_id: str) -> str:
    return f"acquisitions/{acquisition_id}/manifest.json"


def read_acquisition(store: ObjectStore, acquisition_id: str) -> Acquisition:
    """Reads a manifest; raises ObjectMissing where there is no such acquisition."""
    return from_manifest(store.get_json(manifest_path(acquisition_id)))


def has_acquisition(store: ObjectStore, acquisition_id: str) -> bool:
    try:
        store.get(manifest_path(acquisition_id))
    except ObjectMissing:
        return False
    return True


def from_manifest(manifest: Mapping[str, Any]) -> Acquisition:
    """The planner's view of a manifest (docs/ingest.md)."""
    arrays: Mapping[str, Mapping[str, Any]] = manifest["arrays"]
    raw = arrays["raw"]
    if manifest["kind"] == "volume":
        scale = tuple(float(v) for v in raw["voxel_size_nm"])
    else:
        pixel = raw["pixel_size_um"]
        y, x = pixel if isinstance(pixel, list | tuple) else (pixel, pixel)
        sections = (float(raw["z_spacing_um"]),) if "z_spacing_um" in raw else ()
        scale = (float(raw["frame_interval_s"]), *sections, float(y), float(x))
    return Acquisition(
        id=str(manifest["id"]),
        identity=str(manifest["identity"]),
        kind=str(manifest["kind"]),
        raw=_source(raw),
        detectors={n: _source(a) for n, a in sorted(arrays.items()) if n not in DETECTOR_ARRAYS_EXCLUDED},
        scale=scale,
        block=tuple(int(v) for v in manifest["block"]),
        stack_min=float(manifest["statistics"]["stack_min"]),
        stack_max=float(manifest["statistics"]["stack_max"]),
        notes=tuple(manifest["notes"]),
        manifest=manifest,
    )


def _source(array: Mapping[str, Any]) -> Source:
    intensity = array["intensity"]
    return Source(
        path=str(array["path"]),
        shape=tuple(int(n) for n in array["shape"]),
        dtype=str(array["dtype"]),
        low=float(intensity["low"]),
        high=float(intensity["high"]),
        invert=bool(intensity["invert"]),
    )
