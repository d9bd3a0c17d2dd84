"""Objects, receipts and OME-Zarr images: the only room that touches storage."""

from cisterna.store.errors import (
    CorruptObject,
    ObjectMissing,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from cisterna.store.objects import ObjectStore, open_store
from cisterna.store.receipts import Receipt, Written, stage_key, write_once

__all__ = [
    "CorruptObject",
    "ObjectMissing",
    "ObjectStore",
    "Receipt",
    "StoreError",
    "StoreFull",
    "StoreRefused",
    "StoreUnavailable",
    "Written",
    "open_store",
    "stage_key",
    "write_once",
]
