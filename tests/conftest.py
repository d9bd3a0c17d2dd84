"""Fixtures that several subjects share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

for folder in ("ceph", "runs"):
    sys.path.insert(0, str(Path(__file__).parent / folder))

# A busy machine is no failure: timings live in tests/bench.
hypothesis.settings.register_profile("cisterna", deadline=None, derandomize=True)
hypothesis.settings.load_profile("cisterna")

if TYPE_CHECKING:
    from ceph_s3 import CephS3


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephS3]:
    """A real Ceph S3 for the session (20 s to start), skipped with a sentence where the packages are missing.

    Take a bucket of your own by `ceph.create_bucket(name)`. A test that kills the gateway starts it again.
    """
    from ceph_s3 import CephS3, why_missing

    missing = why_missing()
    if missing:
        pytest.skip(missing)
    with CephS3(tmp_path_factory.mktemp("ceph")) as cluster:
        yield cluster
