"""``medseg predict --from … --to …``: a study out of a real PACS, and its contours into it."""

import dicom_series
import pytest
from orthanc import free_port, running_orthanc
from random_bundle import SMALL, random_bundle

from medseg.cli import main
from medseg.io.dicom_peers import peer_of


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    with running_orthanc(tmp_path_factory.mktemp("pacs") / "orthanc") as server:
        yield server


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("bundles") / "own")


def stored(pacs, folder, study):
    """Store a series of a study of its own, and return the study's UID."""
    files = dicom_series.write_series(folder, study=study)
    peer_of(pacs.dimse).store(files)
    return str(dicom_series.uid(study))


def held(pacs, study):
    """The modality of each series that the PACS lists under a study."""
    found = [
        each
        for each in pacs.rest("studies?expand")
        if each["MainDicomTags"]["StudyInstanceUID"] == study
    ]
    assert len(found) == 1, "one study, not one for the images and one for the results"
    series = (pacs.rest(f"series/{name}") for name in found[0]["Series"])
    return sorted(each["MainDicomTags"]["Modality"] for each in series)


@pytest.mark.parametrize("way", [pytest.param(w, id=w) for w in ("web", "dimse")])
def test_a_study_is_fetched_segmented_and_its_results_stored_back(pacs, model, tmp_path, way):
    study = stored(pacs, tmp_path / "images", f"to {way}")
    address = getattr(pacs, way)
    words = ["predict", str(model), "--from", address, "--study", study, "--to", address]
    words += ["-o", str(tmp_path / "out"), "--format", "seg,rtstruct", *SMALL]
    assert main(words) == 0
    assert held(pacs, study) == ["MR", "RTSTRUCT", "SEG"]
    files = {path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.dcm")}
    assert main(words) == 0  # the same files, and nothing is sent twice
    assert {path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.dcm")} == files
    assert held(pacs, study) == ["MR", "RTSTRUCT", "SEG"]


def test_results_that_could_not_be_sent_are_sent_by_a_second_run(pacs, model, tmp_path, capsys):
    study = stored(pacs, tmp_path / "images", "sent later")
    words = ["predict", str(model), str(tmp_path / "images"), "-o", str(tmp_path / "out"), *SMALL]
    words += ["--format", "seg", "--to"]
    assert main([*words, f"dimse:ORTHANC@127.0.0.1:{free_port()}"]) == 4
    assert "error[E-PACS" in capsys.readouterr().err
    assert (tmp_path / "out" / "images_seg.dcm").exists()
    assert held(pacs, study) == ["MR"]
    assert main([*words, pacs.dimse]) == 0
    assert held(pacs, study) == ["MR", "SEG"]


def test_of_two_series_one_is_fetched_by_its_uid(pacs, model, tmp_path, capsys):
    study = stored(pacs, tmp_path / "a", "two series")
    other = dicom_series.write_series(tmp_path / "b", study="two series", name="other")
    peer_of(pacs.dimse).store(other)
    words = ["predict", str(model), "--from", pacs.web, "--study", study, *SMALL]
    words += ["-o", str(tmp_path / "out")]
    assert main(words) == 3
    assert "error[E-DCM-SERIES]" in capsys.readouterr().err
    assert main([*words, "--series", str(dicom_series.uid("two series", "other"))]) == 0


def test_a_study_that_the_pacs_does_not_have_is_said(pacs, model, tmp_path, capsys):
    words = ["predict", str(model), "--from", pacs.web, "--study", "1.2.3.4.5"]
    assert main([*words, "-o", str(tmp_path / "out"), *SMALL]) == 3
    assert "error[E-PACS" in capsys.readouterr().err
