"""Time and accuracy of tracing beside the reference route, on one 1024² frame of about 3,000 nodes, one core.

    OMP_NUM_THREADS=1 python tests/bench/graph_speed.py [--rounds 5] [--json]

Columns: CPU seconds from mask to all figures (best of the rounds; CPU time, so that a busy machine does not matter),
junction and edge counts over the truth merged at width + 2 px, junction F1 at 2, 3 and 5 px, share of multi-way
junctions. skan joins when it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable

import networkx as nx
import numpy as np
from cisterna.graph import trace_network
from cisterna.graph.reference import columns_of, reference_graph
from cisterna.phantoms.er_movie import er_movie
from cisterna.phantoms.score import junction_f1, merged_truth
from skimage.morphology import skeletonize

WIDTH = 4.0
Measured = tuple[np.ndarray, np.ndarray, int]


def ours(mask: np.ndarray) -> Callable[[], Measured]:
    def run() -> Measured:
        network = trace_network(mask, 0.1)
        network.metrics()
        return network.positions, network.degree, len(network.ends)

    return run


def reference(mask: np.ndarray) -> Callable[[], Measured]:
    def run() -> Measured:
        graph = reference_graph(mask)
        columns_of(graph, "frame")
        return places(graph)

    return run


def with_skan(mask: np.ndarray) -> Callable[[], Measured]:
    import skan

    def run() -> Measured:
        summary = skan.summarize(skan.Skeleton(skeletonize(mask)), separator="_")
        graph = nx.Graph(zip(summary["node_id_src"], summary["node_id_dst"], strict=True))
        at = dict(
            zip(summary["node_id_src"], summary[["image_coord_src_0", "image_coord_src_1"]].to_numpy(), strict=True)
        )
        at |= dict(
            zip(summary["node_id_dst"], summary[["image_coord_dst_0", "image_coord_dst_1"]].to_numpy(), strict=True)
        )
        nx.average_clustering(graph), nx.degree_assortativity_coefficient(graph)
        names = list(graph)
        return np.array([at[n] for n in names]), np.array([graph.degree(n) for n in names]), len(summary)

    return run


def places(graph: nx.Graph) -> Measured:
    at = np.array([graph.nodes[n]["o"] for n in graph], float)
    return at, np.array([d for _, d in graph.degree()]), graph.number_of_edges()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    movie = er_movie(
        frames=1, shape_yx=(1024, 1024), tubule_width_px=WIDTH, seeds_per_um2=0.15, sheet=False, sbt=False, seed=1
    )
    mask = movie.classes[0] == 2
    nodes, edges = merged_truth(movie.nodes, movie.edges, WIDTH + 2)
    true = nodes.loc[nodes["degree"] >= 3]
    routes = {"cisterna": ours, "scikit-image + sknw + networkx": reference}
    if importlib.util.find_spec("skan"):
        routes["scikit-image + skan + networkx"] = with_skan
    rows = []
    for name, route in routes.items():
        run = route(mask)
        at, degree, count = run()  # compiles what is compiled
        seconds = []
        for _ in range(options.rounds):
            start = time.process_time()
            run()
            seconds.append(time.process_time() - start)
        found = at[degree >= 3]
        rows.append(
            {
                "route": name,
                "cpu_s": round(min(seconds), 4),
                "nodes": len(at),
                "junctions_over_truth": round(len(found) / len(true), 3),
                "edges_over_truth": round(count / len(edges), 3),
                **{f"f1_{t}px": round(junction_f1(found, true[["y_px", "x_px"]], t).f1, 3) for t in (2, 3, 5)},
                "multi_way": round(float((degree[degree >= 3] > 3).mean()), 3),
                "true_multi_way": round(float((true["degree"] > 3).mean()), 3),
            }
        )
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print("  ".join(f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
