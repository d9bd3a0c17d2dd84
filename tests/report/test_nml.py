"""Points for WEBKNOSSOS: what is written comes back, in nm, with comments, colours and folders."""

import pytest
from cisterna.report.nml import Node, Tree, nml_bytes, read_nml

VOXEL = (5.24, 4.0, 4.0)


def test_points_comments_colours_and_folders_come_back():
    trees = (
        Tree('17 ä<&>"', (Node((52.4, 40.0, 12.5), 30.0, 'near "ER" <120 nm & more'),), "#d55e00", "vesicular"),
        Tree("length", (Node((0.0, 0.0, 0.0)), Node((5.24, 8.0, 4.0))), "#0072b2", "", joined=True),
    )
    voxel, found = read_nml(nml_bytes("cell-7", VOXEL, trees, "sites"))
    assert voxel == VOXEL
    for one, other in zip(found, trees, strict=True):
        assert (one.name, one.colour, one.group, one.joined) == (other.name, other.colour, other.group, other.joined)
        for a, b in zip(one.nodes, other.nodes, strict=True):
            assert a.position_zyx_nm == pytest.approx(b.position_zyx_nm, abs=1e-3)
            assert (a.comment, a.radius_nm) == (b.comment, b.radius_nm)


def test_a_voxel_reaches_from_its_number_to_the_next():
    text = nml_bytes("cell-7", VOXEL, [Tree("1", (Node((5.24 * 1.5, 4 * 2.5, 4 * 3.5)),))]).decode()
    assert 'x="3.5000" y="2.5000" z="1.5000"' in text
    assert '<scale x="4" y="4" z="5.24" unit="nanometer"' in text


def test_no_trees_is_a_file_too():
    assert read_nml(nml_bytes("cell-7", VOXEL, [])) == (VOXEL, ())


@pytest.mark.parametrize("data", [b"", b"<html/>", b"<things><parameters/></things>", b"not xml"])
def test_what_is_no_nml_is_refused(data):
    with pytest.raises(ValueError, match="no NML"):
        read_nml(data)


def test_other_units_are_refused():
    text = nml_bytes("c", VOXEL, []).replace(b"nanometer", b"micrometer")
    with pytest.raises(ValueError, match="micrometer"):
        read_nml(text)


def test_a_position_that_is_nowhere_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        nml_bytes("c", VOXEL, [Tree("1", (Node((float("nan"), 0, 0)),))])
