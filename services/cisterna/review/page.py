"""The review page: one HTML file with all stacks in it, for a browser without a server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import cisterna
from cisterna.review.crops import EDGE_NM, Crop, Mosaic, bytes_for, cut, mosaics
from cisterna.review.decisions import FORMS, MOST_VESICLES
from cisterna.review.sampling import Sample
from cisterna.review.sheet import COLUMNS
from cisterna.store import ObjectStore
from cisterna.store.pyramids import Pyramid

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Rendered:
    """The page, the JPEG quality of its pictures, and how many stacks have a part that no block holds."""

    html: str
    quality: int
    with_gaps: int


def render_review_page(
    store: ObjectStore, sample: Sample, images: Sequence[tuple[str, Pyramid]], reviewer: str, region_nm: float,
    edge_nm: float = EDGE_NM,
) -> Rendered:  # fmt: skip
    """The page of a sample. `images` are (name, levels), raw first; `region_nm` is the side of the counting frame.

    Nothing of the automatic result stands on it: neither class nor counts, run, acquisition or condition.
    """
    crops = [cut(store, image, item.position_nm, edge_nm) for item in sample.items for _, image in images]
    pictures, quality = mosaics(crops, bytes_for(len(sample.items)))
    items = []
    step = len(images)
    for n, item in enumerate(sample.items):
        stacks = zip(images, crops[n * step : (n + 1) * step], pictures[n * step : (n + 1) * step], strict=True)
        items.append(
            {
                "item": item.item,
                "position": [round(p, 2) for p in item.position_nm],
                "stacks": {name: _stack(crop, picture) for (name, _), crop, picture in stacks},
            }
        )
    channels = tuple(name for name, _ in images)
    data = {
        "sample": sample.sample,
        "reviewer": reviewer,
        "version": cisterna.__version__,
        "region": region_nm,
        "forms": FORMS,
        "most": MOST_VESICLES,
        "columns": COLUMNS,
        "channels": channels,
        "items": items,
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c")
    html = _environment().get_template("review.html.j2").render(
        sample=sample.sample, count=len(items), region=region_nm, forms=FORMS, channels=channels,
        version=cisterna.__version__, data=Markup(text), css=_asset("review.css"), script=_asset("review.js"),
    )  # fmt: skip
    return Rendered(html, quality, sum(c.missing > 0 for c in crops))


def _stack(crop: Crop, picture: Mosaic) -> dict[str, Any]:
    return {
        "origin": [round(v, 4) for v in crop.origin_nm],
        "voxel": crop.voxel_nm,
        "shape": crop.grey.shape,
        "columns": picture.columns,
        "cell": picture.cell,
        "picture": picture.data_uri,
    }


def _asset(name: str) -> Markup:
    return Markup((HERE / name).read_text(encoding="utf-8"))


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
