"""Time and accuracy of tracing beside sknw and skan, on analytic Voronoi networks, one core.

    OMP_NUM_THREADS=1 python tests/bench/graph_speed.py [--rounds 9] [--seeds 1 2 3] [--straight] [--json]

Four networks on 1024² px: 300, 900 and 1800 points at 4 px width, 900 at 2 px. Columns, means over seeds: CPU seconds
from mask to figures (the least of all rounds, taken in turn with the other routes; CPU time, so that a busy machine
matters little), junction and edge counts over the truth merged at width + 2 px, junction F1 at 2, 3 and 5 px, share of
multi-way junctions, found and true.

Each of the others is shown plain and at its best: thinning by Zhang, by Lee or by Guo & Hall, edges shorter than 0, ½
or 1 width, or width + 2 px, contracted afterwards (they do not merge themselves); the best F1 at 3 px, mean over the
networks, decides. Contraction is not in their time.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import networkx as nx
import numpy as np
import sknw
from cisterna.graph import trace_network
from cisterna.phantoms.score import junction_f1
from cisterna.phantoms.voronoi import VoronoiNetwork, voronoi_network
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.morphology import skeletonize, thin

CASES = ((300, 4.0), (900, 4.0), (1800, 4.0), (900, 2.0))
THINNING = {"zhang": skeletonize, "lee": partial(skeletonize, method="lee"), "guo-hall": thin}


@dataclass(frozen=True)
class Found:
    """Places (n, 2) in px, edges (m, 2) between them and their lengths in px."""

    places: np.ndarray
    edges: np.ndarray
    length_px: np.ndarray

    def contracted(self, least_px: float) -> Found:
        short = self.edges[self.length_px < least_px]
        count = len(self.places)
        matrix = coo_array((np.ones(len(short)), (short[:, 0], short[:, 1])), shape=(count, count))
        parts, name = connected_components(matrix, directed=False)
        size = np.bincount(name, minlength=parts)
        places = np.stack([np.bincount(name, weights=c, minlength=parts) / size for c in self.places.T], axis=1)
        left = self.length_px >= least_px
        return Found(places, name[self.edges[left]], self.length_px[left])


def ours(mask: np.ndarray) -> Found:
    network = trace_network(mask, 1.0)
    network.metrics()
    return Found(network.positions, network.ends, network.length_um)


def with_sknw(mask: np.ndarray, thinning: str = "zhang") -> Found:
    graph = sknw.build_sknw(THINNING[thinning](mask).astype(np.uint16))
    figures(graph)
    names = {n: k for k, n in enumerate(graph)}
    edges = [(names[a], names[b], d["weight"]) for a, b, d in graph.edges(data=True)]
    return _found(np.array([graph.nodes[n]["o"] for n in graph], float), edges)


def with_skan(mask: np.ndarray, thinning: str = "zhang") -> Found:
    import skan

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = skan.summarize(skan.Skeleton(THINNING[thinning](mask)), separator="_")
    graph = nx.Graph(zip(table["node_id_src"], table["node_id_dst"], strict=True))
    figures(graph)
    at: dict[int, np.ndarray] = {}
    for end in ("src", "dst"):
        places = table[[f"image_coord_{end}_0", f"image_coord_{end}_1"]].to_numpy()
        at |= dict(zip(table[f"node_id_{end}"].tolist(), places, strict=True))
    names = {n: k for k, n in enumerate(at)}
    ends = zip(table["node_id_src"], table["node_id_dst"], table["branch_distance"], strict=True)
    return _found(np.array(list(at.values()), float), [(names[a], names[b], d) for a, b, d in ends])


def _found(places: np.ndarray, edges: list[tuple[int, int, float]]) -> Found:
    rows = np.array(edges, float).reshape(-1, 3)
    return Found(places.reshape(-1, 2), rows[:, :2].astype(np.int64), rows[:, 2])


def figures(graph: nx.Graph) -> None:
    """The figures of the published table."""
    nx.average_clustering(graph), nx.degree_assortativity_coefficient(graph), list(nx.connected_components(graph))


def score(found: Found, network: VoronoiNetwork) -> list[float]:
    places, degrees, tubules = network.merged(network.width_px + 2)
    true = places[degrees >= 3]
    degree = np.bincount(found.edges.ravel(), minlength=len(found.places))
    at = found.places[degree >= 3]
    return [
        len(at) / len(true),
        len(found.edges) / tubules,
        *(junction_f1(at, true, t).f1 for t in (2, 3, 5)),
        float((degree[degree >= 3] > 3).mean()),
        float((degrees[degrees >= 3] > 3).mean()),
    ]


COLUMNS = ("junctions", "edges", "f1_2px", "f1_3px", "f1_5px", "multi_way", "true_multi_way")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--straight", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    others: dict[str, Callable[..., Found]] = {"sknw": with_sknw}
    if importlib.util.find_spec("skan"):
        others["skan"] = with_skan
    networks = {
        case: [voronoi_network(*case, seed, bent=not options.straight) for seed in options.seeds] for case in CASES
    }
    plain = {"cisterna": ours, **others}
    seconds = {case: dict.fromkeys(plain, np.inf) for case in CASES}
    for case, some in networks.items():
        for _ in range(options.rounds + 1):
            for name, route in plain.items():
                start = time.process_time()
                route(some[0].mask)
                seconds[case][name] = min(seconds[case][name], time.process_time() - start)
    scores: dict[tuple[str, ...], np.ndarray] = {}
    for case, some in networks.items():
        scores["cisterna", str(case)] = np.mean([score(ours(n.mask), n) for n in some], axis=0)
    width = {case: (0.0, case[1] / 2, case[1], case[1] + 2) for case in CASES}
    for name, route in others.items():
        tried = {}
        for thinning in THINNING:
            found = {case: [route(n.mask, thinning) for n in some] for case, some in networks.items()}
            for k, share in enumerate(("0", "width / 2", "width", "width + 2 px")):
                tried[thinning, share] = [
                    np.mean(
                        [score(f.contracted(width[case][k]), n) for f, n in zip(found[case], some, strict=True)], axis=0
                    )
                    for case, some in networks.items()
                ]
        best = max(tried, key=lambda key: np.mean([s[3] for s in tried[key]]))
        for label, key in ((name, ("zhang", "0")), (f"{name}, best: {best[0]}, merged at {best[1]}", best)):
            for case, value in zip(CASES, tried[key], strict=True):
                scores[label, str(case)] = value
    rows = []
    for (label, case_name), value in scores.items():
        case = next(c for c in CASES if str(c) == case_name)
        row: dict[str, object] = {"points": case[0], "width_px": case[1], "route": label}
        row |= {c: round(float(v), 3) for c, v in zip(COLUMNS, value, strict=True)}
        if label in plain:
            cpu = seconds[case]
            row |= {
                "cpu_s": round(cpu[label], 4),
                "over_fastest_other": round(cpu[label] / min(cpu[o] for o in others), 2),
            }
        rows.append(row)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print("  ".join(f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
