"""Parts: named arrays in one object, the same bytes for the same arrays (np.savez would write the time of day)."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_EPOCH = (1980, 1, 1, 0, 0, 0)


class PartUnreadable(ValueError):
    """A part does not decode, or lacks an array that its reader needs."""


def part_path(folder: str, block: int) -> str:
    """Where the part of a block stands."""
    return f"{folder}/{block:08d}.npz"


def to_npz(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Arrays as an .npz file that ``numpy.load`` reads; names sorted, no time stamps."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
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
