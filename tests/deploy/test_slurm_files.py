"""The files for sbatch, without a Slurm: what they say is known, and what they run."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from command_words import unknown
from validators import said

FOLDER = Path(__file__).parents[2] / "deploy" / "slurm"
FILES = sorted(FOLDER.glob("*.sbatch"))
each_file = pytest.mark.parametrize("file", [pytest.param(file, id=file.stem) for file in FILES])


def called(text):
    """Return the words of each call of medseg in a script, its comments left out."""
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    calls = re.findall(r"\bmedseg ([^&|\n]+)", code.replace("\\\n", " "))
    return [["medseg", *shlex.split(call)] for call in calls]


def examples(text):
    """Return of each ``sbatch`` line in comments the file's name and the words behind it."""
    lines = re.findall(r"^#\s+sbatch .*?(\S+)\.sbatch(.*)$", text, flags=re.MULTILINE)
    return [(Path(name).name, shlex.split(words)) for name, words in lines]


def test_there_are_the_files_that_the_page_names():
    page = (FOLDER.parents[1] / "docs" / "slurm.md").read_text(encoding="utf-8")
    assert {file.name for file in FILES} == set(re.findall(r"\w+\.sbatch", page))


@each_file
def test_shellcheck_finds_nothing(file):
    assert said("shellcheck", file) == []


@each_file
def test_what_is_called_is_known(file):
    (call,) = called(file.read_text())
    command = ["predict"] if call[1] == "$@" else []
    assert unknown([call[0], *command, *call[1:]]) == []


@each_file
def test_the_examples_at_its_head_are_known(file):
    command = {"train": ["run"], "nodes": ["run"], "studies": ["predict"], "ray": []}[file.stem]
    found = examples(file.read_text())
    assert {name for name, _ in found} == {file.stem}
    assert [unknown(["medseg", *command, *words]) for _, words in found] == [[]] * len(found)


def test_the_guard_catches_what_is_unknown():
    (call,) = called('# medseg nothing\nsrun x -m medseg run "$@" \\\n  --outptu runs &\n')
    assert unknown(call) == ["--outptu"]


@each_file
def test_it_may_be_requeued_and_adds_to_what_it_told(file):
    text = file.read_text()
    assert "\nset -euo pipefail\n" in text
    for line in ("--requeue", "--open-mode=append", "--time=", "--job-name=medseg-"):
        assert f"\n#SBATCH {line}" in text


# What stands in for a program writes its words to a file of its name; medseg ends with 7.
STUB = """#!/bin/sh
echo "$@" >> "$0.said"
[ "${0##*/}" != scontrol ] || echo "NodeName=n1 Arch=x86_64 NodeAddr=10.0.0.7 NodeHostName=n1"
[ "${0##*/}" != medseg ] || exit 7
"""


@pytest.fixture
def job(tmp_path):
    """A function that runs a file with stand-ins for other programs and returns what each got."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("medseg", "srun", "scontrol", "ray"):
        (programs / name).write_text(STUB)
        (programs / name).chmod(0o755)

    def run(stem, *words, code=7, **environment):
        for file in programs.glob("*.said"):
            file.unlink()
        slurm = {"SLURM_JOB_ID": "40007", "SLURMD_NODENAME": "n1", "SLURM_JOB_NUM_NODES": "2"}
        path = f"{programs}:{os.environ['PATH']}"
        ran = subprocess.run(
            ["bash", FOLDER / f"{stem}.sbatch", *words],
            cwd=tmp_path,
            env={"PATH": path, **slurm, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == code, ran.stderr
        return {
            file.stem: [line.split() for line in file.read_text().splitlines()]
            for file in programs.glob("*.said")
        }

    return run


def test_without_words_it_trains_on_the_phantom_and_ends_as_medseg_does(job):
    expected = "run uwmgi_segformer --output runs --fold 0 --nproc 1"
    assert job("train") == {"medseg": [expected.split()]}


def test_it_takes_all_devices_of_the_node_and_an_array_a_fold_a_task(job):
    given = {"SLURM_GPUS_ON_NODE": "4", "SLURM_ARRAY_TASK_ID": "3", "MEDSEG_RUNS": "elsewhere"}
    expected = "run cells_unet --data cells --output elsewhere --fold 3 --nproc 4"
    assert job("train", "cells_unet", "--data", "cells", **given)["medseg"] == [expected.split()]


@pytest.mark.parametrize("stem", [pytest.param("train", id="one"), pytest.param("nodes", id="two")])
@pytest.mark.parametrize(
    ("begun", "resumes"),
    [
        pytest.param("uwmgi_segformer/20260101-000000-fold0", True, id="its own"),
        pytest.param("uwmgi_segformer_demo/20260101-000000-fold0-1", True, id="of one second"),
        pytest.param("uwmgi_segformer/20260101-000000-fold1", False, id="another fold"),
        pytest.param("cells_unet/20260101-000000-fold0", False, id="another bundle"),
    ],
)
def test_a_job_that_starts_again_goes_on_with_the_run_that_it_began(
    job, tmp_path, stem, begun, resumes
):
    program = {"train": "medseg", "nodes": "srun"}[stem]
    code = {"train": 7, "nodes": 0}[stem]
    folder = tmp_path / "runs" / begun
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    os.utime(folder / "config.json", (1, 1))
    assert "--resume" not in job(stem, "uwmgi_segformer", code=code)[program][0]
    os.utime(folder / "config.json")
    again = job(stem, "bundles/uwmgi_segformer", code=code)[program][0]
    assert ("--resume" in again) == resumes


def test_fold_10_is_not_taken_for_fold_1(job, tmp_path):
    folder = tmp_path / "runs" / "cells_unet" / "20260101-000000-fold10"
    folder.mkdir(parents=True)
    job("train", "cells_unet")
    (folder / "config.json").write_text("{}")
    assert "--resume" not in job("train", "cells_unet", SLURM_ARRAY_TASK_ID="1")["medseg"][0]
    assert "--resume" in job("train", "cells_unet", SLURM_ARRAY_TASK_ID="10")["medseg"][0]


def test_nodes_meet_at_the_address_that_slurm_has_for_the_first(job):
    given = {"SLURM_GPUS_ON_NODE": "8"}
    said_to = job("nodes", "cells_unet", "--seed", "3", code=0, **given)
    assert said_to["scontrol"] == [["--oneliner", "show", "node", "n1"]]
    (words,) = said_to["srun"]
    assert words[:2] == ["--kill-on-bad-exit=1", "torchrun"]
    assert {"--nnodes=2", "--nproc-per-node=8", "--rdzv-id=40007"} < set(words)
    assert "--rdzv-endpoint=10.0.0.7:20007" in words
    assert words[-8:] == ["-m", "medseg", "run", "cells_unet", "--seed", "3", "--output", "runs"]


def test_a_node_has_as_many_processes_as_are_asked_for(job):
    (words,) = job("nodes", code=0, PROCESSES="3", SLURM_GPUS_ON_NODE="8")["srun"]
    assert "--nproc-per-node=3" in words


def test_tasks_of_an_array_share_all_studies_without_overlap(job, tmp_path):
    names = [f"s{number}" for number in range(7)]
    for name in (*names, ".hidden"):
        (tmp_path / "studies" / name).mkdir(parents=True)
    shares = []
    for task in (2, 3, 4):
        given = {"SLURM_ARRAY_TASK_MIN": "2", "SLURM_ARRAY_TASK_COUNT": "3"}
        given |= {"SLURM_ARRAY_TASK_ID": str(task)}
        (words,) = job("studies", "RUN", "studies", "out", "--bids", **given)["medseg"]
        assert (words[:2], words[-3:]) == (
            ["predict", "RUN"],
            ["-o", f"out/part-{task - 2}", "--bids"],
        )
        shares.append([Path(word).name for word in words[2:-3]])
    assert shares == [["s0", "s3", "s6"], ["s1", "s4"], ["s2", "s5"]]


def test_a_task_without_a_study_ends_well(job, tmp_path):
    (tmp_path / "studies").mkdir()
    given = dict.fromkeys(("SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_ID"), "0")
    assert (
        job("studies", "RUN", "studies", "out", code=0, SLURM_ARRAY_TASK_COUNT="1", **given) == {}
    )


def test_a_ray_cluster_has_a_head_and_the_other_nodes_and_ends_as_medseg_does(job):
    said_to = job("ray", "predict", "RUN", "a", "-o", "out", SLURM_GPUS_ON_NODE="2")
    assert said_to["medseg"] == [
        ["predict", "RUN", "a", "-o", "out", "--engine", "ray", "--address", "10.0.0.7:20007"]
    ]
    head, workers, cleaned = said_to["srun"]
    assert {"--head", "--num-gpus=2", "--include-dashboard=false", "--port=20007"} < set(head)
    assert {"--nodelist=n1", "--nodes=1"} < set(head)
    assert {"--exclude=n1", "--nodes=1", "--address=10.0.0.7:20007"} < set(workers)
    assert cleaned[-3:] == ["rm", "-rf", "/tmp/ray-40007"]


def test_without_a_command_there_is_no_cluster(job):
    assert job("ray", code=2) == {}
