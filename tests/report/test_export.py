"""One folder: the same voxels, the same rows, readable by others, and never half an export that looks whole."""

import dataclasses
import json

import networkx
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from cisterna.graph.exports import read_net
from cisterna.report.choices import Choices
from cisterna.report.contents import files_below, unlisted
from cisterna.report.export import NOTE, UNFINISHED, chosen_parts, export_run, part_names
from cisterna.report.images import write_stack
from cisterna.report.network_files import frame_graph
from cisterna.report.palette import SITE_CLASSES
from cisterna.store import CorruptObject, ObjectMissing
from cisterna.store.pyramids import Level, Pyramid
from cisterna.tables.schema import Column, Table


@pytest.fixture(scope="module")
def small(make):
    return make.volume(shape=(40, 64, 72), bodies=9)


@pytest.fixture(scope="module")
def short(make):
    return make.movie(count=3, size=64)


@pytest.fixture(scope="module")
def whole_volume(make, small, tmp_path_factory):
    """Everything of a volume, at one site."""
    from cisterna.store.objects import connect

    store = connect("memory://")
    told = []
    run_id = make.put_volume_run(store, small)
    folder = tmp_path_factory.mktemp("export") / "out"
    done = export_run(
        store,
        run_id,
        folder,
        choices=Choices(at_site=2, base_url="https://data.example.org/x/"),
        tell=lambda *a: told.append(a),
    )
    return done, told


def test_a_volume_leaves_as_zarr_tiff_parquet_and_csv(whole_volume, small):
    done, told = whole_volume
    assert done.absent == ()
    assert done.bytes == sum((done.folder / f).stat().st_size for f in done.files)
    assert {"report.html", "run.json", "neuroglancer.json", "tables/sites.csv", "tiff/labels_copi.tif"} <= set(
        done.files
    )
    image = zarr.open_group(done.folder / "arrays/labels/copi.ome.zarr", mode="r")
    assert np.array_equal(image["0"][...], small.labels["copi"])
    assert image.attrs["ome"]["version"] == "0.5"
    with tifffile.TiffFile(done.folder / "tiff/raw.tif") as tiff:
        assert np.array_equal(tiff.asarray(), small.raw)
        assert tiff.imagej_metadata["spacing"] == 8.0
        assert tiff.imagej_metadata["unit"] == "nm"
        x = tiff.pages[0].tags["XResolution"].value
        assert x[0] / x[1] == pytest.approx(1 / 8)
    labels = tifffile.imread(done.folder / "tiff/labels_copi.tif")
    assert labels.dtype == np.uint16
    assert np.array_equal(labels, small.labels["copi"])
    sites = pd.read_csv(done.folder / "tables/sites.csv")
    assert sites["site_id"].tolist() == small.sites["site_id"].tolist()
    assert sites["centroid_x_nm"].to_numpy() == pytest.approx(small.sites["centroid_x_nm"].to_numpy())
    assert len(pd.read_parquet(done.folder / "tables/objects.parquet")) == len(small.objects)
    assert told[0] == ("report.html", 0.0)
    shares = [share for what, share in told if what == "raw.tif"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_objects_of_sites_are_numbered_by_class_in_one_stack(whole_volume, small):
    stack = tifffile.imread(whole_volume[0].folder / "tiff/site_classes.tif")
    assert stack.dtype == np.uint8
    expected = np.zeros_like(stack)
    classes = small.sites.set_index("site_id")["site_class"]
    for row in small.objects.to_dict("records"):
        number = 1 + [s.key for s in SITE_CLASSES].index(classes[row["site_id"]])
        expected[small.labels[row["class"]] == row["object_id"]] = number
    assert np.array_equal(stack, expected)


def test_every_file_stands_in_the_list_and_the_list_is_true(whole_volume):
    done, _ = whole_volume
    manifest = json.loads((done.folder / "manifest.json").read_text())
    listed = {f["path"]: f["bytes"] for f in manifest["files"]}
    there = dict(files_below(done.folder))
    assert listed == {path: size for path, size in there.items() if path not in ("index.html", "manifest.json")}
    page = (done.folder / "index.html").read_text()
    for chapter in manifest["chapters"]:
        for entry in chapter["entries"]:
            assert (done.folder / entry["path"]).exists()
            assert f'href="{entry["path"]}"' in page
            assert entry["what"]
            assert entry["opens"]
    assert [c["part"] for c in manifest["chapters"]] == part_names("fibsem")
    assert not (done.folder / UNFINISHED).exists()


def test_the_state_points_at_files_of_the_export_and_opens_at_the_site(whole_volume, small):
    folder = whole_volume[0].folder
    state = json.loads((folder / "neuroglancer.json").read_text())
    for layer in state["layers"]:
        scheme, _, url = layer["source"].partition("://")
        path = url.removeprefix("https://data.example.org/x/").rstrip("/")
        assert (folder / path / {"zarr3": "zarr.json", "precomputed": "info"}[scheme]).exists()
    site = small.sites[small.sites["site_id"] == 2].iloc[0]
    assert state["position"] == pytest.approx([site[f"centroid_{a}_nm"] / 8 - 0.5 for a in "xyz"], abs=1e-3)
    assert state["selection"]["layers"]["sites"]["annotationId"] == "2"
    links = (folder / "sites.html").read_text()
    assert links.count("<li>") == len(small.sites)


def test_the_folder_of_images_is_a_webknossos_dataset(whole_volume, small):
    folder = whole_volume[0].folder / "arrays"
    dataset = json.loads((folder / "datasource-properties.json").read_text())
    assert dataset["scale"] == {"factor": [8.0, 8.0, 8.0], "unit": "nanometer"}
    for layer in dataset["dataLayers"]:
        for mag in layer["mags"]:
            array = zarr.open_array(folder / mag["path"], mode="r")
            assert list(array.metadata.dimension_names) == ["z", "y", "x"]
            order = sorted("xyz", key=mag["axisOrder"].get)
            assert order == ["z", "y", "x"]
            assert str(array.dtype) == layer["elementClass"]
        box = layer["boundingBox"]
        assert (box["depth"], box["height"], box["width"]) == small.raw.shape
        assert layer["mags"][0]["mag"] == [1, 1, 1]
    labels = next(layer for layer in dataset["dataLayers"] if layer["name"] == "labels_copi")
    assert (labels["category"], labels["largestSegmentId"]) == ("segmentation", int(small.labels["copi"].max()))


def test_labels_beyond_uint16_keep_their_values(store, small, make, tmp_path):
    big = small.labels["copi"].astype(np.uint32) * 70_000
    run_id = make.put_volume_run(store, dataclasses.replace(small, labels={**small.labels, "copi": big}))
    done = export_run(store, run_id, tmp_path, ["tiff"])
    with tifffile.TiffFile(done.folder / "tiff/labels_copi.tif") as tiff:
        assert np.array_equal(tiff.asarray(), big)
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    assert [pixels[f"PhysicalSize{a}"] for a in "XYZ"] == [8.0] * 3
    assert pixels["PhysicalSizeZUnit"] == "nm"


def test_beyond_4_gib_a_stack_is_a_bigtiff_with_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr("cisterna.report.images.CLASSIC_TIFF_BYTES", 1000)
    pyramid = Pyramid("zyx", (Level("x", (3, 20, 30), (5.24, 4.0, 4.0)),))
    data = np.arange(1800, dtype=np.uint16).reshape(3, 20, 30)
    write_stack(iter(data), pyramid, data.dtype, tmp_path / "big.tif")
    with tifffile.TiffFile(tmp_path / "big.tif") as tiff:
        assert tiff.is_bigtiff
        assert np.array_equal(tiff.asarray(), data)
        assert tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]["PhysicalSizeZ"] == 5.24


def test_a_movie_leaves_with_its_film_and_one_graph_a_frame(store, short, make, tmp_path):
    done = export_run(store, make.put_movie_run(store, short), tmp_path / "m", ["tables", "networks", "tiff", "film"])
    graphs = sorted((done.folder / "networks/graphml").iterdir())
    assert len(graphs) == len(short.frames)
    graph = networkx.read_graphml(graphs[2], node_type=int, force_multigraph=True)
    nodes, edges = (t[t["frame"] == 2] for t in (short.nodes, short.edges))
    assert graph.number_of_nodes() == len(nodes)
    assert graph.number_of_edges() == len(edges)
    first = nodes.iloc[0]
    assert graph.nodes[int(first["node_id"])]["x_um"] == pytest.approx(first["x_um"])
    assert dict(graph.degree())[int(first["node_id"])] == first["degree"]
    path = np.array(next(iter(graph.edges(data="path_yx_um")))[2].split(), float)
    assert path == pytest.approx(edges["path_yx_um"].iloc[0], abs=1e-4)
    net = read_net((done.folder / "networks/net/frame_00002.net").read_text())
    assert sorted(net.nodes) == sorted(n + 1 for n in nodes["node_id"])
    assert sorted(d for *_, d in net.edges(data="length_um")) == pytest.approx(sorted(edges["length_um"]))
    assert net.nodes[int(first["node_id"]) + 1]["y_um"] == pytest.approx(first["y_um"])
    vtk = (done.folder / "networks/vtk/frame_00002.vtk").read_text()
    assert f"VERTICES {len(nodes)} " in vtk
    assert f"LINES {len(edges)} " in vtk
    cells = pd.read_csv(done.folder / "tables/edges.csv")["path_yx_um"]
    assert np.array(cells.iloc[0].split(), float) == pytest.approx(short.edges["path_yx_um"].iloc[0], abs=1e-4)
    with tifffile.TiffFile(done.folder / "tiff/raw.tif") as tiff:
        assert tiff.imagej_metadata["finterval"] == 1.5
    assert "film.mp4" in done.files
    figures = sorted(p.name for p in (done.folder / "networks/figures").iterdir())
    assert figures == [f"frame_{n:05d}_{by}.pdf" for n in range(3) for by in ("component", "degree")]


def test_the_viewer_opens_a_movie_from_the_export(store, short, make, tmp_path):
    export_run(store, make.put_movie_run(store, short), tmp_path, ["viewer"])
    state = json.loads((tmp_path / "neuroglancer.json").read_text())
    assert [layer["name"] for layer in state["layers"]] == ["raw", "ernet/classes"]
    for layer in state["layers"]:
        assert (tmp_path / layer["source"].removeprefix("zarr3://http://BASE_URL/") / "zarr.json").exists()
    assert list(state["dimensions"]) == ["x", "y", "t"]
    assert not (tmp_path / "annotations").exists()


def test_parallel_tubules_and_loops_survive(movie):
    nodes = movie.nodes[movie.nodes["frame"] == 0].head(2)
    a, b = (int(n) for n in nodes["node_id"])
    edges = movie.edges.head(3).assign(node_a=[a, a, a], node_b=[b, b, a], edge_id=[0, 1, 2])
    graph = frame_graph(nodes, edges)
    assert graph.number_of_edges(a, b) == 2
    assert graph.degree(a) == 4


def test_tables_that_nobody_knew_of_leave_too(store, small, make, tmp_path):
    """A table that a run lists, or that lies in its folder of tables, needs no change of the export."""
    run_id = make.put_volume_run(store, small)
    later = Table("later", (Column("n", "int64", "count", "rows"), Column("way", "list<float32>", "nm", "way")), ("n",))
    data = later.to_parquet_bytes(pd.DataFrame({"n": [1, 2], "way": [[0.5, 1.5], []]}))
    store.put(f"runs/{run_id}/tables/later.parquet", data)
    document = store.get_json(f"runs/{run_id}/run.json")
    store.put("stages/s/t/other.parquet", data)
    store.put_json("stages/s/t/counts.json", {"vesicular_mixed": 3})
    document["tables"] |= {"merged/other": "stages/s/t/other.parquet", "counts": "stages/s/t/counts.json"}
    store.put_json(f"runs/{run_id}/run.json", document)
    done = export_run(store, run_id, tmp_path, ["tables"])
    assert (done.folder / "tables/later.parquet").read_bytes() == data
    assert pd.read_csv(done.folder / "tables/merged_other.csv")["way"].tolist()[0] == "0.5 1.5"
    assert json.loads((done.folder / "tables/counts.json").read_text()) == {"vesicular_mixed": 3}
    columns = pd.read_csv(done.folder / "tables/columns.csv").set_index(["table", "column"])
    assert columns.loc[("later", "way"), ["unit", "meaning"]].tolist() == ["nm", "way"]
    assert columns.loc[("sites", "er_distance_nm"), "unit"] == "nm"
    assert done.absent == ()


def test_some_parts_only(store, small, make, tmp_path):
    run_id = make.put_volume_run(store, small)
    done = export_run(store, run_id, tmp_path, ["tables"])
    assert {f.split("/")[0] for f in done.files} == {"tables", "index.html", "manifest.json"}
    assert "Left out by choice: report, contact-sheet" in (tmp_path / "index.html").read_text()
    assert chosen_parts("fibsem", ["webknossos"]) == ["arrays", "webknossos"]
    with pytest.raises(ValueError, match="film: an export of a fibsem run can hold report, tables"):
        export_run(store, run_id, tmp_path / "x", ["film"])
    with pytest.raises(ValueError, match="site 99 is not a site"):
        export_run(store, run_id, tmp_path / "x", ["viewer"], Choices(at_site=99))
    with pytest.raises(ValueError, match="--at-site opens"):
        export_run(store, run_id, tmp_path / "x", ["tables"], Choices(at_site=1))
    assert not (tmp_path / "x").exists()


def test_nothing_is_overwritten(store, small, make, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="not an empty folder"):
        export_run(store, make.put_volume_run(store, small), tmp_path, ["tables"])
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_what_a_killed_export_left_is_no_export_and_is_cleared_away(store, small, make, tmp_path):
    """A kill cannot clean up: what stays lies under a name that says so, and the next export replaces it."""
    left = tmp_path / UNFINISHED / "tables"
    left.mkdir(parents=True)
    (left / "old.csv").write_text("half")
    (tmp_path / UNFINISHED / NOTE).write_text("begun")
    done = export_run(store, make.put_volume_run(store, small), tmp_path, ["tables"])
    assert not (tmp_path / UNFINISHED).exists()
    assert "tables/old.csv" not in done.files
    foreign = tmp_path / "other" / UNFINISHED
    foreign.mkdir(parents=True)
    (foreign / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="not an empty folder"):
        export_run(store, "fibsem-3f0a1b2c4d5e", tmp_path / "other", ["tables"])
    assert (foreign / "mine.txt").exists()


def test_an_unknown_run_leaves_no_folder(store, tmp_path):
    with pytest.raises(ObjectMissing):
        export_run(store, "fibsem-nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_lost_block_stops_the_export_of_voxels_and_leaves_nothing(store, small, make, tmp_path):
    """A hole would leave as zeros, and nobody behind the folder could tell."""
    run_id = make.put_volume_run(store, small, leave_out=(0,))
    for n, part in enumerate(("tiff", "contact-sheet", "meshes")):
        with pytest.raises(CorruptObject):
            export_run(store, run_id, tmp_path / str(n), [part])
        assert not (tmp_path / str(n)).exists()


def test_what_a_failed_run_never_wrote_is_named(store, small, make, tmp_path):
    run_id = make.put_volume_run(store, small, state="FAILED")
    store.delete(f"runs/{run_id}/tables/sites.parquet")
    assert export_run(store, run_id, tmp_path).absent == ("table sites",)
    assert "Not in the run, so not here: table sites." in (tmp_path / "index.html").read_text()


def test_a_file_without_a_line_is_found():
    from cisterna.report.contents import Chapter, Entry

    chapters = [Chapter("a", "A", (Entry("arrays/raw", "w", "o"), Entry("x.csv", "w", "o")))]
    assert unlisted(chapters, [("arrays/raw/0/c", 1), ("x.csv", 1), ("arrays/rawer", 1)]) == ["arrays/rawer"]
