"""What training scans measure, and which scans are unlike them."""

import json
import re
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.data import read_manifest, read_scans
from medseg.data.ranges import ranges_of, unusual
from medseg.geometry import Grid, lpi_grid
from medseg.scan import Scan

UWMGI, CELLS = read_manifest("uwmgi"), read_manifest("cells")


def a_scan(shape, spacing_mm):
    columns, rows, slices = shape
    return Scan("case1_day1", (), tuple(range(slices)), (columns, rows), spacing_mm)


TRAINED = (
    a_scan((266, 266, 144), (1.5, 1.5, 3.0)),
    a_scan((360, 310, 80), (1.63, 1.5, 3.0)),
)
RANGES = ranges_of(TRAINED, UWMGI)


def found(shape, spacing_mm, *, ranges=RANGES, modality="", codes=("L", "P", "I")):
    grid = lpi_grid(shape, spacing_mm).reoriented(codes)
    problems = unusual(grid, ranges, scan_id="somebody", modality=modality)
    assert all((p.code == "E-RANGE") == (p.level == "error") for p in problems)
    return problems


def test_ranges_are_the_least_and_the_largest_of_the_scans():
    assert RANGES == {
        "scans": 2,
        "scaled": True,
        "modality": "MR",
        "context": 1,
        "tilt_deg": 0.0,
        "slices": [80, 144],
        "size_px": [266, 360],
        "field_of_view_mm": [399.0, 586.8],  # 266 x 1.5, 360 x 1.63
        "in_plane_mm": [1.5, 1.63],
        "between_slices_mm": [3.0, 3.0],
    }
    assert json.loads(json.dumps(RANGES)) == RANGES


def test_five_neighbours_two_apart_reach_over_nine_slices():
    assert ranges_of(TRAINED, UWMGI, neighbours=5, stride=2)["context"] == 9


def test_no_scans_have_no_ranges_and_these_judge_nothing():
    assert ranges_of((), UWMGI) == {}
    assert found((1, 1, 1), (90.0, 90.0, 90.0), ranges={}, modality="CT") == []


@given(
    st.integers(266, 360), st.integers(80, 144), st.floats(1.5, 1.63), st.sampled_from(["", "MR"])
)
def test_what_lies_within_is_not_unusual(side, slices, side_mm, modality):
    assert found((side, side, slices), (side_mm, side_mm, 3.0), modality=modality) == []


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "told"),
    [
        pytest.param((266, 266, 30), (1.5, 1.5, 3.0), r"slices 30 \(expected 80 to 144", id="few"),
        pytest.param((266, 266, 300), (1.5, 1.5, 3.0), "slices 300", id="many slices"),
        pytest.param((266, 266, 1), (1.5, 1.5, 3.0), "slices 1 ", id="one slice for a 2D model"),
        pytest.param((150, 150, 100), (1.5, 1.5, 3.0), "view 225 mm", id="small field of view"),
        pytest.param((150, 266, 100), (1.5, 1.5, 3.0), "view 225 to 399 mm", id="narrow"),
        pytest.param((700, 266, 100), (1.5, 1.5, 3.0), "view 399 to 1050 mm", id="wide"),
        pytest.param((532, 532, 100), (0.75, 0.75, 3.0), "a slice 0.75 mm", id="fine pixels"),
        pytest.param((150, 150, 100), (3.0, 3.0, 3.0), "a slice 3 mm", id="coarse pixels"),
        pytest.param((266, 266, 80), (1.5, 1.5, 5.0), "slices 5 mm .expected 3 mm", id="thick"),
        pytest.param((266, 266, 144), (1.5, 1.5, 1.5), "slices 1.5 mm", id="thin slices"),
    ],
)
def test_what_lies_far_outside_is_a_warning_with_the_numbers(shape, spacing_mm, told):
    (problem,) = found(shape, spacing_mm)
    assert problem.level == "warning"
    assert re.search(rf"warning\[W-RANGE\]: somebody: .*{told}", str(problem))


def test_just_outside_is_no_warning():
    assert found((240, 240, 60), (1.2, 1.2, 4.0)) == []


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "options"),
    [
        pytest.param((266, 266, 100), (1.5, 1.5, 3.0), {"modality": "CT"}, id="CT"),
        pytest.param((266, 266, 40), (1.5, 1.5, 12.5), {}, id="slices far apart"),
        pytest.param((60, 60, 100), (7.0, 7.0, 3.0), {}, id="pixels too coarse"),
        pytest.param((266, 266, 100), (0.15, 0.15, 0.3), {}, id="centimetres taken for mm"),
        pytest.param((60, 60, 100), (1.5, 1.5, 3.0), {}, id="no room for an organ"),
        pytest.param((266, 1, 100), (1.5, 1.5, 3.0), {}, id="a single line a slice"),
        pytest.param((1600, 1600, 100), (1.5, 1.5, 3.0), {}, id="larger than any scanner"),
    ],
)
def test_what_makes_no_sense_is_an_error(shape, spacing_mm, options):
    assert "E-RANGE" in [problem.code for problem in found(shape, spacing_mm, **options)]


def test_a_single_slice_is_refused_where_the_network_looks_at_several():
    several = ranges_of(TRAINED, UWMGI, neighbours=5)
    problems = found((266, 266, 1), (1.5, 1.5, 3.0), ranges=several)
    assert [p.code for p in problems] == ["E-RANGE", "W-RANGE"]
    assert "looks at 5 at once" in problems[0].found


@pytest.mark.parametrize(("degrees", "warned"), [(15, False), (-30, True), (45, True), (80, False)])
def test_a_tilt_beyond_those_of_training_is_a_warning(degrees, warned):
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) * (1.5, 1.5, 3.0)
    found = [p.found for p in unusual(Grid((300, 300, 100), affine), RANGES, scan_id="a")]
    assert found == ([f"is tilted against the body by {abs(degrees)} degrees"] if warned else [])


def test_a_spacing_next_to_nothing_is_refused():
    problems = found((266, 266, 100), (1e-6, 1000.0, 3.0))
    assert {p.code for p in problems} == {"E-RANGE"}


def test_without_a_scale_pixels_count_and_millimetres_do_not():
    pictures = ranges_of([a_scan((500, 400, 1), (1.0, 1.0, 1.0))], CELLS)
    assert not pictures["scaled"]
    assert found((500, 400, 1), (40.0, 40.0, 40.0), ranges=pictures) == []
    (problem,) = found((500, 100, 1), (1.0, 1.0, 1.0), ranges=pictures)
    assert "sides of a slice 100 to 500 px" in problem.found


CODES = [
    tuple(pair[side] for pair, side in zip(axes, sides, strict=True))
    for axes in permutations(("LR", "PA", "IS"))
    for sides in product((0, 1), repeat=3)
]


@pytest.mark.parametrize("codes", CODES, ids="".join)
def test_how_a_scan_lies_in_memory_changes_no_judgement(codes):
    shape, spacing_mm = (150, 266, 30), (1.5, 1.5, 5.0)
    assert found(shape, spacing_mm, codes=codes) == found(shape, spacing_mm)


def test_a_sagittal_series_is_judged_by_what_the_network_sees():
    # 90 slices 3 mm apart from right to left, of 266 rows to the feet and 266 columns to the back.
    affine = np.array([[0, 0, -3.0, 0], [-1.5, 0, 0, 0], [0, -1.5, 0, 0], [0, 0, 0, 1]])
    problems = unusual(Grid((266, 266, 90), affine), RANGES, scan_id="a")
    assert [p.found for p in problems] == [
        "slices 266",
        "spacing in a slice 1.5 to 3 mm",
        "spacing between slices 1.5 mm",
    ]


def test_the_phantom_lies_within_its_own_ranges(tiny_phantom):
    scans = read_scans(Path(tiny_phantom), UWMGI)
    ranges = ranges_of(scans, UWMGI)
    assert ranges["scans"] == 6
    assert all(unusual(scan.grid, ranges, scan_id=scan.scan_id) == [] for scan in scans)
