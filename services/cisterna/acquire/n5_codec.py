"""What the blocks of an N5 dataset are compressed with."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cisterna.acquire.source import UnusableInput

LZ4_BLOCK = b"LZ4Block"
LZ4_STORED, LZ4_PACKED = 0x10, 0x20


def decompressor(path: Path, attributes: Mapping[str, Any]) -> Callable[[bytes], bytes]:
    """From a block's bytes to its values, as attributes.json of the dataset at `path` says; raises UnusableInput."""
    given = attributes.get("compression", attributes.get("compressionType", "raw"))
    kind = str(given.get("type", "raw") if isinstance(given, Mapping) else given)
    if kind == "raw":
        return bytes
    if kind == "gzip":
        zlib_stream = isinstance(given, Mapping) and given.get("useZlib", False)
        return zlib.decompress if zlib_stream else gzip.decompress
    if kind == "bzip2":
        return bz2.decompress
    if kind == "xz":
        return lzma.decompress
    if kind == "lz4":
        return unpack_lz4
    if kind in ("blosc", "zstd"):
        import numcodecs

        codec = {"blosc": numcodecs.Blosc, "zstd": numcodecs.Zstd}[kind]()
        return lambda data: bytes(codec.decode(data))
    raise UnusableInput(f"{path} is compressed by {kind}: write it as raw, gzip, blosc, zstd, lz4, bzip2 or xz")


def unpack_lz4(data: bytes) -> bytes:
    """A stream of lz4-java's LZ4BlockOutputStream, which N5 uses: blocks of magic, token, two lengths and a checksum.

    The checksum is not looked at. Raises ValueError where it is no such stream.
    """
    import numcodecs

    found, at = [], 0
    while at < len(data):
        if data[at : at + 8] != LZ4_BLOCK or len(data) < at + 21:
            raise ValueError(f"byte {at} begins no LZ4 block")
        method = data[at + 8] & 0xF0
        packed, plain = struct.unpack("<ii", data[at + 9 : at + 17])
        body = data[at + 21 : at + 21 + packed]
        if packed < 0 or len(body) != packed or method not in (LZ4_STORED, LZ4_PACKED):
            raise ValueError(f"the LZ4 block at byte {at} is cut short or of an unknown method")
        if plain == 0:
            break
        found.append(body if method == LZ4_STORED else numcodecs.LZ4().decode(struct.pack("<i", plain) + body))
        at += 21 + packed
    return b"".join(bytes(part) for part in found)
