"""The files for sbatch on a real Slurm: jobs to their end, and through the loss of their place."""

import json
import sys
from pathlib import Path

import pytest
from slurm import outputs, running_slurm

from medseg.data.phantom import write_phantom

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "deploy" / "slurm"
TINY = [
    *("--demo", "--device", "cpu", "--stage", "prepare", "--stage", "train"),
    *("--set", "roi_px=[32, 32]", "--set", "batch_size=4", "--set", "val_interval=9"),
    *("--set", "epoch_length=2"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with running_slurm(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture
def folder(tmp_path):
    """A folder to submit from, with data in it, and medseg on the path."""
    write_phantom(tmp_path / "data" / "uwmgi", patients=3, days=2, tiny=True)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    return tmp_path


def submitted(slurm, folder, stem, *words, options=(), **environment):
    given = {"OMP_NUM_THREADS": "1", **environment}
    options = ["--cpus-per-task=1", *options]
    return slurm.submitted(*options, FOLDER / f"{stem}.sbatch", *words, cwd=folder, **given)


def epochs(run):
    return [row["epoch"] for row in json.loads((run / "training.json").read_text())["epochs"]]


def only_run(folder):
    (config,) = folder.glob("runs/*/*/config.json")
    return config.parent


def test_a_training_to_its_end(slurm, folder):
    words = ["uwmgi_segformer", "--data", "data/uwmgi", *TINY, "--set", "epochs=2"]
    job = submitted(slurm, folder, "train", *words)
    (facts,) = slurm.ended(job)
    assert (facts["JobState"], facts["ExitCode"]) == ("COMPLETED", "0:0"), outputs(folder)
    assert epochs(only_run(folder)) == [1, 2]
    assert (only_run(folder) / "weights.safetensors").exists()


def test_a_job_ends_with_the_exit_code_of_medseg(slurm, folder):
    job = submitted(slurm, folder, "train", "uwmgi_segformer", "--set", "epochz=1")
    (facts,) = slurm.ended(job)
    assert (facts["JobState"], facts["ExitCode"]) == ("FAILED", "2:0")
    assert "did you mean epochs?" in outputs(folder)


@pytest.mark.parametrize(
    ("stem", "more", "stopped"),
    [
        pytest.param("train", (), ("scontrol", "requeue"), id="to another job"),
        pytest.param("train", (), ("scancel", "--batch", "--signal=USR1"), id="as time runs out"),
        pytest.param("train", ("--nproc", "2"), ("scontrol", "requeue"), id="two processes"),
        pytest.param("nodes", (), ("scontrol", "requeue"), id="two nodes"),
    ],
)
def test_a_job_that_loses_its_place_is_saved_and_goes_on(slurm, folder, stem, more, stopped):
    words = ["uwmgi_segformer", "--data", "data/uwmgi", *TINY, "--set", "epochs=12", *more]
    job = submitted(slurm, folder, stem, *words)
    slurm.until(
        lambda: list(folder.glob("runs/*/*/checkpoints/last.pt")), what="a checkpoint is there"
    )
    slurm.said(*stopped, job)
    (facts,) = slurm.ended(job)
    told = outputs(folder)
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", "1"), told
    assert told.count("the last step is saved") == 1
    assert epochs(only_run(folder)) == list(range(1, 13))


def test_two_nodes_train_together_and_leave_one_run(slurm, folder):
    words = ["uwmgi_segformer", "--data", "data/uwmgi", *TINY, "--set", "epochs=2"]
    job = submitted(slurm, folder, "nodes", *words)
    (facts,) = slurm.ended(job)
    told = outputs(folder)
    assert (facts["JobState"], facts["NumNodes"]) == ("COMPLETED", "2"), told
    assert epochs(only_run(folder)) == [1, 2]


@pytest.fixture
def trained(slurm, folder):
    """A folder with a run that has weights."""
    words = ["uwmgi_segformer", "--data", "data/uwmgi", *TINY, "--set", "epochs=1"]
    slurm.ended(submitted(slurm, folder, "train", *words))
    return folder


def scans_of(folder):
    return sorted(path.parent for path in folder.glob("data/uwmgi/train/*/*/scans"))


def test_an_array_segments_every_study_once(slurm, trained):
    studies = trained / "studies"
    studies.mkdir()
    for scan in scans_of(trained)[:3]:
        (studies / scan.name).symlink_to(scan)
    run = only_run(trained)
    words = [run, "studies", "out", "--device", "cpu", "--no-preview"]
    job = submitted(slurm, trained, "studies", *words, options=["--array=0-1"])
    facts = slurm.ended(job)
    assert [task["ExitCode"] for task in facts] == ["0:0", "0:0"], outputs(trained)
    made = [path.name for path in trained.glob("out/part-*/*_day*.nii.gz")]
    assert sorted(made) == [f"{scan.name}.nii.gz" for scan in scans_of(trained)[:3]]
    assert {path.name for path in trained.glob("out/*")} == {"part-0", "part-1"}


def test_a_ray_cluster_in_an_allocation_segments_studies_and_ends(slurm, trained):
    words = ["predict", only_run(trained), *scans_of(trained)[:2], "-o", "out"]
    job = submitted(slurm, trained, "ray", *words, "--device", "cpu", "--no-preview")
    (facts,) = slurm.ended(job)
    assert (facts["JobState"], facts["ExitCode"]) == ("COMPLETED", "0:0"), outputs(trained)
    made = sorted(path.name for path in trained.glob("out/*_day*.nii.gz"))
    assert made == [f"{scan.name}.nii.gz" for scan in scans_of(trained)[:2]]
    assert not Path(f"/tmp/ray-{job}").exists()
