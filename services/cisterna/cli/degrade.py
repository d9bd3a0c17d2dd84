"""``submit er-movie … --degrade-to-snr S``: a copy of a recording that is as dim as another one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from cisterna.chunks import Box
from cisterna.cli.home import UsageError
from cisterna.runs import record
from cisterna.runs.acquisition import Acquisition, read_acquisition
from cisterna.store import ObjectMissing, ObjectStore
from cisterna.store.arrays import read_box

CLASSES = "ernet/classes"


def run_to_degrade(store: ObjectStore, named: Path, acquisition_id: str | None) -> dict[str, Any]:
    """run.json of the finished run that tells the ER of a recording from its background.

    `named` is a run's id; or a file, ingested as `acquisition_id`, of which the store must hold runs with one set of
    classes. Raises UsageError saying what to do where there is none, or more than one.
    """
    if acquisition_id is None:
        document = record.read_run(store, str(named))
        if document is None:
            raise UsageError(f"{named} is neither a file nor a run of {store.url}: `cisterna runs` lists runs")
        found = [document]
    else:
        found = [d for d in record.list_runs(store) if d["acquisition"] == acquisition_id and CLASSES in d["arrays"]]
    able = [d for d in found if d["state"] == "SUCCEEDED" and d["recipe"] == "er-movie"]
    if not able:
        raise UsageError(
            f"--degrade-to-snr: no er-movie run over {named} has succeeded; noise is measured beside the ER it finds, "
            "so run it without the option first"
        )
    if len({d["arrays"][CLASSES] for d in able}) > 1:
        names = ", ".join(sorted(d["run_id"] for d in able))
        raise UsageError(f"--degrade-to-snr: runs {names} see different classes in {named}: give one of them as INPUT")
    return min(able, key=lambda d: str(d["run_id"]))


def noise_for(store: ObjectStore, document: dict[str, Any], to_snr: float) -> list[float]:
    """Noise to add to each frame (grey values) so that none has an SNR above `to_snr`; 0 for frames below it.

    A frame whose SNR cannot be measured gets the median of the others. Raises UsageError where the movie's median SNR
    is unknown, or not above `to_snr`: noise can only lower it.
    """
    from cisterna.graph.snr import noise_to_reach, signal_to_noise

    if not to_snr > 0 or not math.isfinite(to_snr):
        raise UsageError(f"--degrade-to-snr {to_snr:g}: give a positive SNR")
    acquisition = read_acquisition(store, document["acquisition"])
    if acquisition.z_mode == "per_section":
        raise UsageError(f"run {document['run_id']} keeps its z sections: noise is added to flat movies only")
    raw = acquisition.raw
    power, noise = [], []
    for t in range(raw.shape[0]):
        frame = Box((t, 0, 0), (1, *raw.shape[1:]))
        try:
            classes = read_box(store, f"{document['arrays'][CLASSES]}/0", frame)[0]
        except ObjectMissing as error:
            raise UsageError(
                f"run {document['run_id']} lost the classes of frame {t}: see `cisterna verify {document['run_id']}`"
            ) from error
        found = signal_to_noise(read_box(store, f"{raw.path}/0", frame)[0], classes > 0)
        power.append(found.power)
        noise.append(noise_to_reach(found, to_snr))
    known = [p for p in power if math.isfinite(p)]
    if not known:
        raise UsageError(f"the SNR of run {document['run_id']} is unknown (clipped background): it cannot be matched")
    if not float(np.median(known)) > to_snr:
        raise UsageError(
            f"run {document['run_id']} has a median SNR of {np.median(known):.3g}, not above {to_snr:g}: "
            "noise can only lower it"
        )
    usual = float(np.median([n for n in noise if math.isfinite(n)]))
    return [n if math.isfinite(n) else usual for n in noise]


def ingest_degraded_copy(store: ObjectStore, document: dict[str, Any], to_snr: float, progress: Any) -> Acquisition:
    """The acquisition with added noise that stands for the recording of a run."""
    from cisterna.acquire import ingest_degraded

    noise = noise_for(store, document, to_snr)
    made = ingest_degraded(store, document["acquisition"], noise, to_snr, document["run_id"], progress)
    return read_acquisition(store, made.id)
