"""Movie frames to classes: the published intensity rule, exact tiling, and the class maps. numpy and scipy only.

The network is any callable (N, T, H, W) float32 → logits (N, 4, H, W): Triton in production, torch in tests. T is 1 for
family A; a network of family B sees the frames around the one it labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from cisterna.chunks import BlockGrid, Box
from cisterna.chunks.reflection import reflect_indices

CLASSES = ("background", "sbt", "tubule", "sheet")
"""Index = class value: 0 background, 1 sheet-based tubule, 2 tubule, 3 sheet."""

CONTEXT_PX = 8
"""Halo on an even grid after which a tile of a family A network equals the whole frame."""

LARGEST_FRAME_PX = 544
"""Frames with a longer edge are cut into tiles of this edge: two of them cover 1024 px, and the published network
then takes about 1 GB a request."""

SCALE_TOLERANCE = 1.25
"""Frames whose pixels are larger or smaller than the model's by more than this factor are resampled."""

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class View:
    """What a network is shown: `frames` frames at once, whose edges are multiples of `stride` and not below
    `smallest_px`; in tiles, or `whole` where it takes means over the frame."""

    frames: int = 1
    stride: int = 2
    smallest_px: int = 2
    whole: bool = False


ONE_FRAME = View()
"""Family A."""


def view_of(spec: Mapping[str, Any]) -> View:
    """Of a model.json."""
    return View(
        int(spec.get("frames", 1)),
        int(spec["stride"]),
        int(spec.get("smallest_frame_px", spec["stride"])),
        bool(spec.get("whole_frame", False)),
    )


def normalise_frame(frame: NDArray[Any], stack_min: float, stack_max: float) -> NDArray[np.float32]:
    """One frame (H, W) in raw grey values → float32 in [0, 1], in steps of 1/255.

    As published (Lu et al. 2023, the reference program): scale by minimum and maximum of the whole stack, stretch the
    frame's 1st to 99th percentile to [0, 1], clip, times 255 truncated to uint8, over 255. Our additions: pixels that
    are not finite count as the stack's minimum, a frame whose percentiles coincide is stretched from its own minimum
    to its own maximum, and a constant frame or stack is all zeros.
    """
    if frame.ndim != 2 or 0 in frame.shape:
        raise ValueError(f"a frame is a non-empty (height, width) image; got shape {frame.shape}")
    if not (np.isfinite(stack_min) and np.isfinite(stack_max)):
        raise ValueError(f"the stack's range must be finite; got {stack_min} to {stack_max}")
    grey = np.asarray(frame, dtype=np.float64)
    grey = np.where(np.isfinite(grey), grey, stack_min)
    if stack_max <= stack_min:
        return np.zeros(frame.shape, np.float32)
    grey = (grey - stack_min) / (stack_max - stack_min)
    low, high = np.percentile(grey, (1, 99))
    if high <= low:
        low, high = grey.min(), grey.max()
    if high <= low:
        return np.zeros(frame.shape, np.float32)
    stretched = np.clip((grey - low) / (high - low), 0, 1)
    steps: NDArray[np.float32] = (stretched * 255).astype(np.uint8).astype(np.float32)
    return steps / np.float32(255)


def frame_logits(
    frame: NDArray[np.float32],
    network: Network,
    largest_px: int = LARGEST_FRAME_PX,
    halo_px: int = CONTEXT_PX,
    view: View = ONE_FRAME,
) -> NDArray[np.float32]:
    """A normalised frame (H, W), or the frames (T, H, W) of a temporal network → logits (4, H, W).

    Edges that the network does not take are reflected to ones it takes and cropped again. A frame with an edge above
    `largest_px` (even) goes through in tiles on an even grid, with a halo that covers the receptive field and stops at
    the frame's edge, where the network pads with zeros as it does for the whole frame; with `view.whole` it never does.
    """
    if largest_px % 2 or halo_px % 2 or largest_px <= 2 * halo_px:
        raise ValueError(f"tile edge {largest_px} and halo {halo_px} must be even, the tile above twice the halo")
    images = frame[None] if frame.ndim == 2 else frame
    if len(images) != view.frames:
        raise ValueError(f"the network sees {view.frames} frames at once; got {len(images)}")
    height, width = images.shape[1:]
    fitted = reflected(images, view)
    if view.whole or max(fitted.shape[1:]) <= largest_px:
        return run(network, fitted)[:, :height, :width]
    whole = Box.whole(fitted.shape[1:])
    logits: NDArray[np.float32] | None = None
    # Cores leave room for both halos, so that no request is larger than a whole frame may be.
    grid = BlockGrid(whole.shape, (largest_px - 2 * halo_px,) * 2)
    for number in range(grid.blocks):
        core = grid.box(number)
        tile = core.grow(halo_px).intersect(whole)
        result = run(network, fitted[:, *tile.slices])
        if logits is None:
            logits = np.empty((result.shape[0], *whole.shape), np.float32)
        logits[:, *core.slices] = result[:, *core.relative_to(tile.offset).slices]
    assert logits is not None
    return logits[:, :height, :width]


def reflected(images: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    """(T, H, W), longer by its mirror image where an edge is no multiple of the stride, or shorter than the least."""
    for axis in (1, 2):
        size = images.shape[axis]
        wanted = max(size + -size % view.stride, view.smallest_px)
        if wanted != size:
            images = np.take(images, reflect_indices(0, wanted, size), axis=axis)
    return images


def frame_window(frame: int, frames: int, count: int) -> NDArray[np.intp]:
    """Numbers of the `frames` frames that a temporal network is shown to label one of a movie of `count` frames.

    The labelled one stands at place `frames // 2`. Before the first and after the last frame of the movie that edge
    frame is repeated (no rule is published).
    """
    around = frame - frames // 2 + np.arange(frames, dtype=np.intp)
    return np.clip(around, 0, count - 1)


def run(network: Network, images: NDArray[np.float32]) -> NDArray[np.float32]:
    result = network(np.ascontiguousarray(images[None]))
    if result.ndim != 4 or result.shape[0] != 1 or result.shape[2:] != images.shape[1:]:
        raise ValueError(f"the network answered {result.shape} for frames of {images.shape[1:]}; expected (1, 4, H, W)")
    logits: NDArray[np.float32] = result[0]
    return logits


def classes_and_confidence(logits: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Logits (4, H, W) → the most probable class (H, W), uint8, and its probability times 255, rounded, uint8."""
    if not np.isfinite(logits).all():
        raise ValueError("the network answered logits that are not finite; its weights are broken")
    classes = logits.argmax(axis=0).astype(np.uint8)
    shifted = logits - logits.max(axis=0, keepdims=True)
    probability = 1 / np.exp(shifted).sum(axis=0)
    return classes, np.rint(probability * 255).astype(np.uint8)


def resampling(pixel_size_um: Sequence[float], model_pixel_size_um: float) -> tuple[float, float]:
    """Factors (y, x) by which a frame's pixel numbers change to look as in training; (1, 1) within the tolerance.

    The network knows tubules by their width in pixels: 1.5 times the size moves its tubule share from 69 % to 12 %.
    Raises ValueError for pixel sizes that are not positive.
    """
    size_y, size_x = pixel_size_um
    if not (size_y > 0 and size_x > 0 and model_pixel_size_um > 0):
        raise ValueError(f"pixel sizes must be positive: frame {size_y} × {size_x} µm, model {model_pixel_size_um} µm")
    factors = (size_y / model_pixel_size_um, size_x / model_pixel_size_um)
    if all(1 / SCALE_TOLERANCE <= factor <= SCALE_TOLERANCE for factor in factors):
        return (1.0, 1.0)
    return factors


def resampled_logits(
    frame: NDArray[np.float32],
    network: Network,
    factors: tuple[float, float],
    largest_px: int = LARGEST_FRAME_PX,
    view: View = ONE_FRAME,
) -> NDArray[np.float32]:
    """`frame_logits` of the frame(s) scaled by `factors`, interpolated back (linear) to the frame's own pixels."""
    if factors == (1.0, 1.0):
        return frame_logits(frame, network, largest_px, view=view)
    scaled = np.stack([scaled_frame(image, factors) for image in (frame[None] if frame.ndim == 2 else frame)])
    logits = frame_logits(scaled, network, largest_px, view=view)
    return np.stack([to_shape(part, frame.shape[-2:]) for part in logits])


def scaled_frame(frame: NDArray[np.float32], factors: tuple[float, float]) -> NDArray[np.float32]:
    """A frame (H, W) on a grid of `factors` (y, x) times as many pixels over the same area."""
    if factors == (1.0, 1.0):
        return frame
    shape = tuple(max(1, round(size * factor)) for size, factor in zip(frame.shape, factors, strict=True))
    # Where pixels get larger, what they cannot show is blurred away first.
    blur = [max(0.0, (1 / factor - 1) / 2) for factor in factors]
    return to_shape(gaussian_filter(frame, blur, mode="nearest"), shape)


def to_shape(image: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    """Linear interpolation to another grid over the same area."""
    factors = [new / old for new, old in zip(shape, image.shape, strict=True)]
    out: NDArray[np.float32] = zoom(image, factors, order=1, mode="nearest", grid_mode=True)
    return out


def segment_frame(
    frame: NDArray[Any],
    stack_min: float,
    stack_max: float,
    network: Network,
    factors: tuple[float, float] = (1.0, 1.0),
    largest_px: int = LARGEST_FRAME_PX,
    view: View = ONE_FRAME,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One raw frame (H, W), or the frames (T, H, W) around it → its classes and confidence, both (H, W) uint8.

    `factors`: see `resampling`; `view`: of the model; T frames: see `frame_window`. Each frame is normalised by itself.
    """
    images = frame[None] if frame.ndim == 2 else frame
    grey = np.stack([normalise_frame(image, stack_min, stack_max) for image in images])
    return classes_and_confidence(resampled_logits(grey, network, factors, largest_px, view))
