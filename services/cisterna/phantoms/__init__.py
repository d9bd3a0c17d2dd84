"""Synthetic data with exact truth: FIB-SEM cells and ER movies."""

from .cell import CellPhantom, fibsem_cell

__all__ = ["CellPhantom", "fibsem_cell"]
