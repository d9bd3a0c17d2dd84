"""Objects and distances to classified exit sites, as a rule set says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from cisterna.eres.clusters import cluster_size
from cisterna.eres.distances import DECIMALS
from cisterna.eres.er_form import form_of
from cisterna.eres.least_distances import Distances, Nearest, Pairs
from cisterna.eres.rules import TOLERANCE_NM, Rules
from cisterna.tables.volumes import LINKS, OBJECTS, SITE_CLASSES, SITES

AXES = "zyx"


@dataclass(frozen=True)
class Sites:
    """Candidate exit sites of a volume: tables `objects`, `sites`, `links` (cisterna.tables.volumes), the number of
    groups of each of the six classes, the rules that made them, and what a reader must know about the figures."""

    objects: pd.DataFrame
    sites: pd.DataFrame
    links: pd.DataFrame
    counts: dict[str, int]
    rules: Rules
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """What stands beside the counts in rules.json: the rules, and the notes for readers."""
        return {"rules": dataclasses.asdict(self.rules), "notes": list(self.notes)}


@dataclass(frozen=True)
class _Groups:
    """Groups of one kind; ``of`` is the group 0…n-1 of each object, in the order of the smallest object id."""

    frame: pd.DataFrame
    of: NDArray[np.int64]
    n: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    centroid: NDArray[np.float64]
    er_nm: NDArray[np.float64]
    size: NDArray[np.int64]
    cluster: NDArray[np.int64]

    @property
    def extent(self) -> NDArray[np.float64]:
        return np.round(self.high - self.low, DECIMALS)


def classify(
    vesicles: pd.DataFrame,
    tubular: pd.DataFrame,
    distances: Distances,
    voxel_size_nm: Sequence[float],
    volume_shape: Sequence[int],
    rules: Rules,
    golgi_given: bool = False,
) -> Sites:
    """Groups, classes and links from the objects of two classes and the distances between them.

    ``vesicles``, ``tubular``: rows of the `objects` table; ``distances`` in nm, as
    :func:`cisterna.eres.distances.measure_block` gives them for the same rules; ``golgi_given``: they include a
    Golgi segmentation. Source: Nair et al. 2025, Methods; docs/eres.md says how each sentence was read.
    """
    d = _decide(vesicles, tubular, distances, rules, golgi_given)
    ves, tub, links = d.ves, d.tub, d.links
    ves_links = np.bincount(links.a, minlength=ves.n)
    tub_links = np.bincount(links.b, minlength=tub.n)
    ves_reason = [
        _vesicular_reason(
            g, ves, str(d.ves_class[g]), str(d.lone[g]), d.large, d.golgi, int(ves_links[g]), rules, d.from_mask
        )
        for g in range(ves.n)
    ]
    tub_reason = [
        f"{int(k)} vesicular ERES within {rules.link_nm:g} nm"
        if k
        else f"no vesicular ERES within {rules.link_nm:g} nm"
        for k in tub_links
    ]
    volume = np.asarray(volume_shape) * np.asarray(voxel_size_nm, np.float64)
    sites = pd.concat(
        [
            _site_rows(ves, "vesicular", 1, d.ves_class, ves_links, ves_reason, rules.reach_nm(), volume),
            _site_rows(
                tub,
                "tubular",
                1 + ves.n,
                d.tub_class,
                tub_links,
                tub_reason,
                max(rules.group_tubular_nm, rules.link_nm),
                volume,
            ),
        ],
        ignore_index=True,
    )
    objects = pd.concat(
        [d.vesicles.assign(site_id=ves.of + 1), d.left_out, d.tubular.assign(site_id=tub.of + 1 + ves.n)],
        ignore_index=True,
    )
    table = pd.DataFrame(
        {"vesicular_site_id": links.a + 1, "tubular_site_id": links.b + 1 + ves.n, "distance_nm": links.nm}
    )
    found = sites["site_class"].value_counts()
    cause = np.where(d.lone == "dispersed", np.where(d.near, "cluster", "er"), "")
    cause = np.where(d.excluded, np.where(d.large, "extent", "golgi" if d.from_mask else "beside_extent"), cause)
    vesicular = (sites["kind"] == "vesicular").to_numpy()
    for column, values in (("excluded_by", cause), ("otherwise", np.where(d.excluded, d.lone, ""))):
        sites.loc[vesicular, column] = values
    sites["level"] = np.where(sites["excluded_by"] == "", "candidate", "group")
    return Sites(
        objects=OBJECTS.frame(objects),
        sites=SITES.frame(sites),
        links=LINKS.frame(table),
        counts={name: int(found.get(name, 0)) for name in SITE_CLASSES},
        rules=rules,
        notes=_notes(ves, d.ves_class, d.lone, d.large, d.golgi, rules, voxel_size_nm, d.from_mask)
        + _left_out_note(d.left_out, rules),
    )


def _with_overlap(vesicles: pd.DataFrame, distances: Distances, rules: Rules) -> pd.DataFrame:
    """The vesicles with their share in the class to exclude, and the reason where that leaves them out."""
    shared = distances.vesicle_overlap.of(vesicles["object_id"].to_numpy(np.int64))
    share = shared / np.maximum(vesicles["voxels"].to_numpy(np.float64), 1.0)
    out = share >= rules.exclude_overlap_share - 1e-12
    if rules.exclude_overlap_with == "none":
        share, out = np.zeros(len(share)), np.zeros(len(share), bool)
    limit = f"limit {100 * rules.exclude_overlap_share:g} %"
    why = [
        f"{100 * s:.0f} % in {rules.exclude_overlap_with} ({limit})" if o else ""
        for s, o in zip(share, out, strict=True)
    ]
    return vesicles.assign(overlap_share=share, excluded=why)


def _left_out_note(left_out: pd.DataFrame, rules: Rules) -> tuple[str, ...]:
    if not len(left_out):
        return ()
    return (
        f"{len(left_out)} vesicle(s) belong to no group: at least {100 * rules.exclude_overlap_share:g} % of each lies "
        f"in {rules.exclude_overlap_with}.",
    )


def count_classes(
    vesicles: pd.DataFrame,
    tubular: pd.DataFrame,
    distances: Distances,
    rules: Rules,
    golgi_given: bool = False,
) -> dict[str, int]:
    """The counts that :func:`classify` gives, without its tables."""
    d = _decide(vesicles, tubular, distances, rules, golgi_given)
    found = np.concatenate([d.ves_class, d.tub_class]).astype(str)
    return {name: int(np.sum(found == name)) for name in SITE_CLASSES}


@dataclass(frozen=True)
class _Decision:
    """What each group is and why; arrays run over the vesicular groups, ``tub_class`` over the tubular ones.

    ``lone`` is the class by the ER and the neighbours alone, ``large`` = Golgi-like by extent, ``golgi`` the distance
    to the Golgi reference. ``left_out``: vesicles that the overlap rule took out.
    """

    vesicles: pd.DataFrame
    left_out: pd.DataFrame
    tubular: pd.DataFrame
    ves: _Groups
    tub: _Groups
    golgi: NDArray[np.float64]
    large: NDArray[np.bool_]
    excluded: NDArray[np.bool_]
    near: NDArray[np.bool_]
    lone: NDArray[np.generic]
    ves_class: NDArray[np.generic]
    tub_class: NDArray[np.generic]
    links: Pairs
    from_mask: bool


def _decide(
    vesicles: pd.DataFrame, tubular: pd.DataFrame, distances: Distances, rules: Rules, golgi_given: bool
) -> _Decision:
    from_mask = rules.golgi_from_mask(golgi_given)
    vesicles = vesicles.assign(er_distance_nm=_er_nm(vesicles, distances.vesicle_er, rules))
    tubular = tubular.assign(er_distance_nm=_er_nm(tubular, distances.tubular_er, rules))
    every_vesicle = _with_overlap(vesicles, distances, rules)
    left_out = every_vesicle[every_vesicle["excluded"] != ""].assign(site_id=0)
    vesicles = every_vesicle[every_vesicle["excluded"] == ""].reset_index(drop=True)
    distances = distances.without_vesicles(left_out["object_id"].to_numpy(np.int64))
    if rules.group_measure == "centroid":
        ves_pairs = _centroid_pairs(vesicles, vesicles, rules.group_vesicles_nm, same=True)
        tub_pairs = _centroid_pairs(tubular, tubular, rules.group_tubular_nm, same=True)
    else:
        ves_pairs = distances.vesicle_vesicle.within(rules.group_vesicles_nm)
        tub_pairs = distances.tubular_tubular.within(rules.group_tubular_nm)
    ves = _group(vesicles, ves_pairs, rules)
    tub = _group(tubular, tub_pairs, rules)

    golgi = _golgi_nm(ves, distances, rules, from_mask)
    large = np.zeros(ves.n, bool) if from_mask else np.any(ves.extent > rules.golgi_extent_nm + TOLERANCE_NM, axis=1)
    excluded = large | (golgi <= rules.golgi_distance_nm + TOLERANCE_NM)
    near = ves.er_nm <= rules.near_er_nm + TOLERANCE_NM
    candidates = _site_links(ves, tub, vesicles, tubular, distances, rules)
    linked = np.zeros(ves.n, bool)
    linked[candidates.a] = True
    in_range = (ves.cluster >= rules.cluster_min) & (ves.cluster <= rules.cluster_max)

    # What each group is by the ER and its neighbours alone, before anything is excluded as Golgi.
    lone = np.where(~near, "dispersed", np.where(linked, "vesicular_mixed", "vesicular_standalone"))
    if rules.require_cluster:
        lone = np.where((lone == "vesicular_standalone") & ~in_range, "dispersed", lone)
    ves_class = np.where(excluded, "golgi_associated", lone)
    counted = ves_class[candidates.a] == "vesicular_mixed"
    links = Pairs(candidates.a[counted], candidates.b[counted], candidates.nm[counted])
    tub_class = np.full(tub.n, "tubular_isolated", dtype=object)
    tub_class[links.b] = "tubular_mixed"
    return _Decision(
        vesicles, left_out, tubular, ves, tub, golgi, large, excluded, near, lone, ves_class, tub_class, links,
        from_mask,
    )  # fmt: skip


def _er_nm(frame: pd.DataFrame, found: Nearest, rules: Rules) -> NDArray[np.float64]:
    """Distance of each object to the ER; inf beyond the search radius, however far was measured."""
    nm = found.of(frame["object_id"].to_numpy(np.int64))
    return np.where(nm <= rules.er_search_nm + TOLERANCE_NM, nm, np.inf)


def region_members(
    vesicles: pd.DataFrame, pairs: Pairs, rules: Rules, widened: float = 1.0
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Objects of groups that may be Golgi-like by extent: ids (ascending) and the low and high faces (n,3) of their
    boxes in nm.

    ``pairs``: `Distances.vesicle_vesicle` up to ``widened`` × the grouping distance. Groups are formed at that and
    taken from (2 − ``widened``) × the extent limit on, so that every threshold moved by less still finds its members.
    """
    wide = rules.widened(widened)
    if rules.group_measure == "centroid":
        near = _centroid_pairs(vesicles, vesicles, wide.group_vesicles_nm, same=True)
    else:
        near = pairs.within(wide.group_vesicles_nm)
    of = _joined(vesicles["object_id"].to_numpy(np.int64), near)
    low, high = _faces(vesicles)
    n = int(of.max()) + 1 if len(of) else 0
    first, last = np.full((n, 3), np.inf), np.full((n, 3), -np.inf)
    np.minimum.at(first, of, low)
    np.maximum.at(last, of, high)
    limit = rules.golgi_extent_nm * (2.0 - widened) + TOLERANCE_NM
    large = np.any(np.round(last - first, DECIMALS) > limit, axis=1)[of] if n else np.zeros(0, bool)
    return vesicles["object_id"].to_numpy(np.int64)[large], low[large], high[large]


def _joined(ids: NDArray[np.int64], pairs: Pairs) -> NDArray[np.int64]:
    """Group 0…n-1 of each id, single linkage, in the order of the smallest id."""
    count = len(ids)
    if not count:
        return np.zeros(0, np.int64)
    a, b = np.searchsorted(ids, pairs.a), np.searchsorted(ids, pairs.b)
    graph = coo_array((np.ones(len(a), np.int32), (a, b)), shape=(count, count))
    raw = connected_components(graph, directed=False)[1]
    first = np.unique(raw, return_index=True)[1]
    of: NDArray[np.int64] = np.argsort(np.argsort(first))[raw].astype(np.int64)
    return of


def _faces(frame: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high faces (n,3) of the objects' boxes in nm."""
    low, high = (frame[[f"{end}_{x}_nm" for x in AXES]].to_numpy(np.float64) for end in ("min", "max"))
    return low, high


def _centroids(frame: pd.DataFrame) -> NDArray[np.float64]:
    return frame[[f"centroid_{a}_nm" for a in AXES]].to_numpy(np.float64)


def _centroid_pairs(one: pd.DataFrame, two: pd.DataFrame, limit_nm: float, same: bool = False) -> Pairs:
    """Pairs of objects whose centroids are within the limit."""
    a, b = _centroids(one), _centroids(two)
    ids_a, ids_b = one["object_id"].to_numpy(np.int64), two["object_id"].to_numpy(np.int64)
    empty = np.zeros(0, np.int64)
    if not len(a) or not len(b):
        return Pairs(empty, empty, np.zeros(0))
    near = cKDTree(a).query_ball_tree(cKDTree(b), limit_nm + 2 * TOLERANCE_NM)
    i = np.repeat(np.arange(len(a)), [len(n) for n in near])
    j = np.array([k for n in near for k in n], np.int64)
    if same:
        i, j = i[i < j], j[i < j]
    nm = np.round(np.linalg.norm(a[i] - b[j], axis=1), DECIMALS)
    return Pairs(ids_a[i], ids_b[j], nm).within(limit_nm)


def _group(frame: pd.DataFrame, pairs: Pairs, rules: Rules) -> _Groups:
    """Single linkage: objects joined by a chain of pairs are one group."""
    of = _joined(frame["object_id"].to_numpy(np.int64), pairs)
    n = int(of.max()) + 1 if len(of) else 0
    low_nm, high_nm = _faces(frame)
    low, high, er = np.full((n, 3), np.inf), np.full((n, 3), -np.inf), np.full(n, np.inf)
    np.minimum.at(low, of, low_nm)
    np.maximum.at(high, of, high_nm)
    np.minimum.at(er, of, frame["er_distance_nm"].to_numpy(np.float64))
    voxels = frame["voxels"].to_numpy(np.float64)
    weight = np.bincount(of, voxels, minlength=n)
    centroid = np.stack([np.bincount(of, voxels * c, minlength=n) for c in _centroids(frame).T], axis=1)
    members = np.split(np.argsort(of, kind="stable"), np.cumsum(np.bincount(of, minlength=n))[:-1]) if n else []
    cluster = np.array([cluster_size(low_nm[m], high_nm[m], rules.cluster_region_nm) for m in members], np.int64)
    return _Groups(
        frame, of, n, low, high, centroid / weight[:, None], er, np.bincount(of, minlength=n).astype(np.int64), cluster
    )


def _golgi_nm(ves: _Groups, distances: Distances, rules: Rules, from_mask: bool) -> NDArray[np.float64]:
    """Distance of each group to the Golgi reference: 0 for a Golgi-like group itself, inf beyond the rule's reach."""
    out = np.full(ves.n, np.inf)
    ids = ves.frame["object_id"].to_numpy(np.int64)
    if from_mask:
        np.minimum.at(out, ves.of, distances.vesicle_golgi.of(ids))
        return out
    large = np.any(ves.extent > rules.golgi_extent_nm + TOLERANCE_NM, axis=1)
    out[large] = 0.0
    pairs = distances.vesicle_region
    a, b = ves.of[np.searchsorted(ids, pairs.a)], ves.of[np.searchsorted(ids, pairs.b)]
    for group, other in ((a, b), (b, a)):
        hit = large[other]
        np.minimum.at(out, group[hit], pairs.nm[hit])
    return out


def _site_links(
    ves: _Groups, tub: _Groups, vesicles: pd.DataFrame, tubular: pd.DataFrame, distances: Distances, rules: Rules
) -> Pairs:
    """Pairs of groups (vesicular, tubular) within the link distance, by group number."""
    if rules.link_measure == "centroid":
        pairs = _centroid_pairs(vesicles, tubular, rules.link_nm)
    else:
        pairs = distances.vesicle_tubular.within(rules.link_nm)
    a = ves.of[np.searchsorted(vesicles["object_id"].to_numpy(np.int64), pairs.a)]
    b = tub.of[np.searchsorted(tubular["object_id"].to_numpy(np.int64), pairs.b)]
    order = np.lexsort((pairs.nm, b, a))
    a, b, nm = a[order], b[order], pairs.nm[order]
    first = np.ones(len(a), bool)
    first[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return Pairs(a[first], b[first], nm[first])


def _site_rows(
    groups: _Groups,
    kind: str,
    first_id: int,
    site_class: NDArray[np.generic],
    links: NDArray[np.int64],
    reasons: list[str],
    reach_nm: float,
    volume_nm: NDArray[np.float64],
) -> pd.DataFrame:
    near_edge = np.any((groups.low < reach_nm) | (groups.high > volume_nm - reach_nm), axis=1)
    # The object nearest to the ER speaks for its site; of several, the first.
    order = np.lexsort((np.arange(len(groups.of)), groups.frame["er_distance_nm"].to_numpy(np.float64), groups.of))
    nearest = order[np.unique(groups.of[order], return_index=True)[1]]
    thickness, curvature = (
        groups.frame[c].to_numpy(np.float64)[nearest] for c in ("er_thickness_nm", "er_curvature_per_um")
    )
    rows = {
        "er_form": [form_of(t, c) for t, c in zip(thickness, curvature, strict=True)],
        "er_thickness_nm": thickness,
        "er_curvature_per_um": curvature,
        "site_id": np.arange(first_id, first_id + groups.n),
        "kind": [kind] * groups.n,
        "site_class": [str(c) for c in site_class],
        "objects": groups.size,
        "cluster_size": groups.cluster,
        "er_distance_nm": groups.er_nm,
        "linked_sites": links,
        "reason": reasons,
        "near_volume_edge": near_edge,
        "level": "candidate",
        "excluded_by": "",
        "otherwise": "",
    }
    for i, axis in enumerate(AXES):
        rows[f"centroid_{axis}_nm"] = groups.centroid[:, i]
        rows[f"extent_{axis}_nm"] = groups.extent[:, i]
    return SITES.frame(pd.DataFrame(rows))


def _vesicular_reason(
    g: int,
    ves: _Groups,
    site_class: str,
    lone: str,
    large: NDArray[np.bool_],
    golgi: NDArray[np.float64],
    links: int,
    rules: Rules,
    from_mask: bool,
) -> str:
    er = f"ER at {ves.er_nm[g]:.1f} nm" if np.isfinite(ves.er_nm[g]) else f"no ER within {rules.er_search_nm:g} nm"
    if site_class == "golgi_associated":
        if large[g]:
            axis = int(np.argmax(ves.extent[g]))
            return (
                f"extent {ves.extent[g][axis]:.1f} nm in {AXES[axis]} exceeds {rules.golgi_extent_nm:g} nm; "
                f"excluded by extent alone: otherwise {lone} ({er})"
            )
        what = "the Golgi segmentation" if from_mask else f"a group of extent > {rules.golgi_extent_nm:g} nm"
        return f"{golgi[g]:.1f} nm from {what} (limit {rules.golgi_distance_nm:g} nm); otherwise {lone} ({er})"
    if ves.er_nm[g] > rules.near_er_nm + TOLERANCE_NM:
        return f"{er} (limit {rules.near_er_nm:g} nm)"
    if site_class == "dispersed":
        return f"{er}, but {int(ves.cluster[g])} vesicles are no cluster of {rules.cluster_min}–{rules.cluster_max}"
    return (
        f"{er}; {links} tubular ERES within {rules.link_nm:g} nm"
        if links
        else f"{er}; no tubular ERES within {rules.link_nm:g} nm"
    )


def _diagonal(voxel_size_nm: Sequence[float]) -> float:
    return float(np.sqrt(np.sum(np.square(voxel_size_nm))))


def _notes(
    ves: _Groups,
    ves_class: NDArray[np.generic],
    lone: NDArray[np.generic],
    large: NDArray[np.bool_],
    golgi: NDArray[np.float64],
    rules: Rules,
    voxel_size_nm: Sequence[float],
    from_mask: bool,
) -> tuple[str, ...]:
    sites = np.isin(lone, ["vesicular_standalone", "vesicular_mixed"])
    vesicular = np.isin(ves_class, ["vesicular_standalone", "vesicular_mixed"])
    ranged = vesicular & (ves.cluster >= rules.cluster_min) & (ves.cluster <= rules.cluster_max)
    notes = [
        "Sites are candidates until they are reviewed.",
        "Distances run between the centres of the nearest voxels and exceed the gap between true surfaces: at "
        "5.24×4×4 nm by 0.7 ± 0.4 nm between planes and 1.7 ± 0.7 nm between a vesicle and a plane; never by more "
        f"than a voxel's diagonal ({_diagonal(voxel_size_nm):.1f} nm here).",
        "The Golgi reference is the given segmentation."
        if from_mask
        else f"The Golgi reference is groups of extent > {rules.golgi_extent_nm:g} nm: a large site looks the same.",
        f"{int(ranged.sum())} of {int(vesicular.sum())} vesicular ERES hold {rules.cluster_min}–{rules.cluster_max} "
        f"vesicles within {rules.cluster_region_nm:g} nm.",
    ]
    if np.any(large & sites):
        numbers = ", ".join(str(g + 1) for g in np.flatnonzero(large & sites)[:20])
        notes.append(
            f"Extent alone excluded {int((large & sites).sum())} group(s) near the ER as Golgi-like (sites {numbers}"
            f"{', …' if int((large & sites).sum()) > 20 else ''})."
        )
    beside = ~large & sites & (ves_class == "golgi_associated")
    if not from_mask and np.any(beside):
        notes.append(f"{int(beside.sum())} more group(s) near the ER left because they lie beside such a region.")
    return tuple(notes)
