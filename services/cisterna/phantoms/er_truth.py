"""The truth of an ER movie through time: which junctions and tips a picture can show, and how well links repeat it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, maximum_bipartite_matching

from .er_movie import MoviePhantom
from .score import match_points


def shown_network(movie: MoviePhantom, merge_px: float | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The true graph of every frame as a picture can show it: tubules below `merge_px` contracted.

    `merge_px` is tubule width + 2 px by default. Returns nodes (frame, node_id from 0 in each frame, y_um, x_um,
    degree, kind, name, members) and edges (frame, edge_id, node_a, node_b, length_um, name). `kind` is `junction`
    (degree 3 or more), `tip` or `other`; `members` are the planted junctions that a node stands for, `name` the least
    of them: it is the same in all frames.
    """
    merge_px = movie.tubule_width_px + 2 if merge_px is None else merge_px
    nodes, edges = movie.nodes.reset_index(drop=True), movie.edges.reset_index(drop=True)
    row_of = pd.Series(nodes.index, pd.MultiIndex.from_frame(nodes[["frame", "node_id"]]))
    a, b = (
        row_of.loc[pd.MultiIndex.from_frame(edges[["frame", end]])].to_numpy(np.int64) for end in ("node_a", "node_b")
    )
    short = edges["length_px"].to_numpy(float) < merge_px
    links = csr_matrix((np.ones(short.sum()), (a[short], b[short])), (len(nodes), len(nodes)))
    count, group = connected_components(links, directed=False)
    degree = np.bincount(group[a[~short]], minlength=count) + np.bincount(group[b[~short]], minlength=count)
    names = nodes["node_id"].to_numpy(np.int64)
    planted = (nodes["kind"] == "junction").to_numpy()
    frame = np.zeros(count, np.int64)
    frame[group] = nodes["frame"].to_numpy(np.int64)
    members: list[frozenset[int]] = [frozenset()] * count
    tips: list[int] = [-1] * count
    for row in np.flatnonzero(planted | (nodes["kind"] == "tip").to_numpy()).tolist():
        g, name = int(group[row]), int(names[row])
        if planted[row]:
            members[g] |= {name}
        else:
            tips[g] = name
    size = np.bincount(group, minlength=count)
    at = {c: np.bincount(group, nodes[c].to_numpy(float), count) / size for c in ("y_um", "x_um")}
    junction = degree >= 3
    tip = (degree == 1) & (np.array(tips, np.int64) >= 0)
    shown = pd.DataFrame(
        {
            "frame": frame,
            "node_id": pd.Series(frame).groupby(frame).cumcount().to_numpy(),
            **at,
            "degree": degree,
            "kind": np.where(junction, "junction", np.where(tip, "tip", "other")),
            "name": [min(m) if m and j else t for m, t, j in zip(members, tips, junction.tolist(), strict=True)],
            "members": members,
        }
    )
    local = shown["node_id"].to_numpy()
    left = pd.DataFrame(
        {
            "frame": edges["frame"].to_numpy()[~short],
            "node_a": local[group[a[~short]]],
            "node_b": local[group[b[~short]]],
            "length_um": edges["length_um"].to_numpy(float)[~short],
            "name": edges["edge_id"].to_numpy()[~short],
        }
    )
    left.insert(1, "edge_id", left.groupby("frame").cumcount())
    order = shown.sort_values(["frame", "node_id"], kind="stable")
    return order.reset_index(drop=True), left


@dataclass(frozen=True)
class LinkScore:
    """Links between sightings of a track, counted against the truth.

    `found`: all links made, gaps closed included; `found_detected`: those whose two ends are detections of true
    junctions; `correct`: those between detections of one true junction;
    `correct_adjacent`: those of them between neighbouring frames; `true`: links of true junctions between
    neighbouring frames; `true_detected`: those whose two ends were both detected.
    """

    found: int
    found_detected: int
    correct: int
    correct_adjacent: int
    true: int
    true_detected: int

    @property
    def precision(self) -> float:
        """Correct links over all links made; links of false detections count against it."""
        return self.correct / self.found if self.found else float("nan")

    @property
    def precision_detected(self) -> float:
        """Correct links over links between detections of true junctions: the share that tracking itself got right."""
        return self.correct / self.found_detected if self.found_detected else float("nan")

    @property
    def recall_detected(self) -> float:
        """Correct links over true links between junctions that were detected in both frames."""
        return self.correct_adjacent / self.true_detected if self.true_detected else float("nan")

    @property
    def recall(self) -> float:
        """Correct links over all true links: missed junctions count against it too."""
        return self.correct_adjacent / self.true if self.true else float("nan")

    def __add__(self, other: LinkScore) -> LinkScore:
        return LinkScore(*(getattr(self, k) + getattr(other, k) for k in self.__dataclass_fields__))


def score_links(found: pd.DataFrame, shown: pd.DataFrame, tolerance_um: float) -> LinkScore:
    """`found` has frame, y_um, x_um, track (0: none); `shown` the true junctions of `shown_network`.

    A detection stands for the true junction that it is matched to within `tolerance_um`, one to one. A link is correct
    when the two true junctions share a planted one.
    """
    frames = range(int(max(found["frame"].max(), shown["frame"].max())) + 1 if len(found) and len(shown) else 0)
    stands: NDArray[np.int64] = np.full(len(found), -1)
    found_rows = [np.flatnonzero(found["frame"].to_numpy() == f) for f in frames]
    true_rows = [np.flatnonzero(shown["frame"].to_numpy() == f) for f in frames]
    here, there = found[["y_um", "x_um"]].to_numpy(float), shown[["y_um", "x_um"]].to_numpy(float)
    for own, other in zip(found_rows, true_rows, strict=True):
        pairs = match_points(here[own], there[other], tolerance_um).pairs
        stands[own[pairs[:, 0]]] = other[pairs[:, 1]]
    members = shown["members"].tolist()
    order = np.lexsort((found["frame"].to_numpy(), found["track"].to_numpy()))
    track, frame = found["track"].to_numpy()[order], found["frame"].to_numpy()[order]
    total = both = correct = adjacent = 0
    for i in np.flatnonzero((track[1:] == track[:-1]) & (track[1:] > 0)).tolist():
        total += 1
        p, q = stands[order[i]], stands[order[i + 1]]
        both += bool(p >= 0 and q >= 0)
        if p >= 0 and q >= 0 and members[p] & members[q]:
            correct += 1
            adjacent += bool(frame[i + 1] == frame[i] + 1)
    seen = np.isin(np.arange(len(shown)), stands)
    true = detected = 0
    for before, after in pairwise(true_rows):
        true += _continued([members[r] for r in before], [members[r] for r in after])
        detected += _continued([members[r] for r in before if seen[r]], [members[r] for r in after if seen[r]])
    return LinkScore(total, both, correct, adjacent, true, detected)


def _continued(before: list[frozenset[int]], after: list[frozenset[int]]) -> int:
    """How many of the one can go on as one of the other, one to one."""
    home = {name: i for i, group in enumerate(before) for name in group}
    pairs = {(home[name], j) for j, group in enumerate(after) for name in group if name in home}
    if not pairs:
        return 0
    i, j = np.array(sorted(pairs)).T
    graph = csr_matrix((np.ones(len(i)), (i, j)), (len(before), len(after)))
    return int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())


def true_events(shown: pd.DataFrame) -> pd.DataFrame:
    """What happens to the junctions of `shown_network`, one row an event in the first frame that shows it.

    Columns frame, event, name, partner (-1: none). A junction that becomes part of another one has merged with it, one
    that comes out of another has split off; `birth` and `death` are all others, leaving the field and going under the
    sheet included. `to_multi_way` and `to_three_way` are switches between degree 3 and more.
    """
    own = shown[shown["kind"] == "junction"]
    frames: list[dict[int, tuple[frozenset[int], int]]] = [{} for _ in range(int(shown["frame"].max()) + 1)]
    for frame, name, members, degree in zip(own["frame"], own["name"], own["members"], own["degree"], strict=True):
        frames[frame][name] = members, degree
    rows: list[tuple[int, str, int, int]] = []
    for frame, (before, after) in enumerate(pairwise(frames), start=1):
        for here, there, words in ((before, after, ("death", "merge")), (after, before, ("birth", "split"))):
            holder = {m: name for name, (members, _) in there.items() for m in members}
            for name in here.keys() - there.keys():
                partner = holder.get(name, -1)
                rows.append((frame, words[partner >= 0], name, partner))
        for name in before.keys() & after.keys():
            was, is_now = before[name][1] > 3, after[name][1] > 3
            if was != is_now:
                rows.append((frame, "to_multi_way" if is_now else "to_three_way", name, -1))
    return pd.DataFrame(sorted(rows), columns=["frame", "event", "name", "partner"])


def true_lives(shown: pd.DataFrame) -> pd.DataFrame:
    """One row a life of a junction of `shown_network`: name, first_frame, last_frame, mean_degree, whole.

    A life is a stretch of neighbouring frames; `whole` when it neither begins nor ends with the movie.
    """
    own = shown[shown["kind"] == "junction"].sort_values(["name", "frame"], kind="stable")
    life = ((own["name"].diff() != 0) | (own["frame"].diff() != 1)).cumsum()
    each = own.groupby(life.to_numpy())
    lives = pd.DataFrame(
        {
            "name": each["name"].first(),
            "first_frame": each["frame"].first(),
            "last_frame": each["frame"].last(),
            "mean_degree": each["degree"].mean(),
        }
    )
    last = shown["frame"].max()
    return lives.assign(whole=(lives["first_frame"] > 0) & (lives["last_frame"] < last)).reset_index(drop=True)
