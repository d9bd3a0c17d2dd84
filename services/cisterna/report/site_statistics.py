"""The parts of the report that say what the counts mean: levels, chance, densities, effect sizes, sensitivity."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from cisterna.report import site_figures as figures
from cisterna.report.canvas import picture
from cisterna.report.document import RunDocument
from cisterna.report.page import Grid, Section, number
from cisterna.report.palette import SITE_CLASSES
from cisterna.store import ObjectMissing, ObjectStore
from cisterna.tables.schema import Table
from cisterna.tables.statistics import CHANCE, DENSITIES, EFFECTS, SENSITIVITY

LABELS = {s.key: s.label for s in SITE_CLASSES} | {
    "vesicles": "vesicles",
    "vesicular_eres": "vesicular ERES",
    "tubular_eres": "tubular sites",
}
LISTED_BY_EXTENT = 40
VESICULAR = ("vesicular_standalone", "vesicular_mixed")


@dataclass(frozen=True)
class SiteStatisticsReport:
    """The tables of statistics of a run, and statistics.json (`size`, `notes`)."""

    chance: pd.DataFrame
    densities: pd.DataFrame
    effects: pd.DataFrame
    sensitivity: pd.DataFrame
    size: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def read_statistics(store: ObjectStore, run: RunDocument) -> SiteStatisticsReport | None:
    """The statistics of a run; None where their stage did not finish, or an older run has none."""

    def table(schema: Table) -> pd.DataFrame:
        return schema.from_parquet_bytes(store.get(run.tables[schema.name]))

    try:
        document = store.get_json(run.tables["statistics"])
        return SiteStatisticsReport(
            table(CHANCE), table(DENSITIES), table(EFFECTS), table(SENSITIVITY), document["size"], document["notes"]
        )
    except (ObjectMissing, KeyError):
        return None


def levels_section(objects: pd.DataFrame, sites: pd.DataFrame, links: pd.DataFrame, reviewed: int | None) -> Section:
    """Vesicle, group, site candidate, reviewed site: how many of each, and what left on the way."""
    vesicles = int((objects["class"] == "copi").sum()) if len(objects) else 0
    groups = sites[sites["kind"] == "vesicular"]
    left = groups[groups["level"] == "group"]
    tubular = int((sites["kind"] == "tubular").sum())
    candidates = len(groups) - len(left)
    rows: list[tuple[Any, ...]] = [
        ("vesicles", vesicles, "objects of the vesicle class"),
        ("vesicular groups", len(groups), "vesicles joined by the grouping distance"),
        ("vesicular site candidates", candidates, "groups near the ER that no rule excludes"),
        ("tubular site candidates", tubular, "groups of tubular objects"),
        ("reviewed sites", reviewed if reviewed is not None else "none", "decisions of people, a layer of their own"),
    ]
    words = {
        "extent": "extent alone (Golgi-like)",
        "beside_extent": "beside a Golgi-like group",
        "golgi": "near the Golgi segmentation",
        "er": "not near the ER",
        "cluster": "no cluster",
    }
    why = [(text, int((left["excluded_by"] == key).sum())) for key, text in words.items()]
    grids = [
        Grid("Levels", ("level", "count", "what it is"), rows, wide=True),
        Grid("Groups that are no candidates", ("because", "groups"), [(t, n) for t, n in why if n]),
    ]
    text = ["A candidate becomes a site when someone has looked at it."]
    alone = left[(left["excluded_by"] == "extent") & left["otherwise"].isin(VESICULAR)]
    if len(alone):
        text.append(
            "The groups that extent alone excluded are named below: a fully detected large exit site looks the same."
        )
        listed = [
            (int(r["site_id"]), int(r["objects"]), round(max(float(r[f"extent_{a}_nm"]) for a in "zyx")),
             figures.LABELS.get(str(r["otherwise"]), str(r["otherwise"])),
             *(round(float(r[f"centroid_{a}_nm"])) for a in "zyx"))
            for r in alone.head(LISTED_BY_EXTENT).to_dict("records")
        ]  # fmt: skip
        title = f"Excluded by extent alone ({len(alone)})"
        header = ("site", "vesicles", "extent nm", "otherwise", "z nm", "y nm", "x nm")
        grids.append(Grid(title, header, listed, wide=True))
    flow = picture(
        figures.flow_figure(sites, links),
        f"Flow of {len(groups)} vesicular groups and {tubular} tubular sites into their classes.",
        "Every group once, from left to right, and how many partners the mixed ones have. Counts as in figure 4C of "
        "the paper: 331 groups, 247 of them vesicular ERES (179 stand-alone, 68 mixed); 779 tubular (705 isolated).",
    )
    return Section("From vesicles to sites", text=text, pictures=[flow], grids=[g for g in grids if g.rows])


def size_pictures(objects: pd.DataFrame, sites: pd.DataFrame, near_er_nm: float) -> list[Any]:
    """Diameters near the Golgi and near the ER, and distances to the ER, as the paper's figure S3B has them."""
    on_image = "diameter_image_nm" in objects.columns and bool(objects["diameter_image_nm"].notna().any())
    measure = "diameter_image_nm" if on_image else "diameter_mask_nm"
    return [
        picture(
            figures.golgi_or_er_figure(objects, sites, measure),
            "Diameters of vesicles near the Golgi and near the ER.",
            "Each vesicle a dot, mean ± s.d. in black; grey squares: the paper's 59.2 ± 9.1 and 75.7 ± 9.1 nm "
            "(figure S3B, n = 24 each). Effect size below; no P value, because one cell is n = 1.",
        ),
        picture(
            figures.er_distance_figure(objects, sites, near_er_nm),
            "Cumulative distances of vesicles to the ER, by class of their site.",
            "Share of the vesicles of each class that have the ER within a distance; those beyond the search radius "
            "never come up.",
        ),
    ]


def chance_section(statistics: SiteStatisticsReport | None) -> Section:
    """Observed beside expected; without statistics it says so."""
    title = "Beside chance"
    if statistics is None:
        return Section(title, text=["The run has no table of chance: its statistics stage did not finish."])
    table = statistics.chance
    found: dict[str, dict[str, Any]] = _by_quantity(table)
    rows = []
    for quantity, label in figures.CHANCE_LABELS.items():
        if quantity in found:
            r = found[quantity]
            between = f"{number(float(r['expected_low']))} – {number(float(r['expected_high']))}"
            rows.append((label, r["unit"], int(r["n"]), float(r["observed"]), float(r["expected"]), between,
                         float(r["ratio"]), float(r["p"])))  # fmt: skip
    header = ("what", "unit", "of", "observed", "by chance", "95 % of relocations", "ratio", "p (this cell)")
    left = int(table["left_out"].max()) if len(table) else 0
    text = [chance_words(statistics.chance), *statistics.notes]
    if left:
        text.append(f"{number(left)} could not be relocated (too large, or no room) and are not compared.")
    grid = Grid(
        "Observed and expected", header, rows,
        f"{number(int(table['relocations'].max()) if len(table) else 0)} relocations. "
        "Evenness: χ² over 27 parts of the volume against places near the ER; sites nearer to each other "
        "than the grouping distance count as one, which chance does not know.",
        wide=True,
    )  # fmt: skip
    drawn = picture(
        figures.chance_figure(statistics.chance),
        "Observed over expected by chance, with 95 % intervals.",
        "Orange: p < 0.05 in this cell. To the right of 1: more (or further) than chance.",
    )
    return Section(title, text=text, pictures=[drawn], grids=[grid])


def _by_quantity(chance: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {str(row["quantity"]): {str(k): v for k, v in row.items()} for row in chance.to_dict("records")}


def chance_words(chance: pd.DataFrame) -> str:
    """The sentence that stands beside the near-ER and the mixed count."""
    table = _by_quantity(chance)
    parts = []
    for quantity, words in (("near_er_groups", "near the ER"), ("mixed_groups", "near it and beside a tubular site")):
        r = table.get(quantity)
        if r is not None and pd.notna(r["expected"]):
            low, high = number(float(r["expected_low"])), number(float(r["expected_high"]))
            parts.append(
                f"{number(int(r['observed']))} of {number(int(r['n']))} groups are {words}; by chance "
                f"{number(float(r['expected']))} ({low}–{high})"
            )
    return "; ".join(parts) + "." if parts else "There were no groups that could be relocated."


def density_section(statistics: SiteStatisticsReport | None) -> list[Section]:
    """Densities and effect sizes, where there are statistics."""
    if statistics is None:
        return []
    size = statistics.size
    text = []
    if size:
        what = "the cell mask" if size.get("cell_given") else "the whole volume (no cell mask was given)"
        text.append(
            f"The cell is {what}: {number(float(size['cell_um3']))} µm³, of which {number(float(size['cytosol_um3']))} "
            f"µm³ cytosol and {number(float(size['er_um3']))} µm³ ER with {number(float(size['er_area_um2']))} µm² of "
            "surface (Crofton's formula over 13 directions; tubules read −1 %, sheets −2 ± 3 %)."
        )
    rows = [
        (LABELS.get(str(r["what"]), str(r["what"])), int(r["count"]), float(r["per_um3_cell"]),
         _between(r, "per_um3_cell"), float(r["per_um2_er"]), _between(r, "per_um2_er"))
        for r in statistics.densities.to_dict("records")
    ]  # fmt: skip
    header = ("what", "count", "per µm³ of cell", "95 %", "per µm² of ER", "95 %")
    note = "Intervals are those of a Poisson count: how well this cell is known, not how cells differ."
    effects = [
        (str(r["measure"]), LABELS.get(str(r["group_a"]), str(r["group_a"])), int(r["n_a"]), _spread(r, "a"),
         LABELS.get(str(r["group_b"]), str(r["group_b"])), int(r["n_b"]), _spread(r, "b"), float(r["difference"]),
         _between(r, "difference"), float(r["hedges_g"]))
        for r in statistics.effects.to_dict("records")
    ]  # fmt: skip
    columns = ("measure", "a", "n", "mean ± s.d.", "b", "n", "mean ± s.d.", "b − a", "95 %", "Hedges' g")
    grids = [
        Grid("Densities", header, rows, note, wide=True),
        Grid("Effect sizes", columns, effects, "Bootstrap over sites within this cell; no P value for one cell.",
             wide=True),
    ]  # fmt: skip
    return [Section("Densities and effect sizes", text=text, grids=[g for g in grids if g.rows])]


def sensitivity_section(statistics: SiteStatisticsReport | None) -> list[Section]:
    """How every count moves with each threshold, where that was asked for."""
    if statistics is None or len(statistics.sensitivity) < 2:
        return []
    table = statistics.sensitivity
    keys = [s.key for s in SITE_CLASSES]
    rows = [
        (figures.parameter_words(str(r["parameter"])), f"× {r['factor']:g}", float(r["value"]),
         *(int(r[k]) for k in keys))
        for r in table.to_dict("records")
    ]  # fmt: skip
    segmented = bool(table["parameter"].str.startswith("probability_").any())
    text = [
        "Each threshold alone, 20 % lower and 20 % higher, everything else as run.",
        "Segmentation thresholds were moved too: objects were made anew."
        if segmented
        else "Segmentation thresholds were not moved; `eres.sensitivity: full` in the recipe does that.",
    ]
    drawn = picture(
        figures.tornado_figure(table),
        "Change of the counts with each threshold.",
        "Change of four counts: hollow = threshold 20 % lower, full = 20 % higher.",
    )
    header = ("threshold", "factor", "value", *(s.label for s in SITE_CLASSES))
    return [
        Section(
            "How thresholds move the counts",
            text=text,
            pictures=[drawn],
            grids=[Grid("Counts at other thresholds", header, rows, wide=True)],
        )
    ]


def _between(row: Any, name: str) -> str:
    low, high = float(row[f"{name}_low"]), float(row[f"{name}_high"])
    return "–" if pd.isna(low) else f"{number(low)} … {number(high)}"


def _spread(row: Any, end: str) -> str:
    mean, spread = float(row[f"mean_{end}"]), float(row[f"sd_{end}"])
    return "–" if pd.isna(mean) else f"{number(mean)} ± {number(spread)}"
