"""Rule sets for exit sites as data: every figure a field in nm, with its source and its alternatives."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TOLERANCE_NM = 1e-6
"""Thresholds are inclusive within this; the extent limit is the one exclusive figure (more than, not at)."""

PAPER = "Nair et al., J. Cell Biol. 2025"


def _rule(default: Any, source: str, alternatives: str = "", choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"source": source, "alternatives": alternatives, "choices": choices})


@dataclass(frozen=True)
class Rules:
    """How objects become classified sites. Lengths are in nm; the defaults are `nair2025`.

    The metadata of each field holds the sentence it comes from and the other readings of it
    (`dataclasses.fields(Rules)`); docs/eres.md shows them as a table.
    """

    name: str = "nair2025"
    version: int = 1
    group_vesicles_nm: float = _rule(60.0, "COPI-positive voxels within 60 nm are one object", "surface or centre")
    group_tubular_nm: float = _rule(140.0, "tubular-ERES voxels within 140 nm are one object", "surface or centre")
    group_measure: str = _rule(
        "surface",
        "not said in the paper; voxels are compared, so surfaces",
        "centroid: between the centroids of two objects",
        ("surface", "centroid"),
    )
    golgi_reference: str = _rule(
        "auto",
        "vesicles in regions > 400 nm or within 320 nm in any dimension are excluded; no reference object is named",
        "auto: a Golgi segmentation where given, else groups of large extent; extent: always the latter; "
        "segmentation: refuse to classify without one",
        ("auto", "extent", "segmentation"),
    )
    golgi_extent_nm: float = _rule(400.0, "regions > 400 nm: extent of a group's box in any axis, exclusive")
    golgi_distance_nm: float = _rule(320.0, "within 320 nm in any dimension")
    golgi_metric: str = _rule(
        "euclidean",
        "within 320 nm in any dimension",
        "per_axis: the largest of the three axis distances",
        ("euclidean", "per_axis"),
    )
    near_er_nm: float = _rule(120.0, "membrane-to-ER distance <= 120 nm: vesicular ERES candidate")
    er_search_nm: float = _rule(200.0, "ours: distances to the ER are measured up to here, for histograms")
    link_nm: float = _rule(50.0, "vesicular and tubular within 50 nm: mixed")
    link_measure: str = _rule(
        "surface",
        "Methods speak of coordinates, Results of distance",
        "centroid: between the centroids of two objects",
        ("surface", "centroid"),
    )
    cluster_region_nm: float = _rule(400.0, "clusters in a region <= 400 nm", "~250")
    cluster_min: int = _rule(5, "5-55 vesicles", "3-40, 5-40, 5-50")
    cluster_max: int = _rule(55, "5-55 vesicles", "3-40, 5-40, 5-50")
    exclude_overlap_with: str = _rule(
        "none",
        "ours: a vesicle model also answers to clathrin coats",
        "ccv: vesicles that lie in the segmentation of clathrin-coated vesicles are left out",
        ("none", "ccv"),
    )
    exclude_overlap_share: float = _rule(0.5, "ours: share of a vesicle's voxels in the other class, at least")
    require_cluster: bool = _rule(
        False, "ours: a model finds one or a few vesicles of a cluster", "true: a stand-alone site must be a cluster"
    )

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value, choices = getattr(self, f.name), f.metadata.get("choices")
            if choices and value not in choices:
                raise ValueError(f"rule {f.name} = {value!r}: choose one of {', '.join(choices)}")
            if f.name.endswith("_nm") and not (
                isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
            ):
                raise ValueError(f"rule {f.name} = {value!r}: give a finite length >= 0 in nm")
            if f.name.endswith("_nm"):
                object.__setattr__(self, f.name, float(value))  # 60 and 60.0 are one rule, and one stage key
        for name in ("version", "cluster_min", "cluster_max"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"rule {name} = {value!r}: give a whole number >= 1")
        share = self.exclude_overlap_share
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share <= 1:
            raise ValueError(f"rule exclude_overlap_share = {share!r}: give a share above 0 and up to 1")
        object.__setattr__(self, "exclude_overlap_share", float(share))
        if not isinstance(self.require_cluster, bool):
            raise ValueError(f"rule require_cluster = {self.require_cluster!r}: give true or false")
        if self.er_search_nm < self.near_er_nm:
            raise ValueError(
                f"rule er_search_nm = {self.er_search_nm:g} is below near_er_nm = {self.near_er_nm:g}: raise it"
            )
        if self.cluster_max < self.cluster_min:
            raise ValueError(f"rule cluster_max = {self.cluster_max} is below cluster_min = {self.cluster_min}")

    def golgi_from_mask(self, mask_given: bool) -> bool:
        """Whether the Golgi reference is the segmentation (else it is the groups of large extent)."""
        if self.golgi_reference == "segmentation" and not mask_given:
            raise ValueError(
                "rule golgi_reference = 'segmentation' needs a Golgi segmentation: give one, or choose 'auto'"
            )
        return mask_given and self.golgi_reference != "extent"

    def check_overlap(self, mask_given: bool) -> bool:
        """Whether overlaps are to be counted; ValueError where the class to exclude is missing."""
        if self.exclude_overlap_with == "none":
            return False
        if not mask_given:
            raise ValueError(
                f"rule exclude_overlap_with = {self.exclude_overlap_with!r} needs that class: give its segmentation, "
                "or choose 'none'"
            )
        return True

    def reach_nm(self) -> float:
        """Largest surface distance that the rules ask for: how far a site's search reaches."""
        return max(self.object_reach_nm(True), self.golgi_distance_nm)

    def object_reach_nm(self, golgi_mask: bool) -> float:
        """Largest distance between objects and masks, leaving out distances to groups of large extent."""
        reach = [self.er_search_nm]
        if golgi_mask:
            reach.append(self.golgi_distance_nm)
        if self.group_measure == "surface":
            reach += [self.group_vesicles_nm, self.group_tubular_nm]
        if self.link_measure == "surface":
            reach.append(self.link_nm)
        return max(reach)

    def halo_voxels(self, voxel_size_nm: Sequence[float]) -> tuple[int, ...]:
        """Smallest halo (voxels per axis) with which a block sees every distance up to :meth:`reach_nm`."""
        return _voxels(self.reach_nm(), voxel_size_nm)

    def object_halo_voxels(self, voxel_size_nm: Sequence[float], golgi_mask: bool) -> tuple[int, ...]:
        """The same for :meth:`object_reach_nm`: what `measure_block` needs."""
        return _voxels(self.object_reach_nm(golgi_mask), voxel_size_nm)

    def widened(self, factor: float) -> Rules:
        """Rules that ask for every distance up to ``factor`` × its threshold: measured once, classified at many."""
        grown = {f: getattr(self, f) * factor for f in WIDENED}
        return dataclasses.replace(self, er_search_nm=max(self.er_search_nm, self.near_er_nm * factor), **grown)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks; equal rule sets give equal bytes."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Rules:
        """A rule set from a mapping: fields left out are those of the set it names (:data:`RULE_SETS`), else of
        `nair2025`. ValueError on an unknown field."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown rule {', '.join(unknown)}: the fields are {', '.join(sorted(known))}")
        return cls(**{**OTHER_READINGS.get(str(values.get("name")), {}), **values})

    @classmethod
    def from_json(cls, text: str) -> Rules:
        """Inverse of :meth:`to_json`."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"the rule set is not JSON ({error}): write it with Rules.to_json()") from error
        if not isinstance(values, dict):
            raise ValueError("the rule set must be a JSON object of rule fields")
        return cls.from_mapping(values)


WIDENED = ("group_vesicles_nm", "group_tubular_nm", "golgi_distance_nm", "link_nm")


def _voxels(reach_nm: float, voxel_size_nm: Sequence[float]) -> tuple[int, ...]:
    return tuple(math.floor((reach_nm + TOLERANCE_NM) / s) for s in voxel_size_nm)


OTHER_READINGS: Mapping[str, Mapping[str, Any]] = {
    "nair2025-centroid": {"group_measure": "centroid", "link_measure": "centroid"},
    "nair2025-per-axis": {"golgi_metric": "per_axis"},
    "nair2025-clusters": {"require_cluster": True},
    "nair2025-small-clusters": {
        "require_cluster": True,
        "cluster_min": 3,
        "cluster_max": 40,
        "cluster_region_nm": 250.0,
    },
}
"""Rule sets as data: the fields in which a named set differs from `nair2025`. The paper differs with itself on these;
one's own set needs no entry here, only a name and its fields in the recipe."""

NAIR2025 = Rules()

RULE_SETS = {NAIR2025.name: NAIR2025, **{name: Rules.from_mapping({"name": name}) for name in OTHER_READINGS}}


def find_rules(rules: str | Rules | Mapping[str, Any]) -> Rules:
    """A rule set by name, as JSON text, as a mapping of changed fields, or as it is."""
    if isinstance(rules, Rules):
        return rules
    if isinstance(rules, Mapping):
        return Rules.from_mapping(rules)
    if rules.lstrip().startswith("{"):
        return Rules.from_json(rules)
    if rules not in RULE_SETS:
        raise ValueError(f"unknown rule set {rules!r}: choose one of {', '.join(RULE_SETS)}, or give its fields")
    return RULE_SETS[rules]
