"""What the exit-site stages leave between them, as the named arrays of a part and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cisterna.eres.components import LabelledBlock, Merged
from cisterna.eres.er_form import ErForm
from cisterna.eres.pieces import Numbered, Outline, SplitPart
from cisterna.eres.profiles import Measured
from cisterna.eres.sums import ObjectSums
from cisterna.store.parts import PartUnreadable, from_npz, to_npz

T = TypeVar("T")


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


def split_to_npz(part: SplitPart) -> bytes:
    """What one block cut."""
    return to_npz(_flat(part, "pieces"))


def split_from_npz(data: bytes) -> SplitPart:
    """Inverse of :func:`split_to_npz`."""
    return _deep(SplitPart, "pieces", data)


def sums_to_npz(sums: ObjectSums) -> bytes:
    """The sums of merged components, for the numbering."""
    return to_npz(sums.arrays())


def sums_from_npz(data: bytes) -> ObjectSums:
    """Inverse of :func:`sums_to_npz`."""
    return _shallow(ObjectSums, from_npz(data))


def outline_to_npz(outline: Outline) -> bytes:
    """Where merged components lie, for the blocks that split them."""
    return to_npz({f.name: getattr(outline, f.name) for f in fields(Outline)})


def outline_from_npz(data: bytes) -> Outline:
    """Inverse of :func:`outline_to_npz`."""
    return _shallow(Outline, from_npz(data))


def numbered_to_npz(numbered: Numbered) -> bytes:
    """Final ids of components and pieces, without the sums (which stand in the table of objects)."""
    return to_npz({f.name: getattr(numbered, f.name) for f in fields(Numbered) if f.name != "sums"})


def numbered_from_npz(data: bytes) -> Numbered:
    """Inverse of :func:`numbered_to_npz`; the sums are empty."""
    return _shallow(Numbered, {"sums": ObjectSums.empty(), **from_npz(data)})


def _flat(part: Any, inner: str) -> dict[str, NDArray[np.generic]]:
    own = {f.name: getattr(part, f.name) for f in fields(part) if f.name != inner}
    return {**own, **{f"{inner}.{k}": v for k, v in getattr(part, inner).arrays().items()}}


def _deep(kind: type[T], inner: str, data: bytes) -> T:
    arrays = from_npz(data)
    sums = {k.removeprefix(f"{inner}."): v for k, v in arrays.items() if k.startswith(f"{inner}.")}
    return _shallow(kind, {**arrays, inner: _shallow(ObjectSums, sums)})


def _shallow(kind: type[T], values: Mapping[str, Any]) -> T:
    try:
        return kind(**{f.name: values[f.name] for f in fields(kind)})  # type: ignore[arg-type]
    except KeyError as error:
        raise PartUnreadable(f"a part ({kind.__name__}) lacks the array {error}") from error


def surroundings_to_npz(measured: Measured, form: ErForm) -> bytes:
    """What the image and the ER say of the objects of one block."""
    image = {f"image.{f.name}": getattr(measured, f.name) for f in fields(Measured)}
    return to_npz({**image, **{f"er.{f.name}": getattr(form, f.name) for f in fields(ErForm)}})


def surroundings_from_npz(data: bytes) -> tuple[Measured, ErForm]:
    """Inverse of :func:`surroundings_to_npz`."""
    arrays = from_npz(data)
    image = {k.removeprefix("image."): v for k, v in arrays.items()}
    return _shallow(Measured, image), _shallow(ErForm, {k.removeprefix("er."): v for k, v in arrays.items()})


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
