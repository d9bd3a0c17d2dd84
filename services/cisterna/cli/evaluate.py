"""``cisterna evaluate RUN --truth LABELS``: how well a run found a class, on the user's own labelled box."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cisterna.cli.home import Home, UsageError
from cisterna.runs import record
from cisterna.store import ObjectStore, open_store
from cisterna.store.objects import json_bytes

FORMAT = 1


def add_arguments(commands: Any, argv: list[str]) -> None:
    p = commands.add_parser("evaluate", help="compare a run's class with labels of your own")
    p.add_argument("run_id", metavar="RUN")
    p.add_argument("--truth", type=Path, required=True, metavar="LABELS", help="labels, 0 = background (any array)")
    p.add_argument("--mask", type=Path, metavar="ARRAY", help="nonzero where the labels hold")
    p.add_argument("--class", dest="class_name", help="which class of the run they are labels of")
    p.add_argument(
        "--diameters-nm", type=float, nargs="+", metavar="D", help="edges of the diameter classes of objects"
    )
    p.add_argument("--store")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=evaluate_command)


def evaluate_command(args: argparse.Namespace) -> int:
    store = open_store(Home.find().store_url(args.store))
    document = evaluation(store, args.run_id, args.truth, args.class_name, args.mask, args.diameters_nm)
    name = f"{document['class']}-{document['truth']['content'][:12]}"
    path = f"{record.run_folder(args.run_id)}/evaluation/{name}.json"
    store.put(path, json_bytes(document))
    if args.json:
        print(json.dumps(document, indent=1))
    else:
        _show(document, path)
    return 0


def evaluation(
    store: ObjectStore, run_id: str, truth_path: Path, class_name: str | None, mask_path: Path | None,
    edges_nm: list[float] | None,
) -> dict[str, Any]:  # fmt: skip
    """What `runs/<run>/evaluation/<class>-<truth>.json` holds. Raises UsageError, UnusableInput."""
    from cisterna.acquire.truth import read_truth
    from cisterna.segment.judgement import DIAMETERS_NM, objects_by_diameter, threshold_curve
    from cisterna.store.arrays import read_box

    run = record.read_run(store, run_id)
    if run is None:
        raise UsageError(f"no run {run_id} in {store.url}: `cisterna runs` lists runs")
    class_name = _class(run, class_name)
    edges = sorted(edges_nm or DIAMETERS_NM)
    if edges[0] <= 0:
        raise UsageError(f"--diameters-nm {edges[0]:g}: give lengths above 0")
    manifest = store.get_json(f"acquisitions/{run['acquisition']}/manifest.json")
    truth = read_truth(truth_path, manifest)
    known = None
    if mask_path is not None:
        mask = read_truth(mask_path, manifest)
        if mask.box != truth.box:
            raise UsageError(f"--mask covers {mask.box} of the volume and --truth {truth.box}: give both on one box")
        known = mask.labels > 0
        if not known.any():
            raise UsageError(f"--mask {mask_path} is zero everywhere: nothing is known")
    probability = read_box(store, f"{run['arrays'][f'probability/{class_name}']}/0", truth.box)
    curve = threshold_curve(probability, truth.labels, known)
    used = int(run["stages"][f"eres-label-{class_name}"]["params"]["threshold"])
    chosen, low, high = curve.best(used)
    size = manifest["arrays"]["raw"]["voxel_size_nm"]
    objects = {
        name: [c.as_row() for c in objects_by_diameter(probability >= level, truth.labels, size, known, edges)]
        for name, level in (("run", used), ("chosen", chosen))
    }
    reached, before = curve.at(chosen)["dice"], curve.at(used)["dice"]
    reason = (
        f"highest Dice ({reached:.3f}; {before:.3f} at the run's {used / 255:.3f}) over {curve.voxels} voxels; "
        f"{low / 255:.3f} to {high / 255:.3f} come within 0.01 of it. Chosen on the voxels that it is judged on: "
        "judge it on others before citing it"
    )
    if low == 1:
        reason += ". A threshold next to 0 does as well: the probability hardly tells the class from the rest"
    # A recipe's threshold is rounded up to the next level: half a level below names it whatever is printed.
    threshold = {"run": used / 255, "chosen": round((chosen - 0.5) / 255, 4), "near_best": [low / 255, high / 255]}
    return {
        "format": FORMAT, "run_id": run_id, "class": class_name, "voxel_size_nm": size,
        "truth": {"source": str(truth_path), "mask": str(mask_path) if mask_path else None, "content": truth.content,
                  "box": {"offset": list(truth.box.offset), "shape": list(truth.box.shape)}, "voxels": curve.voxels,
                  "positive": curve.positive, "notes": list(truth.notes)},
        "threshold": {**threshold, "levels": {"run": used, "chosen": chosen}, "reason": reason},
        "voxels": {"run": _plain(curve.at(used)), "chosen": _plain(curve.at(chosen))},
        "objects": objects,
        "curve": [{"threshold": level / 255, **_plain(curve.at(level))} for level in range(1, 256)],
    }  # fmt: skip


def _class(run: dict[str, Any], asked: str | None) -> str:
    present = [a.removeprefix("probability/") for a in run["arrays"] if a.startswith("probability/")]
    present = [c for c in present if f"eres-label-{c}" in run["stages"]]
    if run["state"] not in ("SUCCEEDED", "DEGRADED"):
        raise UsageError(f"run {run['run_id']} is {run['state']}: evaluate it when it has ended")
    if not present:
        raise UsageError(f"run {run['run_id']} has no class of a volume to evaluate")
    if asked is None and len(present) > 1:
        raise UsageError(f"run {run['run_id']} has the classes {', '.join(present)}: say which with --class")
    if asked is not None and asked not in present:
        raise UsageError(f"run {run['run_id']} has no class {asked}: it has {', '.join(present)}")
    return asked or present[0]


def _plain(figures: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {k: v if v == v else None for k, v in figures.items()}


def _show(document: dict[str, Any], path: str) -> None:
    threshold, class_name = document["threshold"], document["class"]
    table = Table("threshold", "Dice", "Jaccard", "precision", "recall", title=f"{class_name}, voxels")
    for name in ("run", "chosen"):
        figures = document["voxels"][name].values()
        table.add_row(f"{threshold[name]:.3f} ({name})", *("–" if v is None else f"{v:.3f}" for v in figures))
    Console().print(table)
    table = Table("diameter, nm", "of the truth", "found", "predicted", "right", title="objects at the run's threshold")
    for row in document["objects"]["run"]:
        if row["truth"] or row["predicted"]:
            high = "…" if row["high_nm"] is None else f"{row['high_nm']:g}"
            table.add_row(
                f"{row['low_nm']:g}–{high}", str(row["truth"]), _percent(row, "recall"), str(row["predicted"]),
                _percent(row, "precision"),
            )  # fmt: skip
    Console().print(table)
    print(f"threshold {threshold['chosen']:.3f}: {threshold['reason']}")
    print(f"use it with --set eres.thresholds.{class_name}={threshold['chosen']}; written to {path}")


def _percent(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return "–"
    low, high = row[f"{name}_interval"]
    return f"{row[name]:.0%} ({low:.0%}–{high:.0%})"
