"""Where everything in a phantom cell stands: geometry in nanometres, before any voxel.

Sizes follow Nair et al. 2025: vesicles by the Golgi 59 +- 9 nm, by the ER 75.7 +- 9.1 nm and within 120 nm of it,
clathrin-coated ones 90-110 nm; tubular exit sites are short convoluted tubules of about 50 nm that leave the ER.
"""

from dataclasses import dataclass

import numpy as np

from .cell_organelles import er_network, golgi_stack, mitochondrion, unit_vector
from .cell_scene import Planted, Scene
from .shapes import Ball, Floats, Plate, Shape, Tube, distance_to


@dataclass(frozen=True)
class Spacing:
    """Smallest surface gaps in nm that keep planted groups apart (margins over the rules of the paper)."""

    group: float  # vesicle groups from one another; the rule joins within 60
    golgi: float  # exit-site vesicles from Golgi vesicles; the rule excludes within 320
    tubular_link: float  # vesicles from tubular sites they do not belong to; the rule links within 50
    tubular: float  # tubular sites from one another; the rule joins within 140
    far_from_er: float  # dispersed vesicles from the ER; the rule calls 120 near


SITES = Spacing(group=90, golgi=360, tubular_link=85, tubular=195, far_from_er=150)
DENSE = Spacing(group=25, golgi=40, tubular_link=30, tubular=50, far_from_er=50)


def lay_out(extent_nm: Floats, seed: int, density: float, spacing: Spacing, distractors: bool) -> Scene:
    """A cell in a box of `extent_nm`; the same seed and extent give the same cell whatever the voxels are."""
    rng = np.random.default_rng([seed, 1])
    scene = Scene(np.asarray(extent_nm, float))
    volume_um3 = float(np.prod(scene.extent_nm)) / 1e9
    golgi_stack(scene, rng, in_corner=spacing is SITES)
    if distractors:
        mitochondrion(scene, rng, volume_um3)
    er_network(scene, rng, volume_um3)
    builder = _Builder(scene, rng, spacing)
    builder.golgi_vesicles(density)
    amount = density * max(volume_um3, 0.15) if spacing is SITES else density * max(2.5 * volume_um3, 0.5)
    builder.tubular_sites(alone=max(1, round(0.8 * amount)), mixed=max(1, round(0.6 * amount)))
    builder.clusters(clusters=max(1, round(0.9 * amount)), singles=max(1, round(0.8 * amount)))
    builder.dispersed(max(1, round(0.9 * amount)))
    builder.coated(max(2, round(3.0 * amount)))
    if distractors:
        builder.endosomes(round(1.2 * amount))
    scene.ribosomes_nm = rng.uniform(0, 1, (round(1500 * volume_um3), 3)) * scene.extent_nm
    return scene


class _Builder:
    """Plants vesicles and tubular sites by rejection, checking exact gaps against all that stands already."""

    def __init__(self, scene: Scene, rng: np.random.Generator, spacing: Spacing):
        self.scene, self.rng, self.spacing = scene, rng, spacing
        self.group = 0
        self.solid = scene.golgi + scene.mitochondria

    def _er_gap(self, centre: Floats, radius: float) -> float:
        return float(distance_to(self.scene.er, centre)[0]) - radius

    def _fits(self, centre: Floats, radius: float, gap: float, group: int, er_gap: tuple[float, float]) -> bool:
        """Whether a ball may stand here: inside, off every surface, and as far from other groups as the rules want."""
        if (centre < radius + 6).any() or (centre > self.scene.extent_nm - radius - 6).any():
            return False
        for p in self.scene.of("copi_like", "copii_like", "ccv"):
            reach = float(np.linalg.norm(centre - p.centre_nm)) - radius - p.diameter_nm / 2
            least = gap
            if "ccv" not in (p.kind, "ccv" if group < 0 else "") and p.group != group:
                least = self.spacing.golgi if "golgi_associated" in (p.site_class, self._class) else self.spacing.group
            if reach < least:
                return False
        for p in self.scene.of("tubular_eres"):
            own = p.group == group and group > 0
            least = gap if own or group < 0 else self.spacing.tubular_link
            if float(distance_to(p.shapes, centre)[0]) - radius < least:
                return False
        if self.solid and float(distance_to(self.solid, centre)[0]) - radius < 8:
            return False
        if self.scene.endosomes and float(distance_to(self.scene.endosomes, centre)[0]) - radius < 8:
            return False
        return er_gap[0] <= self._er_gap(centre, radius) <= er_gap[1]

    _class = ""

    def _try(
        self,
        kind: str,
        centre: Floats,
        diameter: float,
        gap: float,
        group: int,
        site_class: str,
        er_gap: tuple[float, float],
        shape: Shape | None = None,
    ) -> bool:
        self._class = site_class
        if not self._fits(centre, diameter / 2, gap, group, er_gap):
            return False
        number = len(self.scene.of("copi_like", "copii_like") if kind != "ccv" else self.scene.of("ccv")) + 1
        ball = shape or Ball(centre, diameter / 2)
        self.scene.planted.append(
            Planted(
                kind, number, [ball], centre, diameter, self._er_gap(centre, diameter / 2), max(group, 0), site_class
            )
        )
        return True

    def _diameter(self, mean: float, deviation: float) -> float:
        return float(mean + deviation * np.clip(self.rng.normal(), -2, 2))

    def golgi_vesicles(self, density: float) -> None:
        """A chain of vesicles round the rim of the stack, closer than 60 nm to one another and longer than 400 nm."""
        self.group += 1
        middle = self.scene.golgi[len(self.scene.golgi) // 2]
        assert isinstance(middle, Plate)
        half_stack = 46.0 * (len(self.scene.golgi) - 1) / 2
        towards = self.scene.extent_nm / 2 - middle.centre_nm
        start = float(np.arctan2(middle.frame[1] @ towards, middle.frame[0] @ towards)) - 2.6
        angle, lift, placed = start, 0.0, 0
        while angle < start + 5.4 and placed < 22 * density:
            diameter = self._diameter(59.2, 9.1)
            lift = float(np.clip(lift + self.rng.normal(0, 15), -half_stack, half_stack))
            done = False
            for push in np.arange(8, 90, 6.0):
                reach = middle.radius_nm + diameter / 2 + push
                centre = (
                    middle.centre_nm
                    + lift * middle.frame[2]
                    + reach * (np.cos(angle) * middle.frame[0] + np.sin(angle) * middle.frame[1])
                )
                if self._try("copi_like", centre, diameter, 10, self.group, "golgi_associated", (8, np.inf)):
                    done = True
                    break
            placed += done
            angle += (diameter + self.rng.uniform(12, 30)) / (middle.radius_nm + 45) if done else 0.05

    def _er_start(self) -> tuple[Floats, Floats]:
        """A point on the ER surface and the direction away from it."""
        tubes = [s for s in self.scene.er if isinstance(s, Tube)]
        plates = [s for s in self.scene.er if isinstance(s, Plate)]
        if plates and (not tubes or self.rng.random() < 0.2):
            plate = plates[int(self.rng.integers(len(plates)))]
            out = plate.frame[2] * self.rng.choice([-1.0, 1.0])
            u, v = self.rng.uniform(-0.6, 0.6, 2) * plate.radius_nm
            point = plate.centre_nm + u * plate.frame[0] + v * plate.frame[1]
        else:
            tube = tubes[int(self.rng.integers(len(tubes)))]
            at = int(self.rng.integers(1, len(tube.path_nm) - 1))
            along = tube.path_nm[at + 1] - tube.path_nm[at - 1]
            out = np.cross(along, unit_vector(self.rng))
            out /= np.linalg.norm(out)
            point = tube.path_nm[at]
        for _ in range(60):  # walk out to the surface of the whole ER
            gap = float(distance_to(self.scene.er, point)[0])
            if gap >= -1.0:
                break
            point = point + out * max(2.0, -gap)
        return point, out

    def clusters(self, clusters: int, singles: int) -> None:
        """Stand-alone vesicular exit sites: clusters of 3 to 9 vesicles and single vesicles near the ER."""
        for wanted in [int(self.rng.integers(3, 10)) for _ in range(clusters)] + [1] * singles:
            self.group += 1
            for _ in range(80):
                point, out = self._er_start()
                diameter = self._diameter(75.7, 9.1)
                centre = point + out * (diameter / 2 + self.rng.uniform(14, 60))
                if self._try("copii_like", centre, diameter, 10, self.group, "vesicular_standalone", (10, 100)):
                    self._grow(wanted, "vesicular_standalone")
                    break

    def _grow(self, wanted: int, site_class: str) -> None:
        """Add vesicles next to those of the current group until it has `wanted`, within 340 nm in every axis."""
        for _ in range(60 * wanted):
            mates = [p for p in self.scene.of("copii_like") if p.group == self.group]
            if len(mates) >= wanted:
                return
            mate = mates[int(self.rng.integers(len(mates)))]
            diameter = self._diameter(75.7, 9.1)
            step = mate.diameter_nm / 2 + diameter / 2 + self.rng.uniform(8, 32)
            centre = mate.centre_nm + unit_vector(self.rng) * step
            low = np.min([p.centre_nm - p.diameter_nm / 2 for p in mates] + [centre - diameter / 2], axis=0)
            high = np.max([p.centre_nm + p.diameter_nm / 2 for p in mates] + [centre + diameter / 2], axis=0)
            if (high - low).max() < 340:
                self._try("copii_like", centre, diameter, 8, self.group, site_class, (8, 112))

    def tubular_sites(self, alone: int, mixed: int) -> None:
        """Tubular exit sites: two to four convoluted tubules off one point of the ER; `mixed` ones get vesicles."""
        for with_vesicles in [True] * mixed + [False] * alone:
            self.group += 1
            for _ in range(60):
                if self._tubular(with_vesicles):
                    break

    def _tubular(self, with_vesicles: bool) -> bool:
        point, out = self._er_start()
        extent = self.scene.extent_nm
        if (point < 60).any() or (point > extent - 60).any():
            return False
        for p in self.scene.of("tubular_eres"):  # a cheap first look before the walk is made
            if np.linalg.norm(p.centre_nm - point) < self.spacing.tubular:
                return False
        tubes: list[Shape] = []
        for _ in range(int(self.rng.integers(2, 5))):
            path, heading = [point - 12 * out, point], out + 0.5 * unit_vector(self.rng)
            radius = self.rng.uniform(21, 26)
            for _ in range(int(self.rng.integers(14, 26))):
                heading = heading + 0.55 * unit_vector(self.rng)
                away = point + 95 * out - path[-1]
                heading += 0.35 * away / max(float(np.linalg.norm(away)), 60.0)
                if float(distance_to(self.scene.er, path[-1])[0]) < radius + 14:
                    heading += 0.5 * out
                heading /= np.linalg.norm(heading)
                path.append(path[-1] + 10.0 * heading)
            radii = np.full(len(path), radius)
            radii[-3:] += (2, 5, 6)  # a budding tip
            tubes.append(Tube(np.array(path), radii))
        cloud = np.vstack([t.path_nm for t in tubes if isinstance(t, Tube)])
        if (cloud < 30).any() or (cloud > extent - 30).any():
            return False
        if self.solid and distance_to(self.solid, cloud).min() < 45:
            return False
        for p in self.scene.planted:
            least = self.spacing.tubular + 50 if p.kind == "tubular_eres" else 25 + self.spacing.tubular_link
            if distance_to(p.shapes, cloud).min() < least:
                return False
        before = len(self.scene.planted)
        diameter = 2 * float(np.mean([t.radius_nm.mean() for t in tubes if isinstance(t, Tube)]))
        number = len(self.scene.of("tubular_eres")) + 1
        self.scene.planted.append(
            Planted(
                "tubular_eres",
                number,
                tubes,
                cloud.mean(axis=0),
                diameter,
                0.0,
                self.group,
                "tubular_mixed" if with_vesicles else "tubular_isolated",
            )
        )
        if not with_vesicles:
            return True
        wanted = int(self.rng.integers(1, 6))
        for _ in range(80):
            diameter = self._diameter(75.7, 9.1)
            at = cloud[int(self.rng.integers(len(cloud)))]
            centre = at + unit_vector(self.rng) * (25 + diameter / 2 + self.rng.uniform(6, 25))
            if float(distance_to(tubes, centre)[0]) - diameter / 2 < 32 and self._try(
                "copii_like", centre, diameter, 8, self.group, "vesicular_mixed", (10, 100)
            ):
                self._grow(wanted, "vesicular_mixed")
                return True
        del self.scene.planted[before:]
        return False

    def _scatter(self) -> Floats:
        return np.asarray(self.rng.uniform(60, self.scene.extent_nm - 60))

    def dispersed(self, count: int) -> None:
        """Vesicles near neither the ER nor the Golgi."""
        for _ in range(count):
            self.group += 1
            for _ in range(400):
                if self._try(
                    "copi_like",
                    self._scatter(),
                    self._diameter(59.2, 9.1),
                    10,
                    self.group,
                    "dispersed",
                    (self.spacing.far_from_er, np.inf),
                ):
                    break

    def coated(self, count: int) -> None:
        """Clathrin-coated vesicles, 90 to 110 nm, anywhere in the cytosol; their coat is knobbed."""
        golden = np.pi * (3 - np.sqrt(5))
        for _ in range(count):
            for _ in range(120):
                diameter = float(self.rng.uniform(90, 110))
                centre = self._scatter()
                k = np.arange(26)
                z = 1 - (2 * k + 1) / len(k)
                turn = golden * k + self.rng.uniform(0, 6.28)
                spikes = np.column_stack([z, np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn)])
                if self._try(
                    "ccv", centre, diameter, 14, -1, "", (14, np.inf), Ball(centre, diameter / 2, spikes, 9.0)
                ):
                    break

    def endosomes(self, count: int) -> None:
        """Bare, larger vesicles that no class should claim."""
        for _ in range(count):
            for _ in range(60):
                centre, radius = self._scatter(), float(self.rng.uniform(65, 105))
                others = (
                    self.solid
                    + self.scene.er
                    + self.scene.endosomes
                    + [s for p in self.scene.planted for s in p.shapes]
                )
                if float(distance_to(others, centre)[0]) > radius + 14:
                    self.scene.endosomes.append(Ball(centre, radius))
                    break
