"""The self-test passes here, and each of its checks fails when what it is about is broken."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medseg import __version__
from medseg.cli import main
from medseg.engine.checkpoint_files import write_hashes
from medseg.engine.checkpoints import write_checkpoint
from medseg.engine.provenance import sha256_of
from medseg.errors import DataError, Problem, UnsafeError
from medseg.geometry import Grid
from medseg.io import dicom_seg
from medseg.runs import Run
from medseg.stages import self_test as stage
from medseg.stages import self_test_files as files
from medseg.stages import self_test_safety as safety
from medseg.stages import self_test_training as trainings
from medseg.stages.self_test_ground import Ground, UnexpectedError
from medseg.transforms import export

TRAINED = {"training", "kill and resume", "MLflow", "damaged checkpoint", "prediction"}


@pytest.fixture
def ground(tmp_path):
    return Ground(tmp_path)


@pytest.mark.parametrize("name", sorted({*stage.CHECKS} - TRAINED))
def test_what_needs_no_training_is_so(ground, name):
    assert stage.CHECKS[name](ground)


@pytest.mark.slow
def test_all_is_so_on_this_machine_and_nothing_is_left(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "medseg", "doctor", "--self-test", "--json"],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stdout
    told = json.loads(done.stdout)
    assert [row["name"] for row in told["checks"]] == [*stage.CHECKS]
    assert all(row["ok"] for row in told["checks"])
    assert done.stderr == b""
    assert [path.name for path in tmp_path.iterdir() if "medseg" in path.name] == []


def flipped(write):
    """A writer of NIfTI that takes left for right."""

    def wrong(path, label_map, grid, **more):
        return write(
            path, label_map, Grid(grid.shape, np.diag([-1, 1, 1, 1]) @ grid.affine_ras_mm), **more
        )

    return wrong


def test_an_affine_that_is_flipped_is_seen(ground, monkeypatch):
    monkeypatch.setattr(export, "write_label_map", flipped(export.write_label_map))
    with pytest.raises(UnexpectedError, match=r"SimpleITK in NIfTI sees organ 1 at .* it is at"):
        files.landmarks(ground)


def test_slices_in_the_wrong_order_are_seen(ground, monkeypatch):
    write = dicom_seg.write_seg
    monkeypatch.setattr(
        dicom_seg, "write_seg", lambda path, masks, *a, **k: write(path, masks[..., ::-1], *a, **k)
    )
    with pytest.raises(UnexpectedError, match="pydicom in DICOM SEG sees organ 1 at"):
        files.landmarks(ground)


def test_an_organ_that_is_not_written_is_seen(ground, monkeypatch):
    write = export.write_label_map
    monkeypatch.setattr(
        export,
        "write_label_map",
        lambda path, found, *a, **k: write(path, np.where(found == 2, 0, found), *a, **k),
    )
    with pytest.raises(UnexpectedError, match=r"SimpleITK in NIfTI finds organs \[1, 3\]"):
        files.landmarks(ground)


def test_a_wrong_measure_is_seen(ground, monkeypatch):
    monkeypatch.setattr(files, "count_overlap", lambda *_: SimpleNamespace(dice=0.6, iou=1 / 3))
    with pytest.raises(UnexpectedError, match=r"Dice, IoU and Hausdorff are \(0\.6"):
        files.metrics(ground)


def test_a_reader_that_takes_all_is_seen(ground, monkeypatch):
    monkeypatch.setattr(safety, "read_slice", lambda _: np.zeros((1, 1)))
    with pytest.raises(UnexpectedError, match="was not refused with E-TOO-LARGE"):
        safety.bombs(ground)


def test_another_refusal_than_the_one_meant_is_seen(ground, monkeypatch):
    def refuse(_):
        raise DataError(Problem("E-NII-CRC", "cut", "is damaged"))

    monkeypatch.setattr(safety, "read_image", refuse)
    with pytest.raises(UnexpectedError, match="with E-NII-CRC in place of E-NII-TRUNC"):
        safety.bombs(ground)


def test_a_file_that_is_half_written_is_seen(ground, monkeypatch):
    @contextmanager
    def in_place(path):
        path.parent.mkdir(exist_ok=True)
        try:
            with path.open("wb") as stream:
                yield stream
        except OSError as error:
            raise safety.MedsegError(Problem("E-DISK", "it", "is full")) from error

    monkeypatch.setattr(safety, "replacing", in_place)
    with pytest.raises(UnexpectedError, match="the file is not what it was"):
        safety.full_disk(ground)


def test_a_limit_of_size_ends_with_the_check(ground):
    safety.full_disk(ground)
    (ground.folder / "large").write_bytes(bytes(1 << 20))


HOSTILE = [
    pytest.param("hostile_bundle", "find_bundle", "E-TRUST", id="bundle"),
    pytest.param("hostile_checkpoint", "read_checkpoint", "E-CKPT-UNSAFE", id="checkpoint"),
]


@pytest.mark.parametrize(("check", "reader", "code"), HOSTILE)
def test_code_that_is_let_in_is_seen(ground, monkeypatch, check, reader, code):
    monkeypatch.setattr(safety, reader, lambda _: None)
    with pytest.raises(UnexpectedError, match=f"was not refused with {code}"):
        getattr(safety, check)(ground)


@pytest.mark.parametrize(("check", "reader", "code"), HOSTILE)
def test_code_that_runs_before_it_is_refused_is_seen(ground, monkeypatch, check, reader, code):
    def refuse(_):
        (ground.folder / f"canary of a {check.removeprefix('hostile_')}").touch()
        raise UnsafeError(Problem(code, "it", "is refused too late"))

    monkeypatch.setattr(safety, reader, refuse)
    with pytest.raises(UnexpectedError, match="it was refused, but its"):
        getattr(safety, check)(ground)


def test_the_hostile_ones_would_do_it(ground):
    safety.hostile_checkpoint(ground)
    canary = ground.folder / "canary of a checkpoint"
    torch.load(ground.folder / "hostile.pt", weights_only=False)
    assert canary.exists()


def run_with(folder, rows):
    """A run that told of some epochs."""
    folder.mkdir(parents=True)
    run = Run(folder, {})
    run.write("training.json", {"epochs": rows})
    return run


def epochs(*seconds):
    return [
        {"epoch": n, "train/loss": 1 / (1 + n), "train/seconds": s} for n, s in enumerate(seconds)
    ]


@pytest.fixture
def killed(ground, monkeypatch):
    """Return a function that checks killing with a process that ends so, and such ends."""

    def check(code=-signal.SIGKILL, *, after=(1, 2, 8, 9), weights="one"):
        runs = {
            "whole": run_with(ground.folder / "whole", epochs(5, 5, 5, 5)),
            "killed": run_with(ground.folder / "killed", epochs(1, 2)),
        }

        def go_on(_ground, output, *, resume):
            assert (output, resume) == ("killed", True)
            runs[output].write("training.json", {"epochs": epochs(*after)})
            return runs[output]

        ended = SimpleNamespace(returncode=code, stderr=b"Killed")
        monkeypatch.setattr(trainings.subprocess, "run", lambda *_, **__: ended)
        monkeypatch.setattr(trainings, "run_of", lambda _, output: runs[output])
        monkeypatch.setattr(trainings, "trained", go_on)
        hashes = {"killed": weights, "whole": "one"}
        monkeypatch.setattr(trainings, "tensors_hash", lambda path: hashes[path.parent.name])
        return trainings.kill_and_resume(ground)

    return check


def test_one_that_goes_on_to_the_same_end_passes(killed):
    assert killed() == "killed after epoch 2, went on to the same weights, one"


def test_the_last_epoch_before_a_kill_may_be_done_again(killed):
    assert killed(after=(1, 7, 8, 9))


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        pytest.param({"code": 0}, "it ended with 0", id="nobody was killed"),
        pytest.param({"code": 1}, r"it ended with 1: \['Killed'\]", id="it died of itself"),
        pytest.param({"after": (6, 7, 8, 9)}, "began anew", id="the checkpoint is ignored"),
        pytest.param({"weights": "other"}, "weights are other, without a kill one", id="weights"),
        pytest.param({"after": (1, 2, 8)}, "losses are not those", id="an epoch is missing"),
    ],
)
def test_what_is_wrong_after_a_kill_is_seen(killed, ending, told):
    with pytest.raises(UnexpectedError, match=told):
        killed(**ending)


@pytest.mark.parametrize(
    ("steps", "status", "told"),
    [
        pytest.param((1, 2, 2, 3), "FINISHED", r"epochs \[1, 2, 2, 3\] are there", id="one twice"),
        pytest.param((1, 2, 3), "FINISHED", r"epochs \[1, 2, 3\] are there", id="one missing"),
        pytest.param((1, 2, 3, 4), "RUNNING", "the run is RUNNING", id="it never ended"),
        pytest.param((4, 3, 2, 1), "FINISHED", "losses are", id="values of other epochs"),
    ],
)
def test_what_mlflow_does_not_have_is_seen(ground, monkeypatch, steps, status, told):
    run = run_with(ground.folder / "run", epochs(1, 1, 1, 1))
    run.write("provenance.json", {"mlflow_run_id": "7"})
    history = [
        SimpleNamespace(step=step, value=row["train/loss"])
        for step, row in zip(steps, epochs(1, 1, 1, 1), strict=False)
    ]
    kept = SimpleNamespace(info=SimpleNamespace(status=status, run_id="7"))
    client = SimpleNamespace(get_run=lambda _: kept, get_metric_history=lambda *_: history)
    monkeypatch.setattr(trainings, "connected", lambda _: client)
    monkeypatch.setattr(trainings, "run_of", lambda *_: run)
    with pytest.raises(UnexpectedError, match=told):
        trainings.store(ground)


@pytest.fixture
def checkpoints(ground, monkeypatch):
    """A run with three sound checkpoints."""
    folder = ground.folder / "run" / "checkpoints"
    names = ("last.pt", "previous.pt", "best.pt")
    for number, name in enumerate(names):
        write_checkpoint(folder / name, {"network": {"weight": torch.full((8,), float(number))}})
    write_hashes(folder, {name: sha256_of(folder / name) for name in names}, {})
    monkeypatch.setattr(safety, "run_of", lambda *_: Run(folder.parent, {}))


def test_a_damaged_checkpoint_is_told_from_sound_ones(ground, checkpoints):
    assert "the one before is taken" in safety.damaged_checkpoint(ground)


@pytest.mark.parametrize(
    ("name", "broken", "told"),
    [
        pytest.param("fault_of", lambda _: "", "a changed bit was not noticed", id="not noticed"),
        pytest.param("first_sound", lambda paths: paths[0], "was not taken", id="taken anyway"),
    ],
)
def test_a_damaged_checkpoint_that_is_used_is_seen(
    ground, checkpoints, monkeypatch, name, broken, told
):
    monkeypatch.setattr(safety, name, broken)
    with pytest.raises(UnexpectedError, match=told):
        safety.damaged_checkpoint(ground)


def test_a_check_that_fails_leaves_the_others_and_no_folder(monkeypatch):
    seen = []

    def divide(ground):
        seen.append(ground.folder)
        raise ZeroDivisionError("by nothing")

    def refuse(_):
        raise DataError(Problem("E-X", "it", "is wrong"))

    def find(ground):
        assert ground.folder.is_dir()
        return "all of it"

    rows = [*stage.self_test({"divide": divide, "refuse": refuse, "find": find})]
    assert [(row.name, row.ok, row.seen) for row in rows] == [
        ("divide", False, "ZeroDivisionError: by nothing"),
        ("refuse", False, "error[E-X]: it: is wrong."),
        ("find", True, "all of it"),
    ]
    assert not seen[0].exists()


OUTCOMES = [stage.Outcome("one", True, "was seen", 1.26), stage.Outcome("two", False, "bad", 0.5)]


def test_the_command_tells_a_line_a_check_and_fails_with_the_first(monkeypatch, capsys):
    monkeypatch.setattr(stage, "self_test", lambda: iter(OUTCOMES))
    assert main(["doctor", "--self-test"]) == 4
    assert capsys.readouterr().out.splitlines() == [
        "ok      one                   1.3 s  was seen",
        "failed  two                   0.5 s  bad",
        "1 of 2 ok, 2 s",
    ]
    assert main(["doctor", "--self-test", "-q"]) == 4
    assert capsys.readouterr().out == "failed  two                   0.5 s  bad\n"
    monkeypatch.setattr(stage, "self_test", lambda: iter(OUTCOMES[:1]))
    assert main(["doctor", "--self-test"]) == 0


def test_the_command_tells_one_object(monkeypatch, capsys):
    monkeypatch.setattr(stage, "self_test", lambda: iter(OUTCOMES))
    assert main(["doctor", "--self-test", "--json"]) == 4
    assert json.loads(capsys.readouterr().out) == {
        "medseg": __version__,
        "ok": False,
        "checks": [
            {"name": "one", "ok": True, "seen": "was seen", "seconds": 1.26},
            {"name": "two", "ok": False, "seen": "bad", "seconds": 0.5},
        ],
    }
