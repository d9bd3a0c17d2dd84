"""The starter itself: what the store's tests and the fault tests take for granted about it."""

from __future__ import annotations

import obstore
import pytest
from obstore.store import S3Store


def _bucket(ceph, name: str = "starter", retries: int = 2) -> S3Store:
    ceph.create_bucket(name)
    return S3Store(
        name,
        endpoint=ceph.endpoint,
        access_key_id=ceph.access_key,
        secret_access_key=ceph.secret_key,
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": retries},
    )


def _fill(bucket: S3Store) -> None:
    for i in range(20):
        obstore.put(bucket, f"object{i}", bytes(50_000))


def test_create_if_absent_has_one_winner(ceph):
    bucket = _bucket(ceph)
    obstore.put(bucket, "once", b"first", mode="create")
    with pytest.raises(obstore.exceptions.AlreadyExistsError):
        obstore.put(bucket, "once", b"second", mode="create")
    assert bytes(obstore.get(bucket, "once").bytes()) == b"first"


def test_killed_gateway_refuses_then_returns_with_its_data(ceph):
    bucket = _bucket(ceph, retries=0)
    obstore.put(bucket, "kept", b"before the kill")
    ceph.kill_gateway()
    try:
        with pytest.raises(obstore.exceptions.BaseError):
            obstore.get(bucket, "kept")
    finally:
        ceph.start_gateway()
    assert bytes(obstore.get(_bucket(ceph), "kept").bytes()) == b"before the kill"


def test_a_full_store_refuses_and_takes_again(ceph):
    bucket = _bucket(ceph, "narrow", retries=0)
    ceph.limit_bytes(100_000)
    try:
        with pytest.raises(obstore.exceptions.BaseError, match=r"QuotaExceeded|403"):
            _fill(bucket)
    finally:
        ceph.limit_bytes(None)
    obstore.put(bucket, "after", bytes(50_000))


def test_wrong_keys_are_refused(ceph):
    stranger = S3Store(
        "cisterna",
        endpoint=ceph.endpoint,
        access_key_id=ceph.access_key,
        secret_access_key="wrong",
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    with pytest.raises(obstore.exceptions.BaseError):
        obstore.put(stranger, "never", b"")
