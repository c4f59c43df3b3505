"""Laws of planes that make a volume, whatever their orientation; no files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medseg.io.dicom_planes import Plane
from medseg.io.dicom_volume import crosses, faults, grid_of, ordered, plane_name

SIZE_PX = (20, 24)


@st.composite
def stacks(draw):
    """Draw a sound stack: orientation, spacing, place and number of planes."""
    quaternion = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4)))
    assume(np.linalg.norm(quaternion) > 0.1)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    row = np.array([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)])
    column = np.array([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)])
    spacing_mm = np.array(draw(st.tuples(*[st.floats(0.3, 6)] * 3)))
    origin_mm = np.array(draw(st.tuples(*[st.floats(-300, 300)] * 3)))
    count = draw(st.integers(4, 40))
    return [
        Plane(
            Path(f"{k:03}.dcm"),
            0,
            origin_mm + k * spacing_mm[2] * np.cross(row, column),
            np.array([row, column]),
            spacing_mm[[1, 0]],
            1.0,
        )
        for k in range(count)
    ]


def codes(planes):
    return {problem.code for problem in faults(ordered(planes), "a series")}


@given(planes=stacks(), random=st.randoms())
def test_a_sound_stack_is_a_volume_in_whatever_order_it_comes(planes, random):
    shuffled = random.sample(planes, len(planes))
    assert ordered(shuffled) == planes
    assert codes(shuffled) == set()
    grid = grid_of(planes, SIZE_PX)
    assert grid.shape == (*SIZE_PX, len(planes))
    for k in (0, len(planes) // 2, len(planes) - 1):
        first, plane = grid.to_ras_mm((0, 0, k)), planes[k]
        assert np.allclose(first, plane.position_mm * (-1, -1, 1), rtol=0, atol=1e-6)
        # PS3.3 C.7.6.2.1.1: the column index runs along a row, at the distance between columns.
        step = plane.cosines[0] * plane.spacing_mm[1] * (-1, -1, 1)
        assert np.allclose(grid.to_ras_mm((1, 0, k)) - first, step, rtol=0, atol=1e-6)
        step = plane.cosines[1] * plane.spacing_mm[0] * (-1, -1, 1)
        assert np.allclose(grid.to_ras_mm((0, 1, k)) - first, step, rtol=0, atol=1e-6)


@given(planes=stacks(), data=st.data())
def test_any_missing_slice_within_is_found_with_its_neighbours(planes, data):
    lost = data.draw(st.integers(1, len(planes) - 2))
    (problem,) = faults(planes[:lost] + planes[lost + 1 :], "a series")
    assert problem.code == "E-DCM-GAP"
    assert f"{lost - 1:03}.dcm and {lost + 1:03}.dcm lie" in problem.found


@given(planes=stacks(), data=st.data())
def test_a_slice_moved_by_less_than_a_part_of_a_hundred_does_not_matter(planes, data):
    k = data.draw(st.integers(1, len(planes) - 2))
    way = np.array(data.draw(st.tuples(*[st.floats(-1, 1)] * 3)))
    assume(np.linalg.norm(way) > 0.1)
    way /= np.linalg.norm(way)
    step_mm = np.linalg.norm(planes[1].position_mm - planes[0].position_mm)
    allowed_mm = max(0.01, 0.01 * step_mm)

    def moved(mm):
        there = planes[k]._replace(position_mm=planes[k].position_mm + mm * way)
        return [*planes[:k], there, *planes[k + 1 :]]

    assert codes(moved(0.95 * allowed_mm)) == set()
    assert codes(moved(2 * allowed_mm)) & {"E-DCM-GAP", "E-DCM-TILT"}


@given(planes=stacks(), k=st.integers(0, 3))
def test_a_slice_given_twice_is_found(planes, k):
    twin = planes[k]._replace(path=Path("twin.dcm"))
    assert codes([*planes, twin]) == {"E-DCM-DUP"}


@pytest.mark.parametrize(
    ("cosines", "name"),
    [
        pytest.param([[1, 0, 0], [0, 1, 0]], "axial", id="axial"),
        pytest.param([[0, 1, 0], [0, 0, -1]], "sagittal", id="sagittal"),
        pytest.param([[1, 0, 0], [0, 0, -1]], "coronal", id="coronal"),
        pytest.param([[1, 0, 0], [0, 0.8, 0.6]], "oblique", id="oblique"),
        pytest.param([[1, 0, 0], [0, 0.95, 0.312]], "axial", id="axial, tilted by 18 degrees"),
    ],
)
def test_planes_are_called_as_radiologists_call_them(cosines, name):
    plane = Plane(Path("a"), 0, np.zeros(3), np.array(cosines, float), np.ones(2), 1.0)
    assert plane_name(plane) == name


@pytest.mark.parametrize(
    ("planes", "found"),
    [
        pytest.param("", False, id="none"),
        pytest.param("a", False, id="one"),
        pytest.param("ac", True, id="two that cross"),
        pytest.param("aaacccsss", True, id="three of each"),
        pytest.param("aac", False, id="most are parallel"),
        pytest.param("aacs", True, id="half are parallel"),
    ],
)
def test_planes_of_a_localizer_cross(planes, found):
    cosines = {
        "a": [[1, 0, 0], [0, 1, 0]],
        "c": [[1, 0, 0], [0, 0, -1]],
        "s": [[0, 1, 0], [0, 0, -1]],
    }
    made = [
        Plane(Path(name), 0, np.zeros(3), np.array(cosines[name], float), np.ones(2), 1.0)
        for name in planes
    ]
    assert crosses(made) is found
