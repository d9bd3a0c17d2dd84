"""Fixtures that several subjects share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

for folder in ("ceph", "runs", "graph", "system", "ernet"):
    sys.path.insert(0, str(Path(__file__).parent / folder))

# A busy machine is no failure: timings live in tests/bench.
hypothesis.settings.register_profile("cisterna", deadline=None, derandomize=True)
hypothesis.settings.load_profile("cisterna")

if TYPE_CHECKING:
    from ceph_s3 import CephS3
    from stacks import Stack


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


CELL_SHAPE = (72, 72, 72)
MOVIE_FRAMES = 8


@pytest.fixture(scope="session")
def cell_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom cell, saved: 8 blocks of 64³, some of them thin."""
    from cisterna.phantoms import fibsem_cell, save_cell

    folder = tmp_path_factory.mktemp("cell")
    save_cell(folder, fibsem_cell(CELL_SHAPE, 8.0, 9600))
    return folder


@pytest.fixture(scope="session")
def movie_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom movie, saved."""
    from cisterna.phantoms import er_movie, save_movie

    folder = tmp_path_factory.mktemp("movie")
    save_movie(folder, er_movie(MOVIE_FRAMES, (192, 192), snr=10, seed=9600))
    return folder


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The calm stack, on a directory store: nobody kills anything here."""
    from stacks import Stack, why_no_triton

    missing = why_no_triton()
    if missing:
        pytest.skip(missing)
    with Stack(tmp_path_factory.mktemp("calm")) as running:
        yield running


@pytest.fixture(scope="session")
def calm_cell(stack: Stack, cell_folder: Path) -> dict[str, Any]:
    """run.json of the small cell after a run without disturbance."""
    from stacks import cell_detectors

    return stack.wait(stack.submit("fibsem", *cell_detectors(cell_folder)))


@pytest.fixture(scope="session")
def calm_movie(stack: Stack, movie_folder: Path) -> dict[str, Any]:
    """run.json of the small movie after a run without disturbance."""
    return stack.wait(stack.submit("er-movie", movie_folder / "movie.tif"))
