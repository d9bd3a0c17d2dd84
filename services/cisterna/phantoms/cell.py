"""A piece of a cell as a FIB-SEM sees it, with exact truth.

`fibsem_cell` lays out ER, Golgi, vesicles, coated vesicles and tubular exit sites in nanometres (`cell_layout`),
samples their signed distances on the voxel grid, so membranes keep their true width through partial volume, and
records two detectors with independent noise. Membranes are dark.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from .cell_layout import DENSE, SITES, lay_out
from .cell_scene import Scene
from .shapes import Floats, Shape, stamp

MEMBRANE_NM = 13.0
# grey values of the noise-free picture: lumen, membrane or coat, its thickness in nm
CYTOSOL = 172.0
LOOK = {
    "mitochondria": (118.0, 74.0, 18.0),
    "cristae": (150.0, 82.0, 8.0),
    "endosomes": (182.0, 84.0, 11.0),
    "golgi": (138.0, 82.0, 9.0),
    "er": (150.0, 80.0, MEMBRANE_NM),
    "tubular_eres": (128.0, 70.0, MEMBRANE_NM),
    "vesicles": (146.0, 62.0, 16.0),
    "ccv": (120.0, 34.0, 24.0),
}
MARGIN_NM = 40.0


@dataclass(frozen=True)
class CellPhantom:
    """Images (z, y, x), truth labels on the same grid and tables of what was planted.

    `inlens`, `esb`: uint8, independent noise. `clean`: float32, grey values without noise, before the detectors.
    `labels`: `er`, `golgi`, `mitochondria`, `copi` (all COPI/COPII-like vesicles) as uint8 masks; `vesicles`,
    `copi_like`, `copii_like`, `ccv`, `tubular_eres` as uint16 instances with the `object_id` of `objects` (vesicles are
    numbered through both kinds). Positions are nm from the outer corner: voxel i is centred at (i + 0.5) x voxel size.
    """

    inlens: NDArray[np.uint8]
    esb: NDArray[np.uint8]
    clean: NDArray[np.float32]
    labels: dict[str, NDArray[Any]]
    objects: pd.DataFrame
    voxel_size_nm: tuple[float, float, float]
    seed: int


def fibsem_cell(
    shape_zyx: tuple[int, int, int] = (176, 240, 240),
    voxel_size_nm: float | tuple[float, float, float] = 8.0,
    seed: int = 0,
    *,
    density: float = 1.0,
    site_rules: bool | None = None,
    contrast: float = 1.0,
    noise: float = 1.0,
    blur_nm: float = 5.0,
    plane_jitter: float = 1.5,
    curtaining: float = 0.0,
    distractors: bool = True,
) -> CellPhantom:
    """Draw one phantom cell.

    `shape_zyx` in voxels (each at least 16, and a box of at least 250 nm), `voxel_size_nm` one number or (z, y, x).
    The geometry depends on `seed`, `density`, `site_rules` and the extent in nm alone.
    `density` multiplies the number of objects. `site_rules` keeps planted groups so far apart that the exit-site rules
    must find each as planted; the default does so when every side is at least 1.2 um (a smaller box has no room:
    objects then stand closer). `contrast` scales structure against the cytosol, `noise` scales detector noise,
    `blur_nm` is the Gaussian sigma of the detectors, `plane_jitter` the grey-value deviation between planes,
    `curtaining` that of vertical stripes. `distractors` adds a mitochondrion and bare endosomes.
    Raises ValueError for sizes that cannot hold a cell.
    """
    size = np.broadcast_to(np.asarray(voxel_size_nm, float), (3,))
    if len(shape_zyx) != 3 or min(shape_zyx) < 16:
        raise ValueError(f"shape_zyx is {tuple(shape_zyx)}: give three sides of at least 16 voxels")
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise ValueError(f"voxel_size_nm is {voxel_size_nm}: give one or three positive numbers")
    extent = np.asarray(shape_zyx) * size
    if extent.min() < 250:
        raise ValueError(
            f"the volume is {extent.min():g} nm on its shortest side: a phantom cell needs at least 250 nm"
        )
    if density <= 0 or contrast <= 0 or noise < 0 or blur_nm < 0:
        raise ValueError("density and contrast must be positive, noise and blur_nm not negative")
    by_rules = bool(extent.min() >= 1200) if site_rules is None else site_rules
    scene = lay_out(extent, seed, density, SITES if by_rules else DENSE, distractors)
    clean, labels = _draw(scene, tuple(shape_zyx), size, seed, contrast)
    optics = {"blur_nm": blur_nm, "plane_jitter": plane_jitter, "curtaining": curtaining}
    inlens = _detector(clean, size, np.random.default_rng([seed, 3]), 1.0, 8.0 * noise, 0.0, **optics)
    esb = _detector(clean, size, np.random.default_rng([seed, 4]), 0.72, 11.0 * noise, 38.0, **optics)
    return CellPhantom(
        inlens, esb, clean, labels, _table(scene), (float(size[0]), float(size[1]), float(size[2])), seed
    )


def _draw(
    scene: Scene, shape: tuple[int, ...], size: Floats, seed: int, contrast: float
) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
    texture = np.random.default_rng([seed, 2])
    image = CYTOSOL + _slow(shape, size, 300.0, 5.0, texture) + _slow(shape, size, 45.0, 4.0, texture)
    _granules(image, scene, size, contrast)
    labels: dict[str, NDArray[Any]] = {}

    def field_of(shapes: list[Shape]) -> NDArray[np.float32]:
        field = np.full(shape, MARGIN_NM, np.float32)
        for s in shapes:
            stamp(field, s, size, MARGIN_NM)
        return field

    voxel = float(size.mean())
    mitochondria = field_of(scene.mitochondria)
    _paint(image, mitochondria, "mitochondria", voxel, contrast)
    cristae = np.maximum(field_of(scene.cristae), mitochondria + 24.0)
    _paint(image, cristae, "cristae", voxel, contrast)
    labels["mitochondria"] = (mitochondria <= 0).astype(np.uint8)
    _paint(image, field_of(scene.endosomes), "endosomes", voxel, contrast)
    golgi = field_of(scene.golgi)
    _paint(image, golgi, "golgi", voxel, contrast)
    labels["golgi"] = (golgi <= 0).astype(np.uint8)

    er = field_of(scene.er)
    tubular = np.full(shape, MARGIN_NM, np.float32)
    sites = np.zeros(shape, np.uint16)
    for p in scene.of("tubular_eres"):
        for s in p.shapes:
            stamp(tubular, s, size, MARGIN_NM, sites, p.number)
    # one membrane round both: a tubular site is continuous with the ER it leaves
    joined = np.minimum(er, tubular)
    _paint(image, joined, "er", voxel, contrast, where=er <= tubular)
    _paint(image, joined, "tubular_eres", voxel, contrast, where=er > tubular)
    labels["er"] = (er <= 0).astype(np.uint8)
    labels["tubular_eres"] = np.where((tubular <= 0) & (er > 0), sites, 0).astype(np.uint16)

    for kind, look in (("vesicles", "vesicles"), ("ccv", "ccv")):
        members = scene.of("ccv") if kind == "ccv" else scene.of("copi_like", "copii_like")
        field = np.full(shape, MARGIN_NM, np.float32)
        index = np.zeros(shape, np.uint16)
        for p in members:
            stamp(field, p.shapes[0], size, MARGIN_NM, index, p.number)
        _paint(image, field, look, voxel, contrast)
        labels[kind] = np.where(field <= 0, index, 0).astype(np.uint16)
    for kind in ("copi_like", "copii_like"):
        known = np.zeros(65536, bool)
        known[[p.number for p in scene.of(kind)]] = True
        labels[kind] = np.where(known[labels["vesicles"]], labels["vesicles"], 0).astype(np.uint16)
    labels["copi"] = (labels["vesicles"] > 0).astype(np.uint8)
    return image.astype(np.float32), labels


def _slow(
    shape: tuple[int, ...], size: Floats, scale_nm: float, deviation: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Smooth random grey of about `deviation`, varying over `scale_nm`."""
    coarse = [max(4, int(np.ceil(n * s / scale_nm)) + 3) for n, s in zip(shape, size, strict=True)]
    noise = rng.normal(0, deviation, coarse).astype(np.float32)
    texture: NDArray[np.float32] = zoom(
        noise, [n / c for n, c in zip(shape, coarse, strict=True)], order=1, mode="nearest", grid_mode=True
    )
    return texture


def _granules(image: NDArray[Any], scene: Scene, size: Floats, contrast: float) -> None:
    """Ribosome-like grains: Gaussian dots of about 24 nm, drawn at sub-voxel positions."""
    sigma = 9.0
    reach = np.ceil(2.5 * sigma / size).astype(int)
    centre = scene.ribosomes_nm / size - 0.5
    base = np.round(centre).astype(int)
    offsets = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), -1).reshape(-1, 3)
    depth = 42.0 * contrast * min(1.0, float(np.prod(np.minimum(sigma / size * 2.5, 1.0))))
    for offset in offsets:
        at = base + offset
        inside = ((at >= 0) & (at < image.shape)).all(axis=1)
        away = ((at - centre) * size)[inside]
        np.subtract.at(image, tuple(at[inside].T), depth * np.exp(-(away**2).sum(axis=1) / (2 * sigma**2)))


def _paint(
    image: NDArray[Any],
    field: NDArray[Any],
    look: str,
    voxel_nm: float,
    contrast: float,
    where: NDArray[Any] | None = None,
) -> None:
    """Lay one kind of organelle over the image: a membrane just inside its surface, then its lumen."""
    lumen, membrane, thickness = LOOK[look]
    lumen, membrane = (CYTOSOL + contrast * (v - CYTOSOL) for v in (lumen, membrane))
    touched = field < voxel_nm / 2
    if where is not None:
        touched &= where
    d = field[touched]
    covered = np.clip(0.5 - d / voxel_nm, 0, 1)
    core = np.clip(0.5 - (d + np.float32(thickness)) / voxel_nm, 0, 1)
    old = image[touched]
    # half of the slow texture shows through, as the stain is uneven inside organelles too
    inner = lumen + 0.5 * (old - CYTOSOL)
    image[touched] = old * (1 - covered) + membrane * (covered - core) + inner * core


def _detector(
    clean: NDArray[Any],
    size: Floats,
    rng: np.random.Generator,
    gain: float,
    noise: float,
    offset: float,
    blur_nm: float,
    plane_jitter: float,
    curtaining: float,
) -> NDArray[np.uint8]:
    """Blur, gain, uneven planes and stripes, then noise whose variance grows with the signal (Poisson-Gaussian)."""
    signal = gaussian_filter(clean, blur_nm / size, mode="nearest") if blur_nm else clean.copy()
    signal *= np.float32(gain)
    signal += np.float32(offset)
    signal += rng.normal(0, plane_jitter, (len(clean), 1, 1)).astype(np.float32)
    if curtaining:
        stripes = gaussian_filter(rng.normal(0, 1, (len(clean), 1, clean.shape[2])), (1.0, 0, 0.7))
        signal += (curtaining * stripes / max(float(stripes.std()), 1e-6)).astype(np.float32)
    spread = np.sqrt(0.4 + 0.6 * np.maximum(signal, 0) / CYTOSOL).astype(np.float32)
    signal += noise * spread * rng.standard_normal(clean.shape, dtype=np.float32)
    counts: NDArray[np.uint8] = np.clip(np.rint(signal), 0, 255).astype(np.uint8)
    return counts


def _table(scene: Scene) -> pd.DataFrame:
    """Planted objects in nm; coated vesicles measured to the tips of their knobs, ER distances between surfaces."""
    rows = [
        {
            "class": p.kind,
            "object_id": p.number,
            "centroid_z_nm": p.centre_nm[0],
            "centroid_y_nm": p.centre_nm[1],
            "centroid_x_nm": p.centre_nm[2],
            "diameter_nm": p.diameter_nm,
            "er_distance_nm": p.er_distance_nm,
            "group_id": p.group,
            "site_class": p.site_class,
        }
        for p in scene.planted
    ]
    columns = [
        "class",
        "object_id",
        "centroid_z_nm",
        "centroid_y_nm",
        "centroid_x_nm",
        "diameter_nm",
        "er_distance_nm",
        "group_id",
        "site_class",
    ]
    return pd.DataFrame(rows, columns=columns).sort_values(["class", "object_id"], ignore_index=True)
