"""The full check: what only pixels show."""

import numpy as np
import pytest

from medseg.data.check import inspect, summarise
from medseg.data.manifest import read_manifest
from medseg.io.png import read_slice, write_slice
from medseg.io.rle import encode

UWMGI = read_manifest("uwmgi")


def found(root, **options):
    return sorted(problem.code for problem in inspect(root, UWMGI, **options).problems)


def test_a_sound_data_set_has_no_problems(kaggle):
    calls = []
    root = kaggle.add("case1_day0", numbers=range(1, 30)).add("case2_day0").save()
    findings = inspect(root, UWMGI, progress=lambda done, total: calls.append((done, total)))
    assert findings.problems == ()
    assert calls == [(29, 35), (35, 35)]


def test_the_phantom_is_sound(tiny_phantom):
    assert found(tiny_phantom) == []


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(5, 20, id="far apart"),
        pytest.param(10, 11, id="neighbours"),
        pytest.param(3, 6, id="close"),
    ],
)
def test_exchanged_slices_are_noticed(kaggle, a, b):
    root = kaggle.add("case1_day0", numbers=range(1, 30)).save()
    first, second = (kaggle.file("case1_day0", number) for number in (a, b))
    bytes_a, bytes_b = first.read_bytes(), second.read_bytes()
    first.write_bytes(bytes_b)
    second.write_bytes(bytes_a)
    findings = inspect(root, UWMGI)
    (problem,) = findings.problems
    assert (problem.code, problem.level) == ("W-ORDER", "warning")
    assert str(a) in problem.found
    assert str(b) in problem.found
    assert "ratio" in problem.found
    assert len(findings.scans) == 1


def test_slices_sorted_as_text_are_noticed(kaggle):
    root = kaggle.add("case1_day0", numbers=range(1, 30)).save()
    pixels = {n: read_slice(kaggle.file("case1_day0", n)) for n in range(1, 30)}
    for number, wrong in zip(range(1, 30), sorted(range(1, 30), key=str), strict=True):
        write_slice(kaggle.file("case1_day0", number), pixels[wrong])
    assert found(root) == ["W-ORDER"]


def test_flat_and_saturated_slices_are_counted(kaggle):
    root = kaggle.add("case1_day0").save()
    write_slice(kaggle.file("case1_day0", 1), np.zeros((16, 24), np.uint16))
    write_slice(kaggle.file("case1_day0", 2), np.full((16, 24), 7, np.uint16))
    bright = np.full((16, 24), 65535, np.uint16)
    bright[:4] = np.arange(24)
    write_slice(kaggle.file("case1_day0", 6), bright)
    texts = [str(problem) for problem in inspect(root, UWMGI).problems]
    assert any("2 slices are of one constant value: 1-2" in text for text in texts)
    assert any("1 slices are saturated over half: 6" in text for text in texts)


def test_damage_within_pixels_takes_the_scan_out(kaggle):
    root = kaggle.add("case1_day0").add("case2_day0").save()
    file = kaggle.file("case1_day0", 3)
    file.write_bytes(file.read_bytes()[:60])
    findings = inspect(root, UWMGI)
    (problem,) = findings.errors
    assert problem.code == "E-PNG-TRUNC"
    assert problem.subject == str(file)
    assert [scan.scan_id for scan in findings.scans] == ["case2_day0"]
    assert found(root, pixels=False) == []


def test_damage_is_told_beside_other_faults_of_the_scan(kaggle):
    kaggle.add("case1_day0")
    kaggle.file("case1_day0", 2).unlink()
    kaggle.file("case1_day0", 4).write_bytes(b"")
    file = kaggle.file("case1_day0", 5)
    file.write_bytes(file.read_bytes()[:-12])
    assert found(kaggle.save()) == ["E-EMPTY", "E-GAP", "E-ORPHAN", "E-PNG-CRC"]


def test_one_scan_under_two_patients_is_a_leak(kaggle):
    root = kaggle.add("case1_day0", seed=1).add("case2_day0", seed=1).save()
    (problem,) = inspect(root, UWMGI).problems
    assert problem.code == "E-LEAK"
    assert problem.subject == "case1_day0, case2_day0"
    assert "6 slices" in problem.found


def test_one_scan_on_two_days_is_worth_a_warning(kaggle):
    root = kaggle.add("case1_day0", seed=1).add("case1_day5", seed=1).save()
    assert found(root) == ["W-TWIN"]


def test_flat_slices_of_two_patients_are_no_leak(kaggle):
    root = kaggle.add("case1_day0").add("case2_day0").save()
    for scan in ("case1_day0", "case2_day0"):
        write_slice(kaggle.file(scan, 1), np.zeros((16, 24), np.uint16))
    assert found(root) == ["W-CONST", "W-CONST"]


def test_a_summary_counts_by_hand(kaggle):
    kaggle.add("case1_day0", numbers=range(1, 5)).add("case1_day1", size_px=(36, 31))
    kaggle.add("case2_day0", spacing="1.63_1.63")
    for row in kaggle.rows:
        row[2] = ""
    # On one slice 3 pixels of stomach and 5 of small bowel share 2; another has stomach alone.
    kaggle.row("case1_day0", 2, "stomach")[2] = "1 3"
    kaggle.row("case1_day0", 2, "small_bowel")[2] = "2 5"
    kaggle.row("case2_day0", 4, "stomach")[2] = encode(np.ones((16, 24)))
    summary = summarise(inspect(kaggle.save(), UWMGI).scans, UWMGI)
    assert (summary.patients, summary.scans, summary.labelled, summary.slices) == (2, 3, 3, 16)
    assert summary.sizes_px == {"24x16": 2, "36x31": 1}
    assert summary.spacings_mm == {"1.50x1.50x3.00": 2, "1.63x1.63x3.00": 1}
    assert summary.organ_slices == {"large_bowel": 0, "small_bowel": 1, "stomach": 2}
    assert summary.organ_px == {"large_bowel": 0, "small_bowel": 5, "stomach": 3 + 24 * 16}
    assert summary.empty_slices == 14
    assert summary.overlap_slices == {"small_bowel & stomach": 1}
    assert summary.overlap_px == {"small_bowel & stomach": 2}


def test_no_scans_give_zeros():
    summary = summarise([], UWMGI)
    assert (summary.scans, summary.empty_slices, summary.overlap_px) == (0, 0, {})


def test_unlabelled_scans_are_counted_apart(kaggle):
    kaggle.add("case1_day0")
    summary = summarise(inspect(kaggle.root, UWMGI).scans, UWMGI)
    assert (summary.scans, summary.labelled, summary.empty_slices) == (1, 0, 0)


def test_real_scans_are_sound(shared_data):
    findings = inspect(shared_data / "uwmgi_scan", UWMGI)
    assert findings.problems == ()
    assert len(findings.scans) == 2
