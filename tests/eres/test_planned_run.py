"""Every exit-site stage as a run plans it, done by the service, gives the objects and sites of the in-core call."""

import dataclasses
import json

import numpy as np
import pytest
from cisterna.chunks import BlockGrid
from cisterna.eres import SPLITTING, Rules, classify_sites, label_components, split_touching
from cisterna.eres.service import EresService
from cisterna.phantoms.chains import plant_chains
from cisterna.rpc.server import ServerConfig, Worker
from cisterna.runs.acquisition import from_manifest
from cisterna.runs.building import UsedArray
from cisterna.runs.plan import make_plan
from cisterna.runs.recipes import RecipeError, parse_recipe
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, read_box, write_block
from cisterna.tables.volumes import OBJECTS, SITES

SHAPE, BLOCK, SIZE = (70, 100, 130), (64, 64, 64), (5.24, 4.0, 4.0)
RULES = {"exclude_overlap_with": "ccv", "er_search_nm": 150.0}


class Call:
    def is_active(self):
        return True

    def abort_with_status(self, status):
        raise AssertionError(status.details)


def volumes():
    """Probabilities of four classes and the raw image: planted chains on a sheet and a tubule of ER."""
    chains = plant_chains(chains=2, lone=2, seed=5)
    cut = tuple(slice(0, n) for n in SHAPE)

    def fit(values, fill):
        part = values[cut]
        room = [(0, n - m) for n, m in zip(SHAPE, part.shape, strict=True)]
        return np.pad(part, room, constant_values=fill)

    er = np.zeros(SHAPE, np.uint8)
    er[:, :, 4:12] = 220
    er[30:38, 46:54, 20:] = 220
    ccv = np.zeros(SHAPE, np.uint8)
    ccv[:, :, 85:] = 200
    tubular = np.zeros(SHAPE, np.uint8)
    tubular[20:30, 20:30, 10:30] = 210
    copi = fit(chains.probability, 0)
    return {"copi": copi, "er": er, "ccv": ccv, "tubular_eres": tubular}, fit(chains.image, 172)


@pytest.fixture
def store(tmp_path):
    return open_store(f"file://{tmp_path}/store")


def put(store, path, values):
    create_image(store, path, ImageSpec(SHAPE, "uint8", BLOCK, "zyx", SIZE))
    grid = BlockGrid(SHAPE, BLOCK)
    for box in (grid.box(n) for n in range(grid.blocks)):
        write_block(store, f"{path}/0", box, np.ascontiguousarray(values[box.slices]))


def planned(store, rules):
    raw = {
        "path": "acquisitions/v/raw.ome.zarr", "shape": SHAPE, "dtype": "uint8", "voxel_size_nm": list(SIZE),
        "intensity": {"low": 0.0, "high": 255.0, "invert": False},
    }  # fmt: skip
    acquisition = from_manifest(
        {
            "id": "v", "identity": "v", "kind": "volume", "arrays": {"raw": raw}, "block": BLOCK,
            "statistics": {"stack_min": 0, "stack_max": 255}, "notes": [],
        }
    )  # fmt: skip
    recipe = parse_recipe(
        f"denoise: {{enabled: false}}\nsegment: {{models: {{}}}}\neres: {{rules: {json.dumps(rules)}}}", "fibsem"
    )
    names = ("copi", "er", "tubular_eres", "ccv") if store is not None else ("copi", "er", "tubular_eres")
    uses = {n: UsedArray(f"in/{n}", n, f"{n}.zarr") for n in names}
    return make_plan(store, recipe, acquisition, uses)


def test_a_planned_run_gives_the_objects_and_sites_of_the_in_core_call(store):
    probability, image = volumes()
    for name, values in probability.items():
        put(store, f"in/{name}", values)
    put(store, "acquisitions/v/raw.ome.zarr", image)
    rules = dataclasses.asdict(Rules(**RULES))
    plan = planned(store, rules)
    for one in plan.images:
        create_image(store, one.path, one.spec)
    config = ServerConfig("eres", "", "127.0.0.1:0", "127.0.0.1:0", "", "cpu", 1, 3)
    service = EresService(Worker(config, store, "cpu", lambda: None))
    for stage in plan.stages:
        if stage.name.startswith(("eres-survey", "eres-statistics")) or "pyramid" in stage.name:
            continue
        for block in range(stage.blocks):
            getattr(service, stage.method)(stage.request(block, 1), Call())
    positive = {n: label_components(v >= 128) for n, v in probability.items()}
    least = {n: np.ceil(np.pi / 6 * d**3 / np.prod(SIZE)) for n, d in (("copi", 30), ("tubular_eres", 80), ("ccv", 50))}
    for n, voxels in least.items():
        kept = np.bincount(positive[n].ravel()) >= voxels
        positive[n] = label_components(positive[n].astype(bool) & kept[positive[n]])
    vesicles = split_touching(positive["copi"], SIZE, SPLITTING, int(least["copi"]))
    assert vesicles.max() > positive["copi"].max(), "touching vesicles are cut"
    stored = np.zeros(SHAPE, np.uint32)
    path = f"{plan.arrays['labels/copi']}/0"
    grid = BlockGrid(SHAPE, BLOCK)
    for box in (grid.box(n) for n in range(grid.blocks)):
        stored[box.slices] = read_box(store, path, box)
    np.testing.assert_array_equal(stored, vesicles)
    expected = classify_sites(
        vesicles, positive["tubular_eres"], positive["er"] > 0, SIZE, RULES, image=image, ccv_mask=positive["ccv"] > 0
    )
    objects = OBJECTS.from_parquet_bytes(store.get(plan.tables["objects"]))
    sites = SITES.from_parquet_bytes(store.get(plan.tables["sites"]))
    assert sites.equals(expected.sites)
    assert objects.drop(columns="mean_probability").equals(expected.objects.drop(columns="mean_probability"))
    assert objects["mean_probability"].between(0.5, 1).all()
    assert (objects["excluded"] != "").any()
    assert objects["diameter_image_nm"].notna().sum() > 3
    assert "sheet" in set(sites["er_form"])


def test_a_rule_that_needs_a_class_the_run_lacks_is_refused_when_planning():
    with pytest.raises(RecipeError, match="exclude_overlap_with"):
        planned(None, RULES)
