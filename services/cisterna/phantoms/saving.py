"""Phantoms as files: TIFF images another program opens, truth beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .cell import CellPhantom
from .er_movie import MoviePhantom
from .er_truth import shown_network, true_events, true_lives


def save_cell(folder: str | Path, phantom: CellPhantom) -> list[Path]:
    """Write a cell: `inlens.tif` and `esb.tif` (OME-TIFF with the voxel size), `truth/`, `truth.json`.

    Returns the files written. Needs tifffile and pyarrow.
    """
    import tifffile

    root = Path(folder)
    (root / "truth").mkdir(parents=True, exist_ok=True)
    z, y, x = phantom.voxel_size_nm
    grid = {"axes": "ZYX", "PhysicalSizeZ": z, "PhysicalSizeY": y, "PhysicalSizeX": x}
    grid |= {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
    images = {"inlens.tif": phantom.inlens, "esb.tif": phantom.esb}
    images |= {f"truth/{name}.tif": label for name, label in phantom.labels.items()}
    for name, image in images.items():
        tifffile.imwrite(
            root / name,
            image,
            ome=True,
            photometric="minisblack",
            metadata=grid,
            compression="zlib" if name.startswith("truth") else None,
        )
    phantom.objects.to_parquet(root / "truth" / "objects.parquet")
    truth = {
        "kind": "cell",
        "seed": phantom.seed,
        "voxel_size_nm": list(phantom.voxel_size_nm),
        "shape_zyx": list(phantom.inlens.shape),
        "er_volume_share": float(np.mean(phantom.labels["er"] != 0)),
        "objects": {str(k): int(n) for k, n in phantom.objects["class"].value_counts().sort_index().items()},
        "site_classes": {
            str(k): int(n)
            for k, n in phantom.objects.query("group_id > 0").groupby("site_class")["group_id"].nunique().items()
        },
    }
    return _finish(root, truth, [*images, "truth/objects.parquet"])


def save_movie(folder: str | Path, phantom: MoviePhantom) -> list[Path]:
    """Write a movie: `movie.tif` (OME-TIFF with pixel size and frame interval), `truth/`, `truth.json`."""
    import tifffile

    root = Path(folder)
    (root / "truth").mkdir(parents=True, exist_ok=True)
    size, interval = phantom.pixel_size_um, phantom.frame_interval_s
    grid = {
        "axes": "TYX",
        "PhysicalSizeY": size,
        "PhysicalSizeX": size,
        "PhysicalSizeYUnit": "µm",
        "PhysicalSizeXUnit": "µm",
        "TimeIncrement": interval,
        "TimeIncrementUnit": "s",
    }
    tifffile.imwrite(root / "movie.tif", phantom.frames, ome=True, photometric="minisblack", metadata=grid)
    tifffile.imwrite(
        root / "truth" / "classes.tif",
        phantom.classes,
        ome=True,
        photometric="minisblack",
        metadata=grid,
        compression="zlib",
    )
    phantom.nodes.to_parquet(root / "truth" / "nodes.parquet")
    flat = [np.asarray(p, np.float32).ravel() for p in phantom.edges["path_yx_px"]]
    phantom.edges.assign(path_yx_px=pd.Series(flat, dtype=object)).to_parquet(root / "truth" / "edges.parquet")
    shown, _ = shown_network(phantom)
    true_lives(shown).to_parquet(root / "truth" / "junctions.parquet")
    true_events(shown).to_parquet(root / "truth" / "events.parquet")
    truth = {
        "kind": "er-movie",
        "seed": phantom.seed,
        "pixel_size_um": size,
        "frame_interval_s": interval,
        "shape_tyx": list(phantom.frames.shape),
        "snr_power": phantom.snr,
        "tubule_width_px": phantom.tubule_width_px,
        "class_order": ["background", "sbt", "tubule", "sheet"],
        "class_share": [float(np.mean(phantom.classes == k)) for k in range(4)],
    }
    tables = [f"truth/{name}.parquet" for name in ("nodes", "edges", "junctions", "events")]
    return _finish(root, truth, ["movie.tif", "truth/classes.tif", *tables])


def _finish(root: Path, truth: dict[str, Any], names: list[str]) -> list[Path]:
    (root / "truth.json").write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")
    return [root / name for name in [*names, "truth.json"]]
