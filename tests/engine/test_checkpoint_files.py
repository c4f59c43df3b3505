"""Last, previous and best: which is taken when one is damaged, and that no code is ever run."""

import json
import logging
import os
import pickle
import shutil

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from torch import nn

from medseg.data import EpochSampler
from medseg.engine import TrainingCheckpoints
from medseg.engine.checkpoint_files import BEST, HASHES, LAST, PREVIOUS, fault_of, warn_of
from medseg.engine.checkpoints import read_checkpoint, write_checkpoint
from medseg.engine.provenance import sha256_of
from medseg.errors import UnsafeError, UsageError
from medseg.runs import Run

# Of four epochs; the second is the best of the first three.
SCORES = {1: 0.2, 2: 0.5, 3: 0.4, 4: 0.6}


class Batches(list):
    batch_size = 2


def trainer(folder, *, epochs, resume=False):
    """One weight that learns from two batches an epoch, and scores by epoch."""
    torch.manual_seed(0)
    network = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(network.parameters(), 0.1)
    batches = Batches(
        {"image": torch.full((2, 1), x), "label": torch.ones(2, 1)} for x in (1.0, 2.0)
    )
    evaluator = SupervisedEvaluator(
        device="cpu", val_data_loader=batches[:1], network=network, decollate=False
    )
    handlers = [
        ValidationHandler(validator=evaluator, interval=1),
        TrainingCheckpoints(
            folder,
            {"network": network, "optimizer": optimizer},
            sampler=EpochSampler(4, seed=0),
            evaluator=evaluator,
            resume=resume,
        ),
    ]
    engine = SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=batches,
        network=network,
        optimizer=optimizer,
        loss_function=nn.MSELoss(),
        train_handlers=handlers,
        decollate=False,
    )

    @evaluator.on(Events.COMPLETED)
    def _score(validated):
        validated.state.best_metric = max(validated.state.best_metric, SCORES[engine.state.epoch])
        validated.state.best_metric_epoch = engine.state.epoch

    return engine


@pytest.fixture(autouse=True)
def _warned_of_nothing():
    warn_of.cache_clear()


@pytest.fixture(scope="module")
def three_epochs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    trainer(folder, epochs=3).run()
    return folder


@pytest.fixture
def folder(three_epochs, tmp_path):
    """The checkpoints of a training after three epochs."""
    return shutil.copytree(three_epochs, tmp_path / "checkpoints")


def iterations(folder):
    return {name: read_checkpoint(folder / name)["iteration"] for name in (LAST, PREVIOUS, BEST)}


def test_each_has_its_epoch_and_its_hash(folder):
    assert iterations(folder) == {LAST: 6, PREVIOUS: 4, BEST: 4}
    told = json.loads((folder / HASHES).read_text())
    assert {name: shas[0] for name, shas in told.items()} == {
        name: sha256_of(folder / name) for name in (LAST, PREVIOUS, BEST)
    }
    assert {path.name for path in folder.iterdir()} == {LAST, PREVIOUS, BEST, HASHES}


def flip(path):
    """Flip a bit of the weight itself, which torch's own archive does not notice."""
    data = bytearray(path.read_bytes())
    weight = read_checkpoint(path)["network"]["weight"].numpy().tobytes()
    data[data.index(weight)] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def foreign(path):
    """A good checkpoint of another training."""
    write_checkpoint(path, read_checkpoint(path) | {"iteration": 2})


DAMAGES = [pytest.param(d, id=d.__name__) for d in (flip, truncate, foreign)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_last_one_is_told_and_the_one_before_goes_on_exactly(
    folder, tmp_path, caplog, damage
):
    whole = trainer(tmp_path / "whole", epochs=4)
    whole.run()
    damage(folder / LAST)
    again = trainer(folder, epochs=4, resume=True)
    again.run()
    (told,) = [each.getMessage() for each in caplog.records if "W-CKPT" in each.getMessage()]
    assert "last.pt: its SHA-256" in told
    assert "previous.pt is taken instead" in told
    assert torch.equal(again.network.weight, whole.network.weight)
    assert iterations(folder) == {LAST: 8, PREVIOUS: 6, BEST: 8}
    assert not any(fault_of(folder / name) for name in (LAST, PREVIOUS, BEST))


def test_a_damaged_one_never_becomes_the_one_before(folder, monkeypatch):
    truncate(folder / LAST)
    before = (folder / PREVIOUS).read_bytes()
    written = []

    def spy(path, state, *, verify):
        write_checkpoint(path, state, verify=verify)
        written.append((folder / PREVIOUS).read_bytes())

    monkeypatch.setattr("medseg.engine.checkpoints.write_checkpoint", spy)
    trainer(folder, epochs=3, resume=True).run()
    assert written == [before]


def test_without_hashes_what_can_be_read_is_taken(folder, caplog):
    (folder / HASHES).unlink()
    truncate(folder / LAST)
    again = trainer(folder, epochs=4, resume=True)
    again.run()
    assert again.state.iteration == 8
    assert "last.pt: cannot be read: " in caplog.text
    assert iterations(folder)[PREVIOUS] == 6


@pytest.mark.parametrize(
    "hashes",
    [pytest.param(b"{", id="half"), pytest.param(b"[]", id="a list"), pytest.param(b"", id="none")],
)
def test_hashes_that_say_nothing_stop_nobody(folder, hashes):
    (folder / HASHES).write_bytes(hashes)
    again = trainer(folder, epochs=4, resume=True)
    again.run()
    assert again.state.iteration == 8


def test_where_all_are_damaged_both_are_named(folder):
    for name in (LAST, PREVIOUS):
        truncate(folder / name)
    with pytest.raises(UnsafeError, match=r"(?s)E-CKPT\].*last\.pt.*E-CKPT\].*previous\.pt"):
        trainer(folder, epochs=4, resume=True).run()


def test_a_checkpoint_of_other_parts_is_refused(folder):
    (folder / HASHES).unlink()
    for name in (LAST, PREVIOUS):
        write_checkpoint(folder / name, {"network": {}})
    with pytest.raises(UnsafeError, match=r"last\.pt: holds no best_epoch, best_metric, iteration"):
        trainer(folder, epochs=4, resume=True).run()


class Trap:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (os.mkdir, (str(self.canary),))


def as_archive(path, content):
    torch.save(content, path)


def as_pickle(path, content):
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("write", [pytest.param(w, id=w.__name__) for w in (as_archive, as_pickle)])
@pytest.mark.parametrize("hashed", [pytest.param(True, id="hashed"), pytest.param(False, id="not")])
def test_code_in_a_checkpoint_is_never_run(folder, tmp_path, write, hashed):
    canary = tmp_path / "canary"
    write(folder / LAST, {"network": {"weight": Trap(canary)}})
    if not hashed:
        (folder / HASHES).unlink()
        with pytest.raises(
            UnsafeError, match=r"E-CKPT-UNSAFE.*last\.pt: asks for functions"
        ) as told:
            trainer(folder, epochs=4, resume=True).run()
        assert told.value.exit_code == 5
    else:
        trainer(folder, epochs=4, resume=True).run()
    assert not canary.exists()
    # What would have happened.
    if write is as_pickle and not hashed:
        pickle.loads((folder / LAST).read_bytes())
        assert canary.exists()


def plain(value):
    if isinstance(value, dict):
        return all(type(key) in (str, int) and plain(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return type(value) in (torch.Tensor, int, float, str, bool, type(None))


def test_checkpoints_hold_plain_types(folder):
    for name in (LAST, PREVIOUS, BEST):
        assert plain(read_checkpoint(folder / name))
    assert not plain({"a": [torch.nn.Parameter(torch.ones(1))]})


def test_a_state_that_is_no_mapping_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / LAST)
    with pytest.raises(UnsafeError, match=r"E-CKPT\].*last\.pt: holds a list"):
        read_checkpoint(tmp_path / LAST)


class Killed(BaseException):
    """What ends the process."""


STEPS = ["hashes.json", "link", "previous.pt", "link", "best.pt", "last.pt"]


@pytest.mark.parametrize(
    "step", [pytest.param(n, id=f"{n + 1}, {name}") for n, name in enumerate(STEPS)]
)
def test_between_any_two_names_that_change_hands_all_is_sound(folder, tmp_path, monkeypatch, step):
    whole = trainer(tmp_path / "whole", epochs=4)
    whole.run()
    names = []

    def counted(real, name_of):
        def call(source, target, **kwargs):
            names.append(name_of(target))
            if len(names) == step + 1:
                raise Killed
            return real(source, target, **kwargs)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", counted(os.link, lambda _: "link"))
        patched.setattr(os, "replace", counted(os.replace, lambda path: path.name))
        with pytest.raises(Killed):
            trainer(folder, epochs=4, resume=True).run()
    assert names == STEPS[: step + 1]
    assert not any(fault_of(folder / name) for name in (LAST, PREVIOUS, BEST))
    # What was killed was the end of the fourth epoch; nothing before it is lost.
    assert iterations(folder)[LAST] == 6
    again = trainer(folder, epochs=4, resume=True)
    again.run()
    assert torch.equal(again.network.weight, whole.network.weight)
    assert iterations(folder) == {LAST: 8, PREVIOUS: 6, BEST: 8}


def test_where_there_are_no_links_copies_are_made(three_epochs, tmp_path, monkeypatch):
    def never(*_args, **_kwargs):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", never)
    trainer(tmp_path, epochs=3).run()
    assert iterations(tmp_path) == iterations(three_epochs)
    assert {path.stat().st_nlink for path in tmp_path.iterdir()} == {1}
    assert not any(fault_of(tmp_path / name) for name in (LAST, PREVIOUS, BEST))


class TestOfARun:
    """Which checkpoint a run's predictions are made with."""

    def run(self, folder):
        return Run(folder.parent, {})

    def test_the_best_is_taken_without_a_word(self, folder, caplog):
        assert self.run(folder).checkpoint == folder / BEST
        assert caplog.records == []

    def test_a_damaged_best_one_is_replaced_by_the_last_and_that_by_the_one_before(
        self, folder, caplog
    ):
        (folder / BEST).unlink()  # it shares its content with the previous one
        (folder / BEST).write_bytes(b"half")
        run = self.run(folder)
        assert run.checkpoint == run.checkpoint == folder / LAST
        assert caplog.text.count("W-CKPT") == 1
        assert "best.pt: its SHA-256" in caplog.text
        truncate(folder / LAST)
        assert run.checkpoint == folder / PREVIOUS

    def test_all_damaged_end_with_5(self, folder):
        for name in (BEST, LAST, PREVIOUS):
            (folder / name).unlink()
            (folder / name).write_bytes(b"half")
        with pytest.raises(UnsafeError, match=r"(?s)best\.pt.*last\.pt.*previous\.pt") as told:
            _ = self.run(folder).checkpoint
        assert told.value.exit_code == 5

    def test_none_is_none(self, tmp_path):
        assert not Run(tmp_path, {}).trained
        with pytest.raises(UsageError, match=r"E-RUN.*has no checkpoint"):
            _ = Run(tmp_path, {}).checkpoint


def test_the_log_is_that_of_the_module(folder, caplog):
    with caplog.at_level(logging.WARNING, logger="medseg.engine.checkpoint_files"):
        truncate(folder / LAST)
        trainer(folder, epochs=4, resume=True).run()
    assert {each.name for each in caplog.records} == {"medseg.engine.checkpoint_files"}
