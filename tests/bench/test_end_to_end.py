"""Both sides leave the same label maps, rows and Dice, and where they do not it is noticed."""

import csv
import shutil

import numpy as np
import pytest

from medseg.bench.end_to_end import Written, works
from medseg.data import read_manifest
from medseg.data.label_files import find_references, read_reference
from medseg.io.nifti import read_label_map, write_label_map

LABELS = read_manifest("uwmgi").labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("end_to_end")


@pytest.fixture(scope="module")
def compared(folder):
    """Both works on a scan to resample and one as it is, and the float32 sides' results."""
    made = works(folder, scans=2, slices=8, size_px=(72, 64), steps=2)
    return made, made[1].ours(), made[1].theirs()


def test_works_aim_at_what_is_asked(compared):
    (shipped, float32), *_ = compared
    assert shipped.reach == 3
    assert (shipped.name[-10:], float32.name[-7:]) == ("as shipped", "float32")


def test_both_sides_leave_the_same(compared):
    (_, work), ours, theirs = compared
    assert work.same(ours.output, theirs.output).startswith(("100.000%", "99.9"))
    assert ours.wall_s > 0
    assert theirs.cpu_s > 0


def test_what_is_shipped_agrees_with_float32(compared):
    (work, _), _, theirs = compared
    assert "of the voxels agree" in work.same(work.ours().output, theirs.output)


def test_scans_are_labelled_and_one_is_coarser(compared, folder):
    found = find_references(folder / "data", read_manifest("uwmgi"))
    read = [read_reference(reference, LABELS) for reference in found.values()]
    assert [round(truth.grid.spacing_mm[0], 2) for truth in read] == [1.63, 1.5]
    assert [truth.grid.shape for truth in read] == [(66, 59, 8), (72, 64, 8)]
    assert all(mask.any() for truth in read for mask in truth.masks)


def test_label_maps_are_not_trivial(compared):
    _, ours, _ = compared
    label_map, _ = read_label_map(ours.output.label_maps / "case1002_day0.nii.gz")
    assert len(np.unique(label_map)) > 1


def test_rows_of_both_sides_name_the_same_slices(compared):
    _, ours, theirs = compared
    for side in (ours, theirs):
        with side.output.rows.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 2 * 8 * 3
        assert list(rows[0]) == ["id", "class", "segmentation"]


def test_another_label_map_is_noticed(compared, tmp_path):
    (_, work), ours, theirs = compared
    changed = copied(ours.output, tmp_path)
    file = changed.label_maps / "case1002_day0.nii.gz"
    label_map, grid = read_label_map(file)
    write_label_map(file, (label_map + 1) % 4, grid, labels=LABELS)
    with pytest.raises(AssertionError, match=r"only .*% of the voxels agree"):
        work.same(changed, theirs.output)


def test_a_missing_label_map_is_noticed(compared, tmp_path):
    (_, work), ours, theirs = compared
    changed = copied(theirs.output, tmp_path)
    (changed.label_maps / "case1002_day0.nii.gz").unlink()
    with pytest.raises(AssertionError, match="case1002_day0"):
        work.same(ours.output, changed)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        pytest.param("submission.csv", "stomach,", "stomach,1 1 ", "rows of .* differ", id="rows"),
        pytest.param(
            "val_mean_dice_raw.csv", "case1002_day0,", "case1002_day0,2", "Dice .* apart", id="Dice"
        ),
    ],
)
def test_other_rows_or_scores_are_noticed(compared, tmp_path, file, old, new, message):
    (_, work), ours, theirs = compared
    changed = copied(theirs.output, tmp_path)
    text = (changed.label_maps / file).read_text()
    (changed.label_maps / file).write_text(text.replace(old, new))
    with pytest.raises(AssertionError, match=message):
        work.same(ours.output, changed)


def copied(side, folder):
    """Return a copy of what a side left, to be changed."""
    to = shutil.copytree(side.label_maps, folder / "copy")
    return Written(to, to / side.rows.name, to / side.scores.name)
