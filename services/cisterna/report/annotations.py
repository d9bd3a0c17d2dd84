"""Neuroglancer's precomputed annotations: points, boxes and ellipsoids that a browser fetches piece by piece.

The format (`neuroglancer_annotations_v1`): `info`, the annotations by their own id under `by_id` and by related object
under `by_…`, and a spatial index whose coarse levels hold a fair sample, so that 50,000 vesicles open at once. Up to
2,000 annotations have a file each; more share one (`neuroglancer_uint64_sharded_v1`), read by byte range.
All numbers are little endian. Coordinates are nm, x first.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

POINT, BOX, ELLIPSOID = "point", "axis_aligned_bounding_box", "ellipsoid"
MOST_IN_A_CELL = 1000
SPATIAL_LEVELS = 12
MOST_FILES = 2000
ENTRIES_IN_A_MINISHARD = 500
# Wide values come first in a record: every value then stands at a multiple of its own size.
_WIDTHS = {"uint32": 4, "int32": 4, "float32": 4, "uint16": 2, "int16": 2, "uint8": 1, "int8": 1}


@dataclass(frozen=True)
class Property:
    """One number per annotation. `labels` names the values of an enumeration."""

    name: str
    dtype: str
    values: np.ndarray
    text: str = ""
    labels: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Annotations:
    """Annotations of one shape, in nm, axes z,y,x.

    `one` (n, 3) is the point, the low corner or the centre; `other` (n, 3) the high corner or the radii, None for
    points. `related` maps a relation (a label image) to the object ids of each annotation.
    """

    shape: str
    ids: np.ndarray
    one: np.ndarray
    other: np.ndarray | None = None
    properties: Sequence[Property] = ()
    related: Mapping[str, Sequence[Sequence[int]]] = field(default_factory=dict)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Low and high corner of every annotation (n, 3)."""
        if self.shape == POINT or self.other is None:
            return self.one, self.one
        if self.shape == BOX:
            return np.minimum(self.one, self.other), np.maximum(self.one, self.other)
        return self.one - self.other, self.one + self.other


def write_annotations(
    folder: Path, annotations: Annotations, low_nm: Sequence[float], high_nm: Sequence[float],
    tell: Callable[[float], None] = lambda share: None,
) -> None:  # fmt: skip
    """Writes the whole collection into a new folder, `info` last. `low_nm` and `high_nm` (z,y,x) bound the volume.

    Raises ValueError for ids that occur twice or coordinates that are not finite.
    """
    _check(annotations)
    low, high = np.asarray(low_nm, float), np.asarray(high_nm, float)
    records = _records(annotations)
    lists = [b"".join(_id_list(ids[n]) for ids in annotations.related.values()) for n in range(len(records))]
    whole = {number: records[n] + lists[n] for n, number in enumerate(annotations.ids.tolist())}
    by_id = _write_by_number(folder, "by_id", whole)
    tell(0.4)
    relationships = []
    for name, ids in annotations.related.items():
        found = _by_related(annotations.ids, records, ids)
        relationships.append({"id": name, **_write_by_number(folder, f"by_{name}", found)})
    tell(0.7)
    levels = _write_spatial(folder, annotations, records, low, high)
    info: dict[str, Any] = {
        "@type": "neuroglancer_annotations_v1",
        "dimensions": {axis: [1e-9, "m"] for axis in "xyz"},
        "lower_bound": low[::-1].tolist(),
        "upper_bound": high[::-1].tolist(),
        "annotation_type": annotations.shape,
        "properties": [_property_info(p) for p in _ordered(annotations.properties)],
        "relationships": relationships,
        "by_id": by_id,
        "spatial": levels,
    }
    (folder / "info").write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
    tell(1.0)


def _check(annotations: Annotations) -> None:
    if len(np.unique(annotations.ids)) != len(annotations.ids):
        raise ValueError("annotation ids occur twice")
    for corner in annotations.bounds:
        if len(corner) != len(annotations.ids) or not np.isfinite(corner).all():
            raise ValueError("every annotation needs finite coordinates")


def _ordered(properties: Sequence[Property]) -> list[Property]:
    return sorted(properties, key=lambda p: -_WIDTHS[p.dtype])


def _property_info(one: Property) -> dict[str, Any]:
    about: dict[str, Any] = {"id": one.name, "type": one.dtype, "description": one.text or one.name}
    if one.labels:
        about |= {"enum_values": list(one.labels), "enum_labels": list(one.labels.values())}
    return about


def _records(annotations: Annotations) -> list[bytes]:
    """Geometry, properties and padding to a multiple of four bytes, per annotation."""
    corners = 1 if annotations.other is None else 2
    kind: list[tuple[Any, ...]] = [("place", "<f4", (3 * corners,))]
    kind += [(p.name, np.dtype(p.dtype).newbyteorder("<")) for p in _ordered(annotations.properties)]
    padding = -np.dtype(kind).itemsize % 4
    if padding:
        kind.append(("padding", "u1", (padding,)))
    table = np.zeros(len(annotations.ids), dtype=kind)
    places = [annotations.one[:, ::-1]] + ([] if annotations.other is None else [annotations.other[:, ::-1]])
    table["place"] = np.concatenate(places, axis=1)
    for p in annotations.properties:
        table[p.name] = p.values
    data, step = table.tobytes(), table.dtype.itemsize
    return [data[n * step : (n + 1) * step] for n in range(len(table))]


def _id_list(ids: Sequence[int]) -> bytes:
    return bytes(np.array(len(ids), "<u4").tobytes() + np.asarray(ids, "<u8").tobytes())


def _many(ids: np.ndarray, records: Sequence[bytes], chosen: np.ndarray) -> bytes:
    """A list of annotations: their number, their records, their ids."""
    count, names = np.array(len(chosen), "<u8").tobytes(), ids[chosen].astype("<u8").tobytes()
    return b"".join([count, *(records[n] for n in chosen.tolist()), names])


def _by_related(ids: np.ndarray, records: Sequence[bytes], related: Sequence[Sequence[int]]) -> dict[int, bytes]:
    """The list of annotations of every related object."""
    of: dict[int, list[int]] = {}
    for n, objects in enumerate(related):
        for number in objects:
            of.setdefault(int(number), []).append(n)
    return {number: _many(ids, records, np.array(own)) for number, own in of.items()}


def _write_by_number(folder: Path, key: str, values: Mapping[int, bytes]) -> dict[str, Any]:
    """An index from uint64 to bytes: a file each, or one shard for many; returns its entry in `info`."""
    place = folder / key
    place.mkdir(parents=True)
    if len(values) <= MOST_FILES:
        for number, data in values.items():
            (place / str(number)).write_bytes(data)
        return {"key": key}
    bits = max(0, int(np.ceil(np.log2(len(values) / ENTRIES_IN_A_MINISHARD))))
    (place / "0.shard").write_bytes(shard(values, bits))
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1", "hash": "identity", "preshift_bits": 0, "minishard_bits": bits,
        "shard_bits": 0, "minishard_index_encoding": "raw", "data_encoding": "raw",
    }  # fmt: skip
    return {"key": key, "sharding": sharding}


def shard(values: Mapping[int, bytes], minishard_bits: int) -> bytes:
    """One shard holding everything: the table of minishards, the data, then the index of each minishard.

    An entry belongs to the minishard that the low bits of its number name. Offsets count from the end of the table.
    """
    count = 1 << minishard_bits
    owned: list[list[int]] = [[] for _ in range(count)]
    for number in sorted(values):
        owned[number & (count - 1)].append(number)
    data: list[bytes] = []
    indices: list[np.ndarray] = []
    at = 0
    for own in owned:
        sizes = [len(values[number]) for number in own]
        # Numbers and starts are stored as differences to what the entry before them would suggest.
        starts = np.array([at] + [0] * (len(own) - 1), "<u8")
        indices.append(np.array([np.diff(np.array([0, *own], np.uint64)), starts[: len(own)], sizes], "<u8"))
        data += [values[number] for number in own]
        at += sum(sizes)
    table = np.zeros((count, 2), "<u8")
    for n, index in enumerate(indices):
        table[n] = at, at + index.nbytes
        at += index.nbytes
    return b"".join([table.tobytes(), *data, *(index.tobytes() for index in indices)])


def _write_spatial(
    folder: Path, annotations: Annotations, records: Sequence[bytes], low: np.ndarray, high: np.ndarray
) -> list[dict[str, Any]]:
    """The spatial index: every annotation stands in one level, in each cell of that level that it touches.

    A level takes the share of what is left that keeps its fullest cell at the limit, chosen by lot; the last takes all.
    """
    lot = np.random.default_rng(0).permutation(len(records))
    left = np.arange(len(records))[lot]
    size, grid = high - low, np.ones(3, dtype=int)
    near, far = annotations.bounds
    levels: list[dict[str, Any]] = []
    while True:
        cell = size / grid
        first = np.clip(np.floor((near[left] - low) / cell), 0, grid - 1).astype(int)
        last = np.clip(np.floor((far[left] - low) / cell), 0, grid - 1).astype(int)
        pairs = _cells(first, last)
        fullest = max((len(own) for own in pairs.values()), default=0)
        whole = fullest <= MOST_IN_A_CELL or len(levels) + 1 == SPATIAL_LEVELS
        share = 1.0 if whole else MOST_IN_A_CELL / fullest
        taken = round(share * len(left))
        key = f"spatial{len(levels)}"
        place = folder / key
        place.mkdir(parents=True)
        for where, own in pairs.items() or {(0, 0, 0): []}.items():
            chosen = np.array([n for n in own if n < taken], dtype=int)
            if len(chosen) or not len(left):
                name = "_".join(str(v) for v in where[::-1])
                (place / name).write_bytes(_many(annotations.ids, records, left[chosen]))
        levels.append({
            "key": key, "grid_shape": grid[::-1].tolist(), "chunk_size": cell[::-1].tolist(),
            "limit": int(MOST_IN_A_CELL if not whole else max(fullest, 1)),
        })  # fmt: skip
        left = left[taken:]
        if not len(left):
            return levels
        # Halve the axes along which a cell is longest: cells become cubes and stay so.
        grid = grid * np.where(cell > 0.7 * cell.max(), 2, 1)


def _cells(first: np.ndarray, last: np.ndarray) -> dict[tuple[int, int, int], list[int]]:
    """Which annotations (by position in the list) touch which cell (z,y,x)."""
    found: dict[tuple[int, int, int], list[int]] = {}
    for n, (a, b) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        for z in range(a[0], b[0] + 1):
            for y in range(a[1], b[1] + 1):
                for x in range(a[2], b[2] + 1):
                    found.setdefault((z, y, x), []).append(n)
    return found
