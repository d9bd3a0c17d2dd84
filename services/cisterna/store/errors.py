"""What can go wrong with a store, each with a sentence that says what to do."""

from __future__ import annotations


class StoreError(Exception):
    """Base of the store's errors."""


class ObjectMissing(StoreError):
    """No object under this path."""

    def __init__(self, path: str) -> None:
        super().__init__(f"no object at {path}")
        self.path = path


class CorruptObject(StoreError):
    """An object that a receipt promises is absent, or does not decode."""


class StoreUnavailable(StoreError):
    """The store did not answer."""


class StoreFull(StoreError):
    """The store has no room for the object."""


class StoreRefused(StoreError):
    """The store cannot be used: it does not keep the promise of create-if-absent, or the URL is wrong."""
