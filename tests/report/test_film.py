"""The film: all frames in the right order and colours, any size and depth, streamed, and playing in a real browser."""

import dataclasses
import weakref

import cv2
import numpy as np
import pytest
from cisterna.report.film import FilmFrame, Screen, draw_frame, film_bytes, panel_size, rgb, write_film
from cisterna.report.movie_source import evenly, film_frames, film_screen, read_frame, report_film
from cisterna.report.palette import DEGREES, NETWORK_CLASSES
from cisterna.store.pyramids import read_pyramid
from cisterna.tables.networks import EDGES, NODES


def screen(shape=(40, 60), panel=None, grey=(0.0, 255.0), pixel=(0.1, 0.1)):
    size = tuple(n * p for n, p in zip(shape, pixel, strict=True))
    return Screen(size, pixel, grey, panel or panel_size(shape, pixel, 120))


def frame(raw, classes=None, nodes=None, edges=None, time_s=0.0):
    return FilmFrame(
        time_s, raw, classes, NODES.frame() if nodes is None else nodes, EDGES.frame() if edges is None else edges
    )


def played(path):
    film = cv2.VideoCapture(str(path))
    pictures = []
    while True:
        there, picture = film.read()
        if not there:
            return pictures, film.get(cv2.CAP_PROP_FPS)
        pictures.append(picture[..., ::-1])


def panels(screen, picture):
    rows, columns = screen.panel
    return [picture[screen.head_px : screen.head_px + rows, n * (columns + 6) :][:, :columns] for n in range(3)]


def test_every_frame_arrives_in_order(tmp_path):
    s = screen()
    film = write_film(
        tmp_path / "f.mp4", s, (frame(np.full((40, 60), v, np.uint8), time_s=v) for v in range(0, 250, 25)), 10
    )
    assert (film.frames, film.duration_s) == (10, 1.0)
    pictures, fps = played(film.path)
    assert fps == 10
    assert len(pictures) == 10
    assert pictures[0].shape == (film.height_px, film.width_px, 3)
    grey = [float(panels(s, p)[0][:60, :40].mean()) for p in pictures]
    assert grey == pytest.approx(range(0, 250, 25), abs=6)


@pytest.mark.parametrize("shape", [(1, 1), (3, 301), (97, 33), (65, 127)])
@pytest.mark.parametrize("count", [1, 2])
def test_any_size_and_a_single_frame(tmp_path, shape, count):
    film = write_film(
        tmp_path / "f.mp4", screen(shape), (frame(np.zeros(shape, np.uint8)) for _ in range(count)), count
    )
    assert film.width_px % 2 == film.height_px % 2 == 0
    assert len(played(film.path)[0]) == count


@pytest.mark.parametrize(
    "raw",
    [
        np.linspace(300, 65535, 2400).reshape(40, 60).astype(np.uint16),
        np.where(np.linspace(-1, 1, 2400).reshape(40, 60) < 0.4, 0, np.linspace(-1, 1, 2400).reshape(40, 60)),
        np.full((40, 60), 7, np.uint8),
        np.where(np.arange(2400).reshape(40, 60) % 7, np.nan, np.inf).astype(np.float32),
    ],
    ids=["16 bit", "clipped", "constant", "nothing finite"],
)
def test_any_depth_is_drawn(raw):
    from cisterna.report.film import film_grey_range

    picture = draw_frame(screen(grey=film_grey_range([raw])), frame(raw))
    seen = panels(screen(), picture)[0].astype(int)
    if raw.dtype == np.uint16:
        assert seen[10, 5].max() < 40
        assert seen[70, 10].min() > 170
    elif raw.dtype == np.uint8:
        assert 100 < seen[10, 10].mean() < 160


def test_classes_and_degrees_have_their_colours():
    classes = np.zeros((40, 60), np.uint8)
    classes[:10, :20], classes[:10, 20:40], classes[:10, 40:] = 2, 3, 1
    nodes = {
        "frame": 0,
        "node_id": [0, 1, 2, 3],
        "degree": [1, 2, 3, 7],
        "x_um": [1.0, 2, 4, 5],
        "y_um": [2.0, 2, 2, 3],
    }
    import pandas as pd

    table = pd.DataFrame(nodes)
    picture = draw_frame(screen(), frame(np.zeros((40, 60), np.uint8), classes, table))
    _, coloured, network = panels(screen(), picture)
    for place, swatch in ((10, NETWORK_CLASSES[2]), (60, NETWORK_CLASSES[3]), (100, NETWORK_CLASSES[1])):
        assert tuple(coloured[5, place]) == rgb(swatch.colour)
    assert tuple(coloured[40, 60]) == (0, 0, 0)
    scale = 2 / 0.1  # two screen pixels for one of 0.1 µm
    for x, y, index in ((1.0, 2.0, 1), (2.0, 2.0, 2), (4.0, 2.0, 3), (5.0, 3.0, 4)):
        assert tuple(network[round((y + 0.05) * scale), round((x + 0.05) * scale)]) == rgb(DEGREES[index].colour)


def test_a_tubule_is_drawn_where_the_table_has_it():
    import pandas as pd

    path = np.array([1.0, 0.5, 1.0, 5.5], np.float32)  # y, x: a level line 1 µm down
    edges = pd.DataFrame({"path_yx_um": [path]})
    network = panels(screen(), draw_frame(screen(), frame(np.zeros((40, 60), np.uint8), edges=edges)))[2]
    dark = np.argwhere(network[:60, :90].sum(axis=2) < 600)
    assert dark[:, 0].mean() == pytest.approx((1.0 + 0.05) * 20 - 0.5, abs=0.6)
    assert dark[:, 1].min() == pytest.approx((0.5 + 0.05) * 20, abs=1.5)


def test_missing_classes_say_so_and_are_not_black_background():
    coloured = panels(screen(), draw_frame(screen(), frame(np.zeros((40, 60), np.uint8))))[1]
    assert coloured.max() > 200
    assert np.median(coloured) == 40


def test_frames_are_not_kept(tmp_path):
    """A long movie must not pile up: of 30 frames handed over, only the last ones are alive at any time."""
    alive = weakref.WeakSet()

    class Pixels(np.ndarray):
        pass

    def frames():
        for _ in range(30):
            raw = np.zeros((40, 60), np.uint8).view(Pixels)
            alive.add(raw)
            yield frame(raw)
            assert len(alive) <= 3

    Pixels.__hash__ = object.__hash__
    told = []
    write_film(tmp_path / "f.mp4", screen(), frames(), 30, tell=lambda what, share: told.append((what, share)))
    assert told[-1] == ("f.mp4", 1.0)
    assert len(told) == 30


def test_a_film_that_breaks_off_leaves_no_film(tmp_path):
    def frames():
        yield frame(np.zeros((40, 60), np.uint8))
        raise OSError("the store is gone")

    with pytest.raises(OSError, match="gone"):
        write_film(tmp_path / "f.mp4", screen(), frames(), 2)
    with pytest.raises(RuntimeError, match="has 1 frames, 5"):
        write_film(tmp_path / "f.mp4", screen(), [frame(np.zeros((40, 60), np.uint8))], 5)
    assert not (tmp_path / "f.mp4").exists()
    with pytest.raises(ValueError, match="at least one"):
        write_film(tmp_path / "f.mp4", screen(), [], 0)


def test_the_same_frames_are_the_same_bytes():
    raw = np.arange(2400, dtype=np.uint16).reshape(40, 60)
    one, other = (film_bytes(screen(grey=(0, 2400)), [frame(raw), frame(raw[::-1])], 2, 10)[0] for _ in range(2))
    assert one == other


def test_anisotropic_pixels_keep_the_shape_of_the_field():
    assert panel_size((100, 100), (0.2, 0.1), 400) == (400, 200)
    assert panel_size((1000, 2000), (0.1, 0.1), 500) == (250, 500)
    assert panel_size((96, 96), (0.1, 0.1), 320) == (288, 288)


def test_evenly():
    assert evenly(5, 10) == [0, 1, 2, 3, 4]
    assert evenly(100, 3) == [0, 50, 99]
    assert evenly(1, 1) == [0]


def test_a_run_becomes_a_film_with_its_own_pixels(store, movie, make, tmp_path):
    make.put_movie_run(store, movie)
    raw, classes = (read_pyramid(store, p) for p in ("acquisitions/m/raw.ome.zarr", "stages/ernet/k/classes.ome.zarr"))
    s = film_screen(store, raw, movie.nodes, 96)
    assert s.panel == (96, 96)
    frames = list(film_frames(store, raw, classes, movie.nodes, movie.edges, s.panel, [0, 7]))
    assert np.array_equal(frames[1].raw, movie.raw[7])
    assert np.array_equal(frames[1].classes, movie.classes[7])
    assert frames[1].time_s == 10.5
    assert len(frames[1].nodes) == (movie.nodes["frame"] == 7).sum()
    clip = report_film(store, raw, classes, movie.nodes, movie.edges)
    assert "All 12 frames, 15 × real time" in clip.caption
    assert len(clip.mp4) < 1_000_000


def test_one_frame_has_no_film_in_the_page(store, movie, make):
    one = dataclasses.replace(movie, raw=movie.raw[:1], classes=movie.classes[:1])
    make.put_movie_run(store, one)
    assert (
        report_film(store, read_pyramid(store, "acquisitions/m/raw.ome.zarr"), None, movie.nodes, movie.edges) is None
    )


def test_a_lost_frame_is_none(store, movie, make):
    make.put_image(store, "lost.ome.zarr", movie.raw[:2], "tyx", (1.5, 0.1, 0.1), leave_out=(1,))
    lost = read_pyramid(store, "lost.ome.zarr")
    assert read_frame(store, lost, 0, (96, 96)) is not None
    assert read_frame(store, lost, 1, (96, 96)) is None
