"""Studies go to a real PACS and come back, by both protocols, and what fails is told."""

import stat

import dicom_series
import pydicom
import pytest
from orthanc import instances_of, running_orthanc
from random_bundle import SMALL, random_bundle

from medseg.cli import main
from medseg.errors import DataError, PartialError, Problem, ResourceError, UsageError
from medseg.io import dicom_peers, dicom_web
from medseg.io.atomic import replacing
from medseg.io.dicom_peers import peer_of

PROTOCOLS = [pytest.param("web", id="DICOMweb"), pytest.param("dimse", id="C-FIND and C-GET")]


@pytest.fixture(scope="module", autouse=True)
def _no_proxy():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    """An Orthanc that all tests share; each stores a study of its own."""
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="module")
def study(pacs, tmp_path_factory):
    """Two series of one study, stored in the PACS: their datasets, and their UIDs."""
    folder = tmp_path_factory.mktemp("study")
    made = []
    for name in ("first", "second"):
        datasets = dicom_series.slices(dicom_series.ramp((5, 4, 3)), study="fetched", name=name)
        files = dicom_series.write_series(folder / name, datasets)
        peer_of(pacs.web).store(files)
        made.append(datasets)
    return made


def held(files):
    """Return the datasets of files by their UID, without what belongs to the file."""
    return {dataset.SOPInstanceUID: dataset for dataset in map(pydicom.dcmread, files)}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_stored_comes_back(protocol, pacs, tmp_path):
    files = dicom_series.write_series(
        tmp_path / "in", voxels=dicom_series.ramp((5, 4, 3)), study=f"stored by {protocol}"
    )
    peer = peer_of(getattr(pacs, protocol))
    peer.store(files)
    sent = held(files)
    uid = next(iter(sent.values())).StudyInstanceUID
    assert instances_of(pacs, uid) == ["MR"] * 3
    came = peer.fetch(uid, tmp_path / "out")
    assert [path.name for path in came] == ["00001.dcm", "00002.dcm", "00003.dcm"]
    assert held(came) == sent


def test_what_comes_by_web_has_the_bytes_that_were_stored(pacs, tmp_path):
    files = dicom_series.write_series(
        tmp_path / "in", voxels=dicom_series.ramp((5, 4, 2)), study="bytes"
    )
    peer_of(pacs.web).store(files)
    came = peer_of(pacs.web).fetch(dicom_series.uid("bytes"), tmp_path / "out")
    assert sorted(p.read_bytes() for p in came) == sorted(p.read_bytes() for p in files)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_compressed_slices_come_as_they_were_stored(protocol, pacs, tmp_path):
    dataset = dicom_series.slices(dicom_series.ramp((32, 16, 1)), study=f"RLE {protocol}")[0]
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    pixels = dataset.pixel_array
    dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    file = dicom_series.save(dataset, tmp_path / "a", transfer_syntax=pydicom.uid.RLELossless)
    peer = peer_of(getattr(pacs, protocol))
    peer.store([file])
    (came,) = peer.fetch(dataset.StudyInstanceUID, tmp_path / "out")
    read = pydicom.dcmread(came)
    assert read.file_meta.TransferSyntaxUID == pydicom.uid.RLELossless
    assert (read.pixel_array == pixels).all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_series_or_all(protocol, pacs, study, tmp_path):
    first, second = study
    peer = peer_of(getattr(pacs, protocol))
    uid, series = first[0].StudyInstanceUID, first[0].SeriesInstanceUID
    one = held(peer.fetch(uid, tmp_path / "one", series))
    assert set(one) == {dataset.SOPInstanceUID for dataset in first}
    both = held(peer.fetch(uid, tmp_path / "both"))
    assert set(both) == {dataset.SOPInstanceUID for dataset in (*first, *second)}


def test_a_folder_for_patients_is_the_users_alone(pacs, study, tmp_path):
    peer_of(pacs.web).fetch(study[0][0].StudyInstanceUID, tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("bundles") / "own")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        pytest.param("web", "dimse", id="from DICOMweb by C-STORE"),
        pytest.param("dimse", "web", id="from C-GET by STOW-RS"),
    ],
)
def test_a_study_is_fetched_segmented_and_its_results_stored(source, target, pacs, model, tmp_path):
    images = dicom_series.slices(dicom_series.ramp((16, 12, 4)), study=f"from {source}")
    peer_of(pacs.dimse).store(dicom_series.write_series(tmp_path / "in", images))
    uid = images[0].StudyInstanceUID
    words = ["predict", str(model), "-o", str(tmp_path / "out"), *SMALL, "-q", "--no-preview"]
    words += ["--from", getattr(pacs, source), "--study", uid, "--to", getattr(pacs, target)]
    assert main([*words, "--format", "seg,rtstruct"]) == 0
    assert instances_of(pacs, uid) == [*["MR"] * 4, "RTSTRUCT", "SEG"]
    came = held(peer_of(getattr(pacs, source)).fetch(uid, tmp_path / "all"))
    results = held((tmp_path / "out").glob("*.dcm"))
    assert sorted(result.Modality for result in results.values()) == ["RTSTRUCT", "SEG"]
    assert {number: came[number] for number in results} == results


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_report_in_the_study_comes_along(protocol, pacs, tmp_path):
    made = dicom_series.slices(dicom_series.ramp((5, 4, 2)), study=f"reported {protocol}")
    made[1].SOPClassUID, made[1].Modality = pydicom.uid.ComprehensiveSRStorage, "SR"
    made[1].SeriesInstanceUID = dicom_series.uid("report", protocol)
    del made[1].PixelData
    peer = peer_of(getattr(pacs, protocol))
    peer.store(dicom_series.write_series(tmp_path / "in", made))
    came = held(peer.fetch(made[0].StudyInstanceUID, tmp_path / "out"))
    assert sorted(dataset.Modality for dataset in came.values()) == ["MR", "SR"]


def test_a_study_that_is_not_there_ends_with_3(pacs, model, tmp_path, capsys):
    words = ["predict", str(model), "-o", str(tmp_path / "out"), *SMALL, "-q"]
    assert main([*words, "--from", pacs.web, "--study", "1.2.3"]) == 3
    assert capsys.readouterr().err == f"error[E-PACS-STUDY]: {pacs.web}: has no study …1.2.3.\n"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_not_there_is_told(protocol, pacs, study, tmp_path):
    peer = peer_of(getattr(pacs, protocol))
    with pytest.raises(DataError, match=r"E-PACS-STUDY\].*: has no study …1\.2\.3\.$"):
        peer.fetch("1.2.3", tmp_path / "out")
    with pytest.raises(DataError, match=r"E-PACS-STUDY\].*: has no series …1\.2\.3 in study …"):
        peer.fetch(study[0][0].StudyInstanceUID, tmp_path / "out", "1.2.3")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_killed_server_is_told(protocol, tmp_path):
    with running_orthanc(tmp_path / "orthanc") as server:
        peer = peer_of(getattr(server, protocol), timeout_s=5)
        files = dicom_series.write_series(tmp_path / "in", voxels=dicom_series.ramp((5, 4, 3)))
        peer.store(files[:1])
        server.process.kill()
        server.process.wait()
        with pytest.raises(ResourceError, match=r"E-PACS-DOWN\].*: nothing answers\. Fix: check"):
            peer.store(files)
        with pytest.raises(ResourceError, match=r"E-PACS-DOWN\].*: nothing answers\. Fix: check"):
            peer.fetch(dicom_series.uid("study"), tmp_path / "out")


def test_a_caller_that_is_not_known_is_told(pacs, study, tmp_path):
    peer = peer_of(f"{pacs.dimse}?as=STRANGER", timeout_s=5)
    with pytest.raises(ResourceError, match=r"E-PACS-CUT.*see that it knows STRANGER and allows"):
        peer.fetch(study[0][0].StudyInstanceUID, tmp_path / "out")


def test_what_is_no_dicom_file_is_not_sent(pacs, tmp_path):
    (tmp_path / "a.dcm").write_text("nothing")
    for address in (pacs.web, pacs.dimse):
        with pytest.raises(DataError, match=r"E-PACS-FILE\]: .*a\.dcm: is no DICOM file"):
            peer_of(address).store([tmp_path / "a.dcm"])


def test_a_kind_that_a_pacs_does_not_take_is_told_and_the_others_are_stored(pacs, tmp_path):
    datasets = dicom_series.slices(dicom_series.ramp((5, 4, 2)), study="kinds")
    datasets[0].SOPClassUID = "1.2.3.4"
    files = dicom_series.write_series(tmp_path, datasets)
    with pytest.raises(PartialError) as raised:
        peer_of(pacs.dimse).store(files)
    assert str(raised.value).splitlines() == [
        f"error[E-PACS-STORE]: {files[0]}: {pacs.dimse} does not take files of this kind or "
        "encoding.",
        f"error[E-PACS-PARTIAL]: {pacs.dimse}: 1 of 2 files are stored.",
    ]
    with pytest.raises(UsageError, match=r"E-PACS-REFUSED.*does not do C-STORE of such"):
        peer_of(pacs.dimse).store(files[:1])


def test_a_retrieval_that_lacks_instances_leaves_nothing(pacs, tmp_path, monkeypatch):
    files = dicom_series.write_series(
        tmp_path / "in", voxels=dicom_series.ramp((5, 4, 3)), study="incomplete"
    )
    peer = peer_of(pacs.web)
    peer.store(files)
    contents = dicom_web._contents
    monkeypatch.setattr(dicom_web, "_contents", lambda parts: list(contents(parts))[:-1])
    with pytest.raises(DataError, match=r"E-PACS-PARTIAL.*: 2 of 3 instances came"):
        peer.fetch(dicom_series.uid("incomplete"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_instance_without_end_is_cut_off(pacs, study, tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_web, "MAX_INSTANCE_BYTES", 1000)
    with pytest.raises(DataError, match=r"E-PACS-SIZE.*sends an instance without end"):
        peer_of(pacs.web).fetch(study[0][0].StudyInstanceUID, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"no DICOM", "sent something else", id="not DICOM"),
        pytest.param(b"", "sent something else", id="nothing"),
        pytest.param(None, "sent an instance of another study", id="another study"),
    ],
)
def test_what_was_not_asked_for_is_refused(content, told, pacs, study, tmp_path, monkeypatch):
    other = dicom_series.slices(dicom_series.ramp((5, 4, 1)), study="another")[0]
    sent = content
    if sent is None:
        sent = dicom_series.save(other, tmp_path / "other.dcm").read_bytes()
    monkeypatch.setattr(dicom_web, "_contents", lambda _: [sent])
    with pytest.raises(DataError, match=rf"E-PACS-CONTENT.*: {told} \(expected"):
        peer_of(pacs.web).fetch(study[0][0].StudyInstanceUID, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_full_disk_ends_a_retrieval_and_leaves_nothing(
    protocol, pacs, study, tmp_path, monkeypatch
):
    turns = iter([replacing])

    def full(path):
        for usual in turns:
            return usual(path)
        raise ResourceError(Problem("E-DISK", str(path), "no space left"))

    monkeypatch.setattr(dicom_peers, "replacing", full)
    with pytest.raises(ResourceError, match=r"E-DISK\]: .*00002\.dcm: no space left"):
        peer_of(getattr(pacs, protocol)).fetch(study[0][0].StudyInstanceUID, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
