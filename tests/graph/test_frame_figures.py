"""Rows of frames and cells: lengths, widths, confidences, cells, and ordinary frames without anything."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cisterna.graph import TracingParameters
from cisterna.graph.frames import FrameTables, trace_frame
from cisterna.graph.parameters import FigureParameters
from cisterna.phantoms.er_movie import er_movie
from cisterna.tables.networks import CELLS, FRAMES
from drawing import circle, draw


def rows(
    classes: np.ndarray,
    confidence: np.ndarray | None = None,
    cells: np.ndarray | None = None,
    psf_fwhm_um: float | None = None,
    resamples: int = 200,
    pixel_um: float = 0.1,
) -> FrameTables:
    raw = np.random.default_rng(1).normal(100, 5, classes.shape) + 200 * (classes > 0)
    wanted = FigureParameters(psf_fwhm_um, resamples)
    return trace_frame(
        classes.astype(np.uint8), confidence, raw, 3, [pixel_um] * 2, 2.0, TracingParameters(), wanted, cells
    )[1]


def tubules(*segments: tuple, width: float = 4.0) -> np.ndarray:
    return np.where(draw(list(segments), width), 2, 0).astype(np.uint8)


def test_lengths_widths_and_densities_of_a_cross():
    found = rows(tubules(((48, 8), (48, 88)), ((8, 48), (88, 48)))).frames.iloc[0]
    assert (found["nodes"], found["edges"], found["growth_tips"], found["junctions"]) == (5, 4, 4, 1)
    assert found["multi_way_share"] == 1
    assert found["mean_length_um"] == pytest.approx(4.0, rel=0.05)
    assert found["median_length_um"] == pytest.approx(4.0, rel=0.05)
    # Five rows of pixels have their centres within 2 px of a line through pixel centres.
    assert [found["mean_width_um"], found["median_width_um"]] == pytest.approx([0.5, 0.5], rel=0.1)
    assert found["area_um2"] == pytest.approx(9.6**2)
    assert found["junctions_per_um2"] == pytest.approx(1 / 9.6**2)
    assert found["length_um_per_um2"] == pytest.approx(found["total_length_um"] / 9.6**2)
    assert (found["time_s"], found["frame"]) == (6.0, 3)


def test_a_width_below_the_point_spread_is_apparent():
    thin_and_wide = tubules(((20, 8), (20, 88)), width=3) | tubules(((60, 8), (60, 88)), width=8)
    unknown = rows(thin_and_wide)
    assert unknown.edges["apparent_width"].isna().all()
    assert math.isnan(unknown.frames["apparent_width_share"][0])
    judged = rows(thin_and_wide, psf_fwhm_um=0.4)  # limit 0.48 µm: 4.8 px
    assert judged.edges.sort_values("width_um")["apparent_width"].tolist() == [1, 0]
    assert judged.frames["apparent_width_share"][0] == 0.5


def test_confidence_is_read_along_the_curve_and_at_the_node():
    classes = tubules(((48, 8), (48, 88)), ((8, 48), (48, 48)))
    confidence = np.full(classes.shape, 250, np.uint8)
    confidence[:40] = 150  # the arm upwards
    found = rows(classes, confidence)
    by_height = found.nodes.sort_values("y_um")["confidence"].tolist()
    # Tips lie at the outline, where half of what surrounds them is background.
    assert by_height[:2] == pytest.approx([150 / 255, 250 / 255], abs=0.03)
    assert min(by_height[2:]) > 0.6
    assert sorted(found.edges["confidence"]) == pytest.approx([0.65, 250 / 255, 250 / 255], abs=0.06)
    row = found.frames.iloc[0]
    assert row["total_length_um_low"] < row["total_length_um_high"] <= row["total_length_um"]
    assert row["edges_low"] <= row["edges_high"] <= row["edges"]


def test_without_confidence_or_resamples_there_are_no_intervals():
    classes = tubules(((48, 8), (48, 88)))
    for found in (rows(classes), rows(classes, np.full(classes.shape, 200, np.uint8), resamples=0)):
        bounds = [n for n in FRAMES.names if n.endswith(("_low", "_high"))]
        assert len(bounds) == 26
        assert found.frames[bounds].isna().all(axis=None)
    assert rows(classes).edges["confidence"].isna().all()


def test_a_wrong_class_under_a_smoothed_curve_counts_against_it():
    classes = tubules(((48, 8), (48, 88)))
    confidence = np.full(classes.shape, 255, np.uint8)
    assert rows(classes, confidence).edges["confidence"].tolist() == [1.0]
    classes[47:49, 40:43] = 0  # surely background, but so small a hole is filled: 3 of 79 points
    assert rows(classes, confidence).edges["confidence"].tolist() == pytest.approx([1 - 3 / 79], abs=0.02)


def two_cells() -> tuple[np.ndarray, np.ndarray]:
    classes = tubules(((30, 8), (30, 88)), ((30, 24), (70, 24)), ((30, 72), (70, 72)))
    labels = np.zeros(classes.shape, np.uint32)
    labels[:, :50], labels[:, 50:] = 5, 2
    return classes, labels


def test_a_tubule_between_two_cells_counts_in_each_up_to_the_border():
    classes, labels = two_cells()
    found = rows(classes, np.full(classes.shape, 255, np.uint8), labels)
    whole, cells = found.frames.iloc[0], found.cells.set_index("cell")
    assert (whole["nodes"], whole["edges"]) == (6, 5)
    assert cells.index.tolist() == [2, 5]
    for cell, columns in ((5, 50), (2, 46)):
        row = cells.loc[cell]
        assert (row["nodes"], row["edges"], row["junctions"], row["border_ends"]) == (4, 3, 1, 1)
        assert row["area_um2"] == pytest.approx(columns * 96 / 100)
        assert row["junctions_per_um2"] == pytest.approx(100 / (columns * 96))
        assert row["length_um_per_um2"] == pytest.approx(row["total_length_um"] / row["area_um2"])
    assert cells["total_length_um"].sum() == pytest.approx(whole["total_length_um"], rel=0.01)
    assert sorted(set(found.nodes["cell"])) == [2, 5]
    assert found.cells["frame"].tolist() == [3, 3]


def test_every_figure_of_a_cell_that_holds_the_frame_is_the_frames():
    drawn = er_movie(frames=1, shape_yx=(256, 256), seed=3)
    confidence = np.random.default_rng(0).integers(180, 255, drawn.classes[0].shape, np.uint8)
    found = rows(drawn.classes[0], confidence, np.ones(drawn.classes[0].shape, np.uint8))
    cell, frame = found.cells.iloc[0], found.frames.iloc[0]
    assert found.frames["sheets"][0] > 0
    shared = [n for n in CELLS.names if n in FRAMES.names and not n.endswith(("_low", "_high"))]
    assert len(shared) == 59
    for name in shared:
        assert cell[name] == frame[name] or (cell[name] != cell[name] and frame[name] != frame[name]), name
    assert cell["er_share_of_cell"] == frame["er_share_of_image"]


def test_pixels_outside_all_cells_belong_to_none():
    classes, labels = two_cells()
    labels[labels == 2] = 0
    found = rows(classes, None, labels)
    assert found.cells["cell"].tolist() == [5]
    assert set(found.nodes["cell"]) == {0, 5}
    assert found.cells["tubule_share"][0] == 1.0
    assert found.cells["er_share_of_cell"][0] == pytest.approx((classes[:, :50] > 0).mean())


def test_a_cell_without_er_has_a_row_of_nothing():
    classes, labels = two_cells()
    labels[:] = 0
    labels[80:, :] = 4
    row = rows(classes, np.full(classes.shape, 255, np.uint8), labels).cells.iloc[0]
    assert (row["nodes"], row["edges"], row["components"], row["sheets"]) == (0, 0, 0, 0)
    assert math.isnan(row["tubule_share"])
    assert row["er_share_of_cell"] == 0
    assert (row["nodes_low"], row["nodes_high"]) == (0, 0)


def test_a_sheet_between_cells_belongs_to_the_one_with_most_of_it():
    classes = tubules(((48, 8), (48, 40)))
    classes[30:66, 36:80] = 3
    labels = np.zeros(classes.shape, np.uint8)
    labels[:, :45], labels[:, 45:] = 1, 2
    cells = rows(classes, None, labels).cells.set_index("cell")
    assert cells["sheets"].tolist() == [0, 1]
    assert cells.loc[1, "sheet_contacts"] == 1
    assert (cells.loc[1, "nodes_with_sheets"], cells.loc[1, "edges_with_sheets"]) == (2, 1)
    assert (cells.loc[2, "nodes"], cells.loc[2, "nodes_with_sheets"]) == (0, 2)


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (32, 48)])
def test_frames_of_one_class_have_ordinary_rows(kind: int, shape: tuple[int, int]):
    classes = np.full(shape, kind, np.uint8)
    found = rows(classes, np.full(shape, 255, np.uint8), np.ones(shape, np.uint8))
    assert len(found.frames) == len(found.cells) == 1
    assert found.frames["edges"][0] == 0
    assert found.frames["mean_length_um"].isna()[0]
    assert found.frames["meshes"][0] == 0


def test_meshes_and_rings_have_rows():
    found = rows(np.where(circle((48, 48), 25), 2, 0).astype(np.uint8)).frames.iloc[0]
    assert (found["meshes"], found["loops"]) == (1, 1)
    assert found["mean_mesh_area_um2"] == pytest.approx(0.01 * np.pi * 625, rel=0.05)


def test_labels_of_another_size_are_refused():
    with pytest.raises(ValueError, match="cell labels"):
        rows(np.zeros((8, 8), np.uint8), None, np.ones((8, 9), np.uint8))
