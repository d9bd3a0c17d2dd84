"""Which reader opens a path, and how what the file states meets what the user says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cisterna.acquire.chunked import chunked_source, is_chunked
from cisterna.acquire.folder import PICTURE_SUFFIXES, TIFF_SUFFIXES, folder_source
from cisterna.acquire.layout import Selection
from cisterna.acquire.source import Grid, Kind, PlaneSource, UnusableInput, checked
from cisterna.acquire.tiff import tiff_source

TOLERANCE = 0.005
"""Relative difference at which the size in the file and the size given disagree."""


def open_source(path: str | Path, kind: Kind, selection: Selection | None = None) -> PlaneSource:
    """Opens a TIFF stack, a folder of planes, an OME-Zarr image, a Zarr or an N5 array.

    `kind` says what the planes are: z of a volume or t of a movie. `selection` picks one of several channels, names
    axes that the file does not, and says what becomes of a z-stack. Raises UnusableInput.
    """
    selection = selection or Selection()
    place = Path(path)
    if not place.exists():
        raise UnusableInput(f"{place} does not exist: check the path")
    if place.is_dir():
        read = chunked_source if is_chunked(place) else folder_source
        return checked(read(place, kind, selection))
    if place.stat().st_size == 0:
        raise UnusableInput(f"{place} is empty (0 bytes): copy it again")
    if place.suffix.lower() in TIFF_SUFFIXES:
        return checked(tiff_source(place, kind, selection))
    raise UnusableInput(
        f"{place} is not a format Cisterna reads ({place.suffix or 'no ending'}): give a TIFF stack, a folder of TIFF "
        f"or {PICTURE_SUFFIXES[0][1:].upper()} planes, an OME-Zarr or an N5"
    )


def agreed_voxel_size(name: str, grid: Grid, given_nm: float | Sequence[float] | None) -> tuple[float, float, float]:
    """Voxel size (z, y, x) in nm from the file and the argument.

    Raises UnusableInput where neither states one, where it is no positive number, or where they differ by more than
    0.5 % (both values are named).
    """
    stated = (grid.z_nm, grid.y_nm, grid.x_nm)
    if given_nm is None:
        if None in stated:
            known = f"only {_sizes(stated)} nm" if any(stated) else "no voxel size"
            raise UnusableInput(f"{name} states {known}: give it with --voxel-size-nm Z Y X")
        z, y, x = (float(v) for v in stated if v is not None)
        return (z, y, x)
    given = [float(given_nm)] * 3 if isinstance(given_nm, int | float) else [float(v) for v in given_nm]
    if len(given) != 3 or not all(0 < v < 1e6 for v in given):
        raise UnusableInput(f"voxel size {_sizes(given)} nm is not usable: give three positive numbers z y x in nm")
    if any(s is not None and abs(s - g) > TOLERANCE * g for s, g in zip(stated, given, strict=True)):
        raise UnusableInput(
            f"{name} states a voxel size of {_sizes(stated)} nm (z, y, x), but {_sizes(given)} nm were given: "
            "correct one of them"
        )
    return (given[0], given[1], given[2])


def agreed_pixel_size(name: str, grid: Grid, given_um: float | Sequence[float] | None) -> tuple[float, float]:
    """Pixel size (y, x) in µm from the file and the argument; raises UnusableInput as `agreed_voxel_size` does."""
    stated = tuple(v / 1000 if v else None for v in (grid.y_nm, grid.x_nm))
    if given_um is None:
        y, x = stated
        if y is None or x is None:
            raise UnusableInput(f"{name} states no pixel size: give it with --pixel-size-nm P")
        return (y, x)
    given = [float(given_um)] * 2 if isinstance(given_um, int | float) else [float(v) for v in given_um]
    if len(given) != 2 or not all(0 < v < 1e3 for v in given):
        raise UnusableInput(f"pixel size {_sizes(given)} µm is not usable: give a positive number")
    if any(s is not None and abs(s - g) > TOLERANCE * g for s, g in zip(stated, given, strict=True)):
        raise UnusableInput(
            f"{name} states a pixel size of {_sizes(stated)} µm (y, x), but {_sizes(given)} µm was given: "
            "correct one of them"
        )
    return (given[0], given[1])


def agreed_z_spacing(source: PlaneSource, given_um: float | None) -> float | None:
    """Distance of the sections of a z-stack in µm from the file and the argument; None where neither states it.

    Raises UnusableInput where it is no positive number, where both differ by more than 0.5 %, where it is given for an
    input without z, or where every section is kept and it is not known.
    """
    depth, name = source.depth, source.name
    stated = source.grid.z_nm / 1000 if source.grid.z_nm and depth is not None else None
    if given_um is None:
        if stated is None and source.sections > 1:
            raise UnusableInput(f"{name} states no distance of its z sections: give it with --z-spacing-nm D")
        return stated
    if depth is None:
        raise UnusableInput(f"{name} is read as a movie without z: leave --z-spacing-nm out, or say --z-mode")
    if not 0 < given_um < 1e3:
        raise UnusableInput(f"z spacing {1000 * given_um:g} nm is not usable: give a positive number")
    if stated is not None and abs(stated - given_um) > TOLERANCE * given_um:
        raise UnusableInput(
            f"{name} states a z spacing of {1000 * stated:g} nm, but {1000 * given_um:g} nm was given: "
            "correct one of them"
        )
    return float(given_um)


def agreed_interval(name: str, grid: Grid, given_s: float | None, frames: int) -> float:
    """Seconds between frames from the file and the argument; 1 for a single frame. Raises UnusableInput."""
    stated = grid.interval_s
    if given_s is None:
        if stated is None and frames > 1:
            raise UnusableInput(f"{name} states no frame interval: give it with --frame-interval-s S")
        return stated or 1.0
    if not 0 < given_s < 1e7:
        raise UnusableInput(f"frame interval {given_s:g} s is not usable: give a positive number of seconds")
    if stated is not None and abs(stated - given_s) > TOLERANCE * given_s:
        raise UnusableInput(
            f"{name} states a frame interval of {stated:g} s, but {given_s:g} s was given: correct one of them"
        )
    return float(given_s)


def _sizes(values: Sequence[float | None]) -> str:
    return "×".join("?" if v is None else f"{v:g}" for v in values)
