"""Truth against result for runs on phantoms: what `cisterna demo` prints, and what the judging tests assert."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cisterna.chunks import Box
from cisterna.phantoms.score import dice, junction_f1, merged_truth, vesicle_recall_precision
from cisterna.store import ObjectStore
from cisterna.store.arrays import open_level, read_box

JUNCTION_TOLERANCE_PX = 3.0
VESICLE_KINDS = ("copi_like", "copii_like")


@dataclass(frozen=True)
class Row:
    """One line of the table. ``limit`` is the least value that passes, None where the figure is only reported."""

    subject: str
    measure: str
    truth: str
    result: float
    limit: float | None = None

    @property
    def passes(self) -> bool:
        return self.limit is None or bool(self.result >= self.limit)


def judge_cell(store: ObjectStore, run: dict[str, Any], phantom: Path) -> list[Row]:
    """A FIB-SEM run against the phantom folder (`save_cell`) that it was run on."""
    import tifffile

    truth = json.loads((phantom / "truth.json").read_text())
    objects = pd.read_parquet(phantom / "truth" / "objects.parquet")
    size = np.asarray(truth["voxel_size_nm"], float)
    er = _whole(store, run["arrays"]["labels/er"]) > 0
    rows = [Row("ER", "Dice", "1", dice(er, tifffile.imread(phantom / "truth" / "er.tif")), 0.85)]
    vesicles = objects[objects["class"].isin(VESICLE_KINDS)]
    found = vesicle_recall_precision(_whole(store, run["arrays"]["labels/copi"]), vesicles, size)
    rows += [
        Row("vesicles", "recall", str(found.true), found.recall, 0.8),
        Row("vesicles", "precision", f"{found.found} found", found.precision, 0.8),
    ]
    for name in ("ccv", "tubular_eres"):
        mask = tifffile.imread(phantom / "truth" / f"{name}.tif") != 0
        rows.append(Row(name, "Dice", "1", dice(_whole(store, run["arrays"][f"labels/{name}"]) > 0, mask)))
    counts = json.loads(store.get(run["tables"]["counts"]))
    counts = counts.get("counts", counts)
    for name in sorted(set(counts) | set(truth["site_classes"])):
        rows.append(Row("exit sites", name, str(truth["site_classes"].get(name, 0)), float(counts.get(name, 0))))
    return rows


def judge_movie(store: ObjectStore, run: dict[str, Any], phantom: Path) -> list[Row]:
    """An ER-movie run against the phantom folder (`save_movie`) that it was run on."""
    import tifffile

    truth = json.loads((phantom / "truth.json").read_text())
    nodes, edges = (pd.read_parquet(phantom / "truth" / f"{t}.parquet") for t in ("nodes", "edges"))
    found = pd.read_parquet(io.BytesIO(store.get(run["tables"]["nodes"])))
    found_edges = pd.read_parquet(io.BytesIO(store.get(run["tables"]["edges"])))
    pixel_um, merge_px = truth["pixel_size_um"], truth["tubule_width_px"] + 2
    scores, node_ratio, edge_ratio = [], [], []
    for frame in range(truth["shape_tyx"][0]):
        true_nodes, true_edges = merged_truth(nodes[nodes["frame"] == frame], edges[edges["frame"] == frame], merge_px)
        junctions = true_nodes[true_nodes["degree"] >= 3]
        here = found[(found["frame"] == frame) & (found["degree"] >= 3)]
        places = here[["y_um", "x_um"]].to_numpy(float) / pixel_um
        scores.append(junction_f1(places, junctions[["y_px", "x_px"]].to_numpy(float), JUNCTION_TOLERANCE_PX).f1)
        node_ratio.append(len(here) / max(1, len(junctions)))
        edge_ratio.append(int((found_edges["frame"] == frame).sum()) / max(1, len(true_edges)))
    classes = _whole(store, run["arrays"]["ernet/classes"])
    accuracy = float((classes == tifffile.imread(phantom / "truth" / "classes.tif")).mean())
    return [
        Row("ER movie", "pixel accuracy", "1", accuracy),
        Row("network", "junction F1 at 3 px", "1", float(np.mean(scores)), 0.85),
        Row("network", "junctions / true", "1", float(np.mean(node_ratio))),
        Row("network", "edges / true", "1", float(np.mean(edge_ratio))),
    ]


def _whole(store: ObjectStore, path: str) -> Any:
    level = f"{path}/0"
    return read_box(store, level, Box.whole(open_level(store, level).shape))
