"""Readers and ingest: from microscope files to an acquisition in the store."""

from cisterna.acquire.cells import ingest_cells
from cisterna.acquire.existing import ExistingArray, ingest_existing
from cisterna.acquire.ingest import ingest_volume
from cisterna.acquire.layout import Selection
from cisterna.acquire.movies import ingest_degraded, ingest_movie
from cisterna.acquire.readers import open_source
from cisterna.acquire.registering import Acquisition
from cisterna.acquire.source import UnusableInput

__all__ = [
    "Acquisition",
    "ExistingArray",
    "Selection",
    "UnusableInput",
    "ingest_cells",
    "ingest_degraded",
    "ingest_existing",
    "ingest_movie",
    "ingest_volume",
    "open_source",
]
