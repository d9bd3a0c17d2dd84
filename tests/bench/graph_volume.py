"""Tracing a volume: time and peak memory of one network of bent tubules in three dimensions.

    OMP_NUM_THREADS=1 python tests/bench/graph_volume.py [--size 512] [--voxel-size-nm 8]

The network is a 3-D Voronoi diagram: four tubules meet at every node. Prints voxels, share of tubule, nodes, seconds of
tracing and figures, and the peak resident memory of the process, the mask included.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from cisterna.graph import trace_network
from scipy.spatial import Voronoi

WIDTH_PX = 7.0
POINTS_PER_256 = 60


def drawn(size: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    diagram = Voronoi(rng.uniform(0, size, (max(8, int(POINTS_PER_256 * (size / 256) ** 3)), 3)))
    pairs = set()
    for ring in diagram.ridge_vertices:
        for a, b in zip(ring, ring[1:] + ring[:1], strict=True):
            if a >= 0 and b >= 0:
                pairs.add((min(a, b), max(a, b)))
    reach = int(np.ceil(WIDTH_PX / 2))
    ball = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    ball = ball[np.linalg.norm(ball, axis=1) <= WIDTH_PX / 2]
    mask = np.zeros((size + 2 * reach,) * 3, bool)
    for a, b in sorted(pairs):
        start, end = diagram.vertices[[a, b]]
        length = float(np.linalg.norm(end - start))
        if length > size:
            continue
        line = start + (end - start) * np.linspace(0, 1, 2 + int(length / 0.8))[:, None]
        line = line[((line >= 0) & (line <= size - 1)).all(axis=1)]
        centres = np.unique(np.rint(line).astype(np.int64), axis=0)
        at = (centres[:, None] + ball).reshape(-1, 3) + reach
        mask[tuple(at.T)] = True
    return np.ascontiguousarray(mask[reach:-reach, reach:-reach, reach:-reach])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--voxel-size-nm", type=float, default=8.0)
    options = parser.parse_args()
    trace_network(drawn(32), 0.008)  # compiles
    mask = drawn(options.size)
    start = time.perf_counter(), time.process_time()
    network = trace_network(mask, options.voxel_size_nm / 1000)
    network.metrics()
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    kinds, counts = np.unique(network.kind.astype(str), return_counts=True)
    print(
        f"{options.size}³ voxels, {mask.mean():.1%} tubule: {wall:.1f} s ({cpu:.1f} s CPU, "
        f"{cpu / mask.size * 1e9:.0f} ns a voxel), peak {peak:.2f} GiB; "
        + ", ".join(f"{n} {k}" for k, n in zip(kinds, counts, strict=True))
        + f", {len(network.ends)} edges, {network.length_um.sum():.0f} µm"
    )


if __name__ == "__main__":
    main()
