"""What a split by slices gives away: copying a neighbour's outline, worked out by hand."""

import json

import pytest

from medseg.cli import main
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_scans
from medseg.data.splits import SliceSplit, random_slice_split
from medseg.stages.display import Silent
from medseg.stages.leak import measure_leak

MANIFEST = read_manifest("uwmgi")


def measured(scans, split):
    return measure_leak(scans, split, MANIFEST.labels, display=Silent())


def test_each_test_slice_gets_the_nearest_training_slice(kaggle):
    kaggle.add("case1_day0", numbers=range(11, 17))
    for number, rle in enumerate(("1 4", "1 4", "1 2", "9 4", "9 3", ""), start=11):
        kaggle.row("case1_day0", number, "stomach")[2] = rle
    scans = read_scans(kaggle.save(), MANIFEST)
    slices = {("case1_day0", number) for number in range(11, 17)}
    train = frozenset({("case1_day0", 11), ("case1_day0", 15)})
    leak = measured(scans, SliceSplit(train, frozenset(slices - train)))
    # 12 copies 11: 1. 13 lies between 11 and 15 and copies the upper: 4 / 6. 14 copies 15: 6 / 7.
    # 16 copies 15 and is empty itself: 0.
    stomach = next(summary for summary in leak.copied if summary.organ == "stomach")
    assert (stomach.n, stomach.n_empty) == (4, 0)
    assert stomach.dice.one == pytest.approx((1 + 4 / 6 + 6 / 7) / 4)
    assert (leak.n_patients, leak.n_torn, leak.n_test, leak.n_beside) == (1, 1, 4, 3)


def test_a_scan_that_is_all_on_one_side_has_nothing_to_copy(kaggle):
    scans = read_scans(kaggle.add("case1_day0").add("case2_day0").save(), MANIFEST)
    sides = [frozenset((scan.scan_id, n) for n in scan.slice_numbers) for scan in scans]
    leak = measured(scans, SliceSplit(*sides))
    stomach = next(summary for summary in leak.copied if summary.organ == "stomach")
    assert (stomach.n, stomach.dice.one) == (6, 0.0)
    assert (leak.n_patients, leak.n_torn, leak.n_beside) == (2, 0, 0)


def test_copying_scores_high_on_the_phantom_where_slices_are_split(tiny_phantom):
    scans = read_scans(tiny_phantom, MANIFEST)
    leak = measured(scans, random_slice_split(scans))
    everything = leak.copied[-1]
    assert leak.n_torn == leak.n_patients == 3
    assert everything.dice.one > 0.65  # of 16 to 20 thick slices a scan
    assert everything.dice.one > everything.dice.skipped > everything.dice.zero


def test_copying_scores_as_papers_do_on_real_organs(shared_data):
    scans = read_scans(shared_data / "uwmgi_scan", MANIFEST)
    everything = measured(scans, random_slice_split(scans)).copied[-1]
    assert everything.dice.one > 0.94
    assert everything.iou.one > 0.9


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_the_command_tells_what_leaks(tiny_phantom, capsys, as_json):
    command = ["data", "leak", "--data", str(tiny_phantom), "--test-share", "0.5", "-q"]
    assert main([*command, *["--json"] * as_json]) == 0
    told = capsys.readouterr().out
    if as_json:
        rows = json.loads(told)
        assert (rows["n_patients"], rows["n_torn"], rows["n_test"]) == (3, 3, 58)
        assert [row["organ"] for row in rows["copied"]["organs"]][-1] == "all"
        assert "not comparable" in rows["copied"]["warning"]
    else:
        assert "3 of 3 patients have slices on both sides" in told
        assert "Dice, empty 1" in told
