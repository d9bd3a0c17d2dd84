"""Figures: what is drawn where, not how it looks."""

import io

import numpy as np
import pytest
from cisterna.report import movie_figures, volume_figures
from cisterna.report.canvas import grey_range, new_figure, picture, png_bytes, round_length, to_grey_rgb
from cisterna.report.palette import NETWORK_CLASSES, SITE_CLASSES, degree_colour
from cisterna.report.volume_figures import Plane, inner_edge, object_colours, overlay
from matplotlib.colors import to_rgb
from PIL import Image


def test_overlay_marks_the_er_outline_and_objects_by_the_class_of_their_site(volume):
    z = int(volume.objects.query("`class` == 'copi'")["centroid_z_nm"].iloc[0] / 8)
    labels = {"copi": volume.labels["copi"][z]}
    er = volume.labels["er"][z] > 0
    plane = Plane("yx", z * 8.0, (8.0, 8.0), volume.raw[z], None, er, labels)
    rgb = overlay(plane, volume.objects, volume.sites)
    for object_id in np.unique(labels["copi"][labels["copi"] > 0]):
        site = volume.objects.query("`class` == 'copi' and object_id == @object_id")["site_id"].iloc[0]
        site_class = volume.sites.set_index("site_id").loc[site, "site_class"]
        expected = to_rgb(next(s.colour for s in SITE_CLASSES if s.key == site_class))
        rim = inner_edge(labels["copi"] > 0) & (labels["copi"] == object_id)
        assert rgb[rim] == pytest.approx(np.tile(expected, (rim.sum(), 1)))
    free = er & ~inner_edge(er) & (labels["copi"] == 0)
    assert rgb[free] == pytest.approx(to_grey_rgb(volume.raw[z])[free])


def test_objects_without_a_site_stay_grey(volume):
    colours = object_colours(volume.objects.assign(site_id=0), volume.sites, "copi", 5)
    assert len(np.unique(colours, axis=0)) == 1


def test_inner_edge_is_the_rim_and_not_the_border_of_the_picture():
    mask = np.zeros((6, 6), bool)
    mask[:3] = True
    assert inner_edge(mask).sum() == 6
    assert inner_edge(np.ones((4, 4), bool)).sum() == 0


@pytest.mark.parametrize(
    "image", [np.zeros((3, 4)), np.full((2, 2), np.nan), np.zeros((0, 4)), np.full((1, 1), 7, np.uint8)]
)
def test_constant_empty_and_nan_pictures_have_a_range(image):
    low, high = grey_range(image)
    assert high > low
    assert np.isfinite(to_grey_rgb(image)).all()


@pytest.mark.parametrize(("span", "length"), [(1000, 200), (1024, 200), (25.6, 5), (0.9, 0.2), (8, 2), (0, 0)])
def test_scale_bars_are_one_two_or_five(span, length):
    assert round_length(span) == pytest.approx(length)


def test_one_voxel_thin_planes_can_be_drawn(volume):
    plane = Plane("zx", 0.0, (5.24, 4.0), volume.raw[:1, 0], None, None, {})
    assert png_bytes(volume_figures.plane_figure(plane, volume.objects, volume.sites), 40)


def test_network_is_drawn_at_the_coordinates_of_the_table(movie):
    nodes, edges = movie.nodes[movie.nodes.frame == 0], movie.edges[movie.edges.frame == 0]
    figure = new_figure(4, 4)
    axes = figure.subplots()
    movie_figures.draw_network(axes, nodes, edges, (9.6, 9.6), (0.1, 0.1))
    drawn = {tuple(point) for dots in axes.collections[1:] for point in np.round(dots.get_offsets(), 9)}
    assert drawn == {tuple(point) for point in np.round(nodes[["x_um", "y_um"]].to_numpy(), 9)}
    for dots in axes.collections[1:]:
        degree = dots.get_label().split(" (")[0]
        assert any(degree == f"degree {d}" for d in (1, 2, 3))
    assert axes.get_aspect() == 1
    assert axes.get_ylim() == pytest.approx((9.55, -0.05))
    first = movie_figures.edge_segments(edges)[0]
    assert first[0].tolist() == pytest.approx(edges["path_yx_um"].iloc[0][1::-1].tolist())


def test_degree_colours_are_those_of_the_paper():
    names = [degree_colour(d) for d in (1, 2, 3, 4, 9)]
    assert names == ["#1FA84A", "#5BC0EB", "#E02B2B", "#17307F", "#17307F"]


def test_class_colours_and_strange_class_values():
    rgb = movie_figures.class_rgb(np.array([[0, 1, 2, 3]], np.uint8))
    assert rgb[0, 2] == pytest.approx(to_rgb(NETWORK_CLASSES[2].colour))
    assert movie_figures.class_rgb(np.array([[9]], np.uint8)).shape == (1, 1, 3)


def test_paths_that_are_no_path_are_left_out(movie):
    edges = movie.edges.head(3).copy()
    edges["path_yx_um"] = [np.array([1.0, 2.0], np.float32), np.array([], np.float32), np.array([1, 2, 3], np.float32)]
    assert movie_figures.edge_segments(edges) == []


def test_pictures_are_png_of_the_size_they_say_and_repeat(movie):
    shown = picture(movie_figures.degree_figure(movie.frames), "degree distribution")
    image = Image.open(io.BytesIO(shown.png))
    assert image.format == "PNG"
    assert image.width / image.height == pytest.approx(shown.width_px / shown.height_px, rel=0.01)
    assert "Software" not in image.info
    assert shown.png == picture(movie_figures.degree_figure(movie.frames), "degree distribution").png


def test_the_histogram_holds_every_vesicle(volume):
    figure = volume_figures.diameter_figure(volume.objects, volume.sites)
    bars = sum(bar.get_height() for container in figure.axes[0].containers for bar in container)
    assert bars == (volume.objects["class"] == "copi").sum()
