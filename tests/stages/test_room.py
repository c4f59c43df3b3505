"""Nothing is lost by predicting: no input, nothing of somebody else, no other study's files."""

import json
import shutil

import pytest
from bright_model import Bench, image

from medseg.errors import DataError, PartialError, UsageError
from medseg.stages import study_steps


@pytest.fixture
def bench(tmp_path, monkeypatch):
    made = Bench(tmp_path)
    monkeypatch.setattr(study_steps, "steps_of", made.steps_of)
    return made


@pytest.fixture
def scan(bench):
    return image(bench.folder / "in" / "scan.nii.gz")


def into(folder, **config):
    return {"output_dir": str(folder), **config}


def test_an_input_is_not_replaced_by_another_studys_file(bench, scan):
    """The mask of one study has the name of the image of another."""
    other = image(bench.folder / "out" / "scan_stomach.nii.gz", bright=2)
    before = other.read_bytes()
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"E-EXISTS.*scan_stomach\.nii\.gz.*overwritten"):
            bench.predict(scan, other, overwrite=overwrite, config={"per_organ": True})
    assert other.read_bytes() == before
    assert bench.segmented == []


def test_an_input_that_a_link_leads_to_is_not_replaced(bench, scan):
    bench.out.mkdir()
    (bench.out / "scan.nii.gz").symlink_to(scan)
    before = scan.read_bytes()
    with pytest.raises(UsageError, match=r"E-EXISTS.*would be overwritten"):
        bench.predict(scan, overwrite=True)
    assert scan.read_bytes() == before


def test_a_list_of_studies_is_an_input_too(bench, scan):
    listed = scan.with_name("scan.json")
    listed.write_text(json.dumps([{"image": "scan.nii.gz", "name": "scan"}]))
    with pytest.raises(UsageError, match=r"E-EXISTS.*scan\.json: would be overwritten"):
        bench.predict(listed, overwrite=True, config=into(scan.parent))
    assert json.loads(listed.read_text())[0]["name"] == "scan"


def test_what_lies_among_inputs_is_replaced_by_its_own_study_alone(bench, scan):
    """A folder of inputs may hold more than what is read of it."""
    out = scan.parent / "out"
    bench.predict(scan.parent, config=into(out))
    bench.predict(scan.parent, overwrite=True, config=into(out, weight=2))  # its own record says so
    assert bench.segmented == ["scan"]
    (out / "scan.json").write_text("{}")
    with pytest.raises(UsageError, match=r"scan\.json: would be overwritten(?s:.)*scan\.nii\.gz"):
        bench.predict(scan.parent, overwrite=True, config=into(out))


def test_what_a_killed_run_left_among_inputs_is_made_again(bench, scan):
    out = scan.parent / "out"
    bench.predict(scan.parent, config=into(out))
    record = json.loads((out / "scan.json").read_text())
    (out / "scan.json").write_text(json.dumps(record | {"status": "begun", "files": {}}))
    bench.predict(scan.parent, config=into(out))
    assert bench.segmented == ["scan"]


@pytest.mark.parametrize(
    ("name", "config"),
    [
        pytest.param("scan_stomach.nii.gz", {"per_organ": True}, id="a mask"),
        pytest.param("scan_stomach_probs.nii.gz", {"probabilities": True}, id="probabilities"),
        pytest.param("scan_seg.dcm", {"formats": ["nifti", "seg"]}, id="DICOM SEG"),
        pytest.param("scan_rtstruct.dcm", {"formats": ["rtstruct"]}, id="RTSTRUCT"),
        pytest.param("scan.json", {}, id="statistics"),
        pytest.param("studies.csv", {}, id="the table"),
        pytest.param("report.html", {}, id="the page"),
    ],
)
def test_every_file_of_somebody_else_stays(bench, scan, name, config):
    bench.out.mkdir()
    (bench.out / name).write_text("mine")
    with pytest.raises(UsageError, match="E-EXISTS") as caught:
        bench.predict(scan, config=config)
    assert [row.subject for row in caught.value.problems] == [str(bench.out / name)]
    assert (bench.out / name).read_text() == "mine"
    assert bench.segmented == []


def test_what_is_not_to_be_written_is_in_nobodys_way(bench, scan):
    bench.out.mkdir()
    for name in ("scan_stomach.nii.gz", "scan_seg.dcm", "scan_preview.png"):
        (bench.out / name).write_text("mine")
    bench.predict(scan)
    assert (bench.out / "scan_stomach.nii.gz").read_text() == "mine"


def test_tables_and_pages_of_medseg_are_replaced(bench, scan):
    bench.predict(scan)
    bench.predict(scan, image(bench.folder / "in" / "more.nii.gz"))
    assert (bench.out / "studies.csv").read_text().count("\n") == 3


def test_somebody_elses_table_is_replaced_on_request(bench, scan):
    bench.out.mkdir()
    (bench.out / "studies.csv").write_text("mine")
    bench.predict(scan, overwrite=True)
    assert "scan,ok" in (bench.out / "studies.csv").read_text()


def test_two_studies_do_not_share_a_file(bench, scan):
    """BIDS knows letters and digits only."""
    pair = [image(bench.folder / name / f"{name}.nii.gz") for name in ("a-b", "ab")]
    with pytest.raises(UsageError, match=r"E-DUP\]: ab: a-b writes sub-ab.* too"):
        bench.predict(*pair, bids=True)
    assert bench.segmented == []
    bench.predict(*pair)
    assert bench.segmented == ["a-b", "ab"]


def test_a_mask_and_a_study_of_one_name_do_not_share_a_file(bench, scan):
    other = image(bench.folder / "in" / "scan_stomach.nii.gz")
    with pytest.raises(UsageError, match=r"E-DUP.*scan writes scan_stomach\.nii\.gz too"):
        bench.predict(scan, other, config={"per_organ": True})


@pytest.mark.parametrize("bids", [pytest.param(True, id="BIDS"), pytest.param(False, id="plain")])
def test_all_that_is_written_was_planned(bench, scan, bids, monkeypatch):
    planned = study_steps.StudySteps.planned
    seen = []
    monkeypatch.setattr(
        study_steps.StudySteps, "planned", lambda *a: seen.extend(planned(*a)) or planned(*a)
    )
    bench.predict(scan, bids=bids, previews=True)
    written = [*bench.out.rglob("*scan*.*")]
    assert sorted({*seen}) == sorted(path for path in written if path.is_file())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        pytest.param("a\nb", "cannot be printed", id="a line feed"),
        pytest.param("a\tb", "cannot be printed", id="a tab"),
        pytest.param("\x1b[31mred", "cannot be printed", id="an escape"),
        pytest.param("\u202eabc", "cannot be printed", id="a turn of direction"),
        pytest.param("\udcff", "cannot be printed", id="no UTF-8"),
        pytest.param("con", "Windows keeps", id="reserved"),
        pytest.param("Aux.1", "Windows keeps", id="reserved with more"),
        pytest.param("a:b", "holds :", id="a colon"),
        pytest.param("a\\b?", r"holds \\ \?", id="a backslash and a question"),
        pytest.param(".hidden", "begins or ends with", id="a dot in front"),
        pytest.param("end.", "begins or ends with", id="a dot at the end"),
        pytest.param("end ", "begins or ends with", id="a space at the end"),
        pytest.param("x" * 151, "longer than 150 bytes", id="long"),
        pytest.param("é" * 76, "longer than 150 bytes", id="long in bytes"),
    ],
)
def test_a_name_that_no_result_can_have_fails_its_study_alone(bench, scan, name, told):
    odd = scan.with_name(f"{name}.nii.gz")
    shutil.copy(scan, odd)
    with pytest.raises(PartialError, match=rf"E-NAME.*{told}.*list of studies") as caught:
        bench.predict(odd, scan)
    assert len(str(caught.value).splitlines()) == 1
    assert bench.segmented == ["scan"]
    listed = scan.with_name("list.json")
    listed.write_text(json.dumps([{"image": odd.name, "name": "case1"}]))
    bench.predict(listed)
    assert (bench.out / "case1.nii.gz").exists()


@pytest.mark.parametrize("name", ["Müller 3", "-rf", "x" * 150, "a'b", "con1"])
def test_other_names_are_kept(bench, scan, name):
    odd = scan.with_name(f"{name}.nii.gz")
    shutil.copy(scan, odd)
    bench.predict(odd, bids=True, previews=True)
    bench.predict(odd, previews=True, config=into(bench.folder / "plain", per_organ=True))
    assert (bench.folder / "plain" / f"{name}.nii.gz").exists()


def test_a_name_of_a_list_is_judged_too(bench, scan):
    listed = scan.with_name("list.json")
    listed.write_text(json.dumps([{"image": "scan.nii.gz", "name": "nul"}]))
    with pytest.raises(DataError, match=r"E-NAME.*'nul', which is a name that Windows keeps"):
        bench.predict(listed)
