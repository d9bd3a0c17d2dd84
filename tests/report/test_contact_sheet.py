"""The contact sheet: every site once, sorted by class, the right voxels in the right plane, paged and limited."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from cisterna.report.contact_sheet import (
    EDGE_PX,
    HEAD_PX,
    PAGE_PX,
    Layout,
    SheetData,
    cut,
    draw_pages,
    sheet_order,
    site_tiles,
    site_window,
    write_sheet,
)
from cisterna.report.film import rgb
from cisterna.report.palette import SITE_COLOURS
from cisterna.store import CorruptObject
from cisterna.store.objects import connect
from cisterna.store.pyramids import read_pyramid
from PIL import Image, PdfParser


def coded(make, shape=(60, 70, 80), voxel=(5.24, 4.0, 4.0), leave_out=()):
    """A volume whose value says where a voxel is: z + 100 y + 10,000 x."""
    store = connect("memory://")
    z, y, x = np.indices(shape)
    make.put_image(store, "c.ome.zarr", (z + 100 * y + 10_000 * x).astype(np.uint32), "zyx", voxel, leave_out)
    return store, read_pyramid(store, "c.ome.zarr")


@pytest.mark.parametrize(("axis", "rows", "columns"), [(0, "y", "x"), (1, "z", "x"), (2, "y", "z")])
def test_a_cut_holds_the_voxels_of_its_plane(make, axis, rows, columns):
    store, pyramid = coded(make)
    voxel = np.array([5.24, 4.0, 4.0])
    centre = np.array([30.5, 35.5, 40.5]) * voxel
    picture, inside = cut(store, pyramid, axis, centre, 100.0, 50)
    assert inside.all()
    index = {"z": picture % 100, "y": picture // 100 % 100, "x": picture // 10_000}
    fixed = "zyx"[axis]
    assert (index[fixed] == [30, 35, 40][axis]).all()
    steps = (np.arange(50) + 0.5) * 2.0 - 50.0
    for name, along in ((rows, 0), (columns, 1)):
        n = "zyx".index(name)
        expected = np.floor((centre[n] + steps) / voxel[n])
        assert (index[name] == (expected[:, None] if along == 0 else expected[None, :])).all()


def test_beyond_the_volume_is_marked(make):
    store, pyramid = coded(make)
    picture, inside = cut(store, pyramid, 0, np.array([2.0, 2.0, 2.0]), 100.0, 50)
    assert not inside[:23].any()
    assert inside[26:, 26:].all()
    assert (picture[~inside] == 0).all()
    assert not cut(store, pyramid, 0, np.array([100.0, -900.0, 100.0]), 100.0, 50)[1].any()


def test_a_wide_field_is_read_from_a_coarser_level(make):
    store, pyramid = coded(make, shape=(40, 300, 300), voxel=(4.0, 4.0, 4.0))
    assert len(pyramid.levels) > 1
    fine = pyramid.levels[0].path
    for path in store.list(f"{fine}/c"):
        store.delete(path)
    picture, _ = cut(store, pyramid, 0, np.array([80.0, 600.0, 600.0]), 1000.0, 100)
    assert (picture > 0).all()
    with pytest.raises(CorruptObject):
        cut(store, pyramid, 0, np.array([80.0, 600.0, 600.0]), 200.0, 100)


def sites_of(counts):
    rows, number = [], 1
    for key, count in counts.items():
        for _ in range(count):
            rows.append((number, key))
            number += 1
    rng = np.random.default_rng(0)
    return pd.DataFrame(rows, columns=["site_id", "site_class"]).sample(frac=1, random_state=rng.integers(99))


def test_order_is_by_class_then_number_and_limited_evenly():
    order, counts = sheet_order(sites_of({"dispersed": 3, "vesicular_standalone": 100, "tubular_mixed": 1}), 10)
    assert counts == {"vesicular_standalone": (10, 100), "tubular_mixed": (1, 1), "dispersed": (3, 3)}
    assert len(order) == len(set(order)) == 14
    assert order[:10] == sorted(order[:10])
    assert (order[0], order[9]) == (4, 103)
    assert max(np.diff(order[:10])) - min(np.diff(order[:10])) <= 1
    assert order[10:] == [104, 1, 2, 3]


def test_the_cut_goes_through_a_member():
    site = {f"centroid_{a}_nm": 500.0 for a in "zyx"} | {f"extent_{a}_nm": 300.0 for a in "zyx"}
    members = pd.DataFrame([{f"centroid_{a}_nm": v for a in "zyx"} for v in (380.0, 640.0)])
    centre, field = site_window(site, members)
    assert centre.tolist() == [380.0] * 3
    assert field >= 300 + 2 * 120 + 300
    assert field % 100 == 0
    assert site_window(site, None)[0].tolist() == [500.0] * 3


@pytest.fixture(scope="module")
def sheet(make):
    volume = make.volume(shape=(40, 64, 72), bodies=9)
    store = connect("memory://")
    make.put_volume_run(store, volume)
    names = ("raw", "denoised", "labels/er", "labels/copi", "labels/tubular_eres")
    images = {n: read_pyramid(store, f"stages/{n.replace('/', '-')}/k/image.ome.zarr") for n in names}
    return SheetData(
        store, images, volume.sites, volume.objects, "Sites of cell-7", {1: "reviewed: vesicle cluster"}
    ), volume


def test_the_overlay_paints_a_site_in_the_colour_of_its_class(sheet):
    data, volume = sheet
    from cisterna.report.contact_sheet import _colours

    colours = {name: _colours(data, name) for name in ("copi", "tubular_eres")}
    for row in volume.objects.to_dict("records"):
        centre = np.array([row[f"centroid_{a}_nm"] for a in "zyx"])
        for axis in range(3):
            raw, denoised, overlay = site_tiles(data, colours, axis, centre, 200.0, 100)
            grey = raw[50, 50].astype(float)
            assert grey.std() == 0
            site_class = volume.sites.set_index("site_id")["site_class"][row["site_id"]]
            expected = 0.45 * grey + 0.55 * np.array(rgb(SITE_COLOURS[site_class]))
            assert overlay[50, 50] == pytest.approx(expected, abs=2)
            assert not np.array_equal(raw, denoised)


def test_pages_hold_every_site_once(sheet, tmp_path):
    data, volume = sheet
    layout = Layout(3)
    told = []
    paths = write_sheet(data, tmp_path / "s", 60, told.append)
    pages = -(-len(volume.sites) // layout.rows)
    assert [p.name for p in paths] == ["contact_sheet.pdf", *(f"page_{n:03d}.png" for n in range(1, pages + 1))]
    assert told[-1] == 1.0
    with PdfParser.PdfParser(paths[0]) as pdf:
        assert len(pdf.pages) == pages
    bars = []
    for path in paths[1:]:
        page = np.asarray(Image.open(path).convert("RGB"))
        assert page.shape == (*PAGE_PX, 3)
        for place in range(layout.rows):
            bars.append(tuple(page[HEAD_PX + place * (layout.tile_px + 6) + 5, EDGE_PX + 2].tolist()))
    order, _ = sheet_order(volume.sites, 60)
    classes = volume.sites.set_index("site_id")["site_class"]
    assert bars[: len(order)] == [rgb(SITE_COLOURS[classes[n]]) for n in order]
    assert set(bars[len(order) :]) <= {(255, 255, 255)}


def test_a_limit_and_no_denoised_data(sheet):
    data, _ = sheet
    less = dataclasses.replace(data, images={k: v for k, v in data.images.items() if k != "denoised"})
    pages = list(draw_pages(less, 1))
    shown = len(sheet_order(data.sites, 1)[0])
    assert shown == data.sites["site_class"].nunique()
    assert len(pages) == -(-shown // Layout(2).rows)
    assert Layout(2).tile_px > Layout(3).tile_px


def test_no_sites_no_pages(sheet, tmp_path):
    data, _ = sheet
    assert write_sheet(dataclasses.replace(data, sites=data.sites.iloc[:0]), tmp_path / "none", 9, lambda s: None) == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("tiles", [2, 3])
def test_rows_fit_on_the_page(tiles):
    layout = Layout(tiles)
    assert HEAD_PX + layout.rows * (layout.tile_px + 6) <= PAGE_PX[0]
