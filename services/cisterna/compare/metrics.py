"""What is compared: every metric with its unit and the sentence that says how it is made from a run's tables."""

from __future__ import annotations

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

_NETWORK = (
    Metric(ASSEMBLY, "assembly ratio", "1", "nodes in the largest component over all nodes, mean over frames"),
    Metric(ASSORTATIVITY, "degree assortativity", "1", "Pearson correlation of degrees at edge ends, mean over frames"),
    Metric("transitivity", "transitivity", "1", "closed triples over all triples, mean over frames"),
    Metric("multi_way_share", "multi-way share", "1", "nodes of degree ≥ 4 over those of degree ≥ 3, mean over frames"),
    Metric("tip_share", "tip share", "1", "tips over nodes that do not lie on the border, mean over frames"),
    Metric("junctions_per_um", "junction density", "1/µm", "nodes of degree ≥ 3 over total length, mean over frames"),
    Metric("mean_tubule_length_um", "tubule length", "µm", "total length over number of tubules, mean over frames"),
    Metric("tubule_width_um", "tubule width", "µm", "width of tubules weighted by their length, over all frames"),
    Metric("tubule_share", "tubules, share of ER", "1", "tubule pixels over ER pixels, mean over frames"),
    Metric("sheet_share", "sheets, share of ER", "1", "sheet pixels over ER pixels, mean over frames"),
    Metric("sbt_share", "SBT, share of ER", "1", "sheet-based tubule pixels over ER pixels, mean over frames"),
    Metric("junction_loss_per_min", "junction loss", "1/min", "junctions that end, over the time all were seen"),
    Metric("state_changes_per_min", "changes of state", "1/min", "three-way to multi-way or back, as above", False),
)  # fmt: skip

_CLASS_LABELS = {name: name.replace("_", " ").replace("golgi", "Golgi") for name in SITE_CLASSES}

_SITES = (
    Metric("vesicular_per_um3", "vesicular ERES per µm³", "1/µm³", "vesicular groups near the ER, over the volume"),
    Metric("tubular_per_um3", "tubular ERES per µm³", "1/µm³", "tubular groups, over the volume"),
    Metric("vesicular_mixed_share", "mixed, of vesicular ERES", "1", "mixed over stand-alone and mixed"),
    Metric("tubular_mixed_share", "mixed, of tubular ERES", "1", "mixed over isolated and mixed"),
    Metric("golgi_associated_share", "Golgi-associated", "1", "Golgi-associated over all vesicular groups"),
    Metric("dispersed_share", "dispersed", "1", "dispersed over all vesicular groups"),
    Metric("near_er_vesicle_share", "vesicles near the ER", "1", "vesicles of near-ER groups over all vesicles"),
    Metric("vesicles_per_site", "vesicles per vesicular ERES", "1", "mean objects of near-ER vesicular groups"),
    Metric("vesicle_diameter_nm", "vesicle diameter", "nm", "median over near-ER vesicles, from the mask"),
    Metric("site_er_distance_nm", "distance to the ER", "nm", "median surface distance of near-ER groups"),
    *(Metric(f"{n}_count", label, "groups", "groups of this class", False) for n, label in _CLASS_LABELS.items()),
    *(
        Metric(f"{n}_per_um3", f"{label} per µm³", "1/µm³", "groups of this class, over the volume", False)
        for n, label in _CLASS_LABELS.items()
    ),
)  # fmt: skip

METRICS: dict[str, dict[str, Metric]] = {
    "er-movie": {m.name: m for m in _NETWORK},
    "fibsem": {m.name: m for m in _SITES},
}
_FRAME_COLUMNS = {c.name: c for c in FRAMES.columns}


def describe(room: str, name: str, unit: str = "") -> Metric:
    """A metric by name; a column of the frames table that has no entry above speaks for itself."""
    known = METRICS[room].get(name)
    if known is not None:
        return known
    column = _FRAME_COLUMNS.get(name) if room == "er-movie" else None
    text = f"{column.text}, mean over frames" if column else "as the run's table has it"
    return Metric(name, name.replace("_", " "), (column.unit if column else unit) or "1", text, False)


def chosen(room: str, available: Iterable[str], asked: Iterable[str] = ()) -> list[str]:
    """Names to compare: those asked for, else the defaults that at least one run has.

    Raises ValueError naming a metric that no run has, and those there are.
    """
    there, asked = set(available), list(dict.fromkeys(asked))
    for name in asked:
        if name not in there:
            raise ValueError(f"no run has the metric {name!r}: there are {', '.join(sorted(there))}")
    return asked or [m.name for m in METRICS[room].values() if m.default and m.name in there]
