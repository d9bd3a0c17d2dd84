"""A trained FastFIB network on volumes and blocks: arrays in, arrays out.

The result is u, the network's own output; the blurred u of the training loss is never used.

Intensities: [low, high] of the volume is mapped linearly to the network's range and the output is mapped back, so the
grey values of input and output mean the same.  Nothing is clipped except to the limits of an integer type.  Voxels
that are not finite are shown to the network as the middle of its range and come back as NaN.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cisterna.chunks import Box, reflect_indices
from cisterna.denoise.fastfib import FastFib
from cisterna.tiles import NetworkGeometry, choose_tile, infer

Image = NDArray[Any]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
CPU_MEMORY_BYTES = 2 * 2**30
PERCENTILES = (0.1, 99.9)  # as ingest takes them
PERCENTILE_VOXELS = 4_000_000


@dataclass(frozen=True)
class IntensityRange:
    """Grey values that map to the ends of the network's range; `invert` where membranes are bright in the input."""

    low: float
    high: float
    invert: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.high < self.low:
            raise ValueError(f"intensity range [{self.low}, {self.high}] must be two finite numbers, low first")


@dataclass(frozen=True)
class Denoiser:
    """A network with what is needed to run it: device, arithmetic, the range it was trained on, memory per pass."""

    network: FastFib
    device: str = "cpu"
    precision: str = "float32"
    intensity_to: tuple[float, float] = (-1.0, 1.0)
    memory_bytes: int | None = None

    @property
    def geometry(self) -> NetworkGeometry:
        """Of the trimmed forward pass, which loses `reach.aligned` voxels a side and needs blocks on the stride."""
        reach = self.network.reach
        return NetworkGeometry("valid", reach.aligned, reach.stride, 2 * reach.aligned + reach.stride)

    @property
    def bytes_per_voxel(self) -> float:
        """Peak memory of a pass per input voxel: two activations of the finest level, and the tile itself."""
        size = 8 if self.precision == "float64" else 4 if self.precision == "float32" else 2
        return 2.2 * size * self.network.width + 16

    def tile(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Outputs per pass and axis that fit the memory budget (a fixed figure, so that reruns give the same bytes)."""
        return choose_tile(shape, self.geometry, self.memory_bytes or _memory_budget(self.device), self.bytes_per_voxel)


def prepare(
    model: Any,
    *,
    device: str = "cpu",
    precision: str = "float32",
    memory_bytes: int | None = None,
) -> Denoiser:
    """A `Denoiser` from a FastFib module, a model read by `cisterna.models`, or the path of a model folder.

    Raises ValueError for a model of another family, an unknown precision or device.
    """
    if isinstance(model, Denoiser):
        return model
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for and this machine shows no CUDA device; use cpu")
    to = (-1.0, 1.0)
    if isinstance(model, str | Path):
        from cisterna.models import read_model_folder

        model = read_model_folder(model)
    if hasattr(model, "spec"):
        if model.spec["family"] != "fastfib":
            raise ValueError(
                f"model {model.spec['name']} is of family {model.spec['family']}, not fastfib: it cannot denoise; "
                "choose a fastfib model"
            )
        if model.spec["intensity"]["rule"] != "range":
            raise ValueError(
                f"model {model.spec['name']}: intensity rule {model.spec['intensity']['rule']!r} is not 'range'"
            )
        to = (float(model.spec["intensity"]["to"][0]), float(model.spec["intensity"]["to"][1]))
        model = model.module()
    if not isinstance(model, FastFib):
        raise ValueError(f"{type(model).__name__} is not a FastFIB network; load a model folder of family fastfib")
    # Channels last: five times the speed of the default layout for few channels on a CPU with AVX-512, and what
    # tensor cores want.  A copy, because a model may be asked for in two precisions.
    network = copy.deepcopy(model).eval().to(device=device, dtype=PRECISIONS[precision])
    network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if precision in ("bfloat16", "float16"):
        network.final.float()  # bfloat16 steps by half a grey value of 256 at the ends of [-1, 1]
    return Denoiser(network, device, precision, to, memory_bytes)


def intensity_range(volume: Image) -> IntensityRange:
    """The 0.1 and 99.9 percentiles of the finite voxels (of a regular subset when there are more than four million).

    A volume whose percentiles coincide takes its extremes.  Raises ValueError when no voxel is finite.
    """
    step = max(1, math.ceil((volume.size / PERCENTILE_VOXELS) ** (1 / volume.ndim)))
    sample = volume[tuple(slice(None, None, min(step, n)) for n in volume.shape)]
    values = sample[np.isfinite(sample)]
    if values.size == 0:
        values = volume[np.isfinite(volume)]
    if values.size == 0:
        raise ValueError("no voxel of the volume is finite; there is nothing to denoise")
    low, high = (float(v) for v in np.percentile(values, PERCENTILES))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return IntensityRange(low, high)


def denoise_volume(
    volume: Image,
    model: Any,
    *,
    range: IntensityRange | None = None,
    device: str = "cpu",
    precision: str = "float32",
    memory_bytes: int | None = None,
    tile: int | Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Image:
    """Denoise a volume (z, y, x) of an integer or floating type; the result has its shape and dtype.

    `model`: a FastFib module, a model of `cisterna.models`, a model folder, or a `Denoiser`.
    `range`: defaults to `intensity_range(volume)`; a volume that is constant is returned as it is.
    `tile`: outputs per pass and axis, chosen from `memory_bytes` when None; the result does not depend on it beyond
    rounding (1e-12 in float64, 1e-5 of the range in float32).  `progress` is called with the voxels done.
    Beyond its faces the volume is mirrored.  NaN comes back as NaN, its neighbours are estimates.
    """
    array = _native(np.asarray(volume))
    if array.ndim != 3:
        raise ValueError(f"the volume has {array.ndim} axes; give one volume (z, y, x)")
    if array.size == 0:
        raise ValueError(f"the volume of shape {array.shape} is empty")
    denoiser = prepare(model, device=device, precision=precision, memory_bytes=memory_bytes)
    span = intensity_range(array) if range is None else range

    done = 0

    def read(box: Box) -> Image:
        index = (reflect_indices(a, b, n) for a, b, n in zip(box.offset, box.end, array.shape, strict=True))
        return np.asarray(array[np.ix_(*index)][np.newaxis])

    def network(voxels: Image) -> Image:
        nonlocal done
        result = average(run_tile(voxels, [span], denoiser), array.dtype)
        done += result.size
        if progress is not None:
            progress(min(done, array.size))
        return result[np.newaxis]

    tile = denoiser.tile(array.shape) if tile is None else tile
    result: Image = infer(read, Box.whole(array.shape), network, denoiser.geometry, tile=tile)[0]
    return result


def denoise_block(
    detectors: Sequence[Image],
    halo: int | Sequence[int],
    ranges: Sequence[IntensityRange],
    model: Any,
    *,
    tile: int | Sequence[int] | None = None,
    device: str = "cpu",
    precision: str = "float32",
    memory_bytes: int | None = None,
) -> Image:
    """Denoise a block given with its halo, once per detector, and average the results (`denoise_detectors`).

    Returns the block without halo in the dtype of the inputs; voxels that are NaN in one detector are taken from the
    others.
    """
    denoiser = prepare(model, device=device, precision=precision, memory_bytes=memory_bytes)
    return average(denoise_detectors(detectors, halo, ranges, denoiser, tile=tile), np.asarray(detectors[0]).dtype)


def denoise_detectors(
    detectors: Sequence[Image],
    halo: int | Sequence[int],
    ranges: Sequence[IntensityRange],
    denoiser: Denoiser,
    *,
    tile: int | Sequence[int] | None = None,
    phase: Sequence[int] = (0, 0, 0),
) -> Image:
    """Each detector of a block denoised: (detector, z, y, x), float, grey values, NaN where the input is not finite.

    `detectors`: arrays (z, y, x) of one shape and dtype, the block and `halo` voxels on each side.  `phase`: where the
    block's first voxel lies in the volume, modulo the stride, so that a region pools as the whole does.
    `ranges`: one per detector.

    Raises ValueError if the halo is under the receptive radius or the arrays do not belong together.
    """
    if not detectors:
        raise ValueError("no detector was given; a block needs at least one")
    arrays = [_native(np.asarray(d)) for d in detectors]
    first = arrays[0]
    if any(a.shape != first.shape or a.dtype != first.dtype or a.ndim != 3 for a in arrays):
        shapes = ", ".join(f"{a.shape} {a.dtype}" for a in arrays)
        raise ValueError(f"the detectors of a block must be 3-D arrays of one shape and dtype, not {shapes}")
    if len(ranges) != len(arrays):
        raise ValueError(f"{len(arrays)} detectors and {len(ranges)} intensity ranges; give one range each")
    halos = (halo,) * 3 if isinstance(halo, int) else tuple(int(h) for h in halo)
    radius = denoiser.network.reach.radius
    stride = denoiser.network.reach.stride
    start = tuple(int(p) % stride for p in phase)
    core = Box(start, tuple(max(0, n - 2 * h) for n, h in zip(first.shape, halos, strict=True)))
    if min(halos) < radius:
        raise ValueError(
            f"halo {halos} is less than the receptive radius {radius} of the model; ask for {radius} voxels"
        )
    if core.empty:
        raise ValueError(f"an array of {first.shape} with halo {halos} has no block inside")
    held = Box(tuple(p - h for p, h in zip(start, halos, strict=True)), first.shape)

    def read(box: Box) -> Image:
        # A block clipped by the volume's end is filled up to the stride with repeated voxels; they lie beyond the
        # receptive radius of every voxel that is kept.
        inside = box.intersect(held)
        cut = inside.relative_to(held.offset).slices
        pad = [(a - o, b - e) for a, o, b, e in zip(inside.offset, box.offset, box.end, inside.end, strict=True)]
        stack = np.stack([a[cut] for a in arrays])
        return np.pad(stack, [(0, 0), *pad], mode="edge") if any(p != (0, 0) for p in pad) else stack

    return infer(
        read,
        core,
        lambda voxels: run_tile(voxels, ranges, denoiser),
        denoiser.geometry,
        tile=denoiser.tile(core.shape) if tile is None else tile,
    )


def average(detectors: Image, dtype: np.dtype[Any]) -> Image:
    """Mean over the first axis, without NaN where another detector has a value, in `dtype`.

    Integers are rounded half to even and clipped to the type; NaN (which integer input cannot hold) becomes 0.
    """
    if len(detectors) == 1:
        mean = detectors[0]
    else:
        seen = np.isfinite(detectors)
        with np.errstate(invalid="ignore"):
            mean = np.where(seen, detectors, 0).sum(axis=0) / seen.sum(axis=0)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        mean = np.clip(np.rint(np.nan_to_num(mean)), limits.min, limits.max)
    return np.asarray(mean, dtype=dtype)


def run_tile(voxels: Image, ranges: Sequence[IntensityRange], denoiser: Denoiser) -> Image:
    """(detector, z, y, x) raw grey values with halo -> the same without it, denoised, float."""
    working = torch.float64 if denoiser.precision == "float64" else torch.float32
    margin = denoiser.network.reach.aligned
    results = []
    with torch.inference_mode():
        for detector, span in zip(voxels, ranges, strict=True):
            grey = torch.from_numpy(np.ascontiguousarray(detector)).to(denoiser.device).to(working)
            grey = torch.where(torch.isfinite(grey), grey, torch.nan)
            raw = grey[margin:-margin, margin:-margin, margin:-margin]
            if span.high > span.low:
                cleaned = torch.where(torch.isnan(raw), raw, _through_network(grey, span, denoiser))
            else:
                cleaned = raw  # a range of no width: the whole volume has one grey value
            results.append(cleaned.cpu().numpy())
    return np.stack(results)


def _through_network(grey: Tensor, span: IntensityRange, denoiser: Denoiser) -> Tensor:
    """Grey values with halo (NaN where missing) -> denoised grey values without it."""
    low, high = denoiser.intensity_to
    scale = (high - low) / (span.high - span.low)
    x = (grey - span.low) * scale + low
    if span.invert:
        x = low + high - x
    x = torch.nan_to_num(x, nan=(low + high) / 2)
    x = x[None, None].to(PRECISIONS[denoiser.precision]).contiguous(memory_format=torch.channels_last_3d)
    y = denoiser.network.forward_trimmed(x)[0, 0].to(grey.dtype)
    if span.invert:
        y = low + high - y
    return (y - low) / scale + span.low


def _native(array: Image) -> Image:
    """In the machine's byte order, as torch wants it; TIFF files are often big-endian."""
    if array.dtype.kind not in "iuf":
        raise ValueError(f"voxels of type {array.dtype} cannot be denoised; give integers or floating-point numbers")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _memory_budget(device: str) -> int:
    if device.startswith("cuda"):
        return int(0.6 * torch.cuda.get_device_properties(device).total_memory)
    return CPU_MEMORY_BYTES


__all__ = [
    "Denoiser",
    "IntensityRange",
    "average",
    "denoise_block",
    "denoise_detectors",
    "denoise_volume",
    "intensity_range",
    "prepare",
]
