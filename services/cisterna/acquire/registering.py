"""An acquisition: one image or more, read once for what spans it, written once, manifest last.

The manifest's schema and the rules of identity are in docs/ingest.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.acquire.polarity import Polarity
from cisterna.acquire.source import Kind, PlaneSource, UnusableInput
from cisterna.acquire.statistics import Extremes, Histogram, frame_percentiles
from cisterna.acquire.writing import write_image
from cisterna.models.digest import digest
from cisterna.store import ObjectMissing, ObjectStore, write_once
from cisterna.store.arrays import ImageSpec
from cisterna.store.objects import json_bytes

MANIFEST_FORMAT = 1
POLARITY_SECTIONS = 12
NO_POLARITY = Polarity("not_checked", 0.0, 0.0)
Report = Callable[[str, float], None]


@dataclass(frozen=True)
class Acquisition:
    """A registered acquisition: its id, the digest that stages compute their keys from, and its manifest."""

    id: str
    identity: str
    manifest: Mapping[str, Any]
    created: bool


@dataclass(frozen=True)
class Signal:
    """One image to store: its planes, and what the first reading told."""

    name: str
    source: PlaneSource
    content: str
    extremes: Extremes
    histogram: Histogram
    sections: list[NDArray[Any]]
    percentiles: list[tuple[float, float]]


def silent(what: str, share: float) -> None:
    return


def look(name: str, source: PlaneSource, kind: Kind, report: Report) -> Signal:
    """The first reading: content digest, extremes, sections for the polarity check; percentiles of each frame."""
    sha = hashlib.sha256(f"{source.shape} {source.dtype.name}".encode())
    extremes = Extremes()
    integer = source.dtype.kind == "u"
    histogram = Histogram(0.0, 0.0, integer)
    wanted = set(np.linspace(0, source.planes - 1, min(POLARITY_SECTIONS, source.planes)).round().astype(int).tolist())
    sections, percentiles = [], []
    for i in range(source.planes):
        plane = np.ascontiguousarray(source.read(i))
        sha.update(plane.astype(plane.dtype.newbyteorder("<"), copy=False).tobytes())
        extremes.add(plane)
        if integer:
            histogram.add(plane)
        if kind == "movie":
            percentiles.append(frame_percentiles(plane))
        elif i in wanted:
            sections.append(plane[:1024, :1024].copy())
        report(f"reading {name}", (i + 1) / source.planes)
    if not np.isfinite(extremes.low):
        raise UnusableInput(f"{source.name} holds no finite value ({extremes.voxels} NaN): export it again")
    histogram.low, histogram.high = extremes.low, extremes.high
    if not integer:
        for i in range(source.planes):
            histogram.add(source.read(i))
            report(f"measuring {name}", (i + 1) / source.planes)
    notes = []
    if extremes.constant:
        notes.append(f"{source.name} is constant ({extremes.low:g}): there is nothing to find in it")
    if kind == "volume" and source.planes == 1:
        notes.append(f"{source.name} has one plane: distances along z are unknown")
    if extremes.not_finite:
        fill = source.dtype.type(histogram.percentile(50))
        share = extremes.not_finite / extremes.voxels
        notes.append(
            f"{source.name}: {extremes.not_finite} values ({share:.2%}) are not finite; they were set to {fill:g}"
        )
        damaged = source
        source = replace(source, read=lambda i: _filled(damaged.read(i), fill))
        sections = [_filled(s, fill) for s in sections]
    return Signal(name, source.with_notes(*notes), sha.hexdigest(), extremes, histogram, sections, percentiles)


def _filled(plane: NDArray[Any], fill: Any) -> NDArray[Any]:
    return np.where(np.isfinite(plane), plane, fill).astype(plane.dtype)


def register(
    store: ObjectStore, kind: Kind, identity: Mapping[str, Any], signals: Mapping[str, Signal], analysed: Signal,
    spec: ImageSpec, geometry: Mapping[str, Any], polarity: Polarity, inverted: bool, told: list[str],
    sources: Mapping[str, str], report: Report, more: Mapping[str, Any] | None = None,
) -> Acquisition:  # fmt: skip
    name = digest({"format": MANIFEST_FORMAT, **identity})[:16]
    folder = f"acquisitions/{name}"
    try:
        manifest = store.get_json(f"{folder}/manifest.json")
        return Acquisition(name, str(manifest["identity"]), manifest, created=False)
    except ObjectMissing:
        pass
    arrays = {}
    for signal in signals.values():
        path = f"{folder}/{signal.name}.ome.zarr"
        write_image(store, path, replace(spec, name=signal.name), signal.source.read, report)
        low, high = signal.histogram.intensity_range()
        arrays[signal.name] = {
            "path": path, "shape": list(spec.shape), "dtype": spec.dtype, "axes": spec.axes, **geometry,
            "intensity": {"low": low, "high": high, "invert": inverted}, "content": signal.content,
        }  # fmt: skip
    if "raw" not in arrays:
        arrays["raw"] = arrays[analysed.name]
    extremes, histogram = analysed.extremes, analysed.histogram
    statistics: dict[str, Any] = {
        "stack_min": extremes.low, "stack_max": extremes.high, "percentile_0_1": histogram.percentile(0.1),
        "median": histogram.percentile(50), "percentile_99_9": histogram.percentile(99.9),
        "nan_share": extremes.not_finite / extremes.voxels,
    }  # fmt: skip
    if kind == "movie":
        statistics["frame_percentiles_1_99"] = [list(p) for p in analysed.percentiles]
    core = {
        "format": MANIFEST_FORMAT, "id": name, "kind": kind, "arrays": arrays, "block": list(spec.block),
        "statistics": statistics, **(more or {}),
    }  # fmt: skip
    notes = list(dict.fromkeys([n for s in signals.values() for n in s.source.notes] + told))
    manifest = {
        **core, "identity": digest(core), "notes": notes, "sources": dict(sources),
        "polarity": {"estimate": polarity.estimate, "score": round(polarity.score, 4),
                     "confidence": round(polarity.confidence, 4), "inverted": inverted},
    }  # fmt: skip
    write_once(store, f"{folder}/manifest.json", json_bytes(manifest))
    return Acquisition(name, str(manifest["identity"]), manifest, created=True)
