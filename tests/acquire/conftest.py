import numpy as np
import pytest
from cisterna.phantoms import fibsem_cell
from cisterna.store import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(f"file://{tmp_path}/store")


@pytest.fixture(scope="session")
def cell():
    return fibsem_cell((72, 80, 88), 8.0, seed=3)


@pytest.fixture(scope="session")
def section(cell):
    return cell.inlens[20]


@pytest.fixture
def numbers():
    """A small volume whose voxels are all told apart."""
    return np.arange(6 * 10 * 12, dtype=np.uint16).reshape(6, 10, 12)
