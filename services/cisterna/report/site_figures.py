"""Figures of what the counts of sites mean: where each group went, what chance gives, how thresholds move them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from cisterna.report.canvas import dress, legend_below, new_figure, say_empty
from cisterna.report.palette import INK, MUTED, RULE, SECOND, SITE_CLASSES, SITE_COLOURS
from cisterna.report.tallies import finite, multiplicities

LABELS = {s.key: s.label for s in SITE_CLASSES}
ERES = ("vesicular_standalone", "vesicular_mixed")
PAPER_DIAMETERS = {"near the Golgi": (59.2, 9.1), "near the ER": (75.7, 9.1)}
"""Mean and s.d. in nm, n = 24 each (SVG-A cells; Nair et al. 2025)."""

CHANCE_LABELS = {
    "near_er_vesicles": "vesicles near the ER",
    "near_er_groups": "groups near the ER",
    "mixed_groups": "groups beside a tubular site",
    "mixed_share_near_er": "share of mixed, of those near the ER",
    "nearest_neighbour": "distance to the nearest site",
    "evenness": "unevenness over the volume (χ²)",
}


def flow_figure(sites: pd.DataFrame, links: pd.DataFrame) -> Figure:
    """Where each vesicular and each tubular group went, with the multiplicity of links: widths are counts.

    Stands for figure 4C of the paper (a reading: the facts name its numbers, not its drawing).
    """
    figure = new_figure(10.6, 4.9)
    above, below = figure.subplots(2, 1, height_ratios=(3, 2))
    counts = sites["site_class"].value_counts() if len(sites) else pd.Series(dtype=int)
    n = {s.key: int(counts.get(s.key, 0)) for s in SITE_CLASSES}
    partners = {
        column: [(f"linked to {m.partners}", m.sites) for m in multiplicities(links, column)]
        for column in ("vesicular_site_id", "tubular_site_id")
    }
    eres = n["vesicular_standalone"] + n["vesicular_mixed"]
    _flow(
        above,
        [
            [("vesicular groups", eres + n["dispersed"] + n["golgi_associated"], MUTED, -1)],
            [
                ("vesicular ERES", eres, INK, 0),
                (LABELS["dispersed"], n["dispersed"], SITE_COLOURS["dispersed"], 0),
                (LABELS["golgi_associated"], n["golgi_associated"], SITE_COLOURS["golgi_associated"], 0),
            ],
            [
                ("mixed", n["vesicular_mixed"], SITE_COLOURS["vesicular_mixed"], 0),
                ("stand-alone", n["vesicular_standalone"], SITE_COLOURS["vesicular_standalone"], 0),
            ],
            [(f"{w} tubular", k, SITE_COLOURS["vesicular_mixed"], 0) for w, k in partners["vesicular_site_id"]],
        ],
        "Vesicular groups",
    )
    tubular = n["tubular_isolated"] + n["tubular_mixed"]
    _flow(
        below,
        [
            [("tubular sites", tubular, MUTED, -1)],
            [
                ("mixed", n["tubular_mixed"], SITE_COLOURS["tubular_mixed"], 0),
                ("isolated", n["tubular_isolated"], SITE_COLOURS["tubular_isolated"], 0),
            ],
            [(f"{w} vesicular", k, SITE_COLOURS["tubular_mixed"], 0) for w, k in partners["tubular_site_id"]],
        ],
        "Tubular sites",
    )
    return figure


Node = tuple[str, int, str, int]
"""Label, count, colour, and which node of the column before it comes from."""


def _flow(axes: Axes, columns: Sequence[Sequence[Node]], title: str) -> None:
    """Bars from left to right, bands between them; heights are counts, with a floor so that few stay visible."""
    axes.set_axis_off()
    axes.set_title(title, fontsize=10, color=INK, loc="left", fontweight="bold", pad=4)
    total = columns[0][0][1]
    axes.set_xlim(0, 4.0)
    axes.set_ylim(1.32, -0.06)
    if not total:
        say_empty(axes, f"no {title.lower()}")
        return
    before: list[tuple[float, float]] = []
    for x, column in enumerate(columns):
        shown = [node for node in column if node[1] > 0]
        top = before[0][0] if before else 0.0
        here: list[tuple[float, float]] = []
        used: dict[int, float] = {}
        for label, count, colour, source in shown:
            height = max(count / total, 0.012)
            if x:
                origin = before[source][0] + used.get(source, 0.0)
                used[source] = used.get(source, 0.0) + count / total
                _band(axes, x - 1 + 0.09, x, origin, top, count / total, height, colour)
            axes.add_patch(Rectangle((x, top), 0.09, height, facecolor=colour, edgecolor="none", zorder=3))
            axes.text(x + 0.13, top + height / 2, f"{count}  {label}", fontsize=8.5, color=INK, va="center", zorder=4)
            here.append((top, height))
            top += max(height, 0.09) + 0.05
        before = here or before


def _band(
    axes: Axes, left: float, right: float, y_left: float, y_right: float, h_left: float, h_right: float, colour: str
) -> None:
    middle = (left + right) / 2
    points = [
        (left, y_left), (middle, y_left), (middle, y_right), (right, y_right), (right, y_right + h_right),
        (middle, y_right + h_right), (middle, y_left + h_left), (left, y_left + h_left), (left, y_left),
    ]  # fmt: skip
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    axes.add_patch(PathPatch(Path(points, codes), facecolor=colour, alpha=0.22, edgecolor="none", zorder=1))


def golgi_or_er_figure(objects: pd.DataFrame, sites: pd.DataFrame, measure: str = "diameter_mask_nm") -> Figure:
    """Diameters of vesicles near the Golgi and near the ER, every vesicle a dot, mean ± s.d.; the paper's in grey.

    Stands for figure S3B of the paper (a reading).
    """
    figure = new_figure(5.3, 3.5)
    axes = figure.subplots()
    word = "on the image" if measure == "diameter_image_nm" else "of the mask"
    dress(axes, "", f"diameter {word} (nm)", "Vesicles near the Golgi and near the ER")
    vesicles = objects[objects["class"] == "copi"].merge(sites[["site_id", "site_class"]], on="site_id", how="inner")
    groups = {
        "near the Golgi": vesicles[vesicles["site_class"] == "golgi_associated"],
        "near the ER": vesicles[vesicles["site_class"].isin(ERES)],
    }
    colours = {"near the Golgi": SITE_COLOURS["golgi_associated"], "near the ER": SITE_COLOURS["vesicular_standalone"]}
    values = {name: finite(rows[measure]) for name, rows in groups.items()}
    if not sum(v.size for v in values.values()):
        say_empty(axes, "no vesicles")
        return figure
    rng = np.random.default_rng(0)
    for x, (name, found) in enumerate(values.items()):
        mean, spread = PAPER_DIAMETERS[name]
        axes.errorbar(x + 0.33, mean, spread, fmt="s", color=MUTED, ms=4, lw=1, capsize=3)
        if not found.size:
            continue
        shown = found if found.size <= 2000 else rng.choice(found, 2000, replace=False)
        axes.scatter(x + rng.uniform(-0.17, 0.17, shown.size), shown, s=7, color=colours[name], alpha=0.35, lw=0)
        spread = float(found.std(ddof=1)) if found.size > 1 else 0.0
        axes.errorbar(x, float(found.mean()), spread, fmt="o", color=INK, ms=5, lw=1.6, capsize=4, zorder=4)
        axes.text(x, 1.0, f"{found.mean():.1f} ± {spread:.1f}, n = {found.size}", fontsize=8, color=INK, ha="center",
                  va="bottom", transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set_xticks([0, 1], list(values), fontsize=9)
    axes.set_xlim(-0.5, 1.6)
    axes.set_title("Vesicles near the Golgi and near the ER", fontsize=10, color=INK, loc="left", fontweight="bold",
                   pad=18)  # fmt: skip
    return figure


def er_distance_figure(objects: pd.DataFrame, sites: pd.DataFrame, near_er_nm: float) -> Figure:
    """Share of vesicles with the ER within a distance, by class of their site (cumulative)."""
    figure = new_figure(5.3, 3.5)
    axes = figure.subplots()
    dress(axes, "surface distance to the ER (nm)", "share of vesicles within it", "Vesicle to ER, cumulative")
    vesicles = objects[objects["class"] == "copi"].merge(sites[["site_id", "site_class"]], on="site_id", how="inner")
    drawn = False
    for swatch in SITE_CLASSES:
        nm = vesicles.loc[vesicles["site_class"] == swatch.key, "er_distance_nm"].to_numpy(float)
        within = np.sort(nm[np.isfinite(nm)])
        if not within.size:
            continue
        share = np.arange(1, within.size + 1) / nm.size
        axes.step(np.r_[0, within], np.r_[0, share], where="post", color=swatch.colour, lw=1.6,
                  label=f"{swatch.label} ({nm.size})")  # fmt: skip
        drawn = True
    if not drawn:
        say_empty(axes, "no vesicle has the ER within the search radius")
        return figure
    axes.axvline(near_er_nm, color=SECOND, lw=1.2)
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    legend_below(figure, axes, columns=2)
    return figure


def chance_figure(chance: pd.DataFrame) -> Figure:
    """Observed over expected by chance, with the middle 95 % of the relocations; 1 is chance."""
    rows = chance[np.isfinite(chance["ratio"])].set_index("quantity")
    rows = rows.loc[[q for q in CHANCE_LABELS if q in rows.index]]
    figure = new_figure(5.6, 0.9 + 0.36 * max(len(rows), 2))
    axes = figure.subplots()
    dress(axes, "observed / expected by chance", "", "Beside chance", grid="x")
    if not len(rows):
        say_empty(axes, "nothing could be relocated")
        return figure
    for y, (quantity, row) in enumerate(rows.iterrows()):
        clear = row["p"] < 0.05
        low, high = (float(row[k]) if np.isfinite(row[k]) else float(row["ratio"]) for k in ("ratio_low", "ratio_high"))
        axes.plot([low, high], [y, y], color=SECOND if clear else MUTED, lw=2.2, solid_capstyle="butt")
        axes.plot(row["ratio"], y, "o", color=SECOND if clear else MUTED, ms=6)
        assert isinstance(quantity, str)
    axes.axvline(1, color=INK, lw=1)
    axes.set_yticks(range(len(rows)), [CHANCE_LABELS[str(q)] for q in rows.index], fontsize=8.5)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    if rows["ratio"].max() > 4 and rows["ratio"].min() > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.set_xlim(left=0)
    return figure


TORNADO = (
    ("vesicular ERES", ERES),
    ("of these mixed", ("vesicular_mixed",)),
    ("tubular, mixed", ("tubular_mixed",)),
    ("Golgi-associated", ("golgi_associated",)),
)


PARAMETERS = {
    "as_run": "as run",
    "group_vesicles_nm": "grouping of vesicles",
    "group_tubular_nm": "grouping of tubular",
    "golgi_extent_nm": "Golgi: extent",
    "golgi_distance_nm": "Golgi: distance",
    "near_er_nm": "near the ER",
    "link_nm": "link",
    "cluster_region_nm": "region of a cluster",
}


def parameter_words(name: str) -> str:
    """A threshold as a reader knows it."""
    if name.startswith("probability_"):
        return f"probability, {name.removeprefix('probability_')}"
    return PARAMETERS.get(name, name.removesuffix("_nm").replace("_", " "))


def tornado_figure(sensitivity: pd.DataFrame) -> Figure:
    """Change of four counts when each threshold is moved down (hollow) and up (full)."""
    base = sensitivity[sensitivity["parameter"] == "as_run"]
    moved = sensitivity[sensitivity["parameter"] != "as_run"]
    names = list(dict.fromkeys(moved["parameter"]))
    figure = new_figure(10.6, 1.2 + 0.27 * max(len(names), 3))
    panels = figure.subplots(1, len(TORNADO), sharey=True)
    for axes, (title, classes) in zip(panels, TORNADO, strict=True):
        dress(axes, "change", "", "", grid="x")
        if not len(base) or not names:
            say_empty(axes, "no threshold was moved")
            continue
        start = int(base[list(classes)].to_numpy().sum())
        axes.set_title(f"{title}: {start}", fontsize=9.5, color=INK, loc="left", pad=5)
        for y, name in enumerate(names):
            for row in moved[moved["parameter"] == name].to_dict("records"):
                change = sum(int(row[str(c)]) for c in classes) - start
                up = float(row["factor"]) > 1
                colour = SITE_COLOURS[classes[0]]
                axes.barh(y, change, 0.62 if up else 0.34, facecolor=colour if up else "white", edgecolor=colour,
                          lw=1, zorder=3 if up else 4)  # fmt: skip
        axes.axvline(0, color=INK, lw=0.8, zorder=5)
        axes.set_yticks(range(len(names)), [parameter_words(n) for n in names], fontsize=8.5)
        axes.set_ylim(len(names) - 0.4, -0.6)
        reach = max(abs(v) for v in axes.get_xlim())
        axes.set_xlim(-max(reach, 1), max(reach, 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_color(RULE)
    return figure
