"""The report of a run's folder: made of what is there, and saying what is not."""

import shutil

import pytest
from PIL import Image
from reported_run import Page, finished_run

from medseg.errors import DataError
from medseg.runs import Run, open_run
from medseg.stages.display import Silent
from medseg.stages.report import write_report


class Recorder(Silent):
    def __init__(self):
        self.steps = []

    def advance(self, done, total, note=""):  # noqa: ARG002
        self.steps.append((done, total))


@pytest.fixture(scope="module")
def whole(tiny_phantom, tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("run") / "uwmgi_unet_demo" / "a", tiny_phantom)


@pytest.fixture
def run(whole, tmp_path):
    """A run of its own, to take things from."""
    shutil.copytree(whole.folder, tmp_path / "uwmgi_unet_demo" / "a")
    return open_run(tmp_path / "uwmgi_unet_demo" / "a")


def page_of(run):
    return Page(write_report(run, Silent()).read_text("utf-8"))


def test_the_page_holds_every_case_and_leaves_the_picture_of_the_typical_scan(run):
    display = Recorder()
    file = write_report(run, display)
    page = Page(file.read_text("utf-8"))
    assert file == run.folder / "report.html"
    assert page.faults == []
    assert "Held-out scans of 1 patient (2 scans)" in page.sections[""]
    assert "1 organ missed" in page.sections[""]
    assert "stomach missed" in page.sections["failures"]
    # A picture of each organ in both scans, and one scan in three planes.
    photographs = [i for i in page.of("img") if i["src"].startswith("data:image/jpeg")]
    assert len(photographs) == 2 * 3 + 1
    assert display.steps == [(1, 3), (2, 3), (3, 3)]
    with Image.open(run.folder / "overlays" / "scan.png") as picture:
        assert picture.format == "PNG"


def test_both_sides_are_counted(run):
    told = page_of(run).sections["setup"]
    assert "training 1 2" in told
    assert "test 1 2 40" in told or "test 1 2 36" in told


def test_no_place_on_this_machine_is_told(run, tmp_path):
    html = write_report(run, Silent()).read_text("utf-8")
    assert str(tmp_path) not in html
    assert run.config["dataset_dir"] not in html
    assert run.config["bundle_root"] not in html


def test_the_same_folder_makes_the_same_page(run):
    first, second = (write_report(run, Silent()).read_bytes() for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("lost", "section", "said"),
    [
        pytest.param("predictions", "cases", "holds no predictions any more", id="predictions"),
        pytest.param("calibration.json", "calibration", "No probabilities", id="calibration"),
        pytest.param("training.json", "training", "kept no numbers", id="epochs"),
        pytest.param("metrics.csv", "results", "have not been scored", id="scores"),
        pytest.param("metrics.csv", "cases", "there is no best or worst one yet", id="no cases"),
        pytest.param("provenance.json", "provenance", "uwmgi_unet_demo, a", id="provenance"),
        pytest.param("splits.json", "setup", "unet", id="split"),
    ],
)
def test_what_the_folder_lacks_is_said_and_the_rest_is_told(run, lost, section, said):
    path = run.folder / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = page_of(run)
    assert page.faults == []
    assert said in page.sections[section]


def test_without_the_data_set_there_are_numbers_and_no_slices(run, tmp_path):
    page = page_of(Run(run.folder, run.config | {"dataset_dir": str(tmp_path / "gone")}))
    assert "The data set is not where it was" in page.sections["cases"]
    assert "training 1 2 –" in page.sections["setup"]
    assert "large bowel" in page.sections["results"]
    assert not [i for i in page.of("img") if i["src"].startswith("data:image/jpeg")]


def test_a_prediction_that_cannot_be_read_costs_its_own_pictures_only(run):
    broken, whole = sorted(run.predictions.glob("*.nii.gz"))
    broken.write_bytes(b"no gzip")
    page = page_of(run)
    shown = " ".join(attrs["alt"] for attrs in page.of("img"))
    assert whole.name.removesuffix(".nii.gz") in shown
    assert broken.name.removesuffix(".nii.gz") not in shown
    assert page.faults == []


def test_a_bundle_that_is_gone_leaves_its_words_out(run, tmp_path):
    page = page_of(Run(run.folder, run.config | {"bundle_root": str(tmp_path / "gone")}))
    assert "To be filled in by the authors." in page.sections["card"]


def test_a_table_changed_by_hand_is_refused(run):
    (run.folder / "metrics.csv").write_text("id,class\n1,stomach\n")
    with pytest.raises(DataError, match=r"E-CSV.*scan_id"):
        write_report(run, Silent())
