"""Precomputed annotations, decoded byte by byte as the format says, and drawn by class."""

import json
import struct

import numpy as np
import pytest
from cisterna.report.annotations import BOX, ELLIPSOID, MOST_IN_A_CELL, POINT, Annotations, Property, write_annotations
from cisterna.report.palette import SITE_CLASSES
from cisterna.report.site_layers import CLASS_NUMBERS, class_shader, site_collections

FORMATS = {"uint32": "I", "int32": "i", "float32": "f", "uint16": "H", "int16": "h", "uint8": "B", "int8": "b"}


def record_format(info):
    corners = 3 if info["annotation_type"] == POINT else 6
    body = "".join(FORMATS[p["type"]] for p in info["properties"])
    text = f"<{corners}f{body}"
    return text + f"{-struct.calcsize(text) % 4}x", corners


def decode(info, data):
    """(geometry, properties, what follows) of one record."""
    form, corners = record_format(info)
    values = struct.unpack_from(form, data)
    names = [p["id"] for p in info["properties"]]
    return values[:corners], dict(zip(names, values[corners:], strict=True)), data[struct.calcsize(form) :]


def decode_many(info, data):
    size = struct.calcsize(record_format(info)[0])
    (count,) = struct.unpack_from("<Q", data)
    body = data[8 : 8 + count * size]
    ids = struct.unpack(f"<{count}Q", data[8 + count * size :])
    return {number: decode(info, body[n * size :][:size])[:2] for n, number in enumerate(ids)}


def read_info(folder):
    return json.loads((folder / "info").read_text())


def points(count, seed=0, size=1000.0):
    rng = np.random.default_rng(seed)
    properties = [
        Property("small", "uint8", rng.integers(0, 255, count)),
        Property("size_nm", "float32", rng.normal(size=count)),
        Property("middle", "int16", rng.integers(-9, 9, count)),
        Property("many", "uint32", rng.integers(0, 99, count)),
    ]
    ids = rng.permutation(10 * count)[:count].astype(np.uint64)
    return Annotations(POINT, ids, rng.uniform(0, size, (count, 3)), properties=properties)


def test_each_annotation_comes_back_by_its_id(tmp_path):
    made = points(40)
    write_annotations(tmp_path / "a", made, (0, 0, 0), (1000, 1000, 1000))
    info = read_info(tmp_path / "a")
    assert info["@type"] == "neuroglancer_annotations_v1"
    assert info["dimensions"] == {a: [1e-9, "m"] for a in "xyz"}
    widths = [struct.calcsize(FORMATS[p["type"]]) for p in info["properties"]]
    assert widths == sorted(widths, reverse=True)
    for n, number in enumerate(made.ids.tolist()):
        place, values, rest = decode(info, (tmp_path / "a" / info["by_id"]["key"] / str(number)).read_bytes())
        assert place == pytest.approx(made.one[n][::-1], rel=1e-6)
        assert rest == b""
        for p in made.properties:
            assert values[p.name] == pytest.approx(p.values[n], rel=1e-6)


@pytest.mark.parametrize("count", [0, 1, 300, 5000])
def test_the_spatial_index_holds_each_point_once_where_it_is(tmp_path, count):
    made = points(count)
    write_annotations(tmp_path / "a", made, (0, 0, 0), (1000, 1000, 1000))
    info = read_info(tmp_path / "a")
    seen = {}
    for level in info["spatial"]:
        assert np.array(level["grid_shape"]) * level["chunk_size"] == pytest.approx([1000] * 3)
        for path in (tmp_path / "a" / level["key"]).iterdir():
            cell = np.array([int(v) for v in path.name.split("_")])
            for number, (place, _) in decode_many(info, path.read_bytes()).items():
                assert number not in seen
                seen[number] = place
                assert (np.floor(np.array(place) / level["chunk_size"]) == cell).all()
    assert set(seen) == set(made.ids.tolist())
    if count > MOST_IN_A_CELL:
        coarse = decode_many(info, (tmp_path / "a" / "spatial0" / "0_0_0").read_bytes())
        assert len(coarse) == MOST_IN_A_CELL
        middle = np.mean([place for place, _ in coarse.values()], axis=0)
        assert middle == pytest.approx([500] * 3, abs=40)  # a fair sample, not one corner


def test_a_body_stands_in_every_cell_that_it_touches(tmp_path):
    many = points(3000).one
    made = Annotations(
        ELLIPSOID, np.arange(3001, dtype=np.uint64), np.vstack([many, [500] * 3]), np.full((3001, 3), 20.0)
    )
    write_annotations(tmp_path / "a", made, (0, 0, 0), (1000, 1000, 1000))
    info = read_info(tmp_path / "a")
    level = next(lv for lv in info["spatial"] if len(list((tmp_path / "a" / lv["key"]).iterdir())) > 1)
    held = {}
    for path in (tmp_path / "a" / level["key"]).iterdir():
        cell = tuple(int(v) for v in path.name.split("_"))
        for number in decode_many(info, path.read_bytes()):
            held.setdefault(number, set()).add(cell)
    for number, cells in held.items():
        low, high = ((made.one[number][::-1] + s * 20) / level["chunk_size"] for s in (-1, 1))
        ends = [np.clip(np.floor(v), 0, np.array(level["grid_shape"]) - 1).astype(int) for v in (low, high)]
        assert len(cells) == np.prod(ends[1] - ends[0] + 1)


def read_shard(folder, entry):
    """Every entry of a sharded index, found the way the format says: minishard table, then index, then data."""
    sharding = entry["sharding"]
    assert (sharding["hash"], sharding["preshift_bits"], sharding["shard_bits"]) == ("identity", 0, 0)
    data = (folder / entry["key"] / "0.shard").read_bytes()
    count = 1 << sharding["minishard_bits"]
    base, found = 16 * count, {}
    for minishard in range(count):
        start, end = struct.unpack_from("<2Q", data, 16 * minishard)
        index = np.frombuffer(data[base + start : base + end], "<u8").reshape(3, -1)
        number, at = 0, base
        for delta, gap, size in index.T.tolist():
            number, at = number + delta, at + gap
            assert number % count == minishard
            found[number] = data[at : at + size]
            at += size
    return found


def test_many_annotations_share_one_file(tmp_path):
    made = points(5000)
    related = {"copi": [[n // 2] for n in range(5000)]}
    made = Annotations(POINT, made.ids, made.one, None, made.properties, related)
    write_annotations(tmp_path / "a", made, (0, 0, 0), (1000, 1000, 1000))
    info = read_info(tmp_path / "a")
    assert [p.name for p in (tmp_path / "a/by_id").iterdir()] == ["0.shard"]
    found = read_shard(tmp_path / "a", info["by_id"])
    assert set(found) == set(made.ids.tolist())
    for n in (0, 17, 4999):
        place, values, rest = decode(info, found[made.ids[n].item()])
        assert place == pytest.approx(made.one[n][::-1], rel=1e-6)
        assert values["many"] == made.properties[3].values[n]
        assert struct.unpack("<IQ", rest) == (1, n // 2)
    by_object = read_shard(tmp_path / "a", info["relationships"][0])
    assert len(by_object) == 2500
    assert set(decode_many(info, by_object[7])) == set(made.ids[14:16].tolist())


def test_an_anisotropic_volume_is_halved_along_its_long_axis_first(tmp_path):
    made = points(3000)
    flat = Annotations(POINT, made.ids, made.one * [0.1, 1, 4])
    write_annotations(tmp_path / "a", flat, (0, 0, 0), (100, 1000, 4000))
    shapes = [tuple(level["grid_shape"]) for level in read_info(tmp_path / "a")["spatial"]]
    assert shapes[:2] == [(1, 1, 1), (2, 1, 1)]


def test_two_of_one_id_or_nowhere_are_refused(tmp_path):
    with pytest.raises(ValueError, match="twice"):
        write_annotations(tmp_path / "a", Annotations(POINT, np.array([1, 1]), np.zeros((2, 3))), (0, 0, 0), (1, 1, 1))
    with pytest.raises(ValueError, match="finite"):
        write_annotations(
            tmp_path / "b", Annotations(POINT, np.array([1]), np.full((1, 3), np.nan)), (0,) * 3, (1,) * 3
        )
    assert not (tmp_path / "b" / "info").exists()


def test_sites_vesicles_and_boxes_agree_with_the_tables(tmp_path, volume):
    found = site_collections(volume.sites, volume.objects, (8.0, 8.0, 8.0))
    assert list(found) == ["sites", "site_boxes", "copi"]
    high = np.array(volume.raw.shape) * 8.0
    for name, collection in found.items():
        write_annotations(tmp_path / name, collection, [-4] * 3, high - 4)
    info = read_info(tmp_path / "sites")
    assert [r["id"] for r in info["relationships"]] == ["copi", "tubular_eres"]
    labels = next(p for p in info["properties"] if p["id"] == "site_class")
    for row in volume.sites.to_dict("records"):
        place, values, rest = decode(info, (tmp_path / "sites/by_id" / str(row["site_id"])).read_bytes())
        assert place == pytest.approx([row[f"centroid_{a}_nm"] - 4 for a in "xyz"], rel=1e-5)
        word = labels["enum_labels"][labels["enum_values"].index(values["site_class"])]
        assert word == next(s.label for s in SITE_CLASSES if s.key == row["site_class"])
        own = volume.objects[volume.objects["site_id"] == row["site_id"]].iloc[0]
        lists = [0, 0]
        for n in range(2):
            (count,) = struct.unpack_from("<I", rest)
            lists[n], rest = struct.unpack_from(f"<{count}Q", rest, 4), rest[4 + 8 * count :]
        assert lists[0 if own["class"] == "copi" else 1] == (own["object_id"],)
        assert rest == b""
    box = decode(read_info(tmp_path / "site_boxes"), (tmp_path / "site_boxes/by_id/1").read_bytes())[0]
    one = volume.objects[volume.objects["site_id"] == 1].iloc[0]
    assert box == pytest.approx([one[f"{e}_{a}_nm"] - 4 for e in ("min", "max") for a in "xyz"], rel=1e-5)
    vesicle = volume.objects[volume.objects["class"] == "copi"].iloc[2]
    info = read_info(tmp_path / "copi")
    assert info["annotation_type"] == ELLIPSOID
    body = decode_many(info, (tmp_path / "copi/by_copi" / str(vesicle["object_id"])).read_bytes())
    place, values = body[vesicle["object_id"]]
    assert place[3:] == pytest.approx([vesicle["diameter_mask_nm"] / 2] * 3, rel=1e-5)
    assert values["site_id"] == vesicle["site_id"]


def test_no_sites_is_a_collection_too(tmp_path, volume):
    found = site_collections(volume.sites.iloc[:0], volume.objects.iloc[:0], (8.0, 8.0, 8.0))
    assert list(found) == ["sites"]
    write_annotations(tmp_path / "a", found["sites"], [-4] * 3, [100] * 3)
    assert struct.unpack("<Q", (tmp_path / "a/spatial0/0_0_0").read_bytes()) == (0,)


@pytest.mark.parametrize("shape", [POINT, BOX, ELLIPSOID])
def test_the_shader_names_every_class_once(shape):
    text = class_shader(shape)
    for key, number in CLASS_NUMBERS.items():
        assert text.count(f"prop_site_class()) == {number})") == 1
        assert f"#uicontrol bool {key} checkbox" in text
