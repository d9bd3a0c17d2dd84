"""The service's six calls over a store: probabilities in, the same sites out as in memory, the same bytes twice."""

import json

import grpc
import numpy as np
import pandas as pd
import pytest
from cisterna.chunks import BlockGrid, Box
from cisterna.eres import Rules, Splitting, classify_sites, split_touching
from cisterna.eres.components import label_components
from cisterna.eres.er_form import halo_voxels as form_halo_voxels
from cisterna.eres.profiles import halo_voxels
from cisterna.eres.service import STAGE_VERSIONS, EresService
from cisterna.eres.statistics import site_statistics
from cisterna.rpc.server import ServerConfig, Worker
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, read_box, write_block
from cisterna.tables.statistics import CHANCE, DENSITIES, EFFECTS, SENSITIVITY
from cisterna.tables.volumes import LINKS, OBJECTS, SITES
from cisterna.v1 import common_pb2 as common
from cisterna.v1 import eres_pb2

SIZE = (5.24, 4.0, 4.0)
SHAPE, BLOCK = (70, 130, 90), (64, 64, 64)
CLASSES = ("copi", "tubular_eres", "er", "golgi")


class Aborted(Exception):
    """What a caller would see of a failed call."""


class Call:
    """The part of grpc.ServicerContext that a task uses."""

    def is_active(self):
        return True

    def abort_with_status(self, status):
        raise Aborted(status.code, status.details)


def probabilities(seed):
    """uint8 probabilities of four classes: boxes above 128 on noise below."""
    rng = np.random.default_rng(seed)
    volumes = {}
    for name, number, edge in (("copi", 40, 7), ("tubular_eres", 5, 12), ("er", 4, 30), ("golgi", 1, 6)):
        volume = rng.integers(0, 90, SHAPE).astype(np.uint8)
        for _ in range(number):
            low = [int(rng.integers(0, n - 2)) for n in SHAPE]
            volume[tuple(slice(a, a + int(rng.integers(2, edge))) for a in low)] = rng.integers(128, 255)
        volumes[name] = volume
    # Touching pairs of vesicles, one across block faces in all three axes.
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1)
    for centre in [(60, 60, 60), (66, 66, 66), (20, 100, 20), (20, 100, 31)]:
        ball = ((grid - centre) ** 2).sum(-1) <= 36
        volumes["copi"][ball] = rng.integers(128, 255, int(ball.sum()))
    return volumes


class Line:
    """The stages of a run, called one after the other on one service."""

    def __init__(self, url, volumes, rules, golgi=True, halo_slack=0, widened=1.2):
        self.store = open_store(url)
        config = ServerConfig("eres", url, "127.0.0.1:0", "127.0.0.1:0", "", "cpu", 1, 3)
        self.service = EresService(Worker(config, self.store, "cpu", lambda: None))
        self.grid = BlockGrid(SHAPE, BLOCK)
        self.rules, self.golgi = rules, golgi
        self.widened = widened
        self.halo = [h + halo_slack for h in rules.widened(widened).halo_voxels(SIZE)]
        self.volumes = volumes
        for name in CLASSES:
            self.image(f"in/{name}", "uint8")
            for n in range(self.grid.blocks):
                box = self.grid.box(n)
                write_block(self.store, f"in/{name}/0", box, np.ascontiguousarray(volumes[name][box.slices]))

    def image(self, path, dtype):
        create_image(self.store, path, ImageSpec(SHAPE, dtype, BLOCK, "zyx", SIZE))

    def task(self, stage, block=0):
        family = "-".join(stage.split("-")[:2])
        return common.TaskRef(
            stage=stage, stage_version=STAGE_VERSIONS[family], stage_key="k", block_index=block, attempt=1
        )

    def chunk(self, path, block, halo=(0, 0, 0)):
        box = self.grid.box(block)
        return common.ChunkRef(
            array=common.ArrayRef(path=f"{path}/0"), box=common.Box(offset=box.offset, shape=box.shape), halo=halo
        )

    def objects(self, name):
        ref, blocks = common.ArrayRef, range(self.grid.blocks)
        self.image(f"local/{name}", "uint32")
        self.image(f"labels/{name}", "uint32")
        for n in blocks:
            self.service.LabelBlock(
                eres_pb2.LabelBlockRequest(
                    task=self.task(f"eres-label-{name}", n), probability=self.chunk(f"in/{name}", n),
                    local_labels=ref(path=f"local/{name}/0"), parts=ref(path=f"parts/{name}"), threshold=128,
                ), Call(),
            )  # fmt: skip
        self.service.MergeObjects(
            eres_pb2.MergeObjectsRequest(
                task=self.task(f"eres-merge-{name}"), parts=ref(path=f"parts/{name}"), blocks=len(blocks),
                min_voxels=1, merged=ref(path=f"merged/{name}"), voxel_size_nm=SIZE, class_name=name,
                volume_shape=SHAPE, block_shape=BLOCK,
            ), Call(),
        )  # fmt: skip
        cut = {}
        if name == "copi":
            for n in blocks:
                self.service.SplitBlock(
                    eres_pb2.SplitBlockRequest(
                        task=self.task(f"eres-split-{name}", n), probability=self.chunk(f"in/{name}", n),
                        merged=ref(path=f"merged/{name}"), parts=ref(path="split"), voxel_size_nm=SIZE, threshold=128,
                        min_voxels=1, splitting_json=SPLIT.to_json(),
                    ), Call(),
                )  # fmt: skip
            self.service.NumberObjects(
                eres_pb2.NumberObjectsRequest(
                    task=self.task(f"eres-number-{name}"), merged=ref(path=f"merged/{name}"),
                    split_parts=ref(path="split"), blocks=len(blocks), numbered=ref(path="numbered"),
                    voxel_size_nm=SIZE, class_name=name, volume_shape=SHAPE,
                ), Call(),
            )  # fmt: skip
            cut = {"numbered": ref(path="numbered"), "split_parts": ref(path="split")}
        for n in blocks:
            self.service.RelabelBlock(
                eres_pb2.RelabelBlockRequest(
                    task=self.task(f"eres-relabel-{name}", n), local_labels=self.chunk(f"local/{name}", n),
                    merged=ref(path=f"merged/{name}"), labels=ref(path=f"labels/{name}/0"), **cut,
                ), Call(),
            )  # fmt: skip

    def profiles(self, name, image):
        self.image("raw", "uint8")
        for n in range(self.grid.blocks):
            box = self.grid.box(n)
            write_block(self.store, "raw/0", box, np.ascontiguousarray(image[box.slices]))
        objects = "numbered" if name == "copi" else f"merged/{name}"
        for n in range(self.grid.blocks):
            self.service.ProfileBlock(
                eres_pb2.ProfileBlockRequest(
                    task=self.task(f"eres-profile-{name}", n),
                    labels=self.chunk(f"labels/{name}", n, halo_voxels(SIZE)),
                    image=self.chunk("raw", n), objects=common.ArrayRef(path=f"{objects}/objects.parquet"),
                    er_labels=self.chunk("labels/er", n, form_halo_voxels(SIZE)),
                    parts=common.ArrayRef(path=f"profiles/{name}"), voxel_size_nm=SIZE, class_name=name,
                ), Call(),
            )  # fmt: skip

    def measure(self, block, halo=None):
        halo = self.halo if halo is None else halo
        refs = {c: self.chunk(f"labels/{c}", block, halo) for c in CLASSES}
        return self.service.MeasureBlock(
            eres_pb2.MeasureBlockRequest(
                task=self.task("eres-measure", block), vesicle_labels=refs["copi"], tubular_labels=refs["tubular_eres"],
                er_labels=refs["er"], golgi_labels=refs["golgi"] if self.golgi else None,
                parts=common.ArrayRef(path="measured"), voxel_size_nm=SIZE, rules_json=self.rules.to_json(),
                widened=self.widened,
            ), Call(),
        )  # fmt: skip

    def regions(self):
        ref = common.ArrayRef
        self.service.FindRegions(
            eres_pb2.FindRegionsRequest(
                task=self.task("eres-regions"), vesicle_objects=ref(path="numbered/objects.parquet"),
                parts=ref(path="measured"), blocks=self.grid.blocks, output=ref(path="regions"),
                rules_json=self.rules.to_json(), widened=self.widened,
            ), Call(),
        )  # fmt: skip
        for n in range(self.grid.blocks):
            self.service.MeasureRegions(
                eres_pb2.MeasureRegionsRequest(
                    task=self.task("eres-region", n), vesicle_labels=self.chunk("labels/copi", n, self.halo),
                    regions=ref(path="regions"), parts=ref(path="region_parts"), voxel_size_nm=SIZE,
                    rules_json=self.rules.to_json(), widened=self.widened,
                ), Call(),
            )  # fmt: skip

    def classify(self, profiles=False):
        ref = common.ArrayRef
        seen = {"vesicle_profiles": ref(path="profiles/copi"), "tubular_profiles": ref(path="profiles/tubular_eres")}
        return self.service.ClassifySites(
            eres_pb2.ClassifySitesRequest(
                task=self.task("eres-sites"), vesicle_objects=ref(path="numbered/objects.parquet"),
                tubular_objects=ref(path="merged/tubular_eres/objects.parquet"), parts=ref(path="measured"),
                blocks=self.grid.blocks, output=ref(path="tables"), voxel_size_nm=SIZE,
                rules_json=self.rules.to_json(), volume_shape=SHAPE,
                region_parts=None if self.golgi else ref(path="region_parts"), **(seen if profiles else {}),
            ), Call(),
        )  # fmt: skip

    def statistics(self, places=3000, relocations=100, cell=False):
        ref = common.ArrayRef
        halo = [int(np.ceil((max(120, self.rules.golgi_distance_nm) + 75) / v)) for v in SIZE]
        for n in range(self.grid.blocks):
            refs = {c: self.chunk(f"labels/{c}", n, halo) for c in CLASSES}
            self.service.SurveyBlock(
                eres_pb2.SurveyBlockRequest(
                    task=self.task("eres-survey", n), er_labels=refs["er"], tubular_labels=refs["tubular_eres"],
                    vesicle_labels=refs["copi"], golgi_labels=refs["golgi"] if self.golgi else None,
                    cell=self.chunk("in/er", n, halo) if cell else None, sites=ref(path="tables"),
                    parts=ref(path="survey"), voxel_size_nm=SIZE, rules_json=self.rules.to_json(), volume_shape=SHAPE,
                    places=places, seed=4,
                ), Call(),
            )  # fmt: skip
        return self.service.SummariseSites(
            eres_pb2.SummariseSitesRequest(
                task=self.task("eres-statistics"), sites=ref(path="tables"), survey_parts=ref(path="survey"),
                measure_parts=ref(path="measured"), region_parts=None if self.golgi else ref(path="region_parts"),
                blocks=self.grid.blocks, voxel_size_nm=SIZE, volume_shape=SHAPE, rules_json=self.rules.to_json(),
                places=places, seed=4, relocations=relocations, widened=self.widened, output=ref(path="tables"),
                cell_given=cell,
                variants=[
                    eres_pb2.SensitivityVariant(
                        class_name="copi", factor=1.2, threshold=0.6, counts=ref(path="tables/counts.json")
                    )
                ],
            ), Call(),
        )  # fmt: skip

    def whole_run(self, image=None):
        for name in CLASSES:
            self.objects(name)
        for n in range(self.grid.blocks):
            self.measure(n)
        if not self.golgi:
            self.regions()
        if image is not None:
            self.profiles("copi", image)
            self.profiles("tubular_eres", image)
        self.classify(image is not None)


SPLIT = Splitting(least_diameter_nm=20)
RULES = Rules(golgi_distance_nm=60, er_search_nm=120, group_tubular_nm=60, golgi_extent_nm=200)


@pytest.mark.parametrize("golgi", [True, False])
def test_the_services_tables_are_those_of_the_in_core_call(tmp_path, golgi):
    volumes = probabilities(4)
    line = Line(f"file://{tmp_path}/one", volumes, RULES, golgi)
    image = np.where(volumes["copi"] >= 128, 60, 180) + np.random.default_rng(1).integers(0, 40, SHAPE)
    image = image.astype(np.uint8)
    line.whole_run(image)
    labels = {name: label_components(volumes[name] >= 128) for name in CLASSES}
    components = int(labels["copi"].max())
    labels["copi"] = split_touching(labels["copi"], SIZE, SPLIT)
    assert labels["copi"].max() > components, "touching balls are cut"
    for name in CLASSES:
        stored = np.zeros(SHAPE, np.uint32)
        for n in range(line.grid.blocks):
            box = line.grid.box(n)
            stored[box.slices] = read_box(line.store, f"labels/{name}/0", box)
        np.testing.assert_array_equal(stored, labels[name])
    expected = classify_sites(
        labels["copi"],
        labels["tubular_eres"],
        labels["er"] > 0,
        SIZE,
        RULES,
        labels["golgi"] > 0 if golgi else None,
        image=image,
    )
    assert expected.objects["diameter_image_nm"].notna().sum() > 3
    assert json.loads(line.store.get("tables/counts.json")) == expected.counts
    assert json.loads(line.store.get("tables/rules.json"))["rules"]["golgi_distance_nm"] == 60
    for table, frame in ((SITES, expected.sites), (LINKS, expected.links)):
        assert line.store.get(f"tables/{table.name}.parquet") == table.to_parquet_bytes(frame)
    objects = OBJECTS.from_parquet_bytes(line.store.get("tables/objects.parquet"))
    assert objects["mean_probability"].between(128 / 255, 1).all()
    assert objects.drop(columns="mean_probability").equals(expected.objects.drop(columns="mean_probability"))
    assert sum(expected.counts.values()) > 3


@pytest.mark.parametrize("golgi", [True, False])
def test_the_services_statistics_are_those_of_the_in_core_call(tmp_path, golgi):
    volumes = probabilities(4)
    line = Line(f"file://{tmp_path}", volumes, RULES, golgi)
    line.whole_run()
    line.statistics()
    labels = {name: read_box(line.store, f"labels/{name}/0", Box.whole(SHAPE)) for name in CLASSES}
    mask = labels["golgi"] > 0 if golgi else None
    sites = classify_sites(labels["copi"], labels["tubular_eres"], labels["er"] > 0, SIZE, RULES, mask)
    expected = site_statistics(
        sites,
        labels["copi"],
        labels["tubular_eres"],
        labels["er"] > 0,
        SIZE,
        mask,
        places=3000,
        relocations=100,
        seed=4,
    )
    for table, frame in ((CHANCE, expected.chance), (DENSITIES, expected.densities), (EFFECTS, expected.effects)):
        found = table.from_parquet_bytes(line.store.get(f"tables/{table.name}.parquet"))
        pd.testing.assert_frame_equal(found, frame, check_exact=True)
    assert json.loads(line.store.get("tables/statistics.json")) == expected.document()
    moved = SENSITIVITY.from_parquet_bytes(line.store.get("tables/sensitivity.parquet"))
    ours = moved[moved["parameter"] != "probability_copi"].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours, expected.sensitivity, check_exact=True)
    variant = moved[moved["parameter"] == "probability_copi"].iloc[0]
    assert (variant["factor"], variant["value"]) == (1.2, 0.6)
    assert {c: int(variant[c]) for c in sites.counts} == sites.counts
    assert expected.chance["expected"].notna().sum() >= 4


def test_two_runs_leave_the_same_bytes(tmp_path):
    stores = []
    for name in ("one", "two"):
        line = Line(f"file://{tmp_path}/{name}", probabilities(9), RULES)
        line.whole_run()
        paths = [p for p in line.store.list("") if not p.startswith("stages/") and p != "cisterna-store.json"]
        stores.append({p: line.store.get(p) for p in paths})
    assert stores[0] == stores[1]
    assert any(p.endswith(".npz") for p in stores[0])


def test_a_finished_task_is_answered_from_its_receipt(tmp_path):
    line = Line(f"file://{tmp_path}", probabilities(1), RULES)
    line.objects("copi")
    puts = line.store.puts
    request = eres_pb2.MergeObjectsRequest(task=line.task("eres-merge-copi"))
    assert line.service.MergeObjects(request, Call()).outcome == common.OUTCOME_CACHED
    assert line.store.puts == puts


def test_a_halo_that_cannot_see_far_enough_is_refused(tmp_path):
    line = Line(f"file://{tmp_path}", probabilities(1), RULES)
    for name in CLASSES:
        line.objects(name)
    with pytest.raises(Aborted) as error:
        line.measure(0, [h - 1 for h in line.halo])
    assert error.value.args[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert "halo" in error.value.args[1]


def test_a_torn_part_is_data_loss_and_a_missing_one_not_found(tmp_path):
    line = Line(f"file://{tmp_path}", probabilities(1), RULES)
    for name in CLASSES:
        line.objects(name)
    with pytest.raises(Aborted) as missing:
        line.classify()
    assert missing.value.args[0] == grpc.StatusCode.NOT_FOUND
    for n in range(line.grid.blocks):
        line.measure(n)
    line.store.put("measured/00000002.npz", b"PK\x03\x04 torn")
    with pytest.raises(Aborted) as torn:
        line.classify()
    assert torn.value.args[0] == grpc.StatusCode.DATA_LOSS
