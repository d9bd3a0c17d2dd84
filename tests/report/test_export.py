"""One folder: the same voxels, the same rows, readable by others."""

import networkx
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from cisterna.report.export import export_run, frame_graph
from cisterna.store import CorruptObject, ObjectMissing


def test_a_volume_leaves_as_zarr_tiff_parquet_and_csv(store, volume, make, tmp_path):
    done = export_run(store, make.put_volume_run(store, volume), tmp_path / "out")
    assert done.absent == ()
    assert done.bytes == sum((done.folder / f).stat().st_size for f in done.files)
    assert {"report.html", "run.json", "neuroglancer.json", "tables/sites.csv", "tiff/labels_copi.tif"} <= set(
        done.files
    )
    image = zarr.open_group(done.folder / "arrays/labels/copi.ome.zarr", mode="r")
    assert np.array_equal(image["0"][...], volume.labels["copi"])
    assert image.attrs["ome"]["version"] == "0.5"
    with tifffile.TiffFile(done.folder / "tiff/raw.tif") as tiff:
        assert np.array_equal(tiff.asarray(), volume.raw)
        assert tiff.imagej_metadata["spacing"] == 8.0
        assert tiff.imagej_metadata["unit"] == "nm"
        x = tiff.pages[0].tags["XResolution"].value
        assert x[0] / x[1] == pytest.approx(1 / 8)
    labels = tifffile.imread(done.folder / "tiff/labels_copi.tif")
    assert labels.dtype == np.uint16
    assert np.array_equal(labels, volume.labels["copi"])
    sites = pd.read_csv(done.folder / "tables/sites.csv")
    assert sites["site_id"].tolist() == volume.sites["site_id"].tolist()
    assert sites["centroid_x_nm"].to_numpy() == pytest.approx(volume.sites["centroid_x_nm"].to_numpy())
    assert len(pd.read_parquet(done.folder / "tables/objects.parquet")) == len(volume.objects)


def test_labels_beyond_uint16_keep_their_values(store, volume, make, tmp_path):
    big = volume.labels["copi"].astype(np.uint32) * 70_000
    from dataclasses import replace

    run_id = make.put_volume_run(store, replace(volume, labels={**volume.labels, "copi": big}))
    done = export_run(store, run_id, tmp_path)
    assert np.array_equal(tifffile.imread(done.folder / "tiff/labels_copi.tif"), big)


def test_a_movie_leaves_with_one_graph_a_frame(store, movie, make, tmp_path):
    done = export_run(store, make.put_movie_run(store, movie), tmp_path / "m")
    graphs = sorted((done.folder / "graphml").iterdir())
    assert len(graphs) == len(movie.frames)
    graph = networkx.read_graphml(graphs[3], node_type=int, force_multigraph=True)
    assert graph.number_of_nodes() == (movie.nodes["frame"] == 3).sum()
    assert graph.number_of_edges() == (movie.edges["frame"] == 3).sum()
    first = movie.nodes[movie.nodes["frame"] == 3].iloc[0]
    assert graph.nodes[int(first["node_id"])]["x_um"] == pytest.approx(first["x_um"])
    assert dict(graph.degree())[int(first["node_id"])] == first["degree"]
    edges = pd.read_csv(done.folder / "tables/edges.csv")
    path = np.array(edges["path_yx_um"].iloc[0].split(), float)
    assert path == pytest.approx(movie.edges["path_yx_um"].iloc[0], abs=1e-4)
    with tifffile.TiffFile(done.folder / "tiff/raw.tif") as tiff:
        assert tiff.imagej_metadata["finterval"] == 1.5


def test_parallel_tubules_and_loops_survive(movie):
    nodes = movie.nodes[movie.nodes["frame"] == 0].head(2)
    a, b = (int(n) for n in nodes["node_id"])
    edges = movie.edges.head(3).assign(node_a=[a, a, a], node_b=[b, b, a], edge_id=[0, 1, 2])
    graph = frame_graph(nodes, edges)
    assert graph.number_of_edges(a, b) == 2
    assert graph.degree(a) == 4


def test_nothing_is_overwritten(store, volume, make, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="not an empty folder"):
        export_run(store, make.put_volume_run(store, volume), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unknown_run_leaves_no_folder(store, tmp_path):
    with pytest.raises(ObjectMissing):
        export_run(store, "fibsem-nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_lost_block_stops_the_export_of_voxels(store, volume, make, tmp_path):
    """A hole would leave as zeros, and nobody behind the folder could tell."""
    with pytest.raises(CorruptObject):
        export_run(store, make.put_volume_run(store, volume, leave_out=(0,)), tmp_path / "out")


def test_what_a_failed_run_never_wrote_is_named(store, volume, make, tmp_path):
    run_id = make.put_volume_run(store, volume, state="FAILED")
    store.delete(f"runs/{run_id}/tables/sites.parquet")
    assert export_run(store, run_id, tmp_path).absent == ("table sites",)
