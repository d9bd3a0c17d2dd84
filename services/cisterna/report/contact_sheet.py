"""A contact sheet of sites: each a row of raw, denoised and overlay in three planes, sorted by class."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from cisterna.chunks import Box
from cisterna.report.canvas import grey_range
from cisterna.report.film import rgb
from cisterna.report.lettering import draw_scale_bar, lettering, write_on
from cisterna.report.palette import ER_OUTLINE, SITE_CLASSES, SITE_COLOURS
from cisterna.report.volume_figures import inner_edge, object_colours
from cisterna.store import CorruptObject, ObjectStore
from cisterna.store.arrays import read_box
from cisterna.store.pyramids import Pyramid

PAGE_PX = (1240, 1754)  # A4 across, 150 dots an inch
DPI = 150
CAPTION_PX, HEAD_PX, EDGE_PX, GAP_PX, PLANE_GAP_PX = 196, 46, 20, 3, 10
MARGIN_NM, SMALLEST_FIELD_NM, FIELD_STEP_NM = 150.0, 500.0, 100.0
OUTSIDE = (92, 96, 104)
INK, MUTED = (29, 39, 51), (91, 102, 115)
PLANES = (("xy", 0), ("xz", 1), ("yz", 2))
OBJECT_CLASSES = ("copi", "tubular_eres")


@dataclass(frozen=True)
class SheetData:
    """What the sheet is made of. `images` holds raw and, where there are any, denoised, labels/er, labels/<class>."""

    store: ObjectStore
    images: Mapping[str, Pyramid]
    sites: pd.DataFrame
    objects: pd.DataFrame
    title: str
    notes: Mapping[int, str]
    """What reviewers said, by site."""


def sheet_order(sites: pd.DataFrame, per_class: int) -> tuple[list[int], dict[str, tuple[int, int]]]:
    """Site numbers in the order of the sheet, and by class how many are shown of how many.

    Of a class with more than `per_class` sites, as many are taken, evenly through its list.
    """
    chosen: list[int] = []
    counts = {}
    for swatch in SITE_CLASSES:
        own = sorted(sites.loc[sites["site_class"] == swatch.key, "site_id"].astype(int).tolist())
        if own:
            places = np.unique(np.linspace(0, len(own) - 1, min(per_class, len(own))).round().astype(int))
            chosen += [own[n] for n in places.tolist()]
            counts[swatch.key] = (len(places), len(own))
    return chosen, counts


@dataclass(frozen=True)
class Layout:
    """Sizes of a sheet's page in pixels."""

    tiles: int
    """Pictures of each plane: 3, or 2 without denoised data."""

    @property
    def rows(self) -> int:
        return max(1, round((PAGE_PX[0] - HEAD_PX - EDGE_PX) / (self._widest + 2 * GAP_PX)))

    @property
    def tile_px(self) -> int:
        """As wide as the page allows, or a little less where one more row then fits."""
        return min(self._widest, (PAGE_PX[0] - HEAD_PX - EDGE_PX) // self.rows - 2 * GAP_PX)

    @property
    def _widest(self) -> int:
        free = PAGE_PX[1] - 2 * EDGE_PX - CAPTION_PX - 2 * PLANE_GAP_PX - 3 * (self.tiles - 1) * GAP_PX
        return free // (3 * self.tiles)


def draw_pages(
    data: SheetData, per_class: int, tell: Callable[[float], None] = lambda share: None
) -> Iterator[np.ndarray]:
    """The pages as RGB uint8, one at a time. No page where there are no sites."""
    order, counts = sheet_order(data.sites, per_class)
    layout = Layout(3 if "denoised" in data.images else 2)
    rows = {int(row["site_id"]): row for row in data.sites.to_dict("records")}
    members = dict(tuple(data.objects.groupby("site_id")))
    colours = {name: _colours(data, name) for name in OBJECT_CLASSES if f"labels/{name}" in data.images}
    pages = -(-len(order) // layout.rows)
    for page in range(pages):
        canvas = np.full((*PAGE_PX, 3), 255, np.uint8)
        _head(canvas, data, layout, counts, f"page {page + 1} of {pages}")
        for place, number in enumerate(order[page * layout.rows : (page + 1) * layout.rows]):
            top = HEAD_PX + place * (layout.tile_px + 2 * GAP_PX)
            site = rows[number]
            centre, field = site_window(site, members.get(number))
            _caption(canvas, site, field, top, layout.tile_px, data.notes.get(number, ""))
            left = EDGE_PX + CAPTION_PX
            for _, axis in PLANES:
                for tile in site_tiles(data, colours, axis, centre, field, layout.tile_px):
                    canvas[top : top + layout.tile_px, left : left + layout.tile_px] = tile
                    left += layout.tile_px + GAP_PX
                left += PLANE_GAP_PX - GAP_PX
            tell((page * layout.rows + place + 1) / len(order))
        yield canvas


def write_sheet(data: SheetData, folder: Path, per_class: int, tell: Callable[[float], None]) -> list[Path]:
    """`contact_sheet.pdf` and one PNG a page; returns their paths. Nothing is written where there are no sites."""
    paths: list[Path] = []
    pdf = folder / "contact_sheet.pdf"
    for number, page in enumerate(draw_pages(data, per_class, tell), 1):
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(page)
        path = folder / f"page_{number:03d}.png"
        picture.save(path, compress_level=3, dpi=(DPI, DPI))
        picture.save(
            pdf, append=number > 1, resolution=DPI, quality=88, title=data.title, producer="Cisterna"
        )  # fmt: skip
        paths.append(path)
    return [pdf, *paths] if paths else []


def site_window(site: Mapping[Any, Any], members: pd.DataFrame | None) -> tuple[np.ndarray, float]:
    """(centre of the cuts z,y,x in nm, edge of the field in nm).

    The cuts go through the member nearest to the centroid: the centroid of a group can lie between its objects.
    """
    centre = np.array([float(site[f"centroid_{a}_nm"]) for a in "zyx"])
    extents = [float(site[f"extent_{a}_nm"]) for a in "zyx"]
    if members is not None and len(members):
        places = members[[f"centroid_{a}_nm" for a in "zyx"]].to_numpy(float)
        nearest = places[np.argmin(((places - centre) ** 2).sum(axis=1))]
        shift = float(np.abs(nearest - centre).max())
        centre, extents = nearest, [e + 2 * shift for e in extents]
    field = max(SMALLEST_FIELD_NM, max(extents) + 2 * MARGIN_NM)
    return centre, float(np.ceil(field / FIELD_STEP_NM) * FIELD_STEP_NM)


def site_tiles(
    data: SheetData, colours: Mapping[str, np.ndarray], axis: int, centre: np.ndarray, field: float, size: int
) -> list[np.ndarray]:
    """raw, denoised (where there is any) and overlay of one plane, RGB uint8; what lies outside the volume is grey."""
    raw, inside = cut(data.store, data.images["raw"], axis, centre, field, size)
    tiles = [_grey(raw, inside)]
    if "denoised" in data.images:
        tiles.append(_grey(*cut(data.store, data.images["denoised"], axis, centre, field, size)))
    overlay = tiles[0].copy()
    if "labels/er" in data.images:
        er, _ = cut(data.store, data.images["labels/er"], axis, centre, field, size)
        overlay[inner_edge(er > 0) & inside] = rgb(ER_OUTLINE.colour)
    for name, lut in colours.items():
        labels, _ = cut(data.store, data.images[f"labels/{name}"], axis, centre, field, size)
        present = labels > 0
        paint = lut[np.minimum(labels, len(lut) - 1)]
        overlay[present] = np.rint(0.45 * overlay[present] + 0.55 * paint[present]).astype(np.uint8)
        edge = inner_edge(present)
        overlay[edge] = paint[edge]
    for tile in tiles[:1]:
        draw_scale_bar(tile, field / size, "nm", size_px=11)
    return [*tiles, overlay]


def cut(
    store: ObjectStore, pyramid: Pyramid, axis: int, centre: np.ndarray, field: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """A square cut across `axis`, `field` nm wide around `centre` (z,y,x nm), sampled to `size` pixels.

    Rows and columns are the other axes in order, except across x, where z runs right beside the other planes' axes:
    xy is (y, x), xz is (z, x), yz is (y, z). Also returns what lies inside the volume; outside is 0.
    """
    pixel = field / size
    start = next((n for n in range(len(pyramid.levels) - 1, -1, -1) if max(pyramid.levels[n].scale) <= pixel), 0)
    for n in range(start, -1, -1):
        try:
            picture, inside = _sample(store, pyramid, n, axis, centre, field, size)
            break
        except CorruptObject:
            if n == 0:
                raise  # a coarser level may never have been made; the finest must be there
    return (picture.T, inside.T) if axis == 2 else (picture, inside)


def _sample(
    store: ObjectStore, pyramid: Pyramid, n: int, axis: int, centre: np.ndarray, field: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    level = pyramid.levels[n]
    steps = (np.arange(size) + 0.5) * field / size - field / 2
    indices = [
        np.floor((centre[a] + (np.zeros(1) if a == axis else steps)) / level.scale[a] + 1e-9).astype(int)
        for a in range(3)
    ]
    indices[axis] = np.clip(indices[axis], 0, level.shape[axis] - 1)
    valid = [(i >= 0) & (i < s) for i, s in zip(indices, level.shape, strict=True)]
    if not all(v.any() for v in valid):
        return np.zeros((size, size), np.uint8), np.zeros((size, size), bool)
    low = [int(i[v].min()) for i, v in zip(indices, valid, strict=True)]
    high = [int(i[v].max()) + 1 for i, v in zip(indices, valid, strict=True)]
    data = np.take(read_box(store, level.path, Box.from_bounds(low, high)), 0, axis)
    rows, columns = (a for a in range(3) if a != axis)
    pick = [np.clip(indices[a] - low[a], 0, high[a] - low[a] - 1) for a in (rows, columns)]
    inside = valid[rows][:, None] & valid[columns][None, :]
    return np.where(inside, data[pick[0][:, None], pick[1][None, :]], 0), inside


def _grey(picture: np.ndarray, inside: np.ndarray) -> np.ndarray:
    low, high = grey_range(picture[inside]) if inside.any() else (0.0, 1.0)
    scaled = np.clip((np.nan_to_num(picture.astype(np.float32), nan=low) - low) / (high - low), 0, 1)
    tile = np.repeat(np.rint(255 * scaled).astype(np.uint8)[..., None], 3, axis=2)
    tile[~inside] = OUTSIDE
    return tile


def _colours(data: SheetData, name: str) -> np.ndarray:
    """RGB uint8 of every object id of a class: its site's colour."""
    own = data.objects[data.objects["class"] == name]
    ids = int(own["object_id"].max()) if len(own) else 0
    table: np.ndarray = np.rint(255 * object_colours(data.objects, data.sites, name, ids + 1)).astype(np.uint8)
    return table


def _head(
    canvas: np.ndarray, data: SheetData, layout: Layout, counts: Mapping[str, tuple[int, int]], page: str
) -> None:
    write_on(canvas, data.title, 6, EDGE_PX, 14, INK, bold=True)
    write_on(canvas, page, 6, PAGE_PX[1] - EDGE_PX, 12, MUTED, anchor="right")
    left = EDGE_PX + lettering(data.title, 14, True).shape[1] + 24
    for swatch in SITE_CLASSES:
        if swatch.key in counts:
            shown, of = counts[swatch.key]
            canvas[9:20, left : left + 11] = rgb(swatch.colour)
            left += 16 + write_on(canvas, f"{swatch.label} {shown} of {of}", 6, left + 16, 11, MUTED) + 14
    left = EDGE_PX + CAPTION_PX
    names = ("raw", "denoised", "overlay") if layout.tiles == 3 else ("raw", "overlay")
    for plane, _ in PLANES:
        for name in names:
            write_on(canvas, f"{plane} {name}", HEAD_PX - 17, left + 1, 11, MUTED)
            left += layout.tile_px + GAP_PX
        left += PLANE_GAP_PX - GAP_PX


def _caption(canvas: np.ndarray, site: Mapping[Any, Any], field: float, top: int, height: int, note: str) -> None:
    colour = SITE_COLOURS.get(str(site["site_class"]), "#7F8793")
    label = next((s.label for s in SITE_CLASSES if s.key == site["site_class"]), str(site["site_class"]))
    canvas[top : top + height, EDGE_PX : EDGE_PX + 5] = rgb(colour)
    left, row = EDGE_PX + 12, top
    write_on(canvas, f"site {int(site['site_id'])}", row, left, 15, INK, bold=True)
    distance = float(site["er_distance_nm"])
    near = f"{distance:.0f} nm to the ER" if np.isfinite(distance) else "beyond the search for ER"
    place = ", ".join(f"{float(site[f'centroid_{a}_nm']) / 1000:.3f}" for a in "xyz")
    count = int(site["objects"])
    members = f"{count} object{'s' * (count != 1)}, cluster {int(site['cluster_size'])}"
    lines = [label, members, near, f"x y z {place} µm"]
    lines += ["near the edge of the volume"] if bool(site["near_volume_edge"]) else []
    lines += [f"field {field:.0f} nm"] + ([note] if note else [])
    row += 20
    for line in [part for text in [*lines, str(site["reason"])] for part in _broken(text, CAPTION_PX - 20)]:
        if row + 13 > top + height:
            break
        write_on(canvas, line, row, left, 10, MUTED if row > top + 20 else INK)
        row += 13


def _broken(text: str, width: int, size_px: int = 10) -> Sequence[str]:
    """The text in lines that fit the width."""
    lines = [""]
    for word in text.split():
        trial = f"{lines[-1]} {word}".strip()
        if lettering(trial, size_px).shape[1] <= width or not lines[-1]:
            lines[-1] = trial
        else:
            lines.append(word)
    return lines
