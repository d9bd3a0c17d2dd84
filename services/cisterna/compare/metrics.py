"""What is compared: every metric with its unit and the sentence that says how it is made from a run's tables."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from cisterna.tables.networks import FRAMES
from cisterna.tables.volumes import SITE_CLASSES


@dataclass(frozen=True)
class Metric:
    """`default`: compared unless the caller names metrics. Fewer metrics ask less of each other's p values."""

    name: str
    label: str
    unit: str
    text: str
    default: bool = True

    @property
    def axis(self) -> str:
        """The label of an axis: name and unit."""
        return self.label if self.unit in ("1", "") else f"{self.label} ({self.unit})"


ASSEMBLY, ASSORTATIVITY = "largest_component_node_share", "degree_assortativity"
LOSS, FLOOR = "junctions_ends_per_min", "_floor"
_UNIT_ENDS = {"_per_min": "1/min", "_um_per_s": "µm/s", "_s": "s", "_nm": "nm"}

_NETWORK = (
    Metric(ASSEMBLY, "assembly ratio", "1", "nodes in the largest component over all nodes, mean over frames"),
    Metric(ASSORTATIVITY, "degree assortativity", "1", "Pearson correlation of degrees at edge ends, mean over frames"),
    Metric("transitivity", "transitivity", "1", "closed triples over all triples, mean over frames"),
    Metric("multi_way_share", "multi-way share", "1", "junctions of four tubules or more over all, mean over frames"),
    Metric("tip_share", "tip share", "1", "growth tips over nodes that do not lie on the border, mean over frames"),
    Metric("junctions_per_um2", "junction density", "1/µm²", "junctions over the area measured, mean over frames"),
    Metric("mean_length_um", "tubule length", "µm", "mean length of a tubule, mean over frames"),
    Metric("mean_width_um", "tubule width", "µm", "mean width of a tubule, mean over frames"),
    Metric("mean_mesh_area_um2", "mesh area", "µm²", "mean area that tubules enclose, mean over frames"),
    Metric("tubule_share", "tubules, share of ER", "1", "tubule pixels over ER pixels, mean over frames"),
    Metric("sheet_share", "sheets, share of ER", "1", "sheet pixels over ER pixels, mean over frames"),
    Metric("sbt_share", "SBT, share of ER", "1", "sheet-based tubule pixels over ER pixels, mean over frames"),
    Metric(LOSS, "junctions lost", "1/min", "ends of junctions over the time they were seen, whole movie"),
)

_CLASS_LABELS = {
    "vesicular_eres": "vesicular ERES",
    "tubular_eres": "tubular ERES",
    **{name: name.replace("_", " ").replace("golgi", "Golgi") for name in SITE_CLASSES},
    "vesicles": "vesicles",
}
_SHOWN_DENSITIES = ("vesicular_eres", "tubular_eres")
_PER_UM3 = "groups over the volume of the cell, or of the image where no cell is masked"

_SITES = (
    *(
        Metric(f"{n}_per_um3", f"{label} per volume", "1/µm³", _PER_UM3, n in _SHOWN_DENSITIES)
        for n, label in _CLASS_LABELS.items()
    ),
    *(
        Metric(
            f"{n}_per_um2_er", f"{label} per ER area", "1/µm²", "groups over the area of the ER", n in _SHOWN_DENSITIES
        )
        for n, label in _CLASS_LABELS.items()
    ),
    Metric("vesicular_mixed_share", "mixed, of vesicular ERES", "1", "mixed over stand-alone and mixed"),
    Metric("tubular_mixed_share", "mixed, of tubular ERES", "1", "mixed over isolated and mixed"),
    Metric("golgi_associated_share", "Golgi-associated", "1", "Golgi-associated over all vesicular groups"),
    Metric("dispersed_share", "dispersed", "1", "dispersed over all vesicular groups"),
    Metric("near_er_vesicle_share", "vesicles near the ER", "1", "vesicles of near-ER groups over all vesicles"),
    Metric(
        "near_er_vesicles_over_chance", "near the ER, over chance", "1", "vesicles near the ER over those relocated"
    ),
    Metric("vesicles_per_site", "vesicles per vesicular ERES", "1", "mean objects of near-ER vesicular groups"),
    Metric("vesicle_diameter_image_nm", "vesicle diameter", "nm", "median over near-ER vesicles, on the image"),
    Metric(
        "vesicle_diameter_mask_nm",
        "vesicle diameter (mask)",
        "nm",
        "median over near-ER vesicles; moves with the threshold",
    ),
    Metric("site_er_distance_nm", "distance to the ER", "nm", "median surface distance of near-ER groups"),
    *(Metric(f"{n}_count", label, "groups", "groups of this class", False) for n, label in _CLASS_LABELS.items()),
)

METRICS: dict[str, dict[str, Metric]] = {
    "er-movie": {m.name: m for m in _NETWORK},
    "fibsem": {m.name: m for m in _SITES},
}
_FRAME_COLUMNS = {c.name: c for c in FRAMES.columns}


def describe(room: str, name: str) -> Metric:
    """A metric by name; a column of the tables that has no entry above speaks for itself."""
    known = METRICS[room].get(name)
    if known is not None:
        return known
    if room == "er-movie" and name.endswith(FLOOR):
        of = describe(room, name.removesuffix(FLOOR))
        return Metric(name, f"{of.label}, static scene", of.unit, f"{of.text}; noise and method alone", False)
    column = _FRAME_COLUMNS.get(name) if room == "er-movie" else None
    if column is not None:
        return Metric(name, name.replace("_", " "), column.unit, f"{column.text}, mean over frames", False)
    unit = next((u for ending, u in _UNIT_ENDS.items() if name.endswith(ending)), "1")
    return Metric(name, name.replace("_", " "), unit, "as the run's tables have it", False)


def chosen(room: str, available: Iterable[str], defined: Iterable[str], asked: Iterable[str] = ()) -> list[str]:
    """Names to compare: those asked for among the `available`, else the defaults that are `defined` in some cell.

    Raises ValueError naming a metric that no run has, and those of like name.
    """
    there, asked = set(available), list(dict.fromkeys(asked))
    for name in asked:
        if name not in there:
            near = difflib.get_close_matches(name, sorted(there), 3, 0.5)
            hint = f"did you mean {', '.join(near)}? " if near else ""
            raise ValueError(f"no run has the metric {name!r}: {hint}docs/compare.md tells which there are")
    defined = set(defined)
    return asked or [m.name for m in METRICS[room].values() if m.default and m.name in defined]
