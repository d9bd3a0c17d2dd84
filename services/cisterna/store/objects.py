"""The object store: a directory, an S3 endpoint or memory, behind six calls.

obstore moves the bytes on all three. What it does not promise on a directory, durability, is added here: file
and directory are synced before a write returns, so that a receipt never outlives its data in a power cut.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, MemoryStore, S3Store

from cisterna.store.errors import ObjectMissing, StoreFull, StoreRefused, StoreUnavailable

MARKER = "cisterna-store.json"
STORE_FORMAT = 1

_FULL_MARGIN_BYTES = 4096

Names = list[str]  # inside ObjectStore, `list` is the method


class ObjectStore:
    """Whole objects under slash-separated paths.

    Errors: `ObjectMissing`, `StoreUnavailable` (the endpoint does not answer), `StoreFull`.
    """

    def __init__(self, url: str, backend: LocalStore | S3Store | MemoryStore, folder: Path | None = None) -> None:
        self.url = url
        self.backend = backend
        self.folder = folder
        self.array_cache: dict[str, Any] = {}
        self.puts = 0

    def get(self, path: str) -> bytes:
        """The object's bytes."""
        with self._errors(path):
            return bytes(obstore.get(self.backend, path).bytes())

    def put_new(self, path: str, data: bytes) -> bool:
        """Writes the object unless one exists. True where this call created it.

        After a retried request False may speak of this call's own first try: `write_once` compares contents.
        """
        with self._errors(path, len(data)):
            try:
                self.puts += 1
                obstore.put(self.backend, path, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            self._sync(path)
            return True

    def put(self, path: str, data: bytes) -> None:
        """Writes the object, replacing what was there: for objects with one living owner (run.json)."""
        with self._errors(path, len(data)):
            self.puts += 1
            obstore.put(self.backend, path, data, mode="overwrite", use_multipart=False)
            self._sync(path)

    def exists(self, path: str) -> bool:
        with self._errors(path):
            try:
                obstore.head(self.backend, path)
            except (NotFoundError, FileNotFoundError):
                return False
            return True

    def size(self, path: str) -> int:
        """Bytes of the object."""
        with self._errors(path):
            return int(obstore.head(self.backend, path)["size"])

    def list(self, prefix: str) -> Names:
        """Paths of all objects below a prefix (a folder path), sorted."""
        with self._errors(prefix):
            found: Names = []
            for batch in obstore.list(self.backend, prefix.rstrip("/") + "/" if prefix else None):
                found.extend(str(meta["path"]) for meta in batch)
        return sorted(found)

    def folders(self, prefix: str) -> Names:
        """Names of the folders directly below a prefix, sorted."""
        with self._errors(prefix):
            listed = obstore.list_with_delimiter(self.backend, prefix.rstrip("/") + "/" if prefix else None)
        return sorted(p.rstrip("/").rsplit("/", 1)[-1] for p in listed["common_prefixes"])

    def delete(self, path: str) -> None:
        """Removes the object; a missing one is no error."""
        with self._errors(path):
            try:
                obstore.delete(self.backend, path)
            except (NotFoundError, FileNotFoundError):
                return

    def get_json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def put_json(self, path: str, value: Any) -> None:
        self.put(path, json_bytes(value))

    def _sync(self, path: str) -> None:
        if self.folder is None:
            return
        target = self.folder / path
        for place in (target, target.parent):
            fd = os.open(place, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    @contextmanager
    def _errors(self, path: str, size: int = 0) -> Iterator[None]:
        try:
            yield
        except (NotFoundError, FileNotFoundError):
            raise ObjectMissing(path) from None
        except (BaseError, OSError) as e:
            if self.folder is not None and size and shutil.disk_usage(self.folder).free < size + _FULL_MARGIN_BYTES:
                raise StoreFull(
                    f"store {self.url} is full: {size} bytes for {path} did not fit; free space and retry the run"
                ) from e
            raise StoreUnavailable(f"store {self.url} does not answer for {path}: {_first_line(e)}") from e


def json_bytes(value: Any) -> bytes:
    """A JSON document for people and programs: sorted, indented, ending in a newline."""
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def connect(url: str) -> ObjectStore:
    """The store behind a URL, unproven: ``file:///folder``, ``s3://bucket[/prefix]`` or ``memory://``.

    S3 takes endpoint, region and keys from the usual AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return ObjectStore(url, MemoryStore())
    if parts.scheme == "file" and parts.netloc == "" and parts.path.startswith("/"):
        folder = Path(parts.path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return ObjectStore(url, LocalStore(folder), folder)
        except OSError as e:
            raise StoreRefused(f"store {url} cannot be used: {e.strerror}; choose a folder you may write to") from e
    if parts.scheme == "s3" and parts.netloc:
        endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL_S3")
        config: dict[str, Any] = {"region": os.environ.get("AWS_REGION", "us-east-1"), "conditional_put": "etag"}
        if endpoint:
            config["endpoint"] = endpoint
            config["virtual_hosted_style_request"] = False
        for name in ("access_key_id", "secret_access_key", "session_token"):
            value = os.environ.get(f"AWS_{name.upper()}")
            if value:
                config[name] = value
        backend = S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            config=config,  # type: ignore[arg-type]
            client_options={
                "allow_http": bool(endpoint and endpoint.startswith("http://")),
                "timeout": timedelta(seconds=60),
                "connect_timeout": timedelta(seconds=5),
            },
            retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=20)},
        )
        return ObjectStore(url, backend)
    raise StoreRefused(f"store URL {url!r} is not understood: use file:///folder or s3://bucket/prefix")


def open_store(url: str) -> ObjectStore:
    """The store behind a URL, proven: it keeps create-if-absent, or is refused with a sentence.

    The proof runs once for a store and leaves ``cisterna-store.json``; later starts read that marker.
    """
    store = connect(url)
    try:
        marker = store.get_json(MARKER)
    except ObjectMissing:
        prove_create_if_absent(store)
        store.put_new(MARKER, json_bytes({"format": STORE_FORMAT, "create_if_absent": "proven"}))
        return store
    if marker.get("format") != STORE_FORMAT:
        raise StoreRefused(
            f"store {url} has format {marker.get('format')}, this Cisterna reads format {STORE_FORMAT}: "
            "use the matching version or another store"
        )
    return store


def prove_create_if_absent(store: ObjectStore) -> None:
    """Refuses a store on which a second create replaces the first (StoreRefused)."""
    path = f"proof/{uuid.uuid4().hex}"
    try:
        first, second = store.put_new(path, b"first"), store.put_new(path, b"second")
        kept = store.get(path)
    finally:
        store.delete(path)
    if not first or second or kept != b"first":
        raise StoreRefused(
            f"store {store.url} does not keep create-if-absent (a second PUT with If-None-Match: * won); "
            "without it two workers could both own a block: use an S3 endpoint with conditional writes"
        )


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
