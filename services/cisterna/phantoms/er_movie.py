"""A fluorescence movie of an ER network, with its exact graph and classes.

The construction follows Lu et al. 2023: random points, their Voronoi edges, each bent by three jittered points through
a cubic spline and drawn at tubule width, blurred by the microscope, with Gaussian noise. A sheet with a fenestrated
edge and a patch of sheet-based tubules (SBT) are added, and every junction drifts smoothly. What else can happen in
time (tubules with lifetimes, tips, meetings, wandering) is drawn in `er_lives`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import Voronoi

from .er_drawing import distance_to_lines
from .er_lives import Living, contracted, draw_living

BACKGROUND, SBT, TUBULE, SHEET = 0, 1, 2, 3
STEP_PX = 0.4  # spacing of the points a tubule is drawn with: their error in distance is about 0.01 px


@lru_cache(maxsize=256)
def _spline_basis(samples: int) -> NDArray[Any]:
    """(samples, 5): a cubic spline through five evenly spaced knots is linear in them."""
    return np.asarray(CubicSpline(np.linspace(0, 1, 5), np.eye(5))(np.linspace(0, 1, samples)))


@dataclass(frozen=True)
class MoviePhantom:
    """Frames (t, y, x), classes (t, y, x) uint8 (0 background, 1 SBT, 2 tubule, 3 sheet) and the true tubule graph.

    `nodes`: frame, node_id (the same junction keeps its number), y_px, x_px, y_um, x_um, degree, kind (`junction`,
    degree 3 or more; `bend`, degree 2; `tip`; `border`, where a tubule leaves the frame; `sheet`, where it meets one).
    `edges`: frame, edge_id, node_a, node_b, length_px, length_um, path_yx_px. Pixel centres are whole numbers.
    `snr` is E[S^2] / E[N^2] over the movie: S the blurred signal without background, N the noise.
    """

    frames: NDArray[np.uint16]
    classes: NDArray[np.uint8]
    nodes: pd.DataFrame
    edges: pd.DataFrame
    pixel_size_um: float
    frame_interval_s: float
    tubule_width_px: float
    snr: float
    seed: int


@dataclass(frozen=True)
class _Network:
    """Voronoi vertices (n, 2) in px, edges (m, 2), three bends an edge (m, 3, 2), and how all of it moves and lives."""

    vertices: NDArray[Any]
    edges: NDArray[Any]
    bends: NDArray[Any]
    drift: NDArray[Any]  # (n, 2, 3): amplitude px, period s, phase of each vertex and axis
    brightness: NDArray[Any]
    born: NDArray[Any]  # (m,) first frame of each edge
    dies: NDArray[Any]  # (m,) frame before which it vanishes
    living: Living | None = None

    def at(self, frame: int, time_s: float) -> NDArray[Any]:
        amplitude, period, phase = np.moveaxis(self.drift, -1, 0)
        sway = amplitude * (np.sin(2 * np.pi * time_s / period + phase) - np.sin(phase))
        places = np.asarray(self.vertices + sway)
        return places if self.living is None else self.living.moved(places, self.edges, frame, time_s)

    def seen(self, frame: int) -> list[int]:
        return [int(e) for e in np.flatnonzero((self.born <= frame) & (frame < self.dies))]

    def path(self, edge: int, places: NDArray[Any]) -> NDArray[Any]:
        """The edge's centre line (k, 2) in px, a point every `STEP_PX`."""
        a, b = places[self.edges[edge]]
        bends = self.bends[edge]
        if self.living is not None and edge in self.living.meetings:  # a tubule that shortens straightens
            whole = np.linalg.norm(np.subtract(*self.vertices[self.edges[edge]]))
            bends = bends * min(1.0, float(np.linalg.norm(b - a) / whole))
        inner = a + np.array([[0.25], [0.5], [0.75]]) * (b - a) + bends
        knots = np.vstack([a, inner, b])
        length = np.linalg.norm(np.diff(knots, axis=0), axis=1).sum()
        return np.asarray(_spline_basis(8 + 8 * int(1.05 * length / STEP_PX / 8)) @ knots)

    def grown(self, edge: int, places: NDArray[Any], time_s: float) -> tuple[NDArray[Any], int, int, bool]:
        """The part of an edge that is there, the vertices it runs from and to, and whether it ends in a free tip."""
        path, (a, b) = self.path(edge, places), self.edges[edge]
        if self.living is None or edge not in self.living.spells:
            return path, int(a), int(b), False
        if self.living.from_second[edge]:
            path, a, b = path[::-1], b, a
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        length = self.living.grown(edge, float(along[-1]), time_s)
        if length >= along[-1]:
            return path, int(a), int(b), False
        return path[along <= length], int(a), int(b), True


def er_movie(
    frames: int = 24,
    shape_yx: tuple[int, int] = (256, 256),
    pixel_size_um: float = 0.1,
    frame_interval_s: float = 1.0,
    snr: float = 10.0,
    seed: int = 0,
    *,
    seeds_per_um2: float = 0.085,
    tubule_width_px: float = 3.5,
    psf_sigma_px: float = 1.2,
    drift_px: float = 1.5,
    remodelling: float = 0.0,
    sheet: bool = True,
    sbt: bool = True,
    static: bool = False,
    lifetime_s: float = 0.0,
    tip_speed_um_per_s: float = 0.0,
    meetings: float = 0.0,
    step_px: float = 0.0,
    least_tubule_px: float = 0.0,
) -> MoviePhantom:
    """Draw one movie.

    `seeds_per_um2` is the density of Voronoi points; `drift_px` the amplitude of the junctions' smooth motion (periods
    of 20 to 60 s); `remodelling` the share of tubules that appear or vanish during the movie; `sheet` and `sbt` add
    those classes. The noise is scaled so that E[S^2] / E[N^2] over the movie is `snr`; `inf` gives no noise.

    In time: `static` shows the first frame's scene throughout, with fresh noise. With `lifetime_s` the share
    `remodelling` of the tubules comes and goes again and again, their lives exponential with that mean; each has its
    junctions for itself, so about a fifth is the most there can be. `tip_speed_um_per_s` lets them grow out of one
    junction and retract into it at that speed (0: at once). `meetings` is the share of tubules that shorten until
    their two junctions are one, for a while. `step_px` is the mean distance that a junction wanders from frame to
    frame. `least_tubule_px` joins the ends of shorter tubules, pair by pair, before anything else: four-way junctions.
    Raises ValueError for arguments that give no picture.
    """
    if frames < 1 or len(shape_yx) != 2 or min(shape_yx) < 32:
        raise ValueError(f"{frames} frames of {tuple(shape_yx)}: give at least one frame of at least 32 by 32 pixels")
    for name, value in {
        "pixel_size_um": pixel_size_um,
        "frame_interval_s": frame_interval_s,
        "snr": snr,
        "seeds_per_um2": seeds_per_um2,
        "tubule_width_px": tubule_width_px,
    }.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}: give a positive number")
    for name, value in {"remodelling": remodelling, "meetings": meetings}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}: give a share between 0 and 1")
    for name, value in {
        "lifetime_s": lifetime_s,
        "tip_speed_um_per_s": tip_speed_um_per_s,
        "step_px": step_px,
        "least_tubule_px": least_tubule_px,
    }.items():
        if not 0 <= value < np.inf:
            raise ValueError(f"{name} is {value}: give 0 or a positive number")
    rng = np.random.default_rng([seed, 11])
    shape = np.asarray(shape_yx, float)
    one_off = 0.0 if lifetime_s else remodelling
    network = _network(shape, seeds_per_um2 * pixel_size_um**2, frames, drift_px, one_off, rng)
    dense = _network(shape, 5.5 * seeds_per_um2 * pixel_size_um**2, frames, 0.4 * drift_px, 0.0, rng)
    sheet_rim, patch = _sheet_shape(shape, rng)
    texture = gaussian_filter(rng.normal(size=tuple(shape_yx)), 6)
    texture = 1.0 + 0.12 * texture / texture.std()
    if least_tubule_px:
        vertices, ends, kept = contracted(network.vertices, network.edges, least_tubule_px)
        parts = {k: getattr(network, k)[kept] for k in ("bends", "brightness", "born", "dies")}
        network = replace(network, vertices=vertices, edges=ends, **parts)
    if lifetime_s or meetings or step_px:
        living = draw_living(
            network.vertices,
            network.edges,
            frames,
            frame_interval_s,
            np.random.default_rng([seed, 13]),
            mortal_share=remodelling,
            lifetime_s=lifetime_s,
            speed_px_per_s=tip_speed_um_per_s / pixel_size_um,
            meeting_share=meetings,
            step_px=step_px,
        )
        network = replace(network, living=living)

    signals: list[NDArray[Any]] = []
    classes: list[NDArray[Any]] = []
    nodes: list[pd.DataFrame] = []
    edges: list[pd.DataFrame] = []
    for frame in range(frames):
        if static and frame:
            signals.append(signals[0])
            classes.append(classes[0])
            nodes.append(nodes[0].assign(frame=frame))
            edges.append(edges[0].assign(frame=frame))
            continue
        time_s = frame * frame_interval_s
        whole, over = sheet_rim(time_s) if sheet else (np.full(shape_yx, -1.0),) * 2
        region = np.minimum(patch(time_s), whole + 6.0) if sheet and sbt else np.full(shape_yx, -1.0)
        node_rows, edge_rows, drawn = _graph(network, frame, time_s, np.maximum(whole, region), pixel_size_um)
        nodes.append(node_rows)
        edges.append(edge_rows)
        lines = distance_to_lines(drawn, shape_yx, tubule_width_px)
        matrix = distance_to_lines(_lines_inside(dense, frame, time_s, region), shape_yx, tubule_width_px)
        tubule = np.clip(0.5 + tubule_width_px / 2 - lines[0], 0, 1) * lines[1]
        flat = np.clip(over + 0.5, 0, 1)
        woven = np.clip(0.5 + 0.43 * tubule_width_px - matrix[0], 0, 1) * np.clip(region + 0.5, 0, 1)
        body = np.maximum(tubule, 0.62 * flat * texture * (1 - 0.35 * np.clip(region + 0.5, 0, 1)))
        signals.append(gaussian_filter(np.maximum(body, 1.1 * woven), psf_sigma_px, mode="nearest"))
        label = np.full(tuple(shape_yx), BACKGROUND, np.uint8)
        label[lines[0] <= tubule_width_px / 2] = TUBULE
        label[over > 0] = SHEET
        label[(matrix[0] <= 0.43 * tubule_width_px) & (region > 0)] = SBT
        classes.append(label)

    signal = 1000.0 * np.stack(signals)
    sigma = float(np.sqrt(np.mean(signal**2) / snr))
    noise = np.random.default_rng([seed, 12]).normal(0, sigma, signal.shape) if sigma else 0.0
    offset = max(200.0, 5.5 * sigma)  # so high that the noise is never cut off at zero
    image = np.clip(np.rint(signal + noise + offset), 0, 65535).astype(np.uint16)
    return MoviePhantom(
        image,
        np.stack(classes),
        pd.concat(nodes, ignore_index=True),
        pd.concat(edges, ignore_index=True),
        pixel_size_um,
        frame_interval_s,
        tubule_width_px,
        snr,
        seed,
    )


def _network(
    shape: NDArray[Any],
    seeds_per_px2: float,
    frames: int,
    drift_px: float,
    remodelling: float,
    rng: np.random.Generator,
) -> _Network:
    pad = 2.5 / np.sqrt(seeds_per_px2)
    area = float(np.prod(shape + 2 * pad))
    apart = 0.62 / np.sqrt(seeds_per_px2)
    points: list[NDArray[Any]] = []
    for candidate in rng.uniform(-pad, shape + pad, (int(6 * area * seeds_per_px2) + 20, 2)):
        if len(points) >= area * seeds_per_px2:
            break
        if not points or np.min(np.sum((np.array(points) - candidate) ** 2, axis=1)) > apart**2:
            points.append(candidate)
    diagram = Voronoi(np.array(points))
    edges = np.array([r for r in diagram.ridge_vertices if r[0] >= 0])
    vertices = diagram.vertices
    near = ((vertices > -2 * pad) & (vertices < shape + 2 * pad)).all(axis=1)
    edges = edges[near[edges].all(axis=1)]
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    count = len(vertices)
    drift = np.stack(
        [
            rng.uniform(0.2, 1.0, (count, 2)) * drift_px,
            rng.uniform(20, 60, (count, 2)),
            rng.uniform(0, 6.28, (count, 2)),
        ],
        axis=-1,
    )
    born, dies = np.zeros(len(edges), int), np.full(len(edges), frames)
    changes = rng.random(len(edges)) < remodelling
    appears = rng.random(len(edges)) < 0.5
    moment = rng.integers(1, max(frames, 2), len(edges))
    born[changes & appears] = moment[changes & appears]
    dies[changes & ~appears] = moment[changes & ~appears]
    bends = rng.normal(0, 1, (len(edges), 3, 2)) * np.minimum(0.06 * length, 2.2)[:, None, None]
    return _Network(vertices, edges, bends, drift, rng.uniform(0.75, 1.1, len(edges)), born, dies)


def _sheet_shape(
    shape: NDArray[Any], rng: np.random.Generator
) -> tuple[Callable[[float], tuple[NDArray[Any], NDArray[Any]]], Callable[[float], NDArray[Any]]]:
    """Signed pixel maps (positive inside) of the sheet, without and with its holes, and of the SBT patch, over time."""
    y, x = np.meshgrid(*[np.arange(int(n), dtype=float) for n in shape], indexing="ij")
    shortest = float(shape.min())
    corner = rng.integers(0, 2, 2)
    centre = np.where(corner == 0, rng.uniform(0.08, 0.3, 2), rng.uniform(0.7, 0.92, 2)) * shape
    waves = [(k, rng.uniform(0.03, 0.11), rng.uniform(0, 6.28), rng.uniform(30, 70)) for k in (2, 3, 5, 7)]
    radius = rng.uniform(0.26, 0.34) * shortest
    theta = np.arctan2(y - centre[0], x - centre[1])
    rho = np.hypot(y - centre[0], x - centre[1])

    def outline(time_s: float, angle: NDArray[Any]) -> NDArray[Any]:
        terms = [a * np.cos(k * angle + p + 0.6 * np.sin(2 * np.pi * time_s / period)) for k, a, p, period in waves]
        return np.asarray(radius * (1.0 + np.sum(terms, axis=0)))

    holes = [(rng.uniform(0, 6.28), rng.uniform(0.72, 0.97), rng.uniform(2.5, 5.5)) for _ in range(int(radius / 4))]
    into = np.arctan2(*(shape / 2 - centre))
    patch_angle = into + rng.uniform(-0.7, 0.7)
    patch_radius = rng.uniform(0.42, 0.55) * radius

    def sheet(time_s: float) -> tuple[NDArray[Any], NDArray[Any]]:
        whole = inside = outline(time_s, theta) - rho
        for angle, share, size in holes:
            at = share * float(outline(time_s, np.array(angle)))
            hole = np.hypot(y - centre[0] - at * np.sin(angle), x - centre[1] - at * np.cos(angle)) - size
            inside = np.minimum(inside, hole)
        return whole, inside

    def patch(time_s: float) -> NDArray[Any]:
        at = 0.72 * radius
        py, px = centre[0] + at * np.sin(patch_angle), centre[1] + at * np.cos(patch_angle)
        around = np.arctan2(y - py, x - px)
        rim = patch_radius * (1 + 0.12 * np.cos(3 * around + 1.0 + 0.4 * np.sin(2 * np.pi * time_s / 45)))
        return np.asarray(rim - np.hypot(y - py, x - px))

    return sheet, patch


def _graph(
    network: _Network, frame: int, time_s: float, covered: NDArray[Any], pixel_size_um: float
) -> tuple[pd.DataFrame, pd.DataFrame, list[tuple[NDArray[Any], float]]]:
    """The tubules seen in one frame: outside the sheet (`covered` > 0) and in the picture, cut where they leave."""
    limit = np.array(covered.shape) - 1.0
    places = network.at(frame, time_s)
    nodes: dict[int, tuple[float, float, str]] = {}
    rows, lines = [], []
    ends_from = len(network.vertices)
    tips_from = ends_from + 16 * len(network.edges)
    for edge in network.seen(frame):
        corners = places[network.edges[edge]]
        if (corners.max(axis=0) < -8).any() or (corners.min(axis=0) > limit + 8).any():
            continue
        path, a, b, free_tip = network.grown(edge, places, time_s)
        if len(path) < 2:
            continue
        framed = np.all((path >= 0) & (path <= limit), axis=1)
        free = framed & (map_coordinates(covered, path.T, order=1, mode="nearest") <= 0)
        lines.append((path[free | ~framed], float(network.brightness[edge])))
        turns = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]]).astype(int)))
        for part, (start, stop) in enumerate(zip(turns[::2], turns[1::2], strict=True)):
            if stop - start < 2:
                continue
            ids = []
            for side, at, vertex in ((0, start, a), (1, stop - 1, b)):
                whole = at == (0 if side == 0 else len(path) - 1)
                beyond = at if whole else at + (-1 if side == 0 else 1)
                name = int(vertex) if whole else ends_from + int(edge) * 16 + 2 * min(part, 7) + side
                kind = "junction" if whole else "sheet" if framed[beyond] else "border"
                if whole and side == 1 and free_tip:
                    name = tips_from + edge
                nodes[name] = (float(path[at, 0]), float(path[at, 1]), kind)
                ids.append(name)
            line = path[start:stop]
            length = float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
            rows.append(
                (
                    frame,
                    int(edge) * 8 + min(part, 7),
                    ids[0],
                    ids[1],
                    length,
                    length * pixel_size_um,
                    line[:: max(1, round(1 / STEP_PX))],
                )
            )
    edges = pd.DataFrame(rows, columns=["frame", "edge_id", "node_a", "node_b", "length_px", "length_um", "path_yx_px"])
    degree = pd.concat([edges["node_a"], edges["node_b"]]).value_counts()
    table = []
    for name, (y, x, kind) in sorted(nodes.items()):
        d = int(degree.get(name, 0))
        if kind == "junction" and d < 3:
            kind = "bend" if d == 2 else "tip"
        table.append((frame, name, y, x, y * pixel_size_um, x * pixel_size_um, d, kind))
    columns = ["frame", "node_id", "y_px", "x_px", "y_um", "x_um", "degree", "kind"]
    return pd.DataFrame(table, columns=columns), edges, lines


def _lines_inside(
    network: _Network, frame: int, time_s: float, region: NDArray[Any]
) -> list[tuple[NDArray[Any], float]]:
    """Centre lines of the sheet-based tubules: the dense network, where `region` is near."""
    if not (region > 0).any():
        return []
    ys, xs = np.nonzero(region > -4)
    low, high = np.array([ys.min(), xs.min()]) - 12, np.array([ys.max(), xs.max()]) + 12
    places = network.at(frame, time_s)
    lines = []
    for edge in range(len(network.edges)):
        corners = places[network.edges[edge]]
        if (corners.max(axis=0) >= low).all() and (corners.min(axis=0) <= high).all():
            lines.append((network.path(edge, places), float(network.brightness[edge])))
    return lines
