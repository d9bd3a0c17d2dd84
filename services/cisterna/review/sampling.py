"""Which sites a reviewer sees: a uniform random choice that the seed alone decides, under neutral names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from cisterna.tables.volumes import SITE_CLASSES

KINDS = ("vesicular", "tubular")
EVERY = "all"
EACH = "each"
EXTENT_ALONE = "extent_alone"
"""Groups that only their extent made Golgi-like: a fully detected exit site may be among them."""


@dataclass(frozen=True)
class Item:
    """One site under its neutral name. `position_nm` is the site's centroid, z,y,x."""

    item: str
    site_id: int
    site_class: str
    position_nm: tuple[float, float, float]


@dataclass(frozen=True)
class Sample:
    """The key of a sample: what the reviewer does not see. It stays in the store.

    `sample` is a neutral id, the same for the same request. `population` is how many sites there were to choose from,
    `sites` the digest of the site table, `voxel_size_nm` z,y,x of the image.
    """

    sample: str
    run_id: str
    site_class: str
    asked: int
    seed: int
    population: int
    sites: str
    voxel_size_nm: tuple[float, float, float]
    created_utc: str
    tool_version: str
    items: tuple[Item, ...]

    def item(self, name: str) -> Item | None:
        return next((i for i in self.items if i.item == name), None)

    def document(self) -> dict[str, Any]:
        return asdict(self)


def sample_from_document(document: Mapping[str, Any]) -> Sample:
    items = tuple(Item(i["item"], i["site_id"], i["site_class"], tuple(i["position_nm"])) for i in document["items"])
    return Sample(**{**document, "items": items, "voxel_size_nm": tuple(document["voxel_size_nm"])})


def sites_digest(sites: pd.DataFrame) -> str:
    """What the table says of ids, classes and places: a sample is only good for the sites it was drawn from."""
    columns = [sites[name].tolist() for name in ("site_id", "site_class", *(f"centroid_{a}_nm" for a in "zyx"))]
    text = "\n".join(" ".join(map(repr, row)) for row in sorted(zip(*columns, strict=True)))
    return hashlib.sha256(text.encode()).hexdigest()


def ranked(run_id: str, seed: int, site_ids: list[int]) -> list[int]:
    """The ids in an order that is uniform over all orders as the seed varies, and the same for ever for one seed.

    Each id is ranked by SHA-256 of run, seed and id: no generator whose stream may change with a version, and a larger
    sample of the same seed begins with the smaller one.
    """
    return sorted(site_ids, key=lambda i: hashlib.sha256(f"{run_id}/{seed}/{i}".encode()).digest())


def draw_sample(
    run_id: str, sites: pd.DataFrame, site_class: str, n: int, seed: int, voxel_size_nm: tuple[float, float, float],
    created_utc: str, tool_version: str,
) -> Sample:  # fmt: skip
    """`n` sites of a class (one of the six, `vesicular`, `tubular`, `extent_alone` or `all`), without replacement.

    `each` takes `n` of every class and shuffles them together: the reviewer of a rare class is blind too. Where there
    are fewer than `n`, all of them. Raises ValueError for an unknown class, n < 1 or no site of that class.
    """
    if n < 1:
        raise ValueError(f"--n {n}: ask for at least one site")
    if seed < 0:
        raise ValueError(f"--seed {seed}: take a whole number from 0 on")
    if site_class in SITE_CLASSES:
        eligible = sites[sites["site_class"] == site_class]
    elif site_class in KINDS:
        eligible = sites[sites["kind"] == site_class]
    elif site_class in (EVERY, EACH):
        eligible = sites
    elif site_class == EXTENT_ALONE and "excluded_by" in sites:
        eligible = sites[sites["excluded_by"] == "extent"]
    else:
        raise ValueError(
            f"--class {site_class!r} is none of: {', '.join((*SITE_CLASSES, *KINDS, EVERY, EACH, EXTENT_ALONE))}"
        )
    if not len(eligible):
        there = ", ".join(f"{k} ({v})" for k, v in sites["site_class"].value_counts().items()) or "none at all"
        raise ValueError(f"run {run_id} has no site of class {site_class}; it has {there}")
    digest = sites_digest(sites)
    columns = ["site_id", "site_class", *(f"centroid_{axis}_nm" for axis in "zyx")]
    rows = {int(row["site_id"]): row for row in eligible[columns].to_dict("records")}
    strata = [[i for i in rows if rows[i]["site_class"] == name] for name in dict.fromkeys(eligible["site_class"])]
    taken = [i for ids in (strata if site_class == EACH else [list(rows)]) for i in ranked(run_id, seed, ids)[:n]]
    chosen = ranked(run_id, seed, taken)
    width = max(2, len(str(len(chosen))))
    items = []
    for number, site_id in enumerate(chosen, 1):
        row = rows[site_id]
        z, y, x = (float(row[f"centroid_{axis}_nm"]) for axis in "zyx")
        items.append(Item(f"{number:0{width}d}", site_id, str(row["site_class"]), (z, y, x)))
    name = hashlib.sha256(f"{run_id}/{site_class}/{n}/{seed}/{digest}".encode()).hexdigest()[:10]
    return Sample(
        f"s{name}", run_id, site_class, n, seed, len(eligible), digest, voxel_size_nm, created_utc, tool_version,
        tuple(items),
    )  # fmt: skip
