"""Options of ``submit er-movie`` that say what a file holds, and the ingest that they ask for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cisterna.cli.home import UsageError
from cisterna.runs.recipes import ErMovieRecipe
from cisterna.store import ObjectStore


def add_movie_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--pixel-size-nm", type=float)
    p.add_argument("--frame-interval-s", type=float)
    p.add_argument("--axes", metavar="LETTERS", help="names of the file's axes where it gives none, e.g. TCYX, ZYX")
    p.add_argument(
        "--z-mode",
        choices=("single", "max_projection", "per_section"),
        help="what to do with a z-stack (recipe: z_mode): one section, maximum over z, or all sections traced in 3-D",
    )
    p.add_argument("--z-section", type=int, metavar="N", help="section of --z-mode single, from 0 (recipe: z_section)")
    p.add_argument("--z-spacing-nm", type=float, help="distance of the z sections")
    p.add_argument(
        "--cells", type=Path, metavar="LABELS", help="label image of the cells, (y,x) or (t,y,x): figures per cell"
    )


def recipe_settings(args: argparse.Namespace) -> list[str]:
    """`--set`, with the recipe values that have an option of their own."""
    settings = list(args.set)
    for key in ("z_mode", "z_section"):
        value = getattr(args, key, None)
        if value is not None:
            settings.append(f"{key}={value}")
    return settings


def channel_of(text: str | None) -> int | str | None:
    """`--channel`: a number from 0, or a name that the file gives."""
    if text is None:
        return None
    return int(text) if text.strip().lstrip("-").isdigit() else text


def ingest_movie_input(
    store: ObjectStore, args: argparse.Namespace, recipe: ErMovieRecipe | None, progress: Any
) -> str:
    """The id of the acquisition that INPUT becomes."""
    from cisterna.acquire import Selection, ingest_movie

    if args.input is None:
        raise UsageError("give the INPUT movie")
    z_mode, z_section = (recipe.z_mode, recipe.z_section) if recipe is not None else (args.z_mode, args.z_section)
    return ingest_movie(
        store,
        args.input,
        pixel_size_um=args.pixel_size_nm / 1000 if args.pixel_size_nm is not None else None,
        frame_interval_s=args.frame_interval_s,
        z_spacing_um=args.z_spacing_nm / 1000 if args.z_spacing_nm is not None else None,
        selection=Selection(channel_of(args.channel), args.axes, z_mode, z_section),
        progress=progress,
    ).id
