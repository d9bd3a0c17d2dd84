"""Sheets and tubules of known size are told apart, in any direction, position and block."""

import numpy as np
import pytest
from cisterna.chunks import BlockGrid, Box
from cisterna.eres import classify_sites
from cisterna.eres.er_form import ErForm, form_of, halo_voxels, measure_er_form, thickness_and_curvature
from cisterna.eres.objects import objects_frame
from cisterna.eres.sums import ObjectSums
from cisterna.tables.volumes import VESICLES
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = np.array((5.24, 4.0, 4.0))
SHAPE = (56, 72, 72)
GRID = (np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1) + 0.5) * SIZE
MIDDLE = np.array(SHAPE) * SIZE / 2


def planted(form, thickness, seed):
    """A slab or a cylinder through the volume's middle in a random direction, and its voxel nearest to a point 40 nm
    outside."""
    rng = np.random.default_rng(seed)
    along = rng.normal(size=3)
    along /= np.linalg.norm(along)
    away = GRID - MIDDLE - rng.uniform(-4, 4, 3)
    out = along
    if form == "sheet":
        er = np.abs(away @ along) <= thickness / 2
    else:
        er = (away**2).sum(-1) - (away @ along) ** 2 <= thickness**2 / 4
        out = np.cross(along, rng.normal(size=3))
        out /= np.linalg.norm(out)
    index = np.argwhere(er)
    point = MIDDLE + out * (thickness / 2 + 40)
    return er, index[np.argmin((((index + 0.5) * SIZE - point) ** 2).sum(1))]


@settings(max_examples=12, deadline=None)
@given(form=st.sampled_from(["sheet", "tubule"]), thickness=st.floats(30, 70), seed=st.integers(0, 10**6))
def test_form_thickness_and_curvature_of_planted_er(form, thickness, seed):
    er, voxel = planted(form, thickness, seed)
    found, curvature = thickness_and_curvature(er, voxel, SIZE)
    assert form_of(found, curvature) == form
    assert -3.0 < found - thickness < 5.0
    if form == "tubule":
        assert curvature == pytest.approx(2000 / thickness, rel=0.15)
    else:
        assert curvature < 0.3 * 2000 / thickness


def test_every_block_says_what_the_whole_says():
    er, _ = planted("tubule", 50, 3)
    labels = np.zeros(SHAPE, np.uint32)
    rng = np.random.default_rng(0)
    for n in range(1, 16):
        low = [int(rng.integers(0, s - 4)) for s in SHAPE]
        labels[tuple(slice(a, a + 4) for a in low)] = n
    frame = objects_frame(VESICLES, ObjectSums.of_labels(labels), tuple(SIZE), SHAPE)
    whole = measure_er_form(frame, er, Box.whole(SHAPE), (0, 0, 0), tuple(SIZE)).fill(frame)
    grid = BlockGrid(SHAPE, (20, 33, 17))
    parts = []
    for n in range(grid.blocks):
        box = grid.box(n)
        window = box.grow(halo_voxels(tuple(SIZE))).intersect(Box.whole(SHAPE))
        core = box.relative_to(window.offset)
        parts.append(measure_er_form(frame, er[window.slices], core, window.offset, tuple(SIZE)))
    assert ErForm.joined(parts).fill(frame).equals(whole)
    assert whole["er_thickness_nm"].notna().any()


def test_the_object_nearest_to_the_er_speaks_for_its_site():
    er, _ = planted("sheet", 50, 1)
    distance = np.full(SHAPE, np.inf)
    index = np.argwhere(er)
    for at in [(5, 5, 5), (50, 60, 60)]:
        distance[at] = np.sqrt((((index - at) * SIZE) ** 2).sum(1).min())
    labels = np.zeros(SHAPE, np.uint32)
    labels[5, 5, 5], labels[50, 60, 60] = 1, 2
    found = classify_sites(labels, np.zeros(SHAPE, np.uint32), er, tuple(SIZE), {"near_er_nm": 200})
    objects = found.objects.set_index("site_id")
    for row in found.sites.itertuples():
        own = objects.loc[row.site_id]
        near = np.isfinite(own["er_thickness_nm"])
        assert row.er_form == ("sheet" if near else "")
        assert near == (distance[labels == own["object_id"]].min() <= 200)
    none = classify_sites(labels, np.zeros(SHAPE, np.uint32), np.zeros(SHAPE, bool), tuple(SIZE))
    assert set(none.sites["er_form"]) == {""}
    everywhere = classify_sites(labels, np.zeros(SHAPE, np.uint32), np.ones(SHAPE, bool), tuple(SIZE))
    assert set(everywhere.sites["er_form"]) == {""}, "without a surface in sight there is no thickness"


def test_a_form_between_the_two_is_called_unclear():
    assert [form_of(50, c) for c in (0, 29, 32, 36, 60)] == ["sheet", "sheet", "unclear", "tubule", "tubule"]
    assert form_of(np.nan, 3.0) == ""
