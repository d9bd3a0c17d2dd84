"""The large organelles of a phantom cell: Golgi stack, mitochondrion, ER sheets and tubules."""

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.distance import cdist

from .cell_scene import Scene
from .shapes import Floats, Plate, Tube, distance_to


def unit_vector(rng: np.random.Generator) -> Floats:
    v = rng.normal(size=3)
    return v / np.linalg.norm(v)


def _frame(normal: Floats, rng: np.random.Generator) -> Floats:
    u = np.cross(normal, unit_vector(rng))
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(normal, u), normal])


def _plate(
    rng: np.random.Generator,
    centre: Floats,
    frame: Floats,
    radius: float,
    half: float,
    holes: int,
    swelling: float = 0.0,
    waves: Floats | None = None,
) -> Plate:
    outline = np.array([[k, rng.uniform(0.02, 0.09), rng.uniform(0, 6.28)] for k in (2, 3, 5)])
    if waves is None:
        waves = np.array(
            [[rng.uniform(10, 30), *(rng.uniform(-1, 1, 2) * 0.008), rng.uniform(0, 6.28)] for _ in range(3)]
        )
    places = rng.uniform(-0.55, 0.55, (holes, 2)) * radius
    return Plate(
        centre, frame, radius, half, outline, waves, np.column_stack([places, rng.uniform(45, 80, holes)]), swelling
    )


def golgi_stack(scene: Scene, rng: np.random.Generator, in_corner: bool) -> None:
    shortest = float(scene.extent_nm.min())
    radius = float(np.clip(0.26 * shortest, 110, 255) * rng.uniform(0.93, 1.0))
    normal = unit_vector(rng)
    frame = _frame(normal, rng)
    if in_corner:  # in a corner, so that most of the volume lies beyond the 320 nm of the Golgi rule
        corner = rng.integers(0, 2, 2)
        inset = radius + 130
        yx = np.where(corner == 0, inset, scene.extent_nm[1:] - inset)
        centre = np.array([scene.extent_nm[0] * rng.uniform(0.4, 0.6), *yx])
    else:
        centre = scene.extent_nm * rng.uniform(0.2, 0.8, 3)
    waves = np.array([[rng.uniform(8, 22), *(rng.uniform(-1, 1, 2) * 0.007), rng.uniform(0, 6.28)] for _ in range(2)])
    count = int(rng.integers(4, 6)) if shortest > 700 else 3
    for level in range(count):
        offset = (level - (count - 1) / 2) * 46.0
        size = radius * rng.uniform(0.85, 1.0)
        holes = int(rng.integers(0, 2))
        scene.golgi.append(_plate(rng, centre + offset * normal, frame, size, 12.0, holes, 7.0, waves))


def mitochondrion(scene: Scene, rng: np.random.Generator, volume_um3: float) -> None:
    """A rod along one side wall, half cut by it, as in blocks of real cells; none where it has no room."""
    if volume_um3 < 0.9:
        return
    radius = float(np.clip(0.12 * scene.extent_nm.min(), 90, 170))
    for _ in range(12):
        axis, wall = int(rng.integers(1, 3)), int(rng.integers(0, 2))
        other = 3 - axis
        ends = np.zeros((2, 3))
        ends[:, 0] = rng.uniform(0.15, 0.85, 2) * scene.extent_nm[0]
        ends[:, other] = np.array([-0.1, 1.1]) * scene.extent_nm[other]
        ends[:, axis] = wall * scene.extent_nm[axis] + (1 - 2 * wall) * rng.uniform(-40, 60)
        path = _wiggle(ends[0], ends[1], 60.0, rng, step_nm=40.0)
        if distance_to(scene.golgi, path).min() > radius + 70:
            break
    else:
        return
    scene.mitochondria.append(Tube(path, np.full(len(path), radius)))
    tangent = np.gradient(path, axis=0)
    for at in range(2, len(path) - 2, 2):
        normal = tangent[at] / np.linalg.norm(tangent[at]) + 0.5 * unit_vector(rng)
        normal /= np.linalg.norm(normal)
        shift = unit_vector(rng) * radius * 0.35
        scene.cristae.append(_plate(rng, path[at] + shift, _frame(normal, rng), radius * 0.62, 9.0, 0))


def _wiggle(a: Floats, b: Floats, jitter_nm: float, rng: np.random.Generator, step_nm: float = 14.0) -> Floats:
    """A cubic spline from a to b through three jittered points, sampled every `step_nm`."""
    inner = a + np.array([[0.25], [0.5], [0.75]]) * (b - a) + rng.normal(0, jitter_nm, (3, 3))
    knots = np.vstack([a, inner, b])
    samples = max(4, int(np.linalg.norm(np.diff(knots, axis=0), axis=1).sum() / step_nm))
    return np.asarray(CubicSpline(np.linspace(0, 1, 5), knots)(np.linspace(0, 1, samples)))


def er_network(scene: Scene, rng: np.random.Generator, volume_um3: float) -> None:
    """Sheets, and tubules along the relative-neighbourhood graph of scattered nodes: mostly three-way, like the ER."""
    shortest = float(scene.extent_nm.min())
    for _ in range(max(1, round(volume_um3 / 2.6))):
        radius = float(np.clip(0.33 * shortest, 140, 430))
        for _ in range(60):
            centre = scene.extent_nm * rng.uniform(0.12, 0.88, 3)
            plate = _plate(
                rng, centre, _frame(unit_vector(rng), rng), radius, rng.uniform(23, 28), int(rng.integers(1, 4))
            )
            ring = centre + radius * np.array(
                [
                    np.cos(t) * plate.frame[0] * f + np.sin(t) * plate.frame[1] * f
                    for t in np.linspace(0, 6.28, 16)
                    for f in (0.0, 0.5, 1.0, 1.2)
                ]
            )
            if distance_to(scene.golgi + scene.mitochondria, ring).min() > 110:
                scene.er.append(plate)
                break
    apart = float(np.clip(0.42 * shortest, 230, 400))
    nodes: list[Floats] = []
    for _ in range(int(400 + 300 * volume_um3)):
        p = rng.uniform(-0.5 * apart, scene.extent_nm + 0.5 * apart)
        if all(np.linalg.norm(p - q) > apart for q in nodes):
            nodes.append(p)
    points = np.array(nodes)
    between = cdist(points, points)
    for i in range(len(points)):
        for j in range(i + 1, len(points)):
            if between[i, j] > 2.2 * apart or (np.maximum(between[i], between[j]) < between[i, j]).any():
                continue
            path = _wiggle(points[i], points[j], 28.0, rng)
            base = rng.uniform(28, 36)
            radii = base * (1 + 0.12 * np.sin(np.linspace(0, rng.uniform(3, 9), len(path)) + rng.uniform(0, 6.28)))
            if distance_to(scene.golgi + scene.mitochondria, path).min() > 75:
                scene.er.append(Tube(path, radii))
