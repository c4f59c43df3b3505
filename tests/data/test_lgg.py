"""From the folders of the LGG data set to scans."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.data import drawn
from medseg.data.check import inspect
from medseg.data.lgg import survey
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_scans
from medseg.errors import DataError, UsageError
from medseg.io.pictures import write_picture
from medseg.io.rle import decode
from medseg.io.voxels import read_voxels

LGG = read_manifest("lgg")
SCAN = "TCGA_CS_4941_19960909"


class Folders:
    """A data set of slices of 8 x 6 pixels, to be broken."""

    def __init__(self, root):
        self.root = root

    def add(self, scan_id, *, numbers=range(1, 6), seed=0):
        for number in numbers:
            self.picture(scan_id, number, seed=seed)
            self.mask(scan_id, number)
        return self

    def path(self, number, scan_id=SCAN, *, mask=False):
        folder = self.root / "kaggle_3m" / scan_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{scan_id}_{number}{'_mask' if mask else ''}.tif"

    def picture(self, scan_id, number, *, seed=0, shape=(6, 8, 3)):
        y, x = np.mgrid[: shape[0], : shape[1]]
        wave = 20 * np.sin(x + 0.2 * number + seed) + 9 * y + 50 + seed
        pixels = np.repeat(wave[..., None], shape[2], 2) if len(shape) > 2 else wave
        write_picture(self.path(number, scan_id), pixels.astype(np.uint8))

    def mask(self, scan_id, number, *, values=(0, 255), shape=(6, 8)):
        """Draw three pixels in the first row: one run from pixel 2 on."""
        pixels = np.full(shape, values[0], np.uint8)
        pixels[0, 1:4] = values[1]
        write_picture(self.path(number, scan_id, mask=True), pixels)

    def table(self, text, *, encoding="utf-8"):
        self.root.joinpath("kaggle_3m/data.csv").write_text(text, encoding=encoding)


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path).add(SCAN).add("TCGA_DU_5849_19950405", seed=7)


def codes(root, **options):
    return sorted(problem.code for problem in survey(root, LGG, **options).problems)


def test_a_scan_tells_what_its_files_tell(folders):
    scan, other = read_scans(folders.root, LGG)
    assert (scan.scan_id, scan.case_id) == (SCAN, "TCGA_CS_4941")
    assert other.case_id == "TCGA_DU_5849"
    assert (scan.size_px, scan.channels, scan.spacing_mm) == ((8, 6), 3, (1.0, 1.0, 1.0))
    assert scan.grid.shape == (8, 6, 5)
    assert scan.grid.axis_codes == ("L", "P", "S")  # slices grow to the crown
    assert scan.rle == {"lesion": ("2 3",) * 5}
    with Image.open(folders.path(3)) as picture:
        expected = np.array(picture)
    np.testing.assert_array_equal(read_voxels(scan)[:, 2], expected.transpose(2, 0, 1))


def test_slices_are_in_numeric_order_from_any_start(folders):
    folders.add("TCGA_HT_7602_19951103", numbers=range(8, 12))
    scan = survey(folders.root, LGG).scans[-1]
    assert scan.slice_numbers == (8, 9, 10, 11)
    assert [path.stem.rsplit("_", 1)[1] for path in scan.slice_files] == ["8", "9", "10", "11"]


def test_rows_are_the_masks(folders):
    drawn_mask = np.random.default_rng(0).random((6, 8)) < 0.4
    write_picture(folders.path(4, mask=True), drawn_mask * np.uint8(255))
    scan = survey(folders.root, LGG).scans[0]
    np.testing.assert_array_equal(decode(scan.rle["lesion"][3], (6, 8)), drawn_mask)


def test_the_folder_itself_and_one_patients_are_roots_too(folders, monkeypatch):
    scans = [scan.rle for scan in survey(folders.root, LGG).scans]
    inside = folders.root / "kaggle_3m"
    assert [scan.rle for scan in survey(inside, LGG).scans] == scans
    assert [scan.scan_id for scan in survey(inside / SCAN, LGG).scans] == [SCAN]
    monkeypatch.chdir(inside / SCAN)
    assert [scan.scan_id for scan in survey(Path(), LGG).scans] == [SCAN]


def test_a_mask_is_decoded_once_until_its_file_changes(folders, monkeypatch):
    first = survey(folders.root, LGG).scans[0]
    reads = []
    read_mask = drawn.read_mask
    monkeypatch.setattr(
        drawn, "read_mask", lambda path, **options: reads.append(path) or read_mask(path, **options)
    )
    assert survey(folders.root, LGG).scans[0].rle == first.rle
    assert reads == []
    folders.path(2, mask=True).write_bytes(folders.path(2, mask=True).read_bytes() + b" ")
    assert survey(folders.root, LGG).scans[0].rle == first.rle
    assert reads == [folders.path(2, mask=True)]


def test_without_any_mask_scans_have_no_labels(folders):
    for path in folders.root.rglob("*_mask.tif"):
        path.unlink()
    findings = survey(folders.root, LGG)
    assert findings.problems == ()
    assert [scan.rle for scan in findings.scans] == [None, None]


def test_labels_that_are_not_asked_for_may_be_broken(folders):
    folders.path(2, mask=True).write_bytes(b"")
    folders.path(4, mask=True).unlink()
    findings = survey(folders.root, LGG, labelled=False)
    assert findings.problems == ()
    assert findings.scans[0].rle is None


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def png_inside(path):
    Image.open(path).save(path.with_suffix(".png"))
    path.with_suffix(".png").rename(path)


def renamed(path, old, new):
    path.rename(path.with_name(path.name.replace(old, new)))


def copied(path, name, change=b""):
    path.with_name(name).write_bytes(
        path.read_bytes()[: len(path.read_bytes()) - len(change)] + change
    )


FAULTS = [
    pytest.param(lambda f: cut(f.path(3)), "E-TIFF-TRUNC", ["_3.tif", "bytes"], id="1: cut"),
    pytest.param(lambda f: cut(f.path(3, mask=True)), "E-TIFF-TRUNC", ["_3_mask"],
                 id="1: mask cut"),
    pytest.param(lambda f: f.path(3).write_bytes(b""), "E-EMPTY", ["_3.tif", "0 bytes"], id="3"),
    pytest.param(lambda f: png_inside(f.path(3)), "E-FORMAT", ["is PNG"], id="4: PNG as tif"),
    pytest.param(lambda f: f.picture(SCAN, 3, shape=(6, 8)), "E-CHANNELS",
                 ["_3.tif", "1 channels", "pre_contrast, flair"], id="6: grey"),
    pytest.param(lambda f: renamed(f.path(5), "_5.", "_five."), "E-NAME", ["_five.tif"], id="8"),
    pytest.param(lambda f: renamed(f.path(5), "4941", "4942"), "E-NAME",
                 ["TCGA_CS_4942", "no slice of this scan"], id="8: another patient's"),
    pytest.param(lambda f: f.path(9, "patient_2").touch(), "E-NAME",
                 ["no patient's folder"], id="8: folder"),
    pytest.param(lambda f: f.mask(SCAN, 3, shape=(8, 6)), "E-SIZE",
                 ["6 wide and 8 high", "turned"], id="9: mask turned"),
    pytest.param(lambda f: (f.picture(SCAN, 3, shape=(6, 9, 3)), f.mask(SCAN, 3, shape=(6, 9))),
                 "E-MIXED", ["9x6 px in slices 3", "1-2, 4-5"], id="11"),
    pytest.param(lambda f: (f.path(3).unlink(), f.path(3, mask=True).unlink()), "E-GAP",
                 ["slice 3 is missing between 2", f"4 ({SCAN}_4.tif)"], id="12"),
    pytest.param(lambda f: copied(f.path(3), f"{SCAN}_03.tif", b"?"), "E-DUP",
                 ["slice 3 is there twice"], id="13"),
    pytest.param(lambda f: copied(f.path(3), f"{SCAN}_03.tif"), "W-DUP", ["is a copy of"],
                 id="13: copy"),
    pytest.param(lambda f: f.path(7, mask=True).symlink_to("nowhere"), "E-ORPHAN",
                 ["_7_mask.tif", "without a picture"], id="28: orphan"),
    pytest.param(lambda f: f.path(3, mask=True).unlink(), "W-UNLABELLED",
                 [SCAN, "1 of 5 slices"], id="28: no mask"),
    pytest.param(lambda f: f.mask(SCAN, 3, values=(0, 90)), "E-LABEL",
                 ["_3_mask", "0, 90"], id="31: grey mask"),
    pytest.param(lambda f: f.table("Patient,age\nTCGA_CS_4941,1\n"), "W-TABLE",
                 ["1 patients have no row: TCGA_DU_5849"], id="table: no row"),
    pytest.param(lambda f: f.table("Patient\nTCGA_CS_4941\nTCGA_DU_5849\nTCGA_XX_0001\n"),
                 "W-TABLE", ["1 patients have no folder: TCGA_XX_0001"], id="table: no folder"),
    pytest.param(lambda f: f.table("a;b\n1;2\n"), "W-TABLE", ["column Patient"], id="table: other"),
    pytest.param(lambda f: f.path(3).with_name("notes.txt").touch(), "W-IGNORED",
                 ["notes.txt"], id="other file"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "code", "words"), FAULTS)
def test_a_fault_is_told_once_and_alone(folders, fault, code, words):
    fault(folders)
    findings = survey(folders.root, LGG)
    (problem,) = [each for each in findings.problems if each.code == code]
    # A broken slice is no slice: its mask, or its neighbours, may be told of too.
    assert {each.code for each in findings.problems} <= {code, "E-ORPHAN", "E-GAP"}
    assert all(word in str(problem) for word in words), str(problem)
    usable = code in ("W-DUP", "W-TABLE", "W-IGNORED") or problem.subject.endswith("patient_2")
    assert (SCAN in [scan.scan_id for scan in findings.scans]) == usable


def test_a_broken_link_is_an_error(folders):
    folders.path(3, mask=True).unlink()
    folders.path(3, mask=True).symlink_to("nowhere")
    assert codes(folders.root) == ["E-IO"]


def test_all_problems_come_in_one_pass(folders):
    folders.path(3, mask=True).write_bytes(b"")
    cut(folders.path(2))
    folders.path(4, "TCGA_DU_5849_19950405").unlink()
    with pytest.raises(DataError, match="E-GAP") as caught:
        read_scans(folders.root, LGG)
    found = sorted(problem.code for problem in caught.value.problems)
    assert found == ["E-EMPTY", "E-GAP", "E-ORPHAN", "E-TIFF-TRUNC"]


def test_a_table_from_a_spreadsheet_is_read(folders):
    folders.table("Patient,age\r\nTCGA_CS_4941,1\r\nTCGA_DU_5849,\r\n", encoding="utf-8-sig")
    assert codes(folders.root) == []


def test_few_slices_are_warned_of_and_no_slices_refused(tmp_path):
    Folders(tmp_path).add(SCAN, numbers=[4])
    assert codes(tmp_path) == ["W-SHORT"]
    (tmp_path / "kaggle_3m/TCGA_DU_5849_19950405").mkdir()
    assert codes(tmp_path) == ["E-EMPTY", "W-SHORT"]


@pytest.mark.parametrize(
    ("name", "code"), [pytest.param("", "E-EMPTY", id="empty"), pytest.param("no", "E-IO", id="no")]
)
def test_a_root_that_is_none_is_refused(tmp_path, name, code):
    assert codes(tmp_path / name) == [code]


def test_more_slices_than_any_scan_has_are_refused(folders, monkeypatch):
    monkeypatch.setattr("medseg.data.lgg.MAX_SLICES", 4)
    assert codes(folders.root) == ["E-TOO-LARGE", "E-TOO-LARGE"]


def test_known_bad_scans_are_left_out(folders):
    bad = {"ours": {"who": "us", "why": "torn", "scans": [SCAN]}}
    facts = LGG.model_dump(by_alias=True) | {"known_bad": bad, "exclude": "ours"}
    manifest = type(LGG).model_validate(facts)
    findings = survey(folders.root, manifest)
    assert [problem.code for problem in findings.problems] == ["W-EXCLUDED"]
    assert [scan.case_id for scan in findings.scans] == ["TCGA_DU_5849"]
    assert len(survey(folders.root, manifest, exclude=False).scans) == 2


def test_one_picture_cannot_be_the_mask_of_two_organs(folders):
    facts = LGG.model_dump(by_alias=True)
    facts["labels"] = [*facts["labels"], {**facts["labels"][0], "name": "cyst", "code": 2}]
    facts["priority"] = ["lesion", "cyst"]
    with pytest.raises(UsageError, match=r"E-MANIFEST.*2 labels: lesion, cyst"):
        survey(folders.root, type(LGG).model_validate(facts))


def test_pixels_show_flat_channels_and_leaks(folders):
    assert inspect(folders.root, LGG).problems == ()
    with Image.open(folders.path(2)) as picture:
        pixels = np.array(picture)
    pixels[..., 2] = 7
    write_picture(folders.path(2), pixels)
    folders.path(1, "TCGA_DU_5849_19950405").write_bytes(folders.path(1).read_bytes())
    flat, leak = inspect(folders.root, LGG).problems
    assert (flat.code, flat.subject, leak.code) == ("W-CONST", SCAN, "E-LEAK")
    assert "slices are of one constant value: 2" in flat.found


def test_real_slices(shared_data):
    findings = survey(shared_data / "lgg", LGG)
    (problem,) = findings.problems  # the sample is a part of a scan
    assert problem.code == "E-GAP"
    assert "slices 3-7 are missing between 2" in problem.found
    assert findings.folders[SCAN].numbers == (1, 2, *range(8, 24))
