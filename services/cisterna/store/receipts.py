"""A task is done when its receipt exists.

Order of a task: PUT data, create-if-absent → PUT receipt, create-if-absent. Consumers trust receipts, never the
mere existence of an object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cisterna.models.digest import digest, sha256
from cisterna.store.errors import CorruptObject, ObjectMissing
from cisterna.store.objects import ObjectStore, json_bytes

RECEIPT_FORMAT = 1


def stage_key(
    stage: str, stage_version: int, model_digest: str, params: Mapping[str, Any], inputs: Mapping[str, str]
) -> str:
    """Identity of a stage, known before its first block.

    ``params`` are the stage's resolved parameters, ``inputs`` the identities of what it reads. No times, names or
    file paths go in, so equal work has an equal key in every run.
    """
    return digest(
        {
            "stage": stage,
            "stage_version": stage_version,
            "model": model_digest,
            "params": dict(params),
            "inputs": dict(inputs),
        }
    )


def stage_folder(stage: str, key: str) -> str:
    return f"stages/{stage}/{key}"


def receipt_path(stage: str, key: str, block_index: int) -> str:
    return f"{stage_folder(stage, key)}/receipts/{block_index:08d}.json"


@dataclass(frozen=True)
class Written:
    """One object that a task owns."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Receipt:
    """What a finished task leaves: its objects, who made them, how long it took, and its figures."""

    stage: str
    stage_key: str
    stage_version: int
    block_index: int
    attempt: int
    worker: str
    device: str
    model: str
    objects: tuple[Written, ...]
    read_s: float
    compute_s: float
    write_s: float
    voxels: int
    figures: Mapping[str, float] = field(default_factory=dict)
    format: int = RECEIPT_FORMAT

    @property
    def path(self) -> str:
        return receipt_path(self.stage, self.stage_key, self.block_index)

    def to_bytes(self) -> bytes:
        return json_bytes(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Receipt:
        """Reads a receipt; raises CorruptObject where it is not one."""
        try:
            d = json.loads(data)
            return cls(**{**d, "objects": tuple(Written(**o) for o in d["objects"])})
        except (ValueError, TypeError, KeyError) as e:
            raise CorruptObject(f"a receipt does not decode: {e}") from e


def write_once(store: ObjectStore, path: str, data: bytes) -> Written:
    """Writes one object, create-if-absent, and says what stands there.

    Where an object exists already (another worker, or this one before it was killed), it is read back: the
    receipt speaks of what is stored, not of what was computed. An object is whole or absent on every store we
    accept, so what exists has been written by a task with the same key.
    """
    if store.put_new(path, data):
        return Written(path, sha256(data), len(data))
    try:
        stored = store.get(path)
    except ObjectMissing:  # removed by a repair between the two calls
        store.put_new(path, data)
        stored = store.get(path)
    return Written(path, sha256(stored), len(stored))


def read_receipt(store: ObjectStore, stage: str, key: str, block_index: int) -> Receipt | None:
    """The receipt of a task, or None where it is not done."""
    try:
        return Receipt.from_bytes(store.get(receipt_path(stage, key, block_index)))
    except ObjectMissing:
        return None


def finished_blocks(store: ObjectStore, stage: str, key: str) -> set[int]:
    """Block numbers that have a receipt, by one listing."""
    names = store.list(f"{stage_folder(stage, key)}/receipts")
    return {int(n.rsplit("/", 1)[1].removesuffix(".json")) for n in names if n.endswith(".json")}


def verify_receipt(store: ObjectStore, receipt: Receipt) -> list[str]:
    """Sentences about objects of a receipt that are missing or differ from what it promises; empty when whole."""
    faults = []
    for o in receipt.objects:
        try:
            data = store.get(o.path)
        except ObjectMissing:
            faults.append(f"{o.path} is missing")
            continue
        if len(data) != o.bytes or sha256(data) != o.sha256:
            found = f"{len(data)} bytes, sha256 {sha256(data)[:12]}…"
            faults.append(f"{o.path} has changed: {found}, the receipt says {o.bytes} bytes, {o.sha256[:12]}…")
    return faults


def remove_task(store: ObjectStore, receipt: Receipt, keep: Sequence[str] = ()) -> None:
    """Repair: removes the receipt first, then its data, so that no moment shows a receipt without data."""
    store.delete(receipt.path)
    for o in receipt.objects:
        if o.path not in keep:
            store.delete(o.path)
