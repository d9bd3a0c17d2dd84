"""Saved phantoms come back with their grid."""

import json

import numpy as np
import pandas as pd
import tifffile
from cisterna.phantoms import er_movie, fibsem_cell, save_cell, save_movie


def test_cell_files(tmp_path):
    cell = fibsem_cell((32, 40, 48), (10.0, 8.0, 8.0), seed=1)
    files = save_cell(tmp_path, cell)
    assert all(f.stat().st_size for f in files)
    with tifffile.TiffFile(tmp_path / "inlens.tif") as tif:
        assert tif.series[0].axes == "ZYX"
        assert 'PhysicalSizeZ="10.0"' in (tif.ome_metadata or "")
        np.testing.assert_array_equal(tif.asarray(), cell.inlens)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "truth" / "vesicles.tif"), cell.labels["vesicles"])
    assert pd.read_parquet(tmp_path / "truth" / "objects.parquet").equals(cell.objects)
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert truth["voxel_size_nm"] == [10.0, 8.0, 8.0]
    assert truth["objects"] == cell.objects["class"].value_counts().to_dict()


def test_movie_files(tmp_path):
    movie = er_movie(3, (64, 80), seed=1)
    save_movie(tmp_path, movie)
    with tifffile.TiffFile(tmp_path / "movie.tif") as tif:
        assert tif.series[0].axes == "TYX"
        np.testing.assert_array_equal(tif.asarray(), movie.frames)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "truth" / "classes.tif"), movie.classes)
    edges = pd.read_parquet(tmp_path / "truth" / "edges.parquet")
    np.testing.assert_allclose(edges["path_yx_px"][0].reshape(-1, 2), movie.edges["path_yx_px"][0], rtol=1e-6)
