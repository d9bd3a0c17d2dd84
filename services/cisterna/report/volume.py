"""The report of a FIB-SEM run: exit sites."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cisterna.report import volume_figures as figures
from cisterna.report.canvas import PLATE_DPI, picture
from cisterna.report.denoising import DenoisingReport
from cisterna.report.denoising_section import artefact_warnings, denoising_section
from cisterna.report.document import RunDocument
from cisterna.report.page import (
    Grid,
    Page,
    Section,
    Tile,
    number,
    provenance,
    render_page,
    run_warnings,
)
from cisterna.report.palette import CCV, ER_OUTLINE, SITE_CLASSES, TUBULAR_CLASSES, VESICULAR_CLASSES
from cisterna.report.review_section import ReviewReport, review_section
from cisterna.report.segmentation import ClassSignature, warnings_of
from cisterna.report.segmentation_section import segmentation_section
from cisterna.report.site_statistics import (
    SiteStatisticsReport,
    chance_section,
    chance_words,
    density_section,
    levels_section,
    sensitivity_section,
    size_pictures,
)
from cisterna.report.tallies import class_counts, finite, median_and_spread, multiplicities

FIRST_SITES = 30
FIRST_LINKS = 12

# Nair et al. 2025 pass 120 nm in 247 of 273; what chance alone passes was measured on vesicles put at random.
CHANCE_NEAR_ER = "55 / 62 / 79 / 96 % of randomly placed vesicles pass 120 nm at 4 / 6 / 8 / 10 % ER volume"


@dataclass(frozen=True)
class VolumeReportData:
    """What a FIB-SEM report shows. Sizes are nm, z,y,x.

    `planes` are slices already read at a level that fits; `er_projection` is the share of ER along z (y, x) or None;
    `chance_near_er` the share of the volume outside the ER that lies within the near-ER limit of it, or None.
    """

    run: RunDocument
    size_nm: tuple[float, float, float]
    voxel_size_nm: tuple[float, float, float]
    objects: pd.DataFrame
    sites: pd.DataFrame
    links: pd.DataFrame
    planes: Sequence[figures.Plane] = ()
    er_projection: np.ndarray | None = None
    er_volume_share: float | None = None
    chance_near_er: float | None = None
    near_er_nm: float = figures.NEAR_ER_NM
    link_nm: float = 50.0
    remarks: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    review: ReviewReport | None = None
    statistics: SiteStatisticsReport | None = None
    denoising: DenoisingReport | None = None
    segmentation: Sequence[ClassSignature] = ()
    first_sites: int = FIRST_SITES


def render_volume_report(data: VolumeReportData) -> str:
    """The report as one self-contained HTML document."""
    counts = class_counts(data.sites)
    vesicular = sum(counts[name] for name in ("vesicular_standalone", "vesicular_mixed"))
    tubular = sum(counts[name] for name in TUBULAR_CLASSES)
    lead = f"{number(vesicular)} vesicular and {number(tubular)} tubular exit-site candidates."
    sections = [
        _counts(data, counts),
        levels_section(data.objects, data.sites, data.links, data.review.summary.sites if data.review else None),
        *_slices(data),
        *denoising_section(data.denoising, data.voxel_size_nm),
        *segmentation_section(data.segmentation, data.voxel_size_nm),
        _places(data),
        _sizes(data),
        chance_section(data.statistics),
        *density_section(data.statistics),
        *sensitivity_section(data.statistics),
        _links(data),
        _first_sites(data),
        review_section(data.review, data.run.run_id, len(data.sites)),
        _limits(data),
    ]
    page = Page(
        title="ER exit sites",
        subject="FIB-SEM volume",
        run=data.run,
        lead=lead,
        warnings=[*run_warnings(data.run), *warnings_of(data.segmentation), *artefact_warnings(data.denoising)],
        sections=[*sections, provenance(data.run)],
        facts=[
            ("acquisition", data.run.acquisition),
            ("run", data.run.run_id),
            ("volume", _micrometres(data.size_nm)),
            ("voxel size", _voxel(data.voxel_size_nm)),
            *data.facts.items(),
            ("finished", data.run.finished or "–"),
        ],
    )
    return render_page(page)


def _micrometres(size_nm: tuple[float, float, float]) -> str:
    return " × ".join(f"{v / 1000:.3g}" for v in size_nm) + " µm (z × y × x)"


def _voxel(voxel_nm: tuple[float, float, float]) -> str:
    return " × ".join(f"{v:g}" for v in voxel_nm) + " nm (z × y × x)"


def _counts(data: VolumeReportData, counts: Mapping[str, int]) -> Section:
    details = {
        "vesicular_standalone": "near the ER, no tubular site linked",
        "vesicular_mixed": "near the ER, linked to a tubular site",
        "tubular_isolated": "no vesicular site linked",
        "tubular_mixed": "linked to a vesicular site",
        "dispersed": "neither near the ER nor near the Golgi",
        "golgi_associated": "large or close to something large",
    }
    tiles = [Tile(counts[s.key], s.label, s.colour, details[s.key]) for s in SITE_CLASSES]
    tiles += [Tile(n, name, "", "not among the six classes") for name, n in counts.items() if name not in details]
    text = ["Groups of objects in each class; a group of several vesicles counts once."]
    if data.statistics is not None:
        text.append(chance_words(data.statistics.chance))
    alone = sum("extent alone: otherwise vesicular" in str(reason) for reason in data.sites["reason"])
    if alone:
        text.append(
            f"{number(alone)} group{'s' * (alone != 1)} near the ER left as Golgi-associated by extent alone: a "
            f"fully detected "
            "large site looks the same. Review them before counting."
        )
    grids = []
    members = data.objects.groupby("class").size() if len(data.objects) else pd.Series(dtype=int)
    if len(members):
        grids.append(
            Grid("Objects found by class", ("class", "objects"), [(str(k), int(v)) for k, v in members.items()])
        )
    return Section("What was found", text=text, tiles=tiles, grids=grids)


_PLANE_WORDS = {"yx": ("z", "y down, x right"), "zx": ("y", "z down, x right"), "zy": ("x", "z down, y right")}


def _slices(data: VolumeReportData) -> list[Section]:
    if not data.planes:
        return []
    pictures = []
    for plane in data.planes:
        axis, directions = _PLANE_WORDS[plane.name]
        where = f"{axis} = {plane.position_nm / 1000:.3f} µm"
        panels = "raw, denoised and overlay" if plane.denoised is not None else "raw and overlay"
        figure = figures.plane_figure(plane, data.objects, data.sites)
        caption = (
            f"Slice at {where} ({directions}; {plane.pixel_nm[0]:g} × {plane.pixel_nm[1]:g} nm per pixel as drawn)."
        )
        pictures.append(picture(figure, f"Slice at {where}: {panels}.", caption, PLATE_DPI))
    keys = [ER_OUTLINE] if any(plane.er is not None for plane in data.planes) else []
    keys += SITE_CLASSES
    keys += [CCV] if any("ccv" in (plane.labels or {}) for plane in data.planes) else []
    return [Section("Slices in three planes", pictures=pictures, keys=keys)]


def _places(data: VolumeReportData) -> Section:
    figure = figures.projection_figure(data.sites, data.size_nm, data.er_projection)
    alt = f"z-projection of {len(data.sites)} site centroids, coloured by class."
    caption = "Centroids of all sites seen along z; circles vesicular, diamonds tubular, larger for more members"
    caption += "; grey: ER summed along z." if data.er_projection is not None else "."
    cluster = picture(
        figures.cluster_figure(data.sites),
        f"Histogram of vesicles per cluster. {_cluster_words(data.sites)}",
        _cluster_words(data.sites),
    )
    return Section("Where they are", pairs=[picture(figure, alt, caption), cluster])


def _cluster_words(sites: pd.DataFrame) -> str:
    rows = sites[sites["site_class"].isin(figures.VESICLE_SITES)]
    if not len(rows):
        return "There are no vesicular sites."
    low, high = figures.CLUSTER_RANGE
    inside = int(rows["cluster_size"].between(low, high).sum())
    return (
        f"{inside} of {len(rows)} vesicular sites have {low}–{high} vesicles within one region; the paper counted "
        f"them by eye, "
        "and a model finds one or a few of a cluster, so the class does not depend on it."
    )


def _sizes(data: VolumeReportData) -> Section:
    vesicles = figures.vesicles_with_class(data.objects, data.sites)
    rows = []
    for swatch in SITE_CLASSES:
        own = vesicles[vesicles["site_class"] == swatch.key]
        if swatch.key not in VESICULAR_CLASSES or not len(own):
            continue
        n, median, mean, spread = median_and_spread(own["diameter_mask_nm"])
        distances = finite(own["er_distance_nm"])
        rows.append(
            (swatch.label, n, median, mean, spread, float(np.median(distances)) if distances.size else float("nan"))
        )
    n, median, _, _ = median_and_spread(vesicles["diameter_mask_nm"])
    near = int((vesicles["er_distance_nm"].astype(float) <= data.near_er_nm + 1e-6).sum())
    words = f"{near} of {len(vesicles)} vesicles lie within {data.near_er_nm:g} nm of the ER."
    if data.er_volume_share is not None:
        words += f" The ER fills {100 * data.er_volume_share:.1f} % of the volume."
    if data.chance_near_er is not None and data.statistics is None:
        words += f" By chance alone, {100 * data.chance_near_er:.0f} % of the volume outside the ER is that near."
    diameter = figures.diameter_figure(data.objects, data.sites)
    distance = figures.distance_figure(data.objects, data.sites, data.near_er_nm)
    pairs = [
        picture(
            diameter,
            f"Histogram of vesicle diameters, n = {n}, median {number(median)} nm.",
            "From the masks: such a diameter moves with the probability threshold. "
            "The paper: 59.2 ± 9.1 nm near the Golgi, 75.7 ± 9.1 nm near the ER.",
        ),
        picture(distance, f"Histogram of vesicle-to-ER distances. {words}", words),
        *size_pictures(data.objects, data.sites, data.near_er_nm),
    ]
    header = ("class of the site", "vesicles", "median nm", "mean nm", "s.d. nm", "median to ER nm")
    return Section(
        "How large, how near", pairs=pairs, grids=[Grid("Vesicles by class", header, rows, wide=True)] if rows else []
    )


def _links(data: VolumeReportData) -> Section:
    if not len(data.links):
        return Section(
            "Links between vesicular and tubular sites",
            text=[f"No vesicular site lies within {data.link_nm:g} nm of a tubular one."],
        )
    forth = [(m.partners, m.sites) for m in multiplicities(data.links, "vesicular_site_id")]
    back = [(m.partners, m.sites) for m in multiplicities(data.links, "tubular_site_id")]
    nearest = data.links.sort_values(["distance_nm", "vesicular_site_id"]).head(FIRST_LINKS)
    listed = [
        (int(r["vesicular_site_id"]), int(r["tubular_site_id"]), float(r["distance_nm"]))
        for r in nearest.to_dict("records")
    ]
    some = "Links" if len(listed) == len(data.links) else f"The {len(listed)} closest of {len(data.links)} links"
    return Section(
        "Links between vesicular and tubular sites",
        text=[f"{len(data.links)} pairs within {data.link_nm:g} nm, surface to surface."],
        grids=[
            Grid("Vesicular sites by number of tubular partners", ("tubular partners", "vesicular sites"), forth),
            Grid("Tubular sites by number of vesicular partners", ("vesicular partners", "tubular sites"), back),
            Grid(some, ("vesicular site", "tubular site", "distance nm"), listed),
        ],
    )


def _first_sites(data: VolumeReportData) -> Section:
    if not len(data.sites):
        return Section("Sites", text=["No group of vesicles and no tubular object was found in this volume."])
    labels = {s.key: s.label.replace(" ", "\u00a0") for s in SITE_CLASSES}
    rows = [
        (
            int(r["site_id"]),
            labels.get(r["site_class"], r["site_class"]),
            int(r["objects"]),
            int(r["cluster_size"]),
            *(round(float(r[f"centroid_{a}_nm"])) for a in "zyx"),
            float(r["er_distance_nm"]),
            int(r["linked_sites"]),
            "yes" if r["near_volume_edge"] else "",
            str(r["reason"]),
        )
        for r in data.sites.head(data.first_sites).to_dict("records")
    ]
    header = ("site", "class", "objects", "cluster", "z nm", "y nm", "x nm", "to ER nm", "links", "edge", "why")
    title = f"Sites 1 to {len(rows)} of {len(data.sites)}" if len(rows) < len(data.sites) else f"All {len(rows)} sites"
    return Section(
        "Sites",
        grids=[
            Grid(title, header, rows, "The whole table is tables/sites.parquet; `cisterna export` adds CSV.", wide=True)
        ],
    )


def _limits(data: VolumeReportData) -> Section:
    edge = int(data.sites["near_volume_edge"].astype(bool).sum()) if len(data.sites) else 0
    points = [
        *data.remarks,
        "Automatic sites are candidates until someone has looked at them (`cisterna review sample`): in the paper, "
        "masks served only as guides "
        "and the vesicles of a site were counted by eye.",
        "Distances run between the centres of the nearest two voxels of two masks. On planes at known gaps they read "
        "+1.2 ± 0.5 nm "
        "at 5.24 × 4 × 4 nm, and up to one voxel at contact.",
        f"Near the ER may be chance: {CHANCE_NEAR_ER}; the paper's 247 of 273 is 90 %.",
        "Better recall can lose sites: objects closer than the grouping distance become one group, and a group "
        "longer than 400 nm is taken for "
        "Golgi. Look at the reasons before comparing two models.",
        "Diameters from masks depend on the threshold (75.7 nm reads 80 / 72 / 65 nm at 0.3 / 0.5 / 0.7). Measure on "
        "the image for a claim.",
        f"{edge} of {len(data.sites)} sites touch or come near the edge of the volume and may be cut.",
        "One cell is n = 1: compare cells, not sites.",
    ]
    return Section("Limits", points=points)
