"""From Kaggle's folders to scans."""

import logging

import numpy as np
import pytest

from medseg.data.manifest import read_manifest
from medseg.data.readers import read_scans
from medseg.data.uwmgi import read_scan_folder, survey
from medseg.errors import DataError
from medseg.io.png import write_slice

UWMGI = read_manifest("uwmgi")


def codes(root, **options):
    """Return the codes of everything wrong with a data set."""
    return sorted(problem.code for problem in survey(root, UWMGI, **options).problems)


def test_a_scan_tells_what_its_files_tell(kaggle):
    (scan,) = read_scans(kaggle.add("case123_day20", size_px=(36, 31)).save(), UWMGI)
    assert (scan.case_id, scan.scan_id) == ("case123", "case123_day20")
    assert scan.size_px == (36, 31)  # width before height
    assert scan.spacing_mm == (1.5, 1.5, 3.0)
    assert scan.grid.axis_codes == ("L", "P", "I")
    assert scan.grid.shape == (36, 31, 6)
    assert scan.slice_numbers == (1, 2, 3, 4, 5, 6)
    assert scan.rle == {
        "large_bowel": ("",) * 6,
        "small_bowel": ("",) * 6,
        "stomach": ("2 3",) * 6,
    }


def test_scans_come_in_natural_order_and_days_may_differ(kaggle):
    kaggle.add("case10_day0").add("case9_day19", size_px=(36, 31)).add("case9_day2")
    kaggle.add("case9_day20", spacing="1.63_1.63")
    scans = read_scans(kaggle.save(), UWMGI)
    order = ["case9_day2", "case9_day19", "case9_day20", "case10_day0"]
    assert [scan.scan_id for scan in scans] == order
    assert [scan.size_px for scan in scans] == [(24, 16), (36, 31), (24, 16), (24, 16)]
    assert scans[2].spacing_mm == (1.63, 1.63, 3.0)


def test_unpadded_numbers_are_in_numeric_order_from_any_start(kaggle):
    kaggle.add("case1_day0", numbers=range(7, 13))
    for file in kaggle.folder("case1_day0").iterdir():
        file.rename(file.with_name(file.name.replace("slice_00", "slice_").replace("_0", "_")))
    (scan,) = read_scans(kaggle.save(), UWMGI)
    assert scan.slice_numbers == tuple(range(7, 13))
    written = [file.name.split("_")[1] for file in scan.slice_files]
    assert written == ["7", "8", "9", "10", "11", "12"]


def test_the_train_folder_itself_is_a_root(kaggle, monkeypatch):
    root = kaggle.add("case1_day0").save()
    assert read_scans(root / "train", UWMGI) == [
        scan for scan in read_scans(root, UWMGI) if scan.rle is not None
    ]
    monkeypatch.chdir(root / "train")
    (scan,) = read_scans(kaggle.root / "train", UWMGI)
    assert scan.rle is not None


def test_without_a_table_scans_have_no_labels(kaggle):
    kaggle.add("case1_day0")
    (scan,) = read_scans(kaggle.root, UWMGI)
    assert scan.rle is None


def test_rows_follow_the_slices_not_the_table(kaggle):
    kaggle.add("case1_day0")
    for number in range(1, 7):
        kaggle.row("case1_day0", number, "stomach")[2] = f"{number} 1"
    kaggle.rows.reverse()
    (scan,) = read_scans(kaggle.save(), UWMGI)
    assert scan.rle["stomach"] == ("1 1", "2 1", "3 1", "4 1", "5 1", "6 1")


def test_absent_organs_may_be_nan(kaggle):
    kaggle.add("case1_day0").row("case1_day0", 3, "stomach")[2] = "NaN"
    (scan,) = read_scans(kaggle.save(), UWMGI)
    assert scan.rle["stomach"][1:4] == ("2 3", "", "2 3")


def test_known_bad_scans_are_left_out_and_named(kaggle, caplog):
    root = kaggle.add("case7_day0").add("case17_day0").save()
    with caplog.at_level(logging.WARNING, "medseg"):
        assert [scan.scan_id for scan in read_scans(root, UWMGI)] == ["case17_day0"]
    assert "W-EXCLUDED" in caplog.text
    assert "participants" in caplog.text


def test_known_bad_scans_can_be_kept(kaggle):
    root = kaggle.add("case7_day0").add("case9_day27").save()
    assert len(read_scans(root, UWMGI, exclude=False)) == 2
    assert len(read_scans(root, UWMGI.excluding(None))) == 2
    with pytest.raises(DataError, match="no scan to use"):
        read_scans(root, UWMGI.excluding("organisers"))


def test_a_known_bad_scan_may_be_broken(kaggle):
    kaggle.add("case7_day0").add("case8_day0")
    kaggle.file("case7_day0", 3).unlink()
    assert codes(kaggle.save()) == ["W-EXCLUDED"]


def test_a_scan_without_all_its_rows_is_left_out_with_a_count(kaggle):
    kaggle.add("case1_day0").add("case2_day0")
    kaggle.rows.remove(kaggle.row("case1_day0", 2, "stomach"))
    kaggle.rows.remove(kaggle.row("case1_day0", 5, "stomach"))
    findings = survey(kaggle.save(), UWMGI)
    assert [scan.scan_id for scan in findings.scans] == ["case2_day0"]
    (problem,) = findings.warnings
    assert problem.code == "W-NOROW"
    assert "2 of 6 slices" in problem.found


def test_all_problems_come_in_one_pass(kaggle):
    for case in range(1, 6):
        kaggle.add(f"case{case}_day0")
    kaggle.file("case1_day0", 3).unlink()
    kaggle.file("case2_day0", 3).write_bytes(b"")
    kaggle.row("case3_day0", 1, "stomach")[2] = "1"
    kaggle.row("case4_day0", 1, "stomach")[1] = "Stomach"
    with pytest.raises(DataError, match="E-GAP") as caught:
        read_scans(kaggle.save(), UWMGI)
    found = sorted(problem.code for problem in caught.value.problems)
    assert found == ["E-CLASS", "E-EMPTY", "E-GAP", "E-ORPHAN", "E-RLE"]


def test_a_root_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_scans(tmp_path / "gone", UWMGI)
    with pytest.raises(DataError, match=r"E-EMPTY.*no scan to use.*train/caseN"):
        read_scans(tmp_path, UWMGI)


def test_folders_of_another_name_are_told(kaggle):
    root = kaggle.add("case1_day0").save()
    (root / "train/patient2").mkdir()
    (root / "train/case1/case2_day0").mkdir()
    (root / "train/.cache").mkdir()
    (root / "train/notes.txt").touch()
    assert codes(root) == ["E-NAME", "E-NAME"]


def test_an_empty_scan_folder_is_told(kaggle):
    kaggle.add("case1_day0").add("case2_day0", numbers=())
    (kaggle.root / "train/case3/case3_day0").mkdir(parents=True)
    assert codes(kaggle.save()) == ["E-EMPTY", "E-IO"]


def test_a_linked_folder_is_followed_and_a_broken_link_is_told(kaggle, tmp_path):
    root = kaggle.add("case1_day0").save()
    (root / "train/case2").symlink_to(tmp_path / "nowhere")
    (root / "train/case3").symlink_to(root / "train/case3")
    assert codes(root) == ["E-IO", "E-IO"]
    (root / "train/case2").unlink()
    (root / "train/case3").unlink()
    elsewhere = tmp_path / "disk"
    (root / "train/case1").rename(elsewhere)
    (root / "train/case1").symlink_to(elsewhere)
    assert len(read_scans(root, UWMGI)) == 1


def test_one_scan_folder_is_read_without_labels(kaggle, monkeypatch):
    kaggle.add("case1_day2").save()
    folder = kaggle.folder("case1_day2")
    for path in (folder, folder.parent):
        scan = read_scan_folder(path, UWMGI)
        assert (scan.scan_id, scan.rle, len(scan.slice_files)) == ("case1_day2", None, 6)
    monkeypatch.chdir(folder)
    assert read_scan_folder(folder.relative_to(folder), UWMGI).scan_id == "case1_day2"


def test_one_scan_folder_is_as_strict(kaggle, tmp_path):
    kaggle.add("case1_day2")
    kaggle.file("case1_day2", 4).unlink()
    with pytest.raises(DataError, match=r"E-GAP.*slice 4 is missing between 3 .* and 5 "):
        read_scan_folder(kaggle.folder("case1_day2"), UWMGI)
    with pytest.raises(DataError, match=r"E-NAME.*caseN_dayD"):
        read_scan_folder(tmp_path, UWMGI)


def test_one_slice_is_a_scan(kaggle):
    kaggle.add("case1_day0", numbers=[88])
    findings = survey(kaggle.save(), UWMGI)
    assert findings.scans[0].grid.shape == (24, 16, 1)
    assert [problem.code for problem in findings.problems] == ["W-SHORT"]


def test_a_scan_of_eight_bits_is_warned_of(kaggle):
    from PIL import Image

    kaggle.add("case1_day0")
    for file in kaggle.folder("case1_day0").iterdir():
        Image.fromarray(np.zeros((16, 24), np.uint8)).save(file)
    findings = survey(kaggle.save(), UWMGI)
    assert [problem.code for problem in findings.problems] == ["W-8BIT"]
    assert len(findings.scans) == 1


def test_a_copy_of_a_slice_is_ignored(kaggle):
    file = kaggle.add("case1_day0").file("case1_day0", 4)
    file.with_name(file.name.replace("0004", "4")).write_bytes(file.read_bytes())
    findings = survey(kaggle.save(), UWMGI)
    assert [problem.code for problem in findings.problems] == ["W-DUP"]
    assert findings.scans[0].slice_numbers == (1, 2, 3, 4, 5, 6)


def test_other_files_among_the_slices_are_counted(kaggle):
    kaggle.add("case1_day0")
    for name in (".DS_Store", "Thumbs.db", "._slice_0001_24_16_1.50_1.50.png"):
        (kaggle.folder("case1_day0") / name).write_bytes(b"x")
    (problem,) = survey(kaggle.save(), UWMGI).problems
    assert problem.code == "W-IGNORED"
    assert "3 files" in problem.found


def test_more_slices_than_any_scan_has_are_refused(kaggle, monkeypatch):
    monkeypatch.setattr("medseg.data.slice_folder.MAX_SLICES", 5)
    assert codes(kaggle.add("case1_day0").save()) == ["E-TOO-LARGE"]


def test_pixels_are_not_decoded(kaggle, monkeypatch):
    def refuse(*_args):
        raise AssertionError("decoded")

    monkeypatch.setattr("medseg.io.png.Image.open", refuse)
    assert len(read_scans(kaggle.add("case1_day0").save(), UWMGI)) == 1


def test_a_wrong_header_is_told_without_decoding(kaggle):
    kaggle.add("case1_day0")
    write_slice(kaggle.file("case1_day0", 3), np.zeros((24, 16), np.uint16))
    (problem,) = survey(kaggle.save(), UWMGI).problems
    assert problem.code == "E-SIZE"
    assert "16 wide and 24 high; looks swapped" in problem.found


def test_real_scans(shared_data):
    scans = read_scans(shared_data / "uwmgi_scan", UWMGI)
    assert [(scan.scan_id, scan.grid.shape) for scan in scans] == [
        ("case6_day20", (266, 266, 144)),
        ("case16_day0", (360, 310, 144)),
    ]
    rows = [row for scan in scans for texts in scan.rle.values() for row in texts]
    assert len(rows) == 864


def test_slices_may_grow_to_the_head(kaggle):
    facts = UWMGI.model_dump(by_alias=True) | {"axis_codes": ("L", "P", "S")}
    (scan,) = read_scans(kaggle.add("case1_day0").save(), type(UWMGI).model_validate(facts))
    assert scan.grid.axis_codes == ("L", "P", "S")
    assert scan.grid.spacing_mm == (1.5, 1.5, 3.0)
