"""``medseg predict`` as a user types it: DICOM in and out, lists, series, and models in MLflow."""

import json

import dicom_series
import nibabel
import numpy as np
import pydicom
import pytest
from random_bundle import SMALL, random_bundle

from medseg.cli import main
from medseg.engine.checkpoints import read_checkpoint, write_checkpoint
from medseg.geometry import lpi_grid
from medseg.io.nifti import write_image


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("bundles") / "own")


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dicom") / "patient"
    dicom_series.write_series(folder)
    return folder


def masks_of(seg):
    """The mask ``(I, J, K)`` of each segment, by the positions that its frames give."""
    masks = {number: np.zeros(dicom_series.SHAPE, np.uint8) for number in (1, 2, 3)}
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        z_mm = float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        k = round((z_mm - dicom_series.ORIGIN_LPS_MM[2]) / dicom_series.SPACING_MM[2])
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        masks[number][:, :, k] = pixels.T
    return masks


def test_a_series_becomes_nifti_seg_and_rtstruct_of_the_same_masks(model, series, tmp_path):
    out = tmp_path / "out"
    words = ["predict", str(model), str(series), "-o", str(out), *SMALL]
    assert main([*words, "--format", "nifti,seg,rtstruct", "--per-organ"]) == 0
    record = json.loads((out / "patient.json").read_text())
    assert {*record["files"]} == {
        *("patient.nii.gz", "patient_seg.dcm", "patient_rtstruct.dcm", "patient_preview.png"),
        *(f"patient_{organ}.nii.gz" for organ in ("large_bowel", "small_bowel", "stomach")),
    }
    label_map = nibabel.load(out / "patient.nii.gz")
    assert np.allclose(label_map.affine, dicom_series.affine_ras_mm(), atol=1e-3)
    segments = masks_of(pydicom.dcmread(out / "patient_seg.dcm"))
    for number, organ in enumerate(("large_bowel", "small_bowel", "stomach"), 1):
        mask = np.asarray(nibabel.load(out / f"patient_{organ}.nii.gz").dataobj)
        assert np.array_equal(segments[number], mask)
    assert len(np.unique(np.asarray(label_map.dataobj))) > 1
    contours = pydicom.dcmread(out / "patient_rtstruct.dcm")
    assert [roi.ROIName for roi in contours.StructureSetROISequence] == [
        *("large_bowel", "small_bowel", "stomach")
    ]


def test_dicom_gives_what_nifti_of_the_same_voxels_gives(model, series, tmp_path):
    stored = dicom_series.ramp().astype(np.float32)
    measured = stored * dicom_series.SLOPE + dicom_series.INTERCEPT
    image = nibabel.Nifti1Image(measured, dicom_series.affine_ras_mm())
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "same.nii.gz")
    words = ["predict", str(model), str(series), str(tmp_path / "same.nii.gz")]
    assert main([*words, "-o", str(tmp_path / "out"), *SMALL]) == 0
    of_dicom, of_nifti = (
        np.asarray(nibabel.load(tmp_path / "out" / f"{name}.nii.gz").dataobj)
        for name in ("patient", "same")
    )
    assert np.array_equal(of_dicom, of_nifti)


def test_of_two_series_one_must_be_named(model, tmp_path, capsys):
    folder = tmp_path / "patient"
    for number, name in ((4, "a"), (5, "b")):
        dicom_series.write_series(folder / name, name=name, SeriesNumber=number)
    words = ["predict", str(model), str(folder), "-o", str(tmp_path / "out"), *SMALL]
    assert main(words) == 3
    told = capsys.readouterr().err
    assert "E-DCM-SERIES" in told
    assert "--series" in told
    for number in ("4", "5"):
        assert main([*words, "--series", number]) == 0
    made = {path.stat().st_mtime_ns for path in (tmp_path / "out").glob("patient_*.nii.gz")}
    assert len(made) == 2
    assert main([*words, "--series", "all"]) == 0  # the same, so that nothing is made again
    assert {p.stat().st_mtime_ns for p in (tmp_path / "out").glob("patient*.nii.gz")} == made


def test_a_list_names_studies(model, series, tmp_path):
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([{"image": str(series), "name": "case7_day0"}]))
    words = ["predict", str(model), str(listed), "-o", str(tmp_path / "out"), *SMALL]
    assert main([*words, "--no-preview"]) == 0
    assert (tmp_path / "out" / "case7_day0.nii.gz").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param((), "nothing to segment", id="no input"),
        pytest.param(("--study", "1.2"), "--from and --study go together", id="study alone"),
        pytest.param(("--from", "dicomweb:http://h/"), "--from and --study", id="peer alone"),
        pytest.param(("--to", "dicomweb:http://h/", "."), "--to sends DICOM", id="NIfTI sent"),
        pytest.param(("--format", "nrrd", "."), "known are nifti, seg, rtstruct", id="format"),
    ],
)
def test_what_does_not_go_together_ends_with_2(model, tmp_path, capsys, words, told):
    assert main(["predict", str(model), *words, "-o", str(tmp_path), *SMALL]) == 2
    assert told in capsys.readouterr().err


def test_a_model_in_mlflow_that_is_not_there_ends_with_2(series, tmp_path, capsys):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    words = ["predict", "models:/nobody@best", str(series), "-o", str(tmp_path / "out"), "-q"]
    assert main([*words, "--tracking-uri", store]) == 2
    assert "error[E-MODEL]: models:/nobody@best" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_ends_it(model, series, tmp_path, capsys):
    (tmp_path / "file").touch()
    words = ["predict", str(model), str(series), *SMALL, "-o"]
    assert main([*words, str(tmp_path / "file")]) == 2
    assert main([*words, str(tmp_path / "file" / "out")]) == 4
    assert "error[E-IO]" in capsys.readouterr().err


def test_nothing_found_is_written_in_every_format(series, tmp_path):
    empty = random_bundle(tmp_path / "empty", finds=False)
    words = ["predict", str(empty), str(series), "-o", str(tmp_path / "out"), *SMALL]
    assert main([*words, "--format", "nifti,seg,rtstruct"]) == 0
    assert json.loads((tmp_path / "out" / "patient.json").read_text())["status"] == "empty"
    assert not np.asarray(nibabel.load(tmp_path / "out" / "patient.nii.gz").dataobj).any()
    seg = pydicom.dcmread(tmp_path / "out" / "patient_seg.dcm")
    assert seg.NumberOfFrames == 36
    assert not seg.pixel_array.any()
    contours = pydicom.dcmread(tmp_path / "out" / "patient_rtstruct.dcm")
    assert not any("ContourSequence" in roi for roi in contours.ROIContourSequence)


def image(path, *, sform=True, hole=False):
    """A NIfTI image whose forms disagree, or which has none, or of which a voxel is no number."""
    voxels = dicom_series.ramp().astype(np.float32)
    voxels[3, 4, 5] = np.nan if hole else 1
    made = nibabel.Nifti1Image(voxels, np.diag([1.5, 1.5, 3.0, 1.0]))
    made.header.set_xyzt_units("mm")
    made.set_sform(np.diag([-1.5, -1.5, 3.0, 1.0]), int(sform and not hole))
    made.set_qform(np.diag([1.5, 1.5, 3.0, 1.0]), int(sform or hole))
    nibabel.save(made, path)
    return path


@pytest.mark.parametrize(
    ("fault", "code", "passes"),
    [
        pytest.param({}, "E-NII-FORMS", (["--use", "sform"], "LPS"), id="sform"),
        pytest.param({}, "E-NII-FORMS", (["--use", "qform"], "RAS"), id="qform"),
        pytest.param({"sform": False}, "E-NII-NOFORM", (["--assume-ras"], "RAS"), id="no form"),
        pytest.param({"hole": True}, "E-NII-NAN", (["--nan-to-min"], "RAS"), id="no number"),
    ],
)
def test_what_is_not_sound_passes_only_by_its_option(model, tmp_path, capsys, fault, code, passes):
    path, (option, codes) = image(tmp_path / "scan.nii.gz", **fault), passes
    words = ["predict", str(model), str(path), "-o", str(tmp_path / "out"), "--no-preview", *SMALL]
    assert main(words) == 3
    assert f"error[{code}]" in capsys.readouterr().err
    assert main([*words, *option]) == 0
    written = nibabel.load(tmp_path / "out" / "scan.nii.gz")
    assert "".join(nibabel.aff2axcodes(written.affine)) == codes


def test_logits_that_are_no_numbers_fail_their_study_and_leave_no_file_of_it(
    series, tmp_path, capsys
):
    broken = random_bundle(tmp_path / "broken")
    weights = read_checkpoint(broken / "models" / "model.pt")
    weights[[*weights][-1]].fill_(float("nan"))
    write_checkpoint(broken / "models" / "model.pt", weights)
    words = ["predict", str(broken), str(series), "-o", str(tmp_path / "out"), *SMALL, "-q"]
    assert main([*words, "--format", "nifti,seg"]) == 6
    assert "error[E-NONFINITE]: patient: " in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "report.html",
        "studies.csv",
    ]


@pytest.mark.parametrize("shape", [(40, 33, 1), (1, 1, 1), (1, 57, 3), (37, 53, 5)], ids=str)
def test_small_and_odd_volumes_keep_their_shape(model, tmp_path, shape):
    voxels = np.random.default_rng(0).integers(0, 900, shape).astype(np.float32)
    write_image(tmp_path / "scan.nii.gz", voxels, lpi_grid(shape, (1.5, 1.5, 3.0)))
    words = ["predict", str(model), str(tmp_path / "scan.nii.gz"), "-o", str(tmp_path / "out")]
    assert main([*words, *SMALL, "--per-organ", "-q"]) == 0
    for name in ("scan", "scan_stomach"):
        written = nibabel.load(tmp_path / "out" / f"{name}.nii.gz")
        assert written.shape == shape
        assert np.allclose(written.affine, nibabel.load(tmp_path / "scan.nii.gz").affine)


def test_one_of_many_that_is_cut_off_fails_alone_and_is_made_when_it_is_whole(model, tmp_path):
    scans = [tmp_path / f"scan{number}.nii.gz" for number in range(4)]
    for seed, scan in enumerate(scans):
        voxels = np.random.default_rng(seed).integers(0, 900, (20, 24, 2)).astype(np.float32)
        write_image(scan, voxels, lpi_grid(voxels.shape, (1.5, 1.5, 3.0)))
    whole = scans[1].read_bytes()
    scans[1].write_bytes(whole[:300])
    out = tmp_path / "out"
    words = ["predict", str(model), *map(str, scans), "-o", str(out), *SMALL, "-q", "--no-preview"]
    assert main(words) == 6
    made = {path: path.stat().st_mtime_ns for path in out.glob("scan?.nii.gz")}
    assert {path.name for path in made} == {"scan0.nii.gz", "scan2.nii.gz", "scan3.nii.gz"}
    scans[1].write_bytes(whole)
    assert main(words) == 0
    now = {path: path.stat().st_mtime_ns for path in out.glob("scan?.nii.gz")}
    assert {path.name for path in now if made.get(path) != now[path]} == {"scan1.nii.gz"}
