"""Diameters and grey values of objects on the raw image, and the form of the ER beside them."""

from __future__ import annotations

from typing import Any

from cisterna.chunks import nm_to_voxels
from cisterna.runs.building import Builder, task_ref
from cisterna.runs.stages import VERSIONS, Needs, Stage, every
from cisterna.store.receipts import stage_folder, stage_key
from cisterna.v1 import common_pb2, eres_pb2

REACH_NM = 136.0
ER_REACH_NM = 280.0
MARGIN_VOXELS = 3
"""How far from a block its objects' profiles and the ER beside them reach (cisterna.eres.profiles, er_form)."""


def plan_profiles(b: Builder, class_name: str, merged: Stage, labels: Stage, er: Stage) -> Stage:
    """What the raw image and the ER say of the objects of a class; ``merged`` lists them, ``labels`` draws them."""
    raw, scale = b.acquisition.raw, list(b.acquisition.scale)
    name, version = f"eres-profile-{class_name}", VERSIONS["eres-profile"]
    params = {"class": class_name, "voxel_size_nm": scale, "invert": raw.invert}
    inputs = {"labels": labels.key, "objects": merged.key, "er": er.key, "raw": b.acquisition.identity}
    key = stage_key(name, version, "", params, inputs)
    parts = common_pb2.ArrayRef(path=f"{stage_folder(name, key)}/parts", identity=key)
    halo, er_halo = (
        tuple(n + MARGIN_VOXELS for n in nm_to_voxels(reach, b.acquisition.scale)) for reach in (REACH_NM, ER_REACH_NM)
    )

    def request(block: int, attempt: int) -> Any:
        return eres_pb2.ProfileBlockRequest(
            task=task_ref(name, version, key, block, attempt),
            labels=b.chunk(labels.images[0].level(0), labels.key, block, halo),
            image=b.chunk(f"{raw.path}/0", b.acquisition.identity, block, halo),
            objects=common_pb2.ArrayRef(path=f"{merged.folder}/merged/objects.parquet", identity=merged.key),
            parts=parts,
            voxel_size_nm=scale,
            invert=raw.invert,
            class_name=class_name,
            er_labels=b.chunk(er.images[0].level(0), er.key, block, er_halo),
        )

    return b.add(
        Stage(
            name,
            "eres",
            "ProfileBlock",
            key,
            version,
            b.grid.blocks,
            {"class": class_name, "invert": raw.invert},
            request,
            lambda i: b.grid.box(i).size,
            needs=(Needs(labels.name, b.around(halo)), Needs(er.name, b.around(er_halo)), Needs(merged.name, every(1))),
        )
    )
