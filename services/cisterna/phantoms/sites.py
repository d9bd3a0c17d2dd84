"""A volume with the exit-site counts of Nair et al. 2025 planted in it, and every threshold tried on both sides.

331 vesicular groups = 58 golgi_associated + 26 dispersed + 247; 247 = 179 stand-alone + 68 mixed; the 68 are linked
to one (62) or two (6) tubular sites; 779 tubular sites = 705 isolated + 74 mixed. The second fixture shares tubular
sites: two of the 74 lie between two vesicular groups, so 60 groups are linked once, 8 twice, by 76 links.
Objects are a few voxels large: what is planted are distances, not pictures.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cisterna.phantoms.site_units import (
    DISPERSED,
    GOLGI,
    ISOLATED,
    MIXED,
    STANDALONE,
    TUBULAR_MIXED,
    Solid,
    Step,
    Unit,
    before,
    beyond,
    extent_units,
    gap,
    golgi_region,
    length_nm,
    shared_tubule,
    threshold_units,
    twice_linked,
)

HELA2_VOXEL_NM = (5.24, 4.0, 4.0)

HELA2_COUNTS = {STANDALONE: 179, MIXED: 68, DISPERSED: 26, GOLGI: 58, ISOLATED: 705, TUBULAR_MIXED: 74}

_PLANE = 340
_TUBULAR_PITCH = (28, 37, 37)
_TALL = 60
_TUBULAR_MOST = (2, 2, 2)
_KINDS = ("vesicle", "tubular", "er")


@dataclass(frozen=True)
class SitePhantom:
    """Labels (Z,Y,X) of planted objects, ids in raster order, and the truth about them."""

    vesicle_labels: NDArray[np.uint32]
    tubular_labels: NDArray[np.uint32]
    er_mask: NDArray[np.bool_]
    voxel_size_nm: tuple[float, float, float]
    counts: dict[str, int]
    links: int
    linked_once: int
    linked_twice: int
    scenes: dict[str, int]


def plant_sites(shared_tubules: bool = False, seed: int = 2025) -> SitePhantom:
    """The HeLa-2 counts on a 5.24×4×4 nm grid; ``shared_tubules`` gives the second fixture."""
    rng = np.random.default_rng(seed)
    size = HELA2_VOXEL_NM
    golgi = golgi_region(HELA2_COUNTS[GOLGI], size, rng)
    units = [*threshold_units(size), *extent_units(size)]
    units += [shared_tubule() for _ in range(2 if shared_tubules else 0)]
    units += [twice_linked(size) for _ in range(8 if shared_tubules else 6)]
    units += _plain(units, golgi, rng)
    volume, placed = _place(units, golgi)
    labels = {kind: _paint([s for s in placed if s.kind == kind], volume) for kind in _KINDS}
    every = [*units, golgi]
    multiplicity = Counter(n for u in every for n in u.links)
    return SitePhantom(
        vesicle_labels=labels["vesicle"],
        tubular_labels=labels["tubular"],
        er_mask=labels["er"] > 0,
        voxel_size_nm=size,
        counts=dict(_total(every)),
        links=sum(n for u in every for n in u.links),
        linked_once=multiplicity[1],
        linked_twice=multiplicity[2],
        scenes=dict(sorted(Counter(u.name for u in every).items())),
    )


def _total(units: Iterable[Unit]) -> Counter[str]:
    total: Counter[str] = Counter(dict.fromkeys(HELA2_COUNTS, 0))
    for unit in units:
        total.update(unit.counts)
    return total


def _plain(units: Sequence[Unit], golgi: Unit, rng: np.random.Generator) -> list[Unit]:
    """Ordinary scenes that fill the counts up to the planted ones."""
    missing = Counter(HELA2_COUNTS)
    missing.subtract(_total([*units, golgi]))
    if min(missing.values()) < 0 or missing[MIXED] != missing[TUBULAR_MIXED]:
        raise ValueError(f"the threshold scenes alone exceed the counts: {dict(missing)}")
    plain = [_cluster(STANDALONE, rng) for _ in range(missing[STANDALONE])]
    plain += [_cluster(MIXED, rng) for _ in range(missing[MIXED])]
    plain += [_cluster(DISPERSED, rng) for _ in range(missing[DISPERSED])]
    for _ in range(missing[ISOLATED]):
        z, y, x = (int(rng.integers(1, n + 1)) for n in _TUBULAR_MOST)
        plain.append(Unit("tubular alone", (Solid("tubular", (0, 0, 0), (z, y, x)),), {ISOLATED: 1}))
    return plain


def _cluster(site_class: str, rng: np.random.Generator) -> Unit:
    """One to four vesicles, each within 60 nm of an earlier one, with ER and a tubular site as the class asks."""
    vesicles = [Solid("vesicle", (0, 0, 0), _edges(rng))]
    for _ in range(int(rng.integers(0, 4))):
        for _try in range(50):
            parent = vesicles[int(rng.integers(len(vesicles)))]
            move = rng.integers((-5, -12, -12), (6, 13, 13))
            z, y, x = (int(a + d) for a, d in zip(parent.low, move, strict=True))
            new = Solid("vesicle", (z, y, x), _edges(rng))
            gaps = [gap(new, v) for v in vesicles]
            # Not touching (that would be one object), and near enough to be one group.
            if min(max(g) for g in gaps) > 1 and min(length_nm(g, HELA2_VOXEL_NM) for g in gaps) <= 60.0:
                vesicles.append(new)
                break
    solids: list[Solid] = list(vesicles)
    if site_class == DISPERSED:
        return Unit("dispersed", tuple(solids), {DISPERSED: 1})
    last = max(vesicles, key=lambda v: v.end[2])
    first = min(vesicles, key=lambda v: v.low[2])
    solids.append(before(first, (0, 0, int(rng.integers(1, 15))), "er", (1, 2, 2)))
    if site_class == STANDALONE:
        return Unit("stand-alone", tuple(solids), {STANDALONE: 1})
    solids.append(beyond(last, (0, 0, int(rng.integers(1, 12))), "tubular", (2, 2, 3)))
    return Unit("mixed", tuple(solids), {MIXED: 1, TUBULAR_MIXED: 1}, (1,))


def _edges(rng: np.random.Generator) -> Step:
    z, y, x = (int(n) for n in rng.integers(1, 4, 3))
    return z, y, x


def _place(units: Sequence[Unit], golgi: Unit) -> tuple[Step, list[Solid]]:
    """Positions for all units: scenes with vesicles on shelves below (tall ones in columns of their own), tubular
    sites on a lattice above, and the Golgi-like regions among those, more than 320 nm from every other vesicle."""
    margin = 8
    placed: list[Solid] = []
    z = y = x = margin
    layer = shelf = 0
    lone = [u for u in units if u.tubular_only and len(u.solids) == 1]
    tall = [u for u in units if u.shape[0] > _TALL]
    column = _PLANE - margin
    for unit in tall:
        column -= unit.shape[2] + 2 * unit.clearance[2]
        placed += _moved(unit, (margin, margin, column + unit.clearance[2]))
    scenes = sorted(
        (u for u in units if u not in lone and u not in tall),
        key=lambda u: (u.shape[0] + 2 * u.clearance[0], u.shape[1]),
    )
    for unit in scenes:
        room = [n + 2 * c for n, c in zip(unit.shape, unit.clearance, strict=True)]
        if x + room[2] > column:
            x, y, shelf = margin, y + shelf, 0
        if y + room[1] > _PLANE - margin:
            x, y, z, layer, shelf = margin, margin, z + layer, 0, 0
        placed += _moved(unit, [a + c for a, c in zip((z, y, x), unit.clearance, strict=True)])
        x, shelf, layer = x + room[2], max(shelf, room[1]), max(layer, room[0])
    begin = max(z + layer, margin + max((u.shape[0] for u in tall), default=0)) + 14
    golgi_low = (begin + 62, (_PLANE - golgi.shape[1]) // 2, (_PLANE - golgi.shape[2]) // 2)
    region = _moved(golgi, golgi_low)
    placed += region
    z, y, x = begin, margin, margin
    for unit in lone:
        while not _free(_moved(unit, (z, y, x))[0], region):
            z, y, x = _next_cell(z, y, x, margin)
        placed += _moved(unit, (z, y, x))
        z, y, x = _next_cell(z, y, x, margin)
    depth = max(s.end[0] for s in placed) + margin
    return (depth, _PLANE, _PLANE), placed


def _free(tubular: Solid, region: Sequence[Solid]) -> bool:
    """Whether a tubular site may stand among the Golgi-like groups: none of them can be linked, so it only must not
    overlap anything and stay a site of its own."""
    return all(length_nm(gap(tubular, s), HELA2_VOXEL_NM) > (150.0 if s.kind == "tubular" else 5.0) for s in region)


def _next_cell(z: int, y: int, x: int, margin: int) -> Step:
    dz, dy, dx = _TUBULAR_PITCH
    x += dx
    if x + dx > _PLANE - margin:
        x, y = margin, y + dy
    if y + dy > _PLANE - margin:
        y, z = margin, z + dz
    return z, y, x


def _moved(unit: Unit, to: Sequence[int]) -> list[Solid]:
    """The unit's solids with its low corner at ``to``."""
    moved = []
    for s in unit.solids:
        z, y, x = (a - low + t for a, low, t in zip(s.low, unit.low, to, strict=True))
        moved.append(Solid(s.kind, (z, y, x), s.shape))
    return moved


def _paint(solids: Sequence[Solid], shape: Step) -> NDArray[np.uint32]:
    """Solids as labels 1…n in raster order of their first voxel."""
    labels = np.zeros(shape, np.uint32)
    for number, s in enumerate(sorted(solids, key=lambda s: s.low), start=1):
        box = tuple(slice(a, e) for a, e in zip(s.low, s.end, strict=True))
        if labels[box].any():
            raise AssertionError(f"two {s.kind} solids overlap at {s.low}")
        labels[box] = number
    return labels


def save_sites(folder: str | Path, phantom: SitePhantom) -> list[Path]:
    """Write a phantom: `raw.tif`, masks `copi.tif`, `tubular_eres.tif`, `er.tif` (0/255), `truth.json`.

    The masks are probabilities for `--use CLASS=PATH`; the raw volume shows them dark on bright. Needs tifffile.
    """
    import tifffile

    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    z, y, x = phantom.voxel_size_nm
    grid = {"axes": "ZYX", "PhysicalSizeZ": z, "PhysicalSizeY": y, "PhysicalSizeX": x}
    grid |= {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
    masks = {
        "copi.tif": phantom.vesicle_labels > 0,
        "tubular_eres.tif": phantom.tubular_labels > 0,
        "er.tif": phantom.er_mask,
    }
    dark = np.logical_or.reduce(list(masks.values()))
    images = {name: np.where(mask, np.uint8(255), np.uint8(0)) for name, mask in masks.items()}
    images["raw.tif"] = np.where(dark, np.uint8(90), np.uint8(200))
    for name, image in images.items():
        tifffile.imwrite(root / name, image, ome=True, photometric="minisblack", metadata=grid, compression="zlib")
    truth = {
        "kind": "sites",
        "like": "hela2",
        "voxel_size_nm": list(phantom.voxel_size_nm),
        "shape_zyx": list(phantom.er_mask.shape),
        "counts": phantom.counts,
        "links": phantom.links,
        "linked_once": phantom.linked_once,
        "linked_twice": phantom.linked_twice,
        "scenes": phantom.scenes,
    }
    (root / "truth.json").write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")
    return [root / name for name in [*images, "truth.json"]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `cisterna phantom sites`."""
    parser.add_argument("--like", choices=["hela2"], default="hela2", help="whose counts to plant (Nair et al. 2025)")
    parser.add_argument(
        "--shared-tubules", action="store_true", help="two tubular sites lie between two vesicular groups each"
    )
    parser.add_argument("--seed", type=int, default=2025, help="seed of the ordinary scenes (default 2025)")
    parser.add_argument(
        "--output", type=Path, default=Path("phantom-sites"), help="folder to write (default %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the phantom and prints what was planted."""
    phantom = plant_sites(args.shared_tubules, args.seed)
    files = save_sites(args.output, phantom)
    print("planted: " + ", ".join(f"{name} {n}" for name, n in phantom.counts.items()))
    print(f"links: {phantom.links} ({phantom.linked_once} groups with one, {phantom.linked_twice} with two)")
    print("\n".join(str(f) for f in files))
    return 0
