"""What stands beside the counts of a volume: chance, densities, effect sizes, sensitivity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cisterna.chunks import Box
from cisterna.eres.areas import surface_area_nm2
from cisterna.eres.classify import as_labels, as_mask, check_voxel_size
from cisterna.eres.densities import CellSize, densities
from cisterna.eres.distances import measure_block, measure_regions
from cisterna.eres.effects import effects
from cisterna.eres.least_distances import Distances
from cisterna.eres.relocation import chance_table
from cisterna.eres.rules import Rules
from cisterna.eres.sensitivity import Variant, sensitivity_table
from cisterna.eres.sites import Sites, region_members
from cisterna.eres.survey import Groups, Masks, Survey, survey_block

PLACES = 200_000
RELOCATIONS = 1000
WIDENED = 1.2


@dataclass(frozen=True)
class SiteStatistics:
    """The tables `chance`, `densities`, `effects`, `sensitivity` (cisterna.tables.statistics), what densities are
    divided by, and what a reader must know."""

    chance: pd.DataFrame
    densities: pd.DataFrame
    effects: pd.DataFrame
    sensitivity: pd.DataFrame
    size: CellSize
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """What stands beside the tables in statistics.json."""
        return {"size": self.size.document(), "notes": list(self.notes)}


def cell_size(survey: Survey, voxel_size_nm: Sequence[float], cell_given: bool) -> CellSize:
    """Volumes (µm³) and the ER's surface (µm²) of a survey."""
    voxel = float(np.prod(voxel_size_nm)) * 1e-9
    whole, cell, cytosol, er = (float(v) * voxel for v in survey.voxels)
    return CellSize(cell_given, whole, cell, cytosol, er, surface_area_nm2(survey.crossings, voxel_size_nm) * 1e-6)


def summarise(
    vesicles: pd.DataFrame,
    tubular: pd.DataFrame,
    objects: pd.DataFrame,
    sites: pd.DataFrame,
    distances: Distances,
    survey: Survey,
    voxel_size_nm: Sequence[float],
    volume_shape: Sequence[int],
    rules: Rules,
    golgi_given: bool,
    cell_given: bool,
    places: int = PLACES,
    relocations: int = RELOCATIONS,
    seed: int = 0,
    widened: float = WIDENED,
    variants: Sequence[Variant] = (),
) -> SiteStatistics:
    """All statistics of a volume. ``distances`` reach ``rules.widened(widened)``; ``survey`` is of all blocks."""
    size = cell_size(survey, voxel_size_nm, cell_given)
    chance = chance_table(objects, sites, survey, rules, voxel_size_nm, volume_shape, places, relocations, seed)
    moved = sensitivity_table(vesicles, tubular, distances, rules, golgi_given, widened, variants)
    notes = [
        "The cell is the mask given." if cell_given else "No cell mask was given: the cell is the whole volume.",
        "Chance: vesicles as balls of their volume, groups moved but not turned, to random places of the cytosol (the "
        "cell without ER, tubular sites and the masks given) outside the Golgi rule's reach; relocated groups do not "
        "exclude each other.",
        "P values and intervals are of this one cell and its objects: compare conditions over cells and experiments.",
    ]
    return SiteStatistics(
        chance, densities(objects, sites, size), effects(objects, sites, seed), moved, size, tuple(notes)
    )


def site_statistics(
    sites: Sites,
    vesicle_labels: ArrayLike,
    tubular_labels: ArrayLike,
    er_mask: ArrayLike,
    voxel_size_nm: Sequence[float],
    golgi_mask: ArrayLike | None = None,
    cell_mask: ArrayLike | None = None,
    organelle_mask: ArrayLike | None = None,
    ccv_mask: ArrayLike | None = None,
    places: int = PLACES,
    relocations: int = RELOCATIONS,
    seed: int = 0,
    widened: float = WIDENED,
) -> SiteStatistics:
    """Statistics of the sites that :func:`cisterna.eres.classify_sites` found in the same arrays (Z,Y,X).

    Labels are whole numbers, as they were classified.
    ``cell_mask``: where the cell is (default: everywhere); ``organelle_mask``: what else no vesicle can lie in
    (nucleus, mitochondria). Everything in memory; the service gives the same tables block by block.
    """
    size = check_voxel_size(voxel_size_nm)
    vesicles = as_labels(vesicle_labels, "vesicle_labels")
    tubular = as_labels(tubular_labels, "tubular_labels", vesicles.shape)
    if np.asarray(vesicle_labels).dtype == bool or np.asarray(tubular_labels).dtype == bool:
        raise ValueError("labels are bool masks: give the whole-number labels that the sites were made of")
    er, golgi, cell, organelles, ccv = (
        None if m is None else as_mask(m, name, vesicles.shape)
        for m, name in (
            (er_mask, "er_mask"),
            (golgi_mask, "golgi_mask"),
            (cell_mask, "cell_mask"),
            (organelle_mask, "organelle_mask"),
            (ccv_mask, "ccv_mask"),
        )
    )
    assert er is not None
    rules, whole = sites.rules, Box.whole(vesicles.shape)
    from_mask = rules.golgi_from_mask(golgi is not None)
    wide = rules.widened(widened)
    frames = [sites.objects[sites.objects["class"] == c].reset_index(drop=True) for c in ("copi", "tubular_eres")]
    distances = measure_block(vesicles, tubular, er, golgi, whole, size, wide, ccv)
    if not from_mask:
        members, _, _ = region_members(frames[0], distances.vesicle_vesicle, rules, widened)
        distances = replace(distances, vesicle_region=measure_regions(vesicles, members, whole, size, wide))
    reference = golgi if from_mask else np.isin(vesicles, region_objects(sites.objects, sites.sites))
    groups = Groups.of_tables(sites.objects, sites.sites, rules).several()
    survey = survey_block(
        Masks(er, tubular != 0, golgi, cell, organelles), whole, (0, 0, 0), vesicles.shape, size, rules, groups,
        places, seed, None if reference is None or not reference.any() else (reference, (0, 0, 0)),
    )  # fmt: skip
    return summarise(
        frames[0], frames[1], sites.objects, sites.sites, distances, survey, size, vesicles.shape, rules,
        golgi is not None, cell is not None, places, relocations, seed, widened,
    )  # fmt: skip


def region_objects(objects: pd.DataFrame, sites: pd.DataFrame) -> np.ndarray:
    """Ids of the vesicles of groups that are the Golgi reference by their extent."""
    large = sites.loc[sites["excluded_by"] == "extent", "site_id"]
    chosen = (objects["class"] == "copi") & objects["site_id"].isin(large)
    ids: np.ndarray = objects.loc[chosen, "object_id"].to_numpy(np.int64)
    return ids
