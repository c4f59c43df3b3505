"""A loss that is no number costs its step, not the training; many of them end it."""

import math

import pytest
import torch
from monai.engines import SupervisedTrainer
from torch import nn

from medseg.data import EpochSampler
from medseg.engine import TrainingCheckpoints
from medseg.engine.checkpoints import read_checkpoint
from medseg.engine.divergence import FiniteSteps
from medseg.errors import DivergedError


class Batches(list):
    batch_size = 1


def trained(folder, values, *, guarded=True, epochs=1, most=2, **adam):
    """Train one weight on one number a step, named by its place; return the trainer and guard."""
    torch.manual_seed(0)
    network = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(network.parameters(), 0.1, **adam)
    guard = FiniteSteps(most=most)
    checkpoints = TrainingCheckpoints(
        folder, {"network": network}, sampler=EpochSampler(len(values), seed=0)
    )
    batches = Batches(
        {"image": torch.tensor([[v]]), "label": torch.ones(1, 1), "scan_id": [f"case{n}_day0"]}
        for n, v in enumerate(values)
    )
    engine = SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=batches,
        network=network,
        optimizer=optimizer,
        loss_function=nn.MSELoss(),
        train_handlers=[guard, checkpoints] if guarded else [checkpoints],
        decollate=False,
    )
    engine.run()
    return engine, guard


FUSED = [pytest.param({"fused": True}, id="fused"), pytest.param({"foreach": True}, id="not fused")]


@pytest.mark.parametrize("adam", FUSED)
@pytest.mark.parametrize(
    "value", [pytest.param(v, id=str(v)) for v in (math.nan, math.inf, -math.inf)]
)
def test_such_a_step_is_left_out_and_named(tmp_path, adam, value):
    bad, guard = trained(tmp_path / "bad", [1.0, value, 2.0, 3.0], **adam)
    good, none = trained(tmp_path / "good", [1.0, 2.0, 3.0], guarded=False, **adam)
    # To the bit, with the moments and the count of steps of the optimiser.
    for ours, theirs in zip(bad.network.parameters(), good.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        for key, moment in good.optimizer.state[theirs].items():
            assert torch.equal(bad.optimizer.state[ours][key], moment), key
    assert guard.skipped == {2: ("case1_day0",)}
    assert none.skipped == {}


@pytest.mark.parametrize("adam", FUSED)
def test_without_such_a_step_nothing_changes(tmp_path, adam):
    ours, guard = trained(tmp_path / "ours", [1.0, 2.0, 3.0], epochs=3, **adam)
    theirs, _ = trained(tmp_path / "theirs", [1.0, 2.0, 3.0], epochs=3, guarded=False, **adam)
    assert torch.equal(ours.network.weight, theirs.network.weight)
    assert guard.skipped == {}


def test_too_many_end_the_training_and_their_scans_are_named(tmp_path):
    values = [1.0, math.nan, 2.0, math.inf, math.nan, 4.0]
    names = r"3 steps was no finite number, with case1_day0, case3_day0, case4_day0 \("
    with pytest.raises(DivergedError, match=rf"E-DIVERGED\]: step 5: the loss of {names}") as told:
        trained(tmp_path, values)
    assert told.value.exit_code == 7
    assert not (tmp_path / "last.pt").exists()


class Spoilt(nn.MSELoss):
    """A finite loss with a gradient that is none, from the fourth step on."""

    steps = 0

    def forward(self, pred, label):
        self.steps += 1
        loss = super().forward(pred, label)
        return loss + torch.sqrt((pred * 0).abs()).sum() if self.steps > 3 else loss


def test_no_checkpoint_holds_what_is_no_number(tmp_path, monkeypatch):
    monkeypatch.setattr(nn, "MSELoss", Spoilt)
    with pytest.raises(DivergedError, match=r"E-DIVERGED\]: network: its weights") as told:
        trained(tmp_path, [1.0, 2.0, 3.0], epochs=2, most=99)
    assert told.value.exit_code == 7
    state = read_checkpoint(tmp_path / "last.pt")
    assert state["iteration"] == 3
    assert all(each.isfinite().all() for each in state["network"].values())
