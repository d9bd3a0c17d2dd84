"""FIB-SEM volumes into the store: one detector or two, dark or bright membranes, a region or the whole.

The manifest's schema and the rules of identity are in docs/ingest.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.acquire.equalisation import take_tables
from cisterna.acquire.layout import Selection
from cisterna.acquire.polarity import DECISIVE, Polarity, estimate_polarity, save_both_readings
from cisterna.acquire.readers import (
    agreed_voxel_size,
    open_source,
)
from cisterna.acquire.registering import Acquisition, Report, Signal, look, register, silent
from cisterna.acquire.source import PlaneSource, UnusableInput
from cisterna.chunks import Box, block_edge
from cisterna.store import ObjectStore
from cisterna.store.arrays import ImageSpec


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
    report = progress or silent
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

    signals = {n: look(n, s, "volume", report) for n, s in opened.items()}
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
    acquired = register(
        store, "volume", identity, signals, analysed, spec, geometry, estimate, inverted, told,
        {n: str(p) for n, p in named.items()}, report, more,
    )  # fmt: skip
    if equalise and not equalised:
        take_tables(store, acquired.manifest, whole, report)
    return acquired


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


def _polarity(signal: Signal, option: str, pixel_nm: float) -> tuple[Polarity, bool, list[str]]:
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
