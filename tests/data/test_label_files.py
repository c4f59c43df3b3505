"""Masks are found by name, read with their grid, and turned without interpolation."""

from itertools import permutations, product

import numpy as np
import pytest

from medseg.data.label_files import (
    LabelFiles,
    PlacedMasks,
    find_label_files,
    find_references,
    natural,
    read_reference,
    unmatched,
)
from medseg.data.manifest import read_manifest
from medseg.errors import DataError, GeometryError
from medseg.geometry import Grid, lpi_grid
from medseg.io.nifti import write_image, write_mask, write_probs
from medseg.labels import LabelSet, Organ
from medseg.scan import Scan

SHAPE = (6, 5, 4)
GRID = lpi_grid(SHAPE, (1.5, 1.25, 3.0))
LABELS = LabelSet(
    (
        Organ("bowel", 1, (0, 0, 0), "0", "Bowel"),
        Organ("large_bowel", 2, (0, 0, 0), "0", "Large bowel"),
        Organ("stomach", 7, (0, 0, 0), "0", "Stomach"),
    ),
    ("stomach", "bowel", "large_bowel"),
)


def box(*corner):
    """Two voxels along I from `corner`."""
    mask = np.zeros(SHAPE, bool)
    i, j, k = corner
    mask[i : i + 2, j, k] = True
    return mask


def touch(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"")


def codes_of(action):
    with pytest.raises(DataError, match="error") as caught:
        action()
    return [problem.code for problem in caught.value.problems]


# --- Names ------------------------------------------------------------------------------------


def test_files_are_sorted_by_what_their_names_say(tmp_path):
    touch(
        tmp_path,
        "case10_day0.nii.gz",
        "case2_day0.nii",
        "case2_day0_large_bowel.nii.gz",
        "case2_day0_bowel.nii.gz",
        "case2_day0_bowel_probs.nii.gz",
        ".tmp-1-case2_day0.nii.gz",
        "labels.txt",
    )
    found = find_label_files(tmp_path, LABELS)
    assert list(found) == ["case2_day0", "case10_day0"]
    assert found["case2_day0"].label_map == tmp_path / "case2_day0.nii"
    assert found["case2_day0"].masks == {
        "bowel": tmp_path / "case2_day0_bowel.nii.gz",
        "large_bowel": tmp_path / "case2_day0_large_bowel.nii.gz",
    }


def test_two_files_for_one_place_are_both_named(tmp_path):
    touch(tmp_path, "a.nii", "a.nii.gz", "a_stomach.nii", "a_stomach.nii.gz")
    with pytest.raises(DataError, match=r"E-DUP.*a\.nii\.gz.*: a\.nii says the same") as caught:
        find_label_files(tmp_path, LABELS)
    assert len(caught.value.problems) == 2


def test_a_folder_without_label_files_is_told(tmp_path):
    touch(tmp_path, "slice_0001.png", "a_stomach_probs.nii.gz")
    assert codes_of(lambda: find_label_files(tmp_path, LABELS)) == ["E-EMPTY"]
    assert codes_of(lambda: find_label_files(tmp_path / "none", LABELS)) == ["E-EMPTY"]


# --- Reading ----------------------------------------------------------------------------------


def test_masks_win_over_the_label_map_and_keep_their_overlap(tmp_path):
    label_map = 7 * box(0, 0, 0).astype(np.uint8) + box(3, 3, 3)
    write_image(tmp_path / "a.nii.gz", label_map, GRID)
    write_mask(tmp_path / "a_large_bowel.nii.gz", box(0, 0, 0), GRID)
    bowel, large, stomach = find_label_files(tmp_path, LABELS)["a"].read(LABELS).masks
    assert np.array_equal(stomach, box(0, 0, 0))
    assert np.array_equal(large, box(0, 0, 0))
    assert np.array_equal(bowel, box(3, 3, 3))


def test_a_scan_with_masks_of_some_organs_alone_is_refused(tmp_path):
    write_mask(tmp_path / "a_stomach.nii.gz", box(0, 0, 0), GRID)
    files = find_label_files(tmp_path, LABELS)["a"]
    with pytest.raises(DataError, match=r"E-MISSING.*no mask of bowel, large_bowel"):
        files.read(LABELS)


@pytest.mark.parametrize(
    ("name", "voxels", "code"),
    [
        pytest.param("a.nii.gz", np.full(SHAPE, 3, np.uint8), "E-LABEL", id="a code of no organ"),
        pytest.param("a.nii.gz", np.full(SHAPE, 0.5, np.float32), "E-LABEL", id="a fraction"),
        pytest.param("a_stomach.nii", np.full(SHAPE, 7, np.uint8), "E-LABEL", id="a mask of 7"),
    ],
)
def test_what_is_no_label_of_the_set_is_refused(tmp_path, name, voxels, code):
    write_image(tmp_path / name, voxels, GRID)
    files = find_label_files(tmp_path, LABELS)["a"]
    assert codes_of(lambda: files.read(LABELS)) == [code]


def test_a_label_map_of_several_volumes_is_refused(tmp_path):
    import nibabel

    voxels = np.zeros((*SHAPE, 2), np.uint8)
    nibabel.save(nibabel.Nifti1Image(voxels, GRID.affine_ras_mm), tmp_path / "a.nii.gz")
    assert codes_of(lambda: LabelFiles("a", tmp_path / "a.nii.gz").read(LABELS)) == ["E-LABEL"]


def test_masks_of_one_scan_on_two_grids_are_refused(tmp_path):
    for organ in LABELS.names:
        grid = GRID.boxed((1, 0, 0), SHAPE) if organ == "stomach" else GRID
        write_mask(tmp_path / f"a_{organ}.nii.gz", box(0, 0, 0), grid)
    files = find_label_files(tmp_path, LABELS)["a"]
    with pytest.raises(GeometryError, match=r"E-GRID.*a, stomach: lies 1\.500 mm off"):
        files.read(LABELS)


# --- Turning ----------------------------------------------------------------------------------

ALL_CODES = [
    tuple(pair[side] for pair, side in zip(order, sides, strict=True))
    for order in permutations((("L", "R"), ("P", "A"), ("I", "S")))
    for sides in product((0, 1), repeat=3)
]


@pytest.mark.parametrize("codes", ALL_CODES, ids="".join)
def test_masks_saved_in_any_orientation_come_back_voxel_for_voxel(codes):
    rng = np.random.default_rng(0)
    mask = rng.random(SHAPE) < 0.3
    turned = GRID.reoriented(codes)
    there = np.zeros(turned.shape, bool)
    for ijk in np.argwhere(mask):  # through millimetres, not through the code under test
        place = np.linalg.inv(turned.affine_ras_mm) @ [*GRID.to_ras_mm(ijk), 1]
        there[tuple(np.rint(place[:3]).astype(int))] = True
    back = PlacedMasks([there], turned).onto(GRID, subject="a")
    assert np.array_equal(back.masks[0], mask)
    assert back.grid is GRID


def moved(shift_mm):
    affine = GRID.affine_ras_mm.copy()
    affine[1, 3] += shift_mm
    return Grid(SHAPE, affine)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        pytest.param(
            lpi_grid((6, 5, 3), (1.5, 1.25, 3.0)),
            r"has 6 x 5 x 3 voxels.*expected 6 x 5 x 4 voxels",
            id="shorter",
        ),
        pytest.param(lpi_grid((5, 6, 4), (1.25, 1.5, 3.0)), r"has 5 x 6 x 4 voxels", id="swapped"),
        pytest.param(
            lpi_grid(SHAPE, (1.5, 1.5, 3.0)),
            r"lies 1.000 mm off.*1.5 x 1.5 x 3 mm.*1.5 x 1.25 x 3 mm",
            id="spacing",
        ),
        pytest.param(
            moved(0.5), r"lies 0.500 mm off.*\(0, 0.5, 0\).*\(0, 0, 0\)", id="half a voxel"
        ),
    ],
)
def test_masks_of_another_place_are_refused(grid, message):
    masks = PlacedMasks([np.zeros(grid.shape, bool)], grid)
    with pytest.raises(GeometryError, match=f"E-GRID.*{message}"):
        masks.onto(GRID, subject="a")


def test_a_shift_below_a_micrometre_is_none():
    masks = PlacedMasks([box(0, 0, 0)], moved(5e-4))
    assert np.array_equal(masks.onto(GRID, subject="a").masks[0], box(0, 0, 0))


# --- References -------------------------------------------------------------------------------


def test_a_data_set_gives_its_overlapping_masks_as_columns_rows_and_slices(tmp_path):
    # On slice 1 of 3 columns and 2 rows, both organs hold the second pixel of the first row.
    scan = Scan(
        "case1_day0",
        (tmp_path,) * 2,
        (1, 2),
        (3, 2),
        (1.5, 1.5, 3.0),
        rle={"bowel": ("2 1", ""), "large_bowel": ("2 1", "6 1"), "stomach": ("", "")},
    )
    placed = read_reference(scan, LABELS)
    assert placed.grid.shape == (3, 2, 2)
    assert [np.argwhere(mask).tolist() for mask in placed.masks] == [
        [[1, 0, 0]],
        [[1, 0, 0], [2, 1, 1]],
        [],
    ]


@pytest.mark.parametrize("rle", [None, {"bowel": ("",)}], ids=["no rows", "rows of one organ"])
def test_a_scan_without_labels_is_no_reference(tmp_path, rle):
    scan = Scan("case1_day0", (tmp_path,), (1,), (3, 2), (1.5, 1.5, 3.0), rle=rle)
    with pytest.raises(DataError, match=r"E-UNLABELLED.*case1_day0.*stomach"):
        read_reference(scan, LABELS)


def test_a_folder_is_a_data_set_where_it_has_a_table(tiny_phantom, tmp_path):
    manifest = read_manifest("uwmgi")
    assert all(isinstance(s, Scan) for s in find_references(tiny_phantom, manifest).values())
    write_probs(tmp_path / "case1_day0_probs.nii.gz", np.zeros(SHAPE, np.float32), GRID)
    write_image(tmp_path / "case1_day0.nii.gz", np.zeros(SHAPE, np.uint8), GRID)
    assert list(find_references(tmp_path, manifest)) == ["case1_day0"]


def test_scans_of_one_side_alone_are_named():
    problems = unmatched(["a", "b"], ["b", "c"])
    assert [(problem.code, problem.subject, problem.level) for problem in problems] == [
        ("W-MISSING", "a", "warning"),
        ("W-SURPLUS", "c", "warning"),
    ]


def test_names_of_more_digits_than_python_reads_are_sorted_too():
    long = "case" + "9" * 5000
    assert sorted([long, "case10", "case2"], key=natural) == ["case2", "case10", long]
