"""Surfaces: closed, at the right place and size in µm, the same for every division into blocks, readable as GLB."""

import json
import struct

import numpy as np
import pytest
import trimesh
from cisterna.chunks import Box
from cisterna.report import meshes
from cisterna.report.export import export_run
from cisterna.report.meshes import Surface, TooManyFaces, surfaces, write_glb
from cisterna.report.palette import SITE_COLOURS
from cisterna.store.objects import connect
from cisterna.store.pyramids import read_pyramid

NM = (8.0, 4.0, 4.0)


def ball(shape=(48, 80, 96), centre=(190.0, 170.0, 210.0), radius=60.0, voxel=NM):
    """A ball, centre and radius in nm from the outer corner."""
    grid = [(np.arange(n) + 0.5) * v - c for n, v, c in zip(shape, voxel, centre, strict=True)]
    z, y, x = np.meshgrid(*grid, indexing="ij")
    return (z**2 + y**2 + x**2 <= radius**2).astype(np.uint32)


def any_label(labels):
    return (labels > 0).astype(np.uint8)


def cut(make, data, voxel=NM, **options):
    store = connect("memory://")
    make.put_image(store, "i.ome.zarr", data, "zyx", voxel)
    level = read_pyramid(store, "i.ome.zarr").levels[0]
    return surfaces(
        store, level, options.pop("numbering", any_label), options.pop("names", {1: ("b", "#ff8000", 1.0)}), **options
    )


def as_mesh(surface):
    return trimesh.Trimesh(surface.vertices, surface.faces, process=False)


def test_a_ball_is_a_closed_surface_where_it_lies(make):
    (found,) = cut(make, ball())
    mesh = as_mesh(found)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.06**3, rel=0.03)  # positive: triangles face outward
    assert mesh.center_mass == pytest.approx([0.210, 0.170, 0.190], abs=0.001)
    assert mesh.extents == pytest.approx([0.12] * 3, abs=0.006)


def test_division_into_blocks_changes_nothing(make, monkeypatch):
    rng = np.random.default_rng(0)
    data = ball()
    for centre in rng.uniform(0, 1, (6, 3)) * [384, 320, 384]:
        data |= ball(centre=centre, radius=50.0)
    found = {}
    for block in (16, 24, 128):
        monkeypatch.setattr(meshes, "BLOCK", block)
        found[block] = as_mesh(cut(make, data)[0])
    for mesh in found.values():
        assert mesh.is_watertight
        assert len(mesh.faces) == len(found[128].faces)
        assert len(mesh.vertices) == len(found[128].vertices)
        assert mesh.volume == pytest.approx(found[128].volume, rel=1e-6)
        assert mesh.area == pytest.approx(found[128].area, rel=1e-6)


def test_a_body_cut_by_the_volume_or_a_box_is_closed_there(make):
    whole = np.ones((20, 24, 28), np.uint32)
    (found,) = cut(make, whole)
    mesh = as_mesh(found)
    assert mesh.is_watertight
    assert mesh.bounds[0] == pytest.approx([0, 0, 0], abs=0.008)
    assert mesh.bounds[1] == pytest.approx([28 * 0.004, 24 * 0.004, 20 * 0.008], abs=0.008)
    (part,) = cut(make, whole, within=Box((5, 6, 7), (10, 10, 10)))
    assert as_mesh(part).is_watertight
    assert as_mesh(part).bounds[0] == pytest.approx([7 * 0.004, 6 * 0.004, 5 * 0.008], abs=0.008)


@pytest.mark.parametrize("size", [1, 2])
def test_bodies_of_a_voxel_or_two_are_not_smoothed_away(make, size):
    data = np.zeros((16, 16, 16), np.uint32)
    data[7 : 7 + size, 8, 8] = 1
    (found,) = cut(make, data)
    assert as_mesh(found).is_watertight
    assert as_mesh(found).volume > 0


def test_nothing_gives_no_surface(make):
    assert cut(make, np.zeros((16, 16, 16), np.uint32)) == []


def test_numbers_become_surfaces_of_their_own(make):
    data = ball(centre=(100.0, 80.0, 80.0), radius=40.0) + 2 * ball(centre=(250.0, 200.0, 250.0), radius=50.0)
    names = {1: ("one", "#ff0000", 1.0), 2: ("two", "#00ff00", 0.5), 3: ("three", "#0000ff", 1.0)}
    one, two = cut(make, data, numbering=lambda labels: labels.astype(np.uint8), names=names)
    assert (one.name, two.name, two.opacity) == ("one", "two", 0.5)
    assert as_mesh(two).volume / as_mesh(one).volume == pytest.approx((50 / 40) ** 3, rel=0.05)


def test_too_many_triangles_stop_early(make):
    with pytest.raises(TooManyFaces):
        cut(make, ball(), most_faces=10)


def test_glb_keeps_names_colours_units_and_places(make, tmp_path):
    (found,) = cut(make, ball())
    other = Surface("tubules, mixed", found.vertices + 1, found.faces, "#0072b2", 0.35)
    write_glb(tmp_path / "a.glb", [found, other], {"run": "fibsem-1"})
    scene = trimesh.load_scene(tmp_path / "a.glb")
    assert set(scene.geometry) == {"b", "tubules, mixed"}
    back = scene.geometry["b"]
    assert back.vertices.min(axis=0) == pytest.approx(found.vertices.min(axis=0), abs=1e-6)
    assert len(back.faces) == len(found.faces)
    assert back.visual.material.baseColorFactor.tolist()[:3] == [255, 128, 0]
    assert scene.geometry["tubules, mixed"].visual.material.alphaMode == "BLEND"
    data = (tmp_path / "a.glb").read_bytes()
    assert data[:4] == b"glTF"
    (length,) = struct.unpack_from("<I", data, 12)
    document = json.loads(data[20 : 20 + length])
    assert "micrometer" in json.dumps(document["scenes"][0]["extras"])


def test_a_run_leaves_one_file_a_kind_with_sites_by_class(make, tmp_path):
    store = connect("memory://")
    volume = make.volume(shape=(40, 64, 72), bodies=9)
    export_run(store, make.put_volume_run(store, volume), tmp_path, ["meshes"])
    scene = trimesh.load_scene(tmp_path / "meshes/copi.glb")
    classes = volume.sites.set_index("site_id")["site_class"]
    own = volume.objects[volume.objects["class"] == "copi"]
    assert len(scene.geometry) == own["site_id"].map(classes).nunique()
    total = sum(mesh.volume for mesh in scene.geometry.values())
    assert total == pytest.approx(own["volume_nm3"].sum() / 1e9, rel=0.08)
    colours = {tuple(m.visual.material.baseColorFactor.tolist()[:3]) for m in scene.geometry.values()}
    known = {tuple(int(c[n : n + 2], 16) for n in (1, 3, 5)) for c in SITE_COLOURS.values()}
    assert colours <= known
    low = own[[f"min_{a}_nm" for a in "xyz"]].min().to_numpy() / 1000
    assert scene.bounds[0] == pytest.approx(low, abs=0.008)
    assert (tmp_path / "meshes/er.glb").exists()
