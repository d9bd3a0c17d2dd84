"""Whether an edge's confidence is the probability that its tubule is there, on movie phantoms of several SNR.

    OMP_NUM_THREADS=1 python tests/bench/edge_confidence.py [--seeds 3] [--size 256] [--json]

The frames are segmented by demo-ernet (onnxruntime) and traced; an edge is true when at least 80 % of its curve lies
within 2.5 px of a true centre line. Rows: edges by mean confidence, with the share that is true; then all edges of an
SNR, with the mean confidence, the share that is true, and how many of the frames have their number of true edges inside
the interval of `edges`.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import onnxruntime
import pandas as pd
from cisterna.ernet.frames import segment_frame
from cisterna.graph import trace_network
from cisterna.graph.measuring import measure
from cisterna.graph.resampling import intervals
from cisterna.models import demo_models
from cisterna.phantoms.er_movie import er_movie
from scipy.spatial import cKDTree

TOLERANCE_PX, SHARE_ON_IT = 2.5, 0.8
BINS = (0, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 1.001)


def edges_of(seed: int, snr: float, size: int, session: onnxruntime.InferenceSession) -> tuple[pd.DataFrame, bool]:
    """Confidence and truth of every edge of one frame; whether the true ones are as many as the interval says."""
    movie = er_movie(frames=1, shape_yx=(size, size), snr=snr, seed=seed)
    frame, name = movie.frames[0], session.get_inputs()[0].name

    def network(tile: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {name: tile.astype(np.float32)})[0])

    classes, confidence = segment_frame(frame, float(frame.min()), float(frame.max()), network)
    traced = trace_network(classes == 2, 0.1)
    sure = measure(traced, classes, confidence, ("tubule",)).confidence.edges
    truth = cKDTree(np.concatenate(list(movie.edges["path_yx_px"])))
    near = [(truth.query(traced.lines.path(e))[0] <= TOLERANCE_PX).mean() for e in range(len(traced.ends))]
    true = np.array(near) >= SHARE_ON_IT
    low, high = intervals(
        2 * len(true), np.arange(2 * len(true)).reshape(-1, 2), np.ones(len(true)), sure, 1000, (seed,)
    )["edges"]
    return pd.DataFrame({"snr": snr, "confidence": sure, "true": true}), bool(low <= true.sum() <= high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = next(p for p in demo_models() if p.name == "demo-ernet")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "1" / "model.onnx"), settings)
    found, inside = [], {}
    for snr in (1.5, 2.5, 5.0, 10.0):
        both = [edges_of(9001 + k, snr, options.size, session) for k in range(options.seeds)]
        found += [rows for rows, _ in both]
        inside[snr] = sum(hit for _, hit in both)
    edges = pd.concat(found)
    by_bin = edges.groupby(pd.cut(edges["confidence"], list(BINS), right=False), observed=True)["true"]
    rows = [{"confidence": str(b), "edges": len(t), "true": round(float(t.mean()), 3)} for b, t in by_bin]
    for snr, own in [*edges.groupby("snr"), ("all", edges)]:
        mean, true = round(float(own["confidence"].mean()), 3), round(float(own["true"].mean()), 3)
        hits = inside.get(snr, sum(inside.values()))
        rows.append(
            {"snr": snr, "edges": len(own), "mean_confidence": mean, "true": true, "frames_inside_interval": hits}
        )
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print("  ".join(f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
