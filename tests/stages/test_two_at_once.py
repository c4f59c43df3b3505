"""Two commands in one output folder: on one run only one of them works."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from untrained_run import untrained_run

from medseg.cli import main
from medseg.data.study_list import Study
from medseg.errors import ResourceError
from medseg.io.lock import LOCK, locked
from medseg.runs import new_run
from medseg.stages.cohort import Asked, predict_cohort
from medseg.stages.display import Silent
from medseg.stages.track import tracked


@pytest.fixture(scope="module")
def begun(tiny_phantom, tmp_path_factory):
    return untrained_run(tiny_phantom, tmp_path_factory.mktemp("runs"))


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "more",
    [
        pytest.param([], id="to go on"),
        pytest.param(["--set", "epochs=99"], id="with more epochs"),
    ],
)
def test_a_run_at_work_is_not_gone_on_with(more, begun, tiny_phantom, capsys):
    output = begun.folder.parents[1]
    words = ["run", "uwmgi_segformer", "--demo", "--data", str(tiny_phantom), "--device", "cpu"]
    words += ["--output", str(output), "--resume", "--set", "roi_px=[64, 64]"]
    with locked(begun.folder):
        before = files(begun.folder)
        assert main([*words, *more, "--json"]) == 4
        assert files(begun.folder) == before
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["code"] == "E-LOCKED"
    assert problem["subject"] == str(begun.folder)


def test_a_run_is_locked_as_long_as_it_is_tracked(begun):
    def work():
        with tracked(begun, None, output=begun.folder.parents[1]):
            assert (begun.folder / LOCK).exists()
            with pytest.raises(ResourceError, match="E-LOCKED"), locked(begun.folder):
                pytest.fail("two are at work")
            raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        work()
    assert not (begun.folder / LOCK).exists()


def test_runs_that_begin_at_once_have_folders_of_their_own(tmp_path):
    config = {"fold": 0}
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: new_run(tmp_path / "new", config), range(40)))
    assert len({run.folder for run in runs}) == 40
    assert all(run.folder.is_dir() for run in runs)


def test_two_commands_do_not_predict_into_one_folder(tmp_path):
    config = {"output_dir": str(tmp_path / "out"), "postprocessing": {}}
    with (
        locked(tmp_path / "out"),
        pytest.raises(ResourceError, match=r"E-LOCKED.*out: process"),
    ):
        predict_cohort(config, [Study(tmp_path / "scan.nii.gz")], Silent(), Asked())
    assert list(tmp_path.iterdir()) == []
