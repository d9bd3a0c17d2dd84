"""A phantom cell must be what its tables say it is."""

import numpy as np
import pytest
from cisterna.phantoms import fibsem_cell
from cisterna.phantoms.shapes import Ball, Plate, Tube, distance_to
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial.distance import cdist

SHAPE = (96, 104, 112)


@pytest.fixture(scope="module")
def cell():
    return fibsem_cell(SHAPE, 8.0, seed=5)


def test_every_class_is_present_in_a_training_block(cell):
    for name in ("er", "golgi", "copi", "copi_like", "copii_like", "ccv", "tubular_eres"):
        assert (cell.labels[name] > 0).sum() > 100, name
    assert cell.labels["vesicles"].dtype == np.uint16
    assert cell.labels["er"].dtype == np.uint8
    np.testing.assert_array_equal(cell.labels["copi"] > 0, cell.labels["vesicles"] > 0)
    both = (cell.labels["copi_like"] > 0) & (cell.labels["copii_like"] > 0)
    assert not both.any()


def test_table_and_labels_name_the_same_objects(cell):
    for kind in ("copi_like", "copii_like", "ccv", "tubular_eres"):
        ids = set(cell.objects.loc[cell.objects["class"] == kind, "object_id"])
        assert ids
        assert ids == set(np.unique(cell.labels[kind]).tolist()) - {0}


def test_planted_diameters_and_centroids_are_those_of_the_voxels(cell):
    vesicles = cell.objects[cell.objects["class"].isin(["copi_like", "copii_like"])]
    for row in vesicles.itertuples():
        at = np.nonzero(cell.labels["vesicles"] == row.object_id)
        volume = len(at[0]) * 8.0**3
        assert (6 * volume / np.pi) ** (1 / 3) == pytest.approx(row.diameter_nm, rel=0.06)
        centroid = [(p.mean() + 0.5) * 8 for p in at]
        np.testing.assert_allclose(centroid, [row.centroid_z_nm, row.centroid_y_nm, row.centroid_x_nm], atol=4)


def test_er_distance_is_the_gap_in_the_labels(cell):
    to_er = distance_transform_edt(cell.labels["er"] == 0, sampling=8.0)
    for row in cell.objects[cell.objects["class"] == "copii_like"].itertuples():
        gap = to_er[cell.labels["vesicles"] == row.object_id].min()
        # a transform measures between voxel centres: up to one voxel more than between surfaces
        assert row.er_distance_nm - 6 <= gap <= row.er_distance_nm + 14
        assert row.er_distance_nm <= 120


def test_the_published_sizes():
    objects = fibsem_cell((110, 110, 110), 8.0, seed=1, density=2.0).objects
    mean = objects.groupby("class")["diameter_nm"].mean()
    assert mean["copi_like"] == pytest.approx(59.2, abs=5)
    assert mean["copii_like"] == pytest.approx(75.7, abs=5)
    assert objects[objects["class"] == "ccv"]["diameter_nm"].between(90, 110).all()


def test_same_seed_same_bytes_other_seed_other_cell(cell):
    again = fibsem_cell(SHAPE, 8.0, seed=5)
    np.testing.assert_array_equal(again.inlens, cell.inlens)
    np.testing.assert_array_equal(again.esb, cell.esb)
    assert again.objects.equals(cell.objects)
    assert not fibsem_cell((40, 40, 40), 8.0, seed=6).objects.equals(fibsem_cell((40, 40, 40), 8.0, seed=5).objects)


@pytest.mark.parametrize("voxel", [4.0, (16.0, 8.0, 8.0)])
def test_geometry_does_not_depend_on_the_voxels(voxel):
    extent = np.array([384.0, 384.0, 384.0])
    usual = fibsem_cell((48, 48, 48), 8.0, seed=2)
    other = fibsem_cell(tuple((extent / voxel).astype(int)), voxel, seed=2)
    assert other.objects.equals(usual.objects)
    cube = float(np.prod(np.broadcast_to(voxel, 3)))
    for name in ("er", "copi"):
        volume = (other.labels[name] > 0).sum() * cube / ((usual.labels[name] > 0).sum() * 512.0)
        assert volume == pytest.approx(1, abs=0.05)


def test_membranes_are_dark_and_detectors_independent(cell):
    rim = distance_transform_edt(cell.labels["er"]) == 1
    cytosol = np.ones(SHAPE, bool)
    for label in cell.labels.values():
        cytosol &= label == 0
    for image in (cell.inlens, cell.esb):
        assert image.dtype == np.uint8
        assert np.median(image[rim]) < np.median(image[cytosol]) - 2.0 * 8
    seen = gaussian_filter(cell.clean, 5.0 / 8.0, mode="nearest")
    noise = []
    for image, gain in ((cell.inlens, 1.0), (cell.esb, 0.72)):
        residual = image - gain * seen
        residual -= residual.mean(axis=(1, 2), keepdims=True)  # the planes' jitter
        noise.append(residual[cytosol])
    assert noise[0].std() > 5
    assert abs(np.corrcoef(*noise)[0, 1]) < 0.02


def test_no_noise_no_blur_no_jitter_is_the_clean_image():
    cell = fibsem_cell((32, 32, 32), 8.0, seed=1, noise=0, blur_nm=0, plane_jitter=0)
    np.testing.assert_array_equal(cell.inlens, np.rint(cell.clean).clip(0, 255))


def test_coated_vesicles_are_the_darkest(cell):
    ccv = cell.clean[cell.labels["ccv"] > 0].mean()
    assert ccv < cell.clean[cell.labels["copi"] > 0].mean() - 10


def test_sites_are_planted_as_far_apart_as_the_rules_ask():
    """All six site classes in a box as large as the demo's, checked on the voxels by plain distance transforms."""
    cell = fibsem_cell((117, 160, 160), 12.0, seed=0)
    groups = cell.objects[cell.objects["group_id"] > 0]
    assert set(groups["site_class"]) == {
        "vesicular_standalone",
        "vesicular_mixed",
        "dispersed",
        "golgi_associated",
        "tubular_isolated",
        "tubular_mixed",
    }
    vesicles = groups[groups["class"] != "tubular_eres"]
    to_er = distance_transform_edt(cell.labels["er"] == 0, sampling=12.0)
    to_tubular = distance_transform_edt(cell.labels["tubular_eres"] == 0, sampling=12.0)
    golgi_ids = vesicles.query("site_class == 'golgi_associated'")["object_id"]
    golgi = np.isin(cell.labels["vesicles"], golgi_ids)
    corners = np.argwhere(golgi)
    assert ((np.ptp(corners, axis=0) + 1) * 12).max() > 400
    to_golgi = distance_transform_edt(~golgi, sampling=12.0)
    for (_, kind), members in vesicles.groupby(["group_id", "site_class"]):
        inside = np.isin(cell.labels["vesicles"], members["object_id"])
        if kind == "golgi_associated":
            continue
        assert to_golgi[inside].min() > 320
        assert (to_er[inside].min() <= 120) == (kind != "dispersed")
        assert (to_tubular[inside].min() <= 50) == (kind == "vesicular_mixed")
    places = vesicles[["centroid_z_nm", "centroid_y_nm", "centroid_x_nm"]].to_numpy()
    radii = vesicles["diameter_nm"].to_numpy() / 2
    gaps = cdist(places, places) - radii[:, None] - radii
    apart = vesicles["group_id"].to_numpy()[:, None] != vesicles["group_id"].to_numpy()
    assert gaps[apart].min() > 60


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"shape_zyx": (8, 64, 64)}, "shape_zyx"),
        ({"shape_zyx": (32, 32, 32), "voxel_size_nm": 0}, "voxel_size_nm"),
        ({"shape_zyx": (32, 32, 32), "voxel_size_nm": float("nan")}, "voxel_size_nm"),
        ({"shape_zyx": (20, 32, 32), "voxel_size_nm": 5}, "250 nm"),
        ({"shape_zyx": (32, 32, 32), "density": 0}, "density"),
    ],
)
def test_impossible_cells_are_refused(arguments, word):
    with pytest.raises(ValueError, match=word):
        fibsem_cell(**arguments)


def test_distances_of_the_shapes_are_exact():
    origin = np.zeros(3)
    ball = Ball(origin, 10.0)
    tube = Tube(np.array([[0.0, 0, 0], [0, 0, 50], [0, 0, 100]]), np.array([5.0, 5, 5]))
    plate = Plate(origin, np.eye(3)[[1, 2, 0]], 50.0, 6.0, np.zeros((0, 3)), np.zeros((0, 4)), np.zeros((0, 3)))
    at = np.array([[0.0, 0, 25], [12, 0, 40]])
    np.testing.assert_allclose(ball.distance(*at.T), [15, np.hypot(12, 40) - 10], rtol=1e-6)
    np.testing.assert_allclose(tube.distance(*at.T), [-5, 7], rtol=1e-6)
    np.testing.assert_allclose(tube.point_distance(at), [-5, 7], rtol=1e-6)
    np.testing.assert_allclose(plate.distance(*at.T), [-6, 6], atol=1e-5)
    np.testing.assert_allclose(distance_to([ball, tube, plate], at), [-6, 6], atol=1e-5)
    assert np.isinf(distance_to([], at)).all()
