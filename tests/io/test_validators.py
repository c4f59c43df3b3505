"""The validators find faults where there are some: what they pass has been looked at."""

import dicom_series
import pytest
import validators


@pytest.fixture
def broken(tmp_path):
    """A function that changes the first of three sound slices, and writes them."""

    def written(change):
        slices = dicom_series.slices(dicom_series.ramp((4, 5, 3)))
        change(slices[0])
        return dicom_series.write_series(tmp_path, slices)

    return written


def test_dciodvfy_names_what_is_missing(broken):
    files = broken(lambda dataset: dataset.pop("StudyTime"))
    (error,) = validators.dciodvfy_errors(files[0])
    assert "StudyTime" in error
    assert validators.dciodvfy_errors(files[1]) == []


def test_dcentvfy_names_what_differs(broken):
    files = broken(lambda dataset: setattr(dataset, "PatientName", "Roe^Richard"))
    assert any("PatientName" in fault for fault in validators.dcentvfy_faults(files))
    assert validators.dcentvfy_faults(files[1:]) == []


@pytest.mark.parametrize("faults", [validators.gdcm_faults, validators.dcmtk_faults])
def test_readers_stumble_over_a_file_that_is_cut(broken, faults):
    file, *_ = broken(lambda dataset: dataset.pop("StudyTime"))
    assert faults(file) == []
    file.write_bytes(file.read_bytes()[:700])
    with pytest.raises(AssertionError, match=r"(?i)error|fail|could not|E:"):
        assert faults(file) == []


def test_a_program_that_is_absent_skips_its_test():
    with pytest.raises(pytest.skip.Exception, match="there is no nonesuch; 'make test'"):
        validators.program("nonesuch")
