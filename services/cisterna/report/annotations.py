"""Neuroglancer's precomputed annotations: points, boxes and ellipsoids that a browser fetches piece by piece.

The format (`neuroglancer_annotations_v1`, unsharded): `info`, one file per annotation under `by_id`, one per related
object under `by_…`, and a spatial index whose coarse levels hold a fair sample, so that 50,000 vesicles open at once.
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
    by_id = folder / "by_id"
    by_id.mkdir(parents=True)
    for n, number in enumerate(annotations.ids.tolist()):
        related = b"".join(_id_list(ids[n]) for ids in annotations.related.values())
        (by_id / str(number)).write_bytes(records[n] + related)
        if n % 500 == 0:
            tell(n / max(1, len(records)))
    for name, ids in annotations.related.items():
        _write_related(folder / f"by_{name}", annotations.ids, records, ids)
    levels = _write_spatial(folder, annotations, records, low, high)
    info: dict[str, Any] = {
        "@type": "neuroglancer_annotations_v1",
        "dimensions": {axis: [1e-9, "m"] for axis in "xyz"},
        "lower_bound": low[::-1].tolist(),
        "upper_bound": high[::-1].tolist(),
        "annotation_type": annotations.shape,
        "properties": [_property_info(p) for p in _ordered(annotations.properties)],
        "relationships": [{"id": name, "key": f"by_{name}"} for name in annotations.related],
        "by_id": {"key": "by_id"},
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


def _write_related(folder: Path, ids: np.ndarray, records: Sequence[bytes], related: Sequence[Sequence[int]]) -> None:
    of: dict[int, list[int]] = {}
    for n, objects in enumerate(related):
        for number in objects:
            of.setdefault(int(number), []).append(n)
    folder.mkdir()
    for number, own in of.items():
        (folder / str(number)).write_bytes(_many(ids, records, np.array(own)))


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
