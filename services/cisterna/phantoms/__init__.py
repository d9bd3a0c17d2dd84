"""Synthetic data with exact truth: FIB-SEM cells and ER movies, and how to score a result against it."""

from .cell import CellPhantom, fibsem_cell
from .er_movie import MoviePhantom, er_movie
from .saving import save_cell, save_movie

__all__ = ["CellPhantom", "MoviePhantom", "er_movie", "fibsem_cell", "save_cell", "save_movie"]
