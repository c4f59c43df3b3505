"""Cohorts: what is done again and what is not, whose files are replaced, and what is told."""

import csv
import json
import shutil

import nibabel
import numpy as np
import pytest
from bright_model import Bench, image

from medseg.errors import DataError, PartialError, Problem, ResourceError, UsageError
from medseg.stages import study_steps
from medseg.stages.display import Silent


class Recorder(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    made = Bench(tmp_path)
    monkeypatch.setattr(study_steps, "steps_of", made.steps_of)
    return made


@pytest.fixture
def three(bench):
    return [image(bench.folder / f"scan{number}.nii.gz", bright=number) for number in (1, 2, 3)]


def test_the_statistics_are_those_of_the_masks(bench):
    bench.predict(image(bench.folder / "scan.nii.gz"))
    record = bench.record("scan")
    stomach = record["organs"][2]
    assert record["status"] == "ok"
    assert stomach.pop("volume_ml") == pytest.approx(0.3)
    assert stomach == {
        "organ": "stomach",
        "voxels": 3,
        "slices": 1,
        "first_slice": 4,
        "last_slice": 4,
        "mean_intensity": [100.0],
    }
    assert record["grid"]["axis_codes"] == "RAS"
    assert [check["code"] for check in record["checks"]] == ["W-EMPTY", "W-EMPTY"]


def test_an_organ_that_reaches_the_end_of_the_image_is_remarked(bench):
    bench.predict(image(bench.folder / "scan.nii.gz", bright=8))
    told = [check["found"] for check in bench.record("scan")["checks"]]
    assert told[-1] == "stomach reaches the end of the image along I"


def test_nothing_found_is_a_result_too(bench):
    bench.predict(image(bench.folder / "scan.nii.gz", bright=0))
    assert bench.record("scan")["status"] == "empty"
    assert not np.asarray(nibabel.load(bench.out / "scan.nii.gz").dataobj).any()


def test_a_second_run_does_nothing(bench, three):
    first = bench.predict(*three)
    files = {path: path.stat().st_mtime_ns for path in bench.out.glob("scan*")}
    display = Recorder()
    assert bench.predict(*three, display=display) == first
    assert bench.segmented == []
    assert {path: path.stat().st_mtime_ns for path in bench.out.glob("scan*")} == files
    assert all(line.endswith("(as before)") for line in display.lines)


def test_only_what_is_missing_is_made(bench, three):
    bench.predict(*three)
    (bench.out / "scan2.nii.gz").unlink()
    bench.predict(*three)
    assert bench.segmented == ["scan2"]
    assert (bench.out / "scan2.nii.gz").exists()


def test_a_bad_study_leaves_the_others_and_is_made_once_it_is_mended(bench, three):
    whole = three[1].read_bytes()
    three[1].write_bytes(whole[:-20])
    with pytest.raises(PartialError, match=r"E-NII-TRUNC.*scan2"):
        bench.predict(*three)
    assert sorted(path.name for path in bench.out.glob("*.nii.gz")) == [
        *("scan1.nii.gz", "scan3.nii.gz")
    ]
    rows = list(csv.DictReader((bench.out / "studies.csv").read_text().splitlines()))
    assert {row["scan_id"]: row["status"] for row in rows} == {
        "scan1": "ok",
        "scan2": "failed",
        "scan3": "ok",
    }
    three[1].write_bytes(whole)
    bench.predict(*three)
    assert bench.segmented == ["scan2"]


def test_where_all_fail_the_data_are_wrong(bench, three):
    for path in three:
        path.write_bytes(b"")
    with pytest.raises(DataError, match="E-NII-TRUNC"):
        bench.predict(*three)


def test_a_source_that_is_not_there_does_not_stop_the_others(bench, three):
    listed = bench.folder / "list.csv"
    listed.write_text("image,name\nscan1.nii.gz,first\ngone.nii.gz,second\nscan3.nii.gz,\n")
    with pytest.raises(PartialError, match=r"E-IO.*gone\.nii\.gz"):
        bench.predict(listed)
    assert bench.segmented == ["first", "scan3"]


def test_of_two_with_one_name_the_first_is_made(bench):
    paths = [image(bench.folder / name / "scan.nii.gz") for name in "ab"]
    with pytest.raises(PartialError, match=r"E-DUP.*second scan named scan"):
        bench.predict(*paths)
    assert bench.segmented == ["scan"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(lambda b: b.weights.write_bytes(b"others"), "another model", id="model"),
        pytest.param(lambda b: b.config.update(flips=["x"]), "another setting", id="settings"),
    ],
)
def test_what_another_model_wrote_is_replaced_only_on_request(bench, three, change, told):
    bench.predict(*three)
    change(bench)
    with pytest.raises(UsageError, match=rf"E-EXISTS.*{told}.*--overwrite"):
        bench.predict(*three)
    assert bench.segmented == []
    bench.predict(*three, overwrite=True)
    assert len(bench.segmented) == 3


@pytest.mark.parametrize(
    "key", [pytest.param(key, id=key) for key in ("device", "batch_size", "bundle_root")]
)
def test_where_and_how_fast_it_is_computed_changes_nothing(bench, three, key):
    bench.predict(*three)
    bench.config[key] = "another"
    bench.predict(*three)
    assert bench.segmented == []


def test_another_image_of_the_name_is_not_taken_for_the_first(bench):
    path = image(bench.folder / "scan.nii.gz", bright=3)
    bench.predict(path)
    image(path, bright=5)
    with pytest.raises(DataError, match=r"E-EXISTS.*another image of this name"):
        bench.predict(path)
    bench.predict(path, overwrite=True)
    assert bench.record("scan")["organs"][2]["voxels"] == 5


def test_a_file_of_somebody_else_is_not_replaced(bench, three):
    bench.out.mkdir()
    shutil.copy(three[2], bench.out / "scan2.nii.gz")
    before = (bench.out / "scan2.nii.gz").read_bytes()
    with pytest.raises(UsageError, match=r"E-EXISTS.*scan2\.nii\.gz.*no record"):
        bench.predict(*three)
    assert (bench.out / "scan2.nii.gz").read_bytes() == before
    assert bench.segmented == []


def test_inputs_are_not_overwritten_even_on_request(bench):
    path = image(bench.folder / "scan.nii.gz")
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"E-EXISTS.*would be overwritten.*another --out"):
        bench.predict(path, overwrite=True, config={"output_dir": str(bench.folder)})
    assert path.read_bytes() == before


def test_what_a_killed_run_left_is_made_again(bench, three, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(
            study_steps, "organs_found", lambda *_: (_ for _ in ()).throw(ResourceError())
        )
        with pytest.raises(ResourceError):
            bench.predict(*three)
    assert bench.record("scan1")["status"] == "begun"
    assert (bench.out / "scan1.nii.gz").exists()
    bench.predict(*three)
    assert bench.segmented == ["scan1", "scan2", "scan3"]
    assert bench.record("scan1")["status"] == "ok"


def test_a_fault_of_the_computation_fails_its_study_alone(bench, three):
    bench.faults["scan2"] = DataError(Problem("E-NONFINITE", "scan2", "its logits hold NaN"))
    with pytest.raises(PartialError, match="E-NONFINITE"):
        bench.predict(*three)
    assert not list(bench.out.glob("scan2*"))


def test_dicom_is_refused_of_what_is_none_before_anything_is_computed(bench, three):
    with pytest.raises(DataError, match=r"E-NO-SOURCE.*seg and rtstruct.*to-dicom"):
        bench.predict(*three, config={"formats": ["nifti", "seg", "rtstruct"]})
    assert bench.segmented == []
    assert not list(bench.out.glob("scan*"))


def test_a_model_of_several_channels_refuses_an_image_of_one(bench, three):
    with pytest.raises(DataError, match=r"E-CHANNELS.*1 channels.*expected 4"):
        bench.predict(*three, config={"channels": 4})
    assert bench.segmented == []


RANGES = {
    "scans": 9,
    "scaled": True,
    "modality": "MR",
    "context": 1,
    "slices": [100, 140],
    "size_px": [10, 12],
    "field_of_view_mm": [50.0, 60.0],
    "in_plane_mm": [5.0, 5.0],
    "between_slices_mm": [4.0, 4.0],
}


def test_a_scan_unlike_those_of_the_training_is_remarked(bench, three):
    bench.predict(three[0], config={"ranges": RANGES})
    told = next(c for c in bench.record("scan1")["checks"] if c["code"] == "W-RANGE")
    assert told["found"] == "slices 6"


def test_a_scan_that_makes_no_sense_is_refused(bench, three):
    far = {**RANGES, "in_plane_mm": [0.5, 0.5]}
    with pytest.raises(DataError, match=r"E-RANGE.*spacing in a slice 5 mm"):
        bench.predict(three[0], config={"ranges": far})
    assert bench.segmented == []


def test_a_picture_and_a_page_are_left(bench, three):
    bench.predict(*three, previews=True)
    assert (bench.out / "scan1_preview.png").read_bytes().startswith(b"\x89PNG")
    page = (bench.out / "report.html").read_text()
    assert '<a href="scan2_preview.png">scan2</a>' in page


def test_bids_names_hold_the_same_voxels(bench, three):
    bench.predict(three[0])
    plain = np.asarray(nibabel.load(bench.out / "scan1.nii.gz").dataobj)
    config = {"output_dir": str(bench.folder / "derivatives")}
    bench.predict(three[0], bids=True, previews=True, config=config)
    folder = bench.folder / "derivatives"
    named = folder / "sub-scan1" / "anat" / "sub-scan1_desc-medseg_dseg.nii.gz"
    assert np.array_equal(np.asarray(nibabel.load(named).dataobj), plain)
    preview = "sub-scan1/anat/sub-scan1_desc-medseg_preview.png"
    assert (folder / preview).is_file()
    assert f'<a href="{preview}">scan1</a>' in (folder / "report.html").read_text()
    facts = json.loads((folder / "dataset_description.json").read_text())
    assert facts["DatasetType"] == "derivative"
    table = (folder / "desc-medseg_dseg.tsv").read_text().splitlines()
    assert table[:2] == ["index\tname\tcolor", "0\tbackground\t#000000"]
