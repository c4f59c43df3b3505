"""Checkpoints are whole or absent, hold plain data only, and a resumed run goes on exactly."""

import signal
import threading

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from tiny_scans import item_of, write_small_scan
from torch import nn
from torch.utils.data import DataLoader

from medseg.data import EpochSampler, SliceBatches, SliceDataset
from medseg.engine import AugmentedBatch, StepInferer, TrainingCheckpoints, load_network
from medseg.engine.checkpoints import export_weights, read_checkpoint, write_checkpoint
from medseg.errors import ResourceError, Stopped, UnsafeError
from medseg.transforms import BatchAugment, preprocessing

SAMPLES = 10


class Points(torch.utils.data.Dataset):
    def __len__(self):
        return SAMPLES

    def __getitem__(self, where):
        epoch, index = where
        value = torch.tensor([float(index) + epoch / 10])
        return {"image": value, "label": 2 * value}


def trainer(folder, *, epochs, resume=False):
    """A one-weight regression with dropout, so that the random state matters too."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    sampler = EpochSampler(SAMPLES, seed=3)
    checkpoints = TrainingCheckpoints(
        folder, {"network": network, "optimizer": optimizer}, sampler=sampler, resume=resume
    )
    return SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(
            Points(), batch_size=2, sampler=sampler, generator=torch.Generator()
        ),
        network=network,
        optimizer=optimizer,
        loss_function=nn.MSELoss(),
        train_handlers=[checkpoints],
        decollate=False,
    )


@pytest.fixture
def slices(tmp_path):
    """Six slices of two scans."""
    scans = [write_small_scan(tmp_path / "data", f"case{n}", seed=n) for n in range(2)]
    chain = preprocessing(organs=("a", "b"), roi_px=(12, 12))
    items = [item_of(scan) for scan in scans]
    return SliceDataset(items, chain, store_dir=tmp_path / "store", roi_px=(12, 12))


def slice_trainer(folder, data, *, resident, ahead=2, resume=False):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Dropout(0.5))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    sampler = EpochSampler(data, seed=3)
    parts = {"network": network, "optimizer": optimizer}
    fed = {"resident": resident, "ahead": ahead}
    return SupervisedTrainer(
        device="cpu",
        max_epochs=3,
        epoch_length=4,  # a pass has three batches: epochs and passes part
        train_data_loader=SliceBatches(data, batch_size=2, sampler=sampler, **fed),
        network=network,
        optimizer=optimizer,
        loss_function=lambda logits, label: ((logits - label.float()) ** 2).mean(),
        inferer=StepInferer(amp=False),
        prepare_batch=AugmentedBatch(BatchAugment()),
        train_handlers=[TrainingCheckpoints(folder, parts, sampler=sampler, resume=resume)],
        decollate=False,
    )


def weights(engine):
    return torch.cat([p.detach().flatten() for p in engine.network.parameters()])


def test_two_epochs_and_two_more_equal_four_in_one_go(tmp_path):
    whole = trainer(tmp_path / "whole", epochs=4)
    whole.run()
    trainer(tmp_path / "parts", epochs=2).run()
    rest = trainer(tmp_path / "parts", epochs=4, resume=True)
    rest.run()
    assert rest.state.iteration == whole.state.iteration == 20
    assert torch.equal(weights(rest), weights(whole))


def test_a_signal_saves_in_the_middle_of_an_epoch_and_the_rest_follows_exactly(tmp_path):
    whole = trainer(tmp_path / "whole", epochs=3)
    whole.run()
    stopped = trainer(tmp_path / "parts", epochs=3)
    stopped.add_event_handler(
        Events.ITERATION_STARTED(once=7), lambda: signal.raise_signal(signal.SIGTERM)
    )
    with pytest.raises(Stopped) as caught:
        stopped.run()
    assert caught.value.exit_code == 143
    assert read_checkpoint(tmp_path / "parts" / "last.pt")["iteration"] == 7
    rest = trainer(tmp_path / "parts", epochs=3, resume=True)
    rest.run()
    assert torch.equal(weights(rest), weights(whole))


@pytest.mark.parametrize(
    ("resident", "ahead"),
    [
        pytest.param(False, 0, id="read when wanted"),
        pytest.param(False, 2, id="read by a thread"),
        pytest.param(True, 2, id="resident"),
    ],
)
def test_slices_go_on_where_a_signal_stopped_them(tmp_path, slices, resident, ahead):
    whole = slice_trainer(tmp_path / "whole", slices, resident=resident, ahead=2 - ahead)
    whole.run()
    stopped = slice_trainer(tmp_path / "parts", slices, resident=resident, ahead=ahead)
    stopped.add_event_handler(
        Events.ITERATION_STARTED(once=6), lambda: signal.raise_signal(signal.SIGINT)
    )
    with pytest.raises(Stopped):
        stopped.run()
    assert not [each for each in threading.enumerate() if each.name.startswith("medseg-ahead")]
    # Fed the other way, too: where the voxels are changes no bit.
    rest = slice_trainer(tmp_path / "parts", slices, resident=not resident, resume=True)
    rest.run()
    assert rest.state.iteration == whole.state.iteration == 12
    assert torch.equal(weights(rest), weights(whole))


def test_a_signal_in_the_last_step_of_an_epoch_waits_for_its_validation(tmp_path):
    engine = trainer(tmp_path, epochs=2)
    engine.add_event_handler(
        Events.ITERATION_STARTED(once=5), lambda: signal.raise_signal(signal.SIGINT)
    )
    seen = []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.append("epoch"))
    with pytest.raises(Stopped) as caught:
        engine.run()
    assert caught.value.exit_code == 130
    assert read_checkpoint(tmp_path / "last.pt")["iteration"] == 5


def test_the_process_gets_its_signal_handlers_back(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    trainer(tmp_path, epochs=1).run()
    assert signal.getsignal(signal.SIGINT) is before


def test_resuming_a_finished_run_does_nothing(tmp_path):
    done = trainer(tmp_path, epochs=2)
    done.run()
    again = trainer(tmp_path, epochs=2, resume=True)
    again.run()
    assert again.state.iteration == 10
    assert torch.equal(weights(again), weights(done))


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    write_checkpoint(path, {"network": {"w": torch.ones(3)}})

    def full(*_args, **_kwargs):
        raise RuntimeError("unexpected pos 576 vs 534")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ResourceError, match=r"E-DISK.*last\.pt"):
        write_checkpoint(path, {"network": {"w": torch.zeros(3)}})
    assert read_checkpoint(path)["network"]["w"].sum() == 3
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="truncated"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda _: b"hello", id="foreign"),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    path = tmp_path / "last.pt"
    write_checkpoint(path, {"network": {"w": torch.ones(3)}})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnsafeError, match=r"E-CKPT.*last\.pt: cannot be read"):
        read_checkpoint(path)


def test_a_network_loads_from_a_checkpoint_and_from_bare_weights(tmp_path):
    network = nn.Linear(2, 1)
    write_checkpoint(tmp_path / "whole.pt", {"network": network.state_dict(), "iteration": 3})
    write_checkpoint(tmp_path / "bare.pt", network.state_dict())
    for name in ("whole.pt", "bare.pt"):
        other = nn.Linear(2, 1)
        load_network(other, tmp_path / name)
        assert torch.equal(other.weight, network.weight)


def test_another_network_is_refused(tmp_path):
    write_checkpoint(tmp_path / "last.pt", {"network": nn.Linear(2, 1).state_dict()})
    with pytest.raises(UnsafeError, match=r"E-MODEL.*size mismatch for bias"):
        load_network(nn.Linear(2, 5), tmp_path / "last.pt")


def test_exported_weights_are_safetensors(tmp_path):
    from safetensors.torch import load_file

    network = nn.Linear(2, 1)
    export_weights(tmp_path / "weights.safetensors", network)
    assert torch.equal(load_file(tmp_path / "weights.safetensors")["weight"], network.weight)
