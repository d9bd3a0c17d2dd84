"""Every row of "What happens to odd input" in docs/ernet.md, from file to tables."""

from __future__ import annotations

from io import BytesIO

import networkx as nx
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr
from cisterna.acquire import Selection, UnusableInput, ingest_movie
from cisterna.chunks import Box
from cisterna.compare.runs import read_run_tables
from cisterna.compare.study import Row
from cisterna.ernet.frames import normalise_frame
from cisterna.phantoms.er_stack import er_stack
from cisterna.report.build import build_report
from cisterna.report.document import read_document
from cisterna.report.export import export_run
from cisterna.report.page import run_warnings
from cisterna.runs.recipes import RecipeError
from cisterna.store import open_store
from cisterna.store.arrays import read_box
from movie_line import QUICK, SIZES, Line, movie_line

RNG = np.random.default_rng(7)


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    with movie_line(tmp_path_factory.mktemp("line")) as one:
        yield one


def grid(shape=(2, 40, 48), dtype=np.uint16, scale=1.0):
    """Bright lines on a dark, slightly noisy ground: a network of 3 × 3 crossings."""
    lines = np.zeros(shape, bool)
    for edge in (10, 20, 30):
        lines[..., edge - 1 : edge + 2, :] = True
        lines[..., edge - 1 : edge + 2] = True
    return np.clip((RNG.normal(100, 8, shape) + 1000 * lines) * scale, 0, None).astype(dtype)


def succeeded(document):
    assert document["state"] == "SUCCEEDED", document["error"]
    return document


def said(document, words):
    return any(words in note for note in document["notes"])


def test_an_ordinary_movie_is_measured(line: Line):
    document = succeeded(line.run(line.written("plain", grid())))
    frames = line.table(document, "frames")
    assert frames["junctions"].tolist() == [9, 9]


@pytest.mark.parametrize("shape", [(0, 20, 20), (3, 0, 20), (3, 20, 0)])
def test_no_pixels_are_refused(tmp_path, shape):
    zarr.create_array(str(tmp_path / "empty.zarr"), shape=shape, dtype="uint8", chunks=(1, 20, 20))
    refused(tmp_path, tmp_path / "empty.zarr", "no voxels")


def refused(tmp_path, path, words, **options):
    store = open_store(f"file://{tmp_path}/refused")
    before = store.list("acquisitions")
    with pytest.raises(UnusableInput, match=words) as error:
        ingest_movie(store, path, **{**SIZES, **options})
    assert "\n" not in str(error.value)
    assert store.list("acquisitions") == before == []


@pytest.mark.parametrize(
    ("shape", "words"), [((50,), "1 axes"), ((2, 3, 20, 20), "name them with --axes"), ((2, 3, 4, 20, 20), "--axes")]
)
def test_another_number_of_axes_is_refused(tmp_path, shape, words):
    zarr.create_array(str(tmp_path / "rank.zarr"), data=np.zeros(shape, np.uint8))
    refused(tmp_path, tmp_path / "rank.zarr", words)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_values_that_are_no_grey_values_are_refused(tmp_path, dtype):
    zarr.create_array(str(tmp_path / "c.zarr"), data=np.ones((2, 20, 20), dtype))
    refused(tmp_path, tmp_path / "c.zarr", f"{dtype} values: save it as")


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("uint8", "uint8"), ("uint16", "uint16"), ("float32", "float32"), ("int16", "uint16"), ("int8", "uint8"),
     ("float16", "float32"), ("int32", "float32"), ("uint32", "float32"), ("uint64", "float32"),
     ("float64", "float32"), ("bool", "uint8"), (">u2", "uint16")],
)  # fmt: skip
def test_every_other_type_shows_the_network_the_same_picture(tmp_path, dtype, stored):
    picture = grid(dtype=np.float64, scale=0.1)
    data = picture > 50 if dtype == "bool" else picture.astype(dtype)
    zarr.create_array(str(tmp_path / "type.zarr"), data=data)
    store = open_store(f"file://{tmp_path}/store")
    manifest = ingest_movie(store, tmp_path / "type.zarr", selection=Selection(axes="TYX"), **SIZES).manifest
    raw, native = manifest["arrays"]["raw"], np.dtype(dtype).newbyteorder("=").name
    assert raw["dtype"] == stored
    assert any(f"{native} values" in n for n in manifest["notes"]) == (native not in ("uint8", "uint16", "float32"))
    span = [manifest["statistics"][f"stack_{end}"] for end in ("min", "max")]
    for t in range(2):
        seen = normalise_frame(read_box(store, f"{raw['path']}/0", Box((t, 0, 0), (1, 40, 48)))[0], *span)
        plain = normalise_frame(data[t].astype(float), float(data.min()), float(data.max()))
        assert np.abs(seen - plain).max() <= 2 / 255


def test_a_movie_of_unsigned_64_bit_values_runs_to_its_end(line: Line):
    path = line.folder / "wide.zarr"
    zarr.create_array(str(path), data=grid(dtype=np.uint64))
    document = succeeded(line.run(path, selection=Selection(axes="TYX")))
    assert line.table(document, "frames")["junctions"].tolist() == [9, 9]


@pytest.mark.parametrize("value", [0, 4095])
def test_a_constant_movie_holds_no_network_and_says_so(line: Line, value):
    document = succeeded(line.run(line.written(f"constant{value}", np.full((2, 33, 40), value, np.uint16))))
    assert said(document, f"is constant ({value})")
    frames = line.table(document, "frames")
    assert frames["nodes"].tolist() == frames["edges"].tolist() == [0, 0]
    assert frames["snr_flag"].tolist() == ["snr_not_applicable"] * 2
    assert frames["er_share_of_image"].tolist() == [0.0, 0.0]


def test_some_values_that_are_no_numbers_are_filled_with_the_median(line: Line):
    data = grid(dtype=np.float32)
    data[0, 14:17, 14:17] = np.nan
    data[1, 5, 5] = np.inf
    document = succeeded(line.run(line.written("nan", data)))
    assert said(document, "10 values (0.26%) are not finite; they were set to")
    assert line.table(document, "frames")["junctions"].tolist() == [9, 9]


def test_a_frame_without_a_number_is_an_empty_frame_and_all_frames_are_refused(line: Line, tmp_path):
    data = grid(dtype=np.float32)
    data[1] = np.nan
    document = succeeded(line.run(line.written("nan-frame", data)))
    assert line.table(document, "frames")["junctions"].tolist() == [9, 0]
    refused(tmp_path, line.written("nan-all", np.full((2, 20, 20), np.nan, np.float32)), "no finite value")


def test_one_frame_needs_no_interval_and_has_no_lifetimes(line: Line):
    document = succeeded(
        line.run(line.written("one", grid((40, 48))), frame_interval_s=None, recipe="graph: {resamples: 0}")
    )
    assert said(document, "one frame: nothing can be said about lifetimes")
    assert line.table(document, "frames")["junctions"].tolist() == [9]
    assert line.table(document, "junctions")["censored"].all()
    assert "floor" not in document["tables"]


def test_two_frames_have_no_floor_of_lifetimes(line: Line):
    document = succeeded(line.run(line.written("two", grid()), recipe="graph: {resamples: 0}"))
    assert "floor" not in document["tables"]
    assert len(line.table(document, "junctions")) == 9


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (15, 15), (1, 64), (33, 57)])
def test_tiny_and_odd_frames_have_ordinary_rows(line: Line, shape):
    data = RNG.integers(0, 200, (2, *shape)).astype(np.uint8)
    document = succeeded(line.run(line.written(f"tiny{shape}", data, metadata={"axes": "TYX"})))
    frames = line.table(document, "frames")
    assert frames["frame"].tolist() == [0, 1]
    assert frames["area_um2"].tolist() == pytest.approx([shape[0] * shape[1] * 0.01] * 2)


def test_saturated_frames_are_measured_with_a_note(line: Line):
    data = np.clip(grid(scale=3), 0, 1500)
    document = succeeded(line.run(line.written("bright", data)))
    assert said(document, "of the pixels have the highest value, 1500: they may be saturated")
    assert line.table(document, "frames")["junctions"].tolist() == [9, 9]
    assert not said(line.run(line.written("fair", grid())), "saturated")


@pytest.mark.parametrize("size", [0.0, -0.1, float("nan"), float("inf")])
def test_a_pixel_size_must_be_a_positive_number(line: Line, tmp_path, size):
    refused(tmp_path, line.written("size", grid()), "not usable: give a positive number", pixel_size_um=size)


def test_without_a_pixel_size_nothing_is_registered(line: Line, tmp_path):
    path = line.written("nosize", grid())
    refused(tmp_path, path, "states no pixel size: give it with --pixel-size-nm", pixel_size_um=None)
    refused(tmp_path, path, "states no frame interval: give it with --frame-interval-s", frame_interval_s=None)


def test_other_pixels_are_resampled_with_a_warning_and_a_wrong_unit_is_refused(line: Line):
    wide = np.repeat(np.repeat(grid(), 2, axis=1), 2, axis=2)
    document = succeeded(line.run(line.written("fine", wide), pixel_size_um=0.05))
    assert line.table(document, "frames")["junctions"].tolist() == [9, 9]
    assert any("trained at 0.1 µm" in w for w in document["warnings"])
    for size in (65.0, 0.0065):
        with pytest.raises(RecipeError, match=r"8 times larger or smaller .*correct the pixel size"):
            line.plan(line.written("unit", grid()), pixel_size_um=size)


# -- z-stacks, from file to report ------------------------------------------------------------------------------------

STACK = er_stack(2, (9, 64, 64), layers=1, snr=1e5, seed=4)


@pytest.fixture(scope="module")
def stack_file(line: Line):
    path = line.folder / "z.ome.tif"
    about = {"axes": "TZYX", "PhysicalSizeZ": 0.2, "PhysicalSizeZUnit": "µm"}
    tifffile.imwrite(path, STACK.frames, ome=True, photometric="minisblack", metadata=about)
    return path


@pytest.mark.parametrize("recipe", ["z_mode: single\nz_section: 4", "z_mode: max_projection"])
def test_a_flat_result_of_a_z_stack_says_that_it_is_one(line: Line, stack_file, recipe):
    document = succeeded(line.run(stack_file, f"{QUICK}\n{recipe}"))
    assert said(document, "valid for flat cells")
    assert len(line.table(document, "frames")) == 2
    for name in ("frames", "nodes", "junctions"):
        about = pq.read_schema(BytesIO(line.store.get(document["tables"][name]))).metadata
        assert about[b"cisterna_note"].decode().endswith("valid for flat cells")
    shown = run_warnings(read_document(line.store.get(f"runs/{document['run_id']}/run.json")))
    assert any("valid for flat cells" in text for text in shown)  # what every report opens with


def test_every_section_is_segmented_and_the_network_traced_through_them(line: Line, stack_file):
    document = succeeded(line.run(stack_file, f"{QUICK}\nz_mode: per_section"))
    assert {n: s["blocks"] for n, s in document["stages"].items()} == {
        "ernet": 18, "graph-trace-stack": 2, "graph-summary-stack": 1,
    }  # fmt: skip
    classes = read_box(line.store, f"{document['arrays']['ernet/classes']}/0", Box.whole((2, 9, 64, 64)))
    assert set(np.unique(classes)) == {0, 2}
    frames = line.table(document, "stack_frames")
    assert frames["sections"].tolist() == [9, 9]
    assert (frames["junctions"] > 0).all()
    assert line.table(document, "stack_nodes")["z_um"].between(0, 1.6 + 1e-9).all()
    assert any("were not made" in w for w in document["warnings"])
    page = build_report(line.store, document["run_id"]).decode()
    for words in ("ER network in 3-D", "9 z sections each", "were not made", "from the side"):
        assert words in page
    out = line.folder / "exported"
    written = export_run(line.store, document["run_id"], out, ("tables", "networks", "film", "tiff"))
    assert written.absent == ("film (of flat movies only)",)
    with tifffile.TiffFile(out / "tiff/ernet_classes.tif") as tif:
        assert (tif.series[0].axes, tif.imagej_metadata["spacing"]) == ("TZYX", 0.2)
        np.testing.assert_array_equal(tif.asarray(), classes)
    graph = nx.read_graphml(out / "networks/graphml/frame_00001.graphml")
    assert len(graph) == frames["nodes"].iloc[1]
    assert all("z_um" in about for _, about in graph.nodes(data=True))
    with pytest.raises(ValueError, match=r"traced z sections in 3-D: .*z_mode max_projection"):
        read_run_tables(Row(document["run_id"], "control", "1", "1"), line.store)


def test_a_recipe_with_another_z_mode_than_its_acquisition_is_refused(line: Line, stack_file):
    with pytest.raises(RecipeError, match=r"z_mode null, but acquisition .* was made with z_mode max_projection"):
        line.plan(stack_file, selection=Selection(z_mode="max_projection"))
    with pytest.raises(RecipeError, match=r"z_mode per_section, but acquisition .* was made from no z-stack"):
        line.plan(line.written("flat", grid()), "z_mode: per_section", selection=Selection())
