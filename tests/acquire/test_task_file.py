"""Task files of the reference program, and the containers that they name."""

import bz2
import gzip
import json
import lzma
import struct
import zlib

import numcodecs
import numpy as np
import pytest
import zarr
from cisterna.acquire import UnusableInput, ingest_volume, open_source
from cisterna.acquire.chunked import open_chunked
from cisterna.acquire.task_file import read_task
from cisterna.chunks import Box
from cisterna.cli.main import main

DATASET = "volumes/raw_equalized_0.02"
ENTRY = {
    "file": "cell_1/cell_1.zarr", "offset": [150, 120, 1295], "shape": [4, 5, 6], "voxel_size": [5, 5, 5],
    "raw": DATASET, "mask": "volumes/mask", "metric_masks": ["volumes/metric_masks/er"],
    "labels": {"volumes/labels/er": 1},
}  # fmt: skip


def write_zarr2(path, data, dataset, **attributes):
    array = zarr.open_group(str(path), mode="a", zarr_format=2).create_array(
        dataset, shape=data.shape, dtype=data.dtype, chunks=(4, 8, 8), compressors=numcodecs.Zlib(3)
    )
    array[...] = data
    array.attrs.update(attributes)


def write_n5(path, data, block=(4, 8, 8), compression=None, pack=bytes, **attributes):
    path.mkdir(parents=True)
    described = {
        "dimensions": list(data.shape[::-1]), "blockSize": list(block[::-1]), "dataType": str(data.dtype),
        "compression": compression or {"type": "raw"}, **attributes,
    }  # fmt: skip
    (path / "attributes.json").write_text(json.dumps(described))
    for at in np.ndindex(*[-(-n // b) for n, b in zip(data.shape, block, strict=True)]):
        piece = data[tuple(slice(p * b, (p + 1) * b) for p, b in zip(at, block, strict=True))]
        file = path.joinpath(*[str(p) for p in at[::-1]])
        file.parent.mkdir(parents=True, exist_ok=True)
        body = pack(piece.astype(piece.dtype.newbyteorder(">")).tobytes())
        file.write_bytes(struct.pack(">HH3I", 0, 3, *piece.shape[::-1]) + body)


def lz4_stream(data):
    """lz4-java's LZ4BlockOutputStream: one packed block, one stored, and the end mark."""
    half = len(data) // 2
    packed = numcodecs.LZ4().encode(data[:half])[4:]
    mark = b"LZ4Block"
    return (
        mark + struct.pack("<Biii", 0x26, len(packed), half, 0) + packed
        + mark + struct.pack("<Biii", 0x16, len(data) - half, len(data) - half, 0) + data[half:]
        + mark + struct.pack("<Biii", 0x16, 0, 0, 0)
    )  # fmt: skip


@pytest.fixture
def numbers():
    return np.random.default_rng(3).integers(0, 255, (9, 20, 30), dtype=np.uint8)


@pytest.fixture
def data(tmp_path, numbers):
    """A container as the reference program writes it: it begins at voxel 148, 117, 1290 of its frame."""
    folder = tmp_path / "data"
    write_zarr2(
        folder / "cell_1/cell_1.zarr", numbers, DATASET, resolution=[5, 5, 5], offset=[148 * 5, 117 * 5, 1290 * 5]
    )
    return folder


def task_file(folder, **entries):
    path = folder / "task.json"
    path.write_text(json.dumps(entries))
    return path


def test_a_task_names_a_box_of_an_array(data, tmp_path, numbers, store):
    task = read_task(task_file(tmp_path, cell_1_er=ENTRY), data)
    assert task.array == data / "cell_1/cell_1.zarr" / DATASET
    assert task.region == Box((2, 3, 5), (4, 5, 6))
    assert task.voxel_size_nm == (5, 5, 5)
    assert task.equalised
    assert task.labels == {"volumes/labels/er": 1}
    assert task.masks == ("volumes/mask", "volumes/metric_masks/er")
    region = ingest_volume(store, task.array, region=task.region, equalised=True, polarity="dark")
    raw = region.manifest["arrays"]["raw"]
    assert raw["origin_nm"] == [150 * 5, 120 * 5, 1295 * 5]
    assert raw["shape"] == [4, 5, 6]
    assert region.manifest["region"] == {"offset": [2, 3, 5], "of_shape": [9, 20, 30]}


def test_files_lie_beside_the_task_file_or_where_they_say(data, tmp_path):
    assert read_task(task_file(data, a=ENTRY)).array.is_dir()
    absolute = ENTRY | {"file": str(data / "cell_1/cell_1.zarr")}
    assert read_task(task_file(tmp_path, a=absolute), "/nowhere").array.is_dir()
    whole = {k: v for k, v in ENTRY.items() if k not in ("offset", "shape")}
    assert read_task(task_file(data, a=whole)).region is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": [40, 5, 6]}, ["(40, 5, 6) voxels", "(148, 117, 1290)", "(9, 20, 30)"]),
        ({"offset": [1, 2, 3]}, ["from (1, 2, 3)"]),
        ({"shape": [4, 0, 6]}, ["(4, 0, 6)"]),
        ({"shape": [4, -1, 6]}, ["negative"]),
        ({"voxel_size": [4, 4, 4]}, ["5×5×5", "4×4×4"]),
        ({"voxel_size": [5, 5]}, ["three numbers"]),
        ({"offset": [1.5, 2, 3]}, ["three whole numbers"]),
        ({"raw": "volumes/none"}, ["does not exist", "INPUT"]),
        ({"raww": "x"}, ["unknown entries: raww"]),
        ({"shape": None}, ["shape"]),
    ],
)
def test_a_task_that_does_not_fit_is_explained(data, changes, words):
    entry = {k: v for k, v in (ENTRY | changes).items() if v is not None}
    with pytest.raises(UnusableInput) as refused:
        read_task(task_file(data, a=entry))
    assert all(w in str(refused.value) for w in words), str(refused.value)


def test_an_offset_between_voxels_is_refused(data, numbers):
    write_zarr2(data / "odd.zarr", numbers, "volumes/raw", resolution=[5, 5, 5], offset=[742, 585, 6450])
    with pytest.raises(UnusableInput, match="no multiple of the voxel size"):
        read_task(task_file(data, a=ENTRY | {"file": "odd.zarr", "raw": "volumes/raw"}))


@pytest.mark.parametrize("content", ["nonsense", "[]", "{}", '{"a": 3}'])
def test_a_file_that_holds_no_tasks_is_refused(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(UnusableInput, match=r"t\.json is no"):
        read_task(tmp_path / "t.json")
    with pytest.raises(UnusableInput, match="does not exist"):
        read_task(tmp_path / "none.json")


def test_one_of_several_tasks_is_chosen_by_name(data):
    path = task_file(data, a=ENTRY, b=ENTRY | {"shape": [1, 2, 3]})
    with pytest.raises(UnusableInput, match=r"2 tasks: choose one with --task-name \(a, b\)"):
        read_task(path)
    assert read_task(path, name="b").region == Box((2, 3, 5), (1, 2, 3))
    with pytest.raises(UnusableInput, match="no task 'c'"):
        read_task(path, name="c")


def test_plan_follows_a_task_and_says_what_it_leaves_out(data, tmp_path, capsys):
    path = task_file(tmp_path, a=ENTRY)
    words = ["plan", "fibsem", str(data), "--task", str(path), "--polarity", "dark", "--json"]
    assert main(words) == 0
    said = capsys.readouterr()
    stages = {s["stage"]: s["voxels"] for s in json.loads(said.out)["stages"]}
    assert stages["segment-er"] == 4 * 5 * 6
    assert "equalised already" in said.err
    assert "labels" in said.err
    assert main([*words, "--voxel-size-nm", "4", "4", "4"]) == 2
    error = capsys.readouterr().err
    assert "5×5×5" in error
    assert "4×4×4" in error
    assert main([*words, "--region", "0:1,0:1,0:1"]) == 2
    assert "--region and --task" in capsys.readouterr().err
    assert main(["plan", "fibsem", str(data), "--task-name", "a"]) == 2


@pytest.mark.parametrize(
    ("compression", "pack"),
    [({"type": "raw"}, bytes), ({"type": "gzip"}, gzip.compress), ({"type": "gzip", "useZlib": True}, zlib.compress),
     ({"type": "bzip2"}, bz2.compress), ({"type": "xz"}, lzma.compress), ({"type": "lz4"}, lz4_stream),
     ({"type": "blosc"}, lambda b: numcodecs.Blosc("lz4").encode(b)), ({"type": "zstd"}, numcodecs.Zstd().encode)],
    ids=lambda v: v["type"] if isinstance(v, dict) else "",
)  # fmt: skip
def test_every_codec_of_n5(tmp_path, numbers, compression, pack):
    wide = numbers.astype(np.uint16) * 257
    write_n5(tmp_path / "a.n5/volumes/raw", wide, compression=compression, pack=pack, resolution=[4, 5, 6])
    source = open_source(tmp_path / "a.n5/volumes/raw", "volume")
    np.testing.assert_array_equal(np.stack([source.read(z) for z in range(9)]), wide)
    assert (source.grid.z_nm, source.grid.y_nm, source.grid.x_nm) == (6, 5, 4)


@pytest.mark.parametrize("cut", [5, 30, -1])
def test_an_lz4_block_cut_short_is_named(tmp_path, numbers, cut):
    write_n5(
        tmp_path / "a.n5", numbers, (9, 20, 30), {"type": "lz4"}, lambda b: lz4_stream(b)[: -21 - 3 if cut < 0 else cut]
    )
    with pytest.raises(UnusableInput, match=r"block .*0/0/0 does not decode"):
        open_source(tmp_path / "a.n5", "volume").read(0)


def test_an_n5_group_names_its_datasets(tmp_path, numbers):
    write_n5(tmp_path / "a.n5/volumes/raw", numbers)
    (tmp_path / "a.n5/attributes.json").write_text('{"n5": "2.0.0"}')
    with pytest.raises(UnusableInput, match=r"it holds volumes/raw\)"):
        open_source(tmp_path / "a.n5", "volume")


def test_cosem_says_its_grid_by_axis_name_and_centre(tmp_path, numbers):
    transform = {"axes": ["z", "y", "x"], "scale": [5.24, 4, 0.004], "translate": [5.24, 8, 0.004]}
    transform["units"] = ["nm", "nm", "um"]
    write_n5(tmp_path / "s0", numbers, transform=transform, pixelResolution={"dimensions": [1, 1, 1], "unit": "nm"})
    grid = open_chunked(tmp_path / "s0").grid
    assert (grid.z_nm, grid.y_nm, grid.x_nm) == pytest.approx((5.24, 4, 4))
    assert grid.origin_nm == pytest.approx((2.62, 6, 2))


@pytest.mark.parametrize("container", ["zarr", "n5"])
def test_a_voxel_size_beside_that_of_the_container_stops_with_both(tmp_path, numbers, container, store):
    if container == "zarr":
        write_zarr2(tmp_path / "c", numbers, "volumes/raw", resolution=[6, 5, 4], offset=[0, 0, 0])
    else:
        write_n5(tmp_path / "c/volumes/raw", numbers, resolution=[4, 5, 6])
    with pytest.raises(UnusableInput, match=r"6×5×4 nm .* 5×5×5 nm"):
        ingest_volume(store, tmp_path / "c/volumes/raw", voxel_size_nm=5, polarity="dark")
    assert ingest_volume(store, tmp_path / "c/volumes/raw", polarity="dark").manifest["arrays"]["raw"][
        "voxel_size_nm"
    ] == [6, 5, 4]
