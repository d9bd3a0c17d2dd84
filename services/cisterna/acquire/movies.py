"""Movies into the store, flat or with all their z sections, and copies of them with noise added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from cisterna.acquire.layout import Selection
from cisterna.acquire.noise import stored_movie, with_noise
from cisterna.acquire.readers import agreed_interval, agreed_pixel_size, agreed_z_spacing, open_source
from cisterna.acquire.registering import NO_POLARITY, Acquisition, Report, Signal, look, register, silent
from cisterna.acquire.source import Depth, UnusableInput
from cisterna.store import ObjectStore
from cisterna.store.arrays import ImageSpec

FLAT_CELLS = "valid for flat cells"
"""What is said of every 2-D result of a z-stack: tubules that cross above one another meet in it."""
SATURATED_SHARE = 0.01
"""A movie with more of its pixels than this at its highest value gets a note."""


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
    report = progress or silent
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
    signal = look("raw", opened, "movie", report)
    signal = replace(signal, source=signal.source.with_notes(*_saturated(signal)))
    if sections > 1 and spacing is not None:
        geometry["z_spacing_um"] = spacing
        shape, scale = (frames, sections, *opened.plane_shape), (interval, spacing, *pixel)
        spec = ImageSpec(shape, str(opened.dtype), (1, 1, *opened.plane_shape), "tzyx", scale, "raw")
    else:
        spec = ImageSpec(opened.shape, str(opened.dtype), (1, *opened.plane_shape), "tyx", (interval, *pixel), "raw")
    identity = {"kind": "movie", "content": {"raw": signal.content}, **geometry, **more}
    return register(
        store, "movie", identity, {"raw": signal}, signal, spec, geometry, NO_POLARITY, False, [],
        {"raw": str(source)}, report, more,
    )  # fmt: skip


def _saturated(signal: Signal) -> list[str]:
    """A note where many pixels have the very highest value: a camera at its limit, or values cut off."""
    if signal.extremes.constant or not signal.histogram.integer:
        return []
    at_top = int(signal.histogram.counts[int(signal.extremes.high)])
    share = at_top / signal.extremes.voxels
    if share <= SATURATED_SHARE or np.count_nonzero(signal.histogram.counts) <= 2:
        return []
    return [
        f"{share:.1%} of the pixels have the highest value, {signal.extremes.high:g}: they may be saturated, and what "
        "is brighter there cannot be told apart"
    ]


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
    report = progress or silent
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
    signal = look("raw", noisy, "movie", report)
    geometry = {name: raw[name] for name in ("pixel_size_um", "frame_interval_s")}
    degraded = {
        "acquisition": acquisition_id, "to_snr": float(to_snr), "noise_sd": [float(v) for v in noise_sd],
        "measured_by": measured_by,
    }  # fmt: skip
    more = {"degraded": degraded, **({"z": manifest["z"]} if "z" in manifest else {})}
    identity = {"kind": "movie", "content": {"raw": signal.content}, **geometry, **more}
    scale = (geometry["frame_interval_s"], *geometry["pixel_size_um"])
    spec = ImageSpec(noisy.shape, str(noisy.dtype), (1, *noisy.plane_shape), "tyx", scale, "raw")
    return register(
        store, "movie", identity, {"raw": signal}, signal, spec, geometry, NO_POLARITY, False, [],
        dict(manifest["sources"]), report, more,
    )  # fmt: skip
