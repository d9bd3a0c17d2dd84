"""Parts: named arrays in one object, the same bytes for the same arrays (np.savez would write the time of day)."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from cisterna.eres.components import LabelledBlock, Merged
from cisterna.eres.sums import ObjectSums

_EPOCH = (1980, 1, 1, 0, 0, 0)


class PartUnreadable(ValueError):
    """A part does not decode, or lacks an array that its reader needs."""


def part_path(folder: str, block: int) -> str:
    """Where the part of a block stands."""
    return f"{folder}/{block:08d}.npz"


def to_npz(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Arrays as an .npz file that ``numpy.load`` reads; names sorted, no time stamps."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            data = io.BytesIO()
            np.lib.format.write_array(data, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False)
            archive.writestr(entry, data.getvalue())
    return out.getvalue()


def from_npz(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Arrays of an .npz file; PartUnreadable where it does not decode."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise PartUnreadable(f"a part does not decode: {error}") from error


def labelled_to_npz(part: LabelledBlock) -> bytes:
    """The part of one labelled block."""
    shell = {"shell_index": part.shell_index, "shell_label": part.shell_label}
    return to_npz({**{f"sums.{k}": v for k, v in part.sums.arrays().items()}, **shell})


def labelled_from_npz(data: bytes) -> LabelledBlock:
    """Inverse of :func:`labelled_to_npz`."""
    arrays = from_npz(data)
    try:
        sums = ObjectSums(**{f.name: arrays[f"sums.{f.name}"] for f in fields(ObjectSums)})  # type: ignore[arg-type]
        return LabelledBlock(sums, arrays["shell_index"], arrays["shell_label"])  # type: ignore[arg-type]
    except KeyError as error:
        raise PartUnreadable(f"a labelled block lacks the array {error}") from error


def mapping_to_npz(merged: Merged) -> bytes:
    """Where each local label of each block went."""
    return to_npz({"start": merged.start, "ids": merged.ids})


def relabel_from_npz(data: bytes, block: int, local: NDArray[np.integer]) -> NDArray[np.uint32]:
    """Final labels of a block, from a mapping and its local labels."""
    arrays = from_npz(data)
    try:
        start, ids = arrays["start"], arrays["ids"]
    except KeyError as error:
        raise PartUnreadable(f"the mapping lacks the array {error}") from error
    if block + 1 >= len(start):
        raise ValueError(f"block {block} is not among the {len(start) - 1} merged blocks")
    return Merged(ObjectSums.concatenate([]), start, ids).relabel(block, local)  # type: ignore[arg-type]
