"""One set of promises, kept by memory, a directory and a real S3."""

from __future__ import annotations

import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cisterna.chunks import Box
from cisterna.store import CorruptObject, ObjectMissing, ObjectStore, StoreRefused, StoreUnavailable, open_store
from cisterna.store.arrays import ImageSpec, create_image, read_box, read_reflected, write_block
from cisterna.store.buckets import ensure_bucket
from cisterna.store.objects import MARKER, prove_create_if_absent
from cisterna.store.receipts import (
    Receipt,
    finished_blocks,
    read_receipt,
    remove_task,
    stage_key,
    verify_receipt,
    write_once,
)

SPEC = ImageSpec((70, 130, 65), "uint8", (64, 64, 64), "zyx", (5.24, 4.0, 4.0))


class StoreContract:
    """What every store must do; subclasses give the store."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        raise NotImplementedError

    def test_first_create_wins_and_keeps_its_bytes(self, store: ObjectStore) -> None:
        assert store.put_new("a/b", b"one")
        assert not store.put_new("a/b", b"two")
        assert store.get("a/b") == b"one"

    def test_of_many_racing_creates_one_wins(self, store: ObjectStore) -> None:
        for n in range(5):
            with ThreadPoolExecutor(8) as pool:
                won = list(pool.map(lambda i, n=n: store.put_new(f"race/{n}", bytes([i]) * 1000), range(8)))
            assert sum(won) == 1
            assert store.get(f"race/{n}") == bytes([won.index(True)]) * 1000

    def test_missing_objects_are_named(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectMissing, match="nowhere/at/all"):
            store.get("nowhere/at/all")
        assert not store.exists("nowhere/at/all")
        store.delete("nowhere/at/all")

    def test_listing_is_sorted_and_by_folder(self, store: ObjectStore) -> None:
        for name in ("x/2", "x/10", "x/sub/1", "xy/1"):
            store.put(name, b"-")
        assert store.list("x") == ["x/10", "x/2", "x/sub/1"]
        assert store.folders("x") == ["sub"]

    def test_overwriting_replaces(self, store: ObjectStore) -> None:
        store.put("run.json", b"old and long")
        store.put("run.json", b"new")
        assert store.get("run.json") == b"new"

    def test_an_image_comes_back_block_by_block(self, store: ObjectStore) -> None:
        data = self.filled(store, "image.ome.zarr")
        assert (read_box(store, "image.ome.zarr/0", Box.whole(SPEC.shape)) == data).all()
        inner = Box((3, 60, 1), (64, 20, 60))
        assert (read_box(store, "image.ome.zarr/0", inner) == data[inner.slices]).all()

    def test_a_halo_beyond_the_edge_is_the_mirror_image(self, store: ObjectStore) -> None:
        data = self.filled(store, "image.ome.zarr")
        padded = np.pad(data, 80, mode="reflect")
        for index in (0, SPEC.grid.blocks - 1):
            box = SPEC.grid.box(index)
            found = read_reflected(store, "image.ome.zarr/0", box, (47, 10, 80), (47, 12, 80))
            cut = Box(box.offset, box.shape).shift((80, 80, 80)).grow((47, 10, 80), (47, 12, 80))
            assert (found == padded[cut.slices]).all()

    def test_a_lost_object_is_an_error_not_zeros(self, store: ObjectStore) -> None:
        self.filled(store, "image.ome.zarr")
        store.delete("image.ome.zarr/0/c/0/1/0")
        assert read_box(store, "image.ome.zarr/0", Box((0, 0, 0), (8, 8, 8))).size
        with pytest.raises(CorruptObject, match="c/0/1/0"):
            read_box(store, "image.ome.zarr/0", Box((0, 64, 0), (8, 8, 8)))

    def test_a_flipped_bit_is_an_error_not_a_wrong_voxel(self, store: ObjectStore) -> None:
        self.filled(store, "image.ome.zarr")
        path = "image.ome.zarr/0/c/0/0/0"
        blob = bytearray(store.get(path))
        blob[len(blob) // 3] ^= 4
        store.put(path, bytes(blob))
        with pytest.raises(CorruptObject):
            read_box(store, "image.ome.zarr/0", Box((0, 0, 0), (64, 64, 64)))

    def test_writing_part_of_a_block_is_refused(self, store: ObjectStore) -> None:
        create_image(store, "image.ome.zarr", SPEC)
        with pytest.raises(ValueError, match="not one block"):
            write_block(store, "image.ome.zarr/0", Box((0, 0, 0), (8, 64, 64)), np.zeros((8, 64, 64), np.uint8))

    def test_equal_voxels_are_equal_bytes(self, store: ObjectStore) -> None:
        self.filled(store, "one.ome.zarr")
        self.filled(store, "two.ome.zarr")
        ones = [store.get(p) for p in store.list("one.ome.zarr")]
        assert ones == [store.get(p) for p in store.list("two.ome.zarr")]

    def test_a_receipt_speaks_of_what_is_stored(self, store: ObjectStore) -> None:
        first = write_once(store, "stages/s/k/data", b"mine")
        second = write_once(store, "stages/s/k/data", b"yours")
        assert first == second
        receipt = _receipt([first])
        assert store.put_new(receipt.path, receipt.to_bytes())
        assert read_receipt(store, "s", "k", 7) == receipt
        assert finished_blocks(store, "s", "k") == {7}
        assert verify_receipt(store, receipt) == []
        store.put("stages/s/k/data", b"torn")
        assert "changed" in verify_receipt(store, receipt)[0]
        remove_task(store, receipt)
        assert finished_blocks(store, "s", "k") == set()
        assert not store.exists("stages/s/k/data")

    def filled(self, store: ObjectStore, path: str) -> np.ndarray[Any, Any]:
        data = np.random.default_rng(1).integers(0, 255, SPEC.shape).astype(np.uint8)
        create_image(store, path, SPEC)
        for i in range(SPEC.grid.blocks):
            box = SPEC.grid.box(i)
            write_block(store, f"{path}/0", box, data[box.slices])
        return data


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return open_store("memory://")


class TestDirectory(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return open_store(f"file://{tmp_path}/store")


class TestCephS3(StoreContract):
    @pytest.fixture
    def store(self, ceph: Any, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
        for name, value in ceph.environment().items():
            monkeypatch.setenv(name, value)
        return open_store(f"{ceph.url}/{uuid.uuid4().hex}")


def test_a_bucket_is_made_once(ceph: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ceph.environment().items():
        monkeypatch.setenv(name, value)
    url = f"s3://made-{uuid.uuid4().hex}/prefix"
    assert ensure_bucket(url)
    assert not ensure_bucket(url)
    assert open_store(url).exists(MARKER)


def test_a_bucket_cannot_be_made_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        ensure_bucket("s3://bucket")


def test_the_proof_leaves_a_marker_and_is_not_repeated(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store"
    first = open_store(url)
    assert first.exists(MARKER)
    assert first.list("proof") == []
    assert open_store(url).puts == 0


def test_a_store_that_lets_the_second_writer_win_is_refused() -> None:
    class Careless(ObjectStore):
        def put_new(self, path: str, data: bytes) -> bool:
            self.put(path, data)
            return True

    careless = Careless("memory://", open_store("memory://").backend)
    with pytest.raises(StoreRefused, match="create-if-absent"):
        prove_create_if_absent(careless)


@pytest.mark.parametrize("url", ["ftp://host/x", "relative/path", "file://host/x", "s3://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(StoreRefused, match="file:///folder or s3"):
        open_store(url)


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text('{"format": 99}')
    with pytest.raises(StoreRefused, match="format 99"):
        open_store(f"file://{tmp_path}")


def test_an_endpoint_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        open_store("s3://bucket")


def test_names_paths_and_times_are_no_part_of_a_stage_key() -> None:
    key = stage_key("segment-er", 1, "m", {"intensity": {"low": 1.0}}, {"input": "i"})
    assert key == stage_key("segment-er", 1, "m", {"intensity": {"low": 1.0}}, {"input": "i"})
    assert (
        len(
            {
                key,
                stage_key("segment-er", 2, "m", {"intensity": {"low": 1.0}}, {"input": "i"}),
                stage_key("segment-er", 1, "n", {"intensity": {"low": 1.0}}, {"input": "i"}),
                stage_key("segment-er", 1, "m", {"intensity": {"low": 2.0}}, {"input": "i"}),
                stage_key("segment-er", 1, "m", {"intensity": {"low": 1.0}}, {"input": "j"}),
            }
        )
        == 5
    )


@pytest.mark.parametrize("blob", [b"", b"{", b"[]", b'{"stage": 1}'])
def test_a_torn_receipt_is_corrupt(blob: bytes) -> None:
    with pytest.raises(CorruptObject, match="receipt"):
        Receipt.from_bytes(blob)


def _receipt(objects: list[Any]) -> Receipt:
    return Receipt(
        "s", "k", 1, 7, 1, f"host:{os.getpid()}:0", "cpu", "", tuple(objects), 0.1, 0.2, 0.3, 10, {"mean": 0.5}
    )
