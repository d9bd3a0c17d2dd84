"""From files to an acquisition in the store: read once for its identity, written once, manifest last.

The manifest's schema and the rules of identity are in docs/ingest.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.acquire.equalisation import take_tables
from cisterna.acquire.layout import Selection
from cisterna.acquire.noise import stored_movie, with_noise
from cisterna.acquire.polarity import DECISIVE, Polarity, estimate_polarity, save_both_readings
from cisterna.acquire.readers import (
    agreed_interval,
    agreed_pixel_size,
    agreed_voxel_size,
    agreed_z_spacing,
    open_source,
)
from cisterna.acquire.source import Depth, Kind, PlaneSource, UnusableInput
from cisterna.acquire.statistics import Extremes, Histogram, frame_percentiles
from cisterna.acquire.writing import write_image
from cisterna.chunks import Box, block_edge
from cisterna.models.digest import digest
from cisterna.store import ObjectMissing, ObjectStore, write_once
from cisterna.store.arrays import ImageSpec
from cisterna.store.objects import json_bytes

MANIFEST_FORMAT = 1
POLARITY_SECTIONS = 12
NO_POLARITY = Polarity("not_checked", 0.0, 0.0)
FLAT_CELLS = "valid for flat cells"
"""What is said of every 2-D result of a z-stack: tubules that cross above one another meet in it."""
Report = Callable[[str, float], None]


@dataclass(frozen=True)
class Acquisition:
    """A registered acquisition: its id, the digest that stages compute their keys from, and its manifest."""

    id: str
    identity: str
    manifest: Mapping[str, Any]
    created: bool


@dataclass(frozen=True)
class _Signal:
    """One image to store: its planes, and what the first reading told."""

    name: str
    source: PlaneSource
    content: str
    extremes: Extremes
    histogram: Histogram
    sections: list[NDArray[Any]]
    percentiles: list[tuple[float, float]]


def ingest_volume(
    store: ObjectStore,
    source: str | Path | None = None,
    *,
    voxel_size_nm: float | Sequence[float] | None = None,
    detectors: Mapping[str, str | Path] | None = None,
    analysis_signal: str = "average",
    region: Box | None = None,
    polarity: str = "auto",
    channel: int | str | None = None,
    equalise: bool = False,
    equalised: bool = False,
    progress: Report | None = None,
) -> Acquisition:
    """Register a volume: one `source`, or two `detectors` by name of which `analysis_signal` makes `raw`.

    `voxel_size_nm` (z, y, x or one number) is needed where the file states none. `region` stores a box of the input;
    statistics are still those of the whole.
    `polarity`: `auto` estimates whether membranes are dark or bright, `dark` and `bright` say so.
    `equalise` also takes the CLAHE tables of the whole input, for models that want equalised voxels; `equalised` says
    that the input is equalised already (8-bit).
    The same content with the same options gives the same id and writes nothing again.
    Raises UnusableInput, and then nothing is registered.
    """
    report = progress or _silent
    if polarity not in ("auto", "dark", "bright"):
        raise UnusableInput(f"polarity {polarity!r} is unknown: give auto, dark or bright")
    named = _named_inputs(source, detectors, analysis_signal)
    opened = {name: open_source(path, "volume", Selection(channel)) for name, path in named.items()}
    first = next(iter(opened.values()))
    for name, other in opened.items():
        if (other.shape, other.dtype) != (first.shape, first.dtype):
            raise UnusableInput(
                f"detector {name} is {_xyz(other.shape)} {other.dtype}, {next(iter(opened))} is {_xyz(first.shape)} "
                f"{first.dtype}: give two recordings of the same planes and type"
            )
    size = agreed_voxel_size(first.name, first.grid, voxel_size_nm)
    for name, s in opened.items():
        agreed_voxel_size(f"detector {name} ({s.name})", s.grid, size)
    origin = np.array(first.grid.origin_nm)
    if region is not None:
        _cropped(first, region)  # a region that does not fit is refused before anything is read
        origin = origin + np.array(region.offset) * size
    if len(opened) == 2 and analysis_signal == "average":
        opened = {"raw": _average(list(opened.values())), **opened}

    signals = {n: _look(n, s, "volume", report) for n, s in opened.items()}
    analysed = signals["raw"] if "raw" in signals else signals[analysis_signal]
    estimate, inverted, told = _polarity(analysed, polarity, float(np.sqrt(size[1] * size[2])))
    if None in (first.grid.z_nm, first.grid.y_nm, first.grid.x_nm):
        nm = " × ".join(f"{v:g}" for v in size)
        told = [f"a voxel size of {nm} nm (z, y, x) is assumed: the file states none", *told]
    contents = {n: s.content for n, s in signals.items() if n != "raw" or len(signals) == 1}
    whole = analysed.source
    more: dict[str, Any] = {}
    if equalised:
        if whole.dtype != np.uint8:
            raise UnusableInput(
                f"{whole.name} was said to be equalised, but holds {whole.dtype}: equalised volumes are 8-bit"
            )
        more["equalised"] = True
    if region is not None:
        # digests and statistics span the whole input, so a region gives the same voxels as the whole
        signals = {n: replace(s, source=_cropped(s.source, region)) for n, s in signals.items()}
        more["region"] = {"offset": list(region.offset), "of_shape": list(whole.shape)}
        analysed = signals["raw"] if "raw" in signals else signals[analysis_signal]
    identity = {
        "kind": "volume", "content": contents, "signal": analysis_signal if len(contents) > 1 else "raw",
        "region": [list(region.offset), list(region.shape)] if region is not None else None,
        "voxel_size_nm": [float(v) for v in size], "origin_nm": [float(v) for v in origin], "invert": inverted,
        **({"equalised": True} if equalised else {}),
    }  # fmt: skip
    edge = block_edge(analysed.source.shape)
    spec = ImageSpec(analysed.source.shape, str(analysed.source.dtype), (edge,) * 3, "zyx", size, "raw")
    geometry = {"voxel_size_nm": [float(v) for v in size], "origin_nm": [float(v) for v in origin]}
    acquired = _register(
        store, "volume", identity, signals, analysed, spec, geometry, estimate, inverted, told,
        {n: str(p) for n, p in named.items()}, report, more,
    )  # fmt: skip
    if equalise and not equalised:
        take_tables(store, acquired.manifest, whole, report)
    return acquired


def ingest_movie(
    store: ObjectStore,
    source: str | Path,
    *,
    pixel_size_um: float | Sequence[float] | None = None,
    frame_interval_s: float | None = None,
    z_spacing_um: float | None = None,
    selection: Selection | None = None,
    progress: Report | None = None,
) -> Acquisition:
    """Register a movie (or one frame). `pixel_size_um` and `frame_interval_s` are needed where the file states none.

    `selection` chooses a channel and what becomes of a z-stack: one section or the maximum over z give an ordinary
    movie, `per_section` keeps all sections (axes t,z,y,x), which takes their distance `z_spacing_um`.
    Raises UnusableInput, and then nothing is registered.
    """
    report = progress or _silent
    opened = open_source(source, "movie", selection)
    if opened.z_as_time and (opened.grid.z_nm or (frame_interval_s is None and opened.grid.interval_s is None)):
        raise UnusableInput(
            f"{opened.name} is a z-stack of {opened.planes} sections: say what to do with z, --z-mode single (with "
            "--z-section N), max_projection or per_section; or --axes TYX if they are time frames"
        )
    frames, sections = opened.planes // opened.sections, opened.sections
    pixel = agreed_pixel_size(opened.name, opened.grid, pixel_size_um)
    interval = agreed_interval(opened.name, opened.grid, frame_interval_s, frames)
    spacing = agreed_z_spacing(opened, z_spacing_um)
    if None in (opened.grid.y_nm, opened.grid.x_nm):
        nm = " × ".join(f"{1000 * v:g}" for v in dict.fromkeys(pixel))
        opened = opened.with_notes(f"a pixel size of {nm} nm is assumed: the file states none")
    if frames == 1:
        opened = opened.with_notes("one frame: nothing can be said about lifetimes")
    geometry: dict[str, Any] = {"pixel_size_um": [pixel[0], pixel[1]], "frame_interval_s": interval}
    more: dict[str, Any] = {}
    if opened.depth is not None:
        note = _of_stack(opened.depth)
        more["z"] = {**asdict(opened.depth), "spacing_um": spacing}
        if sections == 1:
            more["z"]["note"] = note
        opened = opened.with_notes(note)
    signal = _look("raw", opened, "movie", report)
    if sections > 1 and spacing is not None:
        geometry["z_spacing_um"] = spacing
        shape, scale = (frames, sections, *opened.plane_shape), (interval, spacing, *pixel)
        spec = ImageSpec(shape, str(opened.dtype), (1, 1, *opened.plane_shape), "tzyx", scale, "raw")
    else:
        spec = ImageSpec(opened.shape, str(opened.dtype), (1, *opened.plane_shape), "tyx", (interval, *pixel), "raw")
    identity = {"kind": "movie", "content": {"raw": signal.content}, **geometry, **more}
    return _register(
        store, "movie", identity, {"raw": signal}, signal, spec, geometry, NO_POLARITY, False, [],
        {"raw": str(source)}, report, more,
    )  # fmt: skip


def _of_stack(depth: Depth) -> str:
    if depth.mode == "per_section":
        return f"{depth.sections} z sections a frame, each segmented by itself; their network is traced in 3-D"
    what = (
        f"section {depth.section} of {depth.sections}" if depth.mode == "single" else f"maximum over {depth.sections}"
    )
    return f"{what} z sections: {FLAT_CELLS}"


def ingest_degraded(
    store: ObjectStore,
    acquisition_id: str,
    noise_sd: Sequence[float],
    to_snr: float,
    measured_by: str,
    progress: Report | None = None,
) -> Acquisition:
    """Register a copy of a movie with Gaussian noise added: `noise_sd` grey values to each frame, 0 for none.

    The noise is drawn from the recording's content, `to_snr` and the frame's number: the same call gives the same
    acquisition. Values become float32, so that noise is neither rounded nor cut off at zero. The manifest's `degraded`
    says what was done, `measured_by` naming the run whose classes told signal from background.
    Raises UnusableInput for a volume, or a movie that is such a copy itself.
    """
    report = progress or _silent
    manifest = store.get_json(f"acquisitions/{acquisition_id}/manifest.json")
    if manifest["kind"] != "movie":
        raise UnusableInput(f"{acquisition_id} is a volume: noise is added to movies only")
    if manifest.get("z", {}).get("mode") == "per_section":
        raise UnusableInput(f"{acquisition_id} keeps its z sections: noise is added to flat movies only")
    if "degraded" in manifest:
        raise UnusableInput(
            f"{acquisition_id} has added noise already: start from the recording itself, "
            f"{manifest['degraded']['acquisition']}"
        )
    raw = manifest["arrays"]["raw"]
    clean = stored_movie(store, f"recording {acquisition_id}", raw)
    noisy = with_noise(clean, noise_sd, f"{raw['content']} {to_snr!r}")
    noisy = noisy.with_notes(
        *manifest["notes"],
        f"Gaussian noise of up to {max(noise_sd):.4g} grey values was added to bring the SNR down to {to_snr:g}: "
        "for comparison with a dimmer recording, not for anything else",
    )
    signal = _look("raw", noisy, "movie", report)
    geometry = {name: raw[name] for name in ("pixel_size_um", "frame_interval_s")}
    degraded = {
        "acquisition": acquisition_id, "to_snr": float(to_snr), "noise_sd": [float(v) for v in noise_sd],
        "measured_by": measured_by,
    }  # fmt: skip
    more = {"degraded": degraded, **({"z": manifest["z"]} if "z" in manifest else {})}
    identity = {"kind": "movie", "content": {"raw": signal.content}, **geometry, **more}
    scale = (geometry["frame_interval_s"], *geometry["pixel_size_um"])
    spec = ImageSpec(noisy.shape, str(noisy.dtype), (1, *noisy.plane_shape), "tyx", scale, "raw")
    return _register(
        store, "movie", identity, {"raw": signal}, signal, spec, geometry, NO_POLARITY, False, [],
        dict(manifest["sources"]), report, more,
    )  # fmt: skip


def _silent(what: str, share: float) -> None:
    return


def _named_inputs(
    source: str | Path | None, detectors: Mapping[str, str | Path] | None, analysis_signal: str
) -> dict[str, str | Path]:
    if (source is None) == (not detectors):
        raise UnusableInput("give either one input or two named detectors")
    if source is not None:
        return {"raw": source}
    named = dict(detectors or {})
    if len(named) != 2 or "raw" in named or "average" in named:
        raise UnusableInput(f"detectors are {', '.join(named)}: name exactly two, and neither raw nor average")
    if any(not n.replace("_", "").replace("-", "").isalnum() for n in named):
        raise UnusableInput(f"detectors are {', '.join(named)}: name them with letters, digits, - and _")
    if analysis_signal not in ("average", *named):
        raise UnusableInput(f"analysis signal {analysis_signal!r} is unknown: give average or {' or '.join(named)}")
    return named


def _xyz(shape: Sequence[int]) -> str:
    return "×".join(str(n) for n in shape)


def _cropped(source: PlaneSource, region: Box) -> PlaneSource:
    whole = Box.whole(source.shape)
    if region.ndim != 3 or region.empty or not whole.contains(region):
        raise UnusableInput(
            f"region {region.offset}+{region.shape} does not lie within {source.name}: give a box inside "
            f"{_xyz(source.shape)} voxels (z×y×x)"
        )
    first, (_, ys, xs) = region.offset[0], region.slices
    return replace(
        source, planes=region.shape[0], plane_shape=(region.shape[1], region.shape[2]),
        read=lambda i: source.read(first + i)[ys, xs],
    ).with_notes(f"region {region.offset}+{region.shape} of {_xyz(source.shape)} voxels")  # fmt: skip


def _average(pair: Sequence[PlaneSource]) -> PlaneSource:
    """The mean of two detectors in their own type, rounded half to even."""
    a, b = pair

    def read(i: int) -> NDArray[Any]:
        mean: NDArray[Any] = (a.read(i).astype(np.float64) + b.read(i)) / 2
        return np.asarray(np.rint(mean) if a.dtype.kind == "u" else mean, a.dtype)

    return PlaneSource("average of both detectors", a.planes, a.plane_shape, a.dtype, read, a.grid)


def _look(name: str, source: PlaneSource, kind: Kind, report: Report) -> _Signal:
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
    return _Signal(name, source.with_notes(*notes), sha.hexdigest(), extremes, histogram, sections, percentiles)


def _filled(plane: NDArray[Any], fill: Any) -> NDArray[Any]:
    return np.where(np.isfinite(plane), plane, fill).astype(plane.dtype)


def _polarity(signal: _Signal, option: str, pixel_nm: float) -> tuple[Polarity, bool, list[str]]:
    """The estimate, whether the analysis inverts, and notes; raises UnusableInput where it must be said."""
    found = estimate_polarity(signal.sections, pixel_nm)
    if option != "auto":
        notes = []
        if found.estimate in ("dark", "bright") and found.estimate != option:
            notes.append(f"membranes look {found.estimate} (score {found.score:+.2f}), but were said to be {option}")
        return found, option == "bright", notes
    if found.estimate == "undecided":
        section = signal.sections[len(signal.sections) // 2]
        picture = save_both_readings(section, signal.content[:12])
        raise UnusableInput(
            f"{signal.source.name}: membranes may be dark or bright (score {found.score:+.3f}, "
            f"decisive from {DECISIVE}): look at {picture} and say --polarity dark or --polarity bright"
        )
    if found.estimate == "not_checked":
        return found, False, ["too small or constant to tell dark from bright membranes: taken as dark"]
    if found.estimate == "bright":
        return found, True, [f"membranes are bright (score {found.score:+.2f}): inverted for the analysis"]
    return found, False, []


def _register(
    store: ObjectStore, kind: Kind, identity: Mapping[str, Any], signals: Mapping[str, _Signal], analysed: _Signal,
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
