"""Several processes compute what one does: the same losses, gradients, weights and scores."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from safetensors.torch import load_file
from several_processes import LOSSES, NETWORKS
from torch import nn
from torch.utils.data import DataLoader

from medseg import ranks
from medseg.engine.checkpoints import read_checkpoint
from medseg.engine.parallel import ScanShare, divide, require_shares
from medseg.errors import UsageError
from medseg.models.normalisation import synchronise

TIMES = {"train/seconds", "train/slices_per_s"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(2, id="two processes"),
        pytest.param(3, id="three processes", marks=pytest.mark.slow),
    ],
)
def world(request):
    """How many processes there are."""
    return request.param


@pytest.fixture(scope="module")
def folder(world, tiny_phantom, tmp_path_factory):
    """What one process and several left."""
    folder = tmp_path_factory.mktemp("several")
    command = [sys.executable, str(Path(__file__).parents[1] / "several_processes.py")]
    processes = [
        subprocess.Popen(
            [*command, str(folder), str(number), str(world), str(tiny_phantom)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for number in range(world)
    ]
    assert [process.wait(600) for process in processes] == [0] * world
    return folder


@pytest.fixture(scope="module")
def told(folder):
    """A function that gives the figures of so many processes."""
    return lambda count: read_checkpoint(folder / f"{count}.pt")


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_that_of_all_images(told, name, world):
    one, several = told(1)["losses"][name], told(world)["losses"][name]
    torch.testing.assert_close(several, one, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_the_same(told, name, world):
    """Five images, which neither two nor three processes have as many of each."""
    (losses, weights), (one, alone) = told(world)["networks"][name], told(1)["networks"][name]
    torch.testing.assert_close(losses, one, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights, alone, atol=2e-5, rtol=1e-4)
    assert not torch.equal(one[0], one[-1])


def test_numbers_are_those_of_all(told, world):
    numbers = told(world)["numbers"]
    every = [*range(1, world + 1)]
    assert numbers.pop("averaged") == pytest.approx({2: 6.0, 3: (2 * 6 + 3 * 9) / 5}[world])
    assert numbers == {
        "total": sum(every),
        "largest": world,
        "gathered": every,
        "shared": ["made by", 1],
        "raised": f"process {world}",
    }


def test_a_training_has_the_same_rows_and_weights(folder, world):
    """Two scans are validated, of which the third process has none of its own."""
    rows = {n: json.loads((folder / f"run{n}/training.json").read_text()) for n in (1, world)}
    assert rows[world]["slices"] == rows[1]["slices"]
    pairs = list(zip(rows[1]["epochs"], rows[world]["epochs"], strict=True))
    assert len(pairs) == 3
    for one, several in pairs:
        assert several.keys() == one.keys()
        same = one.keys() - TIMES
        assert {k: several[k] for k in same} == pytest.approx({k: one[k] for k in same}, abs=1e-5)
    weights = (load_file(folder / f"run{n}/weights.safetensors") for n in (world, 1))
    torch.testing.assert_close(*weights, atol=1e-5, rtol=1e-4)


def test_a_checkpoint_names_no_process(folder, world):
    states = [read_checkpoint(folder / f"run{n}/checkpoints/last.pt") for n in (1, world)]
    assert states[1]["network"].keys() == states[0]["network"].keys()
    assert len(states[1]["other_rngs"]) == world - 1
    assert "other_rngs" not in states[0]
    own = [states[1]["torch_rng"], *states[1]["other_rngs"]]
    assert not any(torch.equal(own[0], other) for other in own[1:])


def test_norms_keep_their_names():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm2d(2)))
    names = list(network.state_dict())
    synchronise(network)
    assert list(network.state_dict()) == names


def test_a_norm_over_one_process_is_the_norm():
    """Of numbers far from 0, in training and after it."""
    torch.manual_seed(0)
    one, several = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    synchronise(several)
    for _ in range(3):
        maps = 5 + torch.randn(4, 3, 6, 5)
        torch.testing.assert_close(several(maps), one(maps), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(several.state_dict(), one.state_dict(), atol=1e-5, rtol=1e-5)
    maps = torch.randn(1, 3, 2, 2)
    torch.testing.assert_close(several.eval()(maps), one.eval()(maps), atol=1e-5, rtol=1e-5)


def test_scans_go_up_unevenly(monkeypatch):
    """Seven scans over three processes: nobody has fewer than another, and none counts twice."""
    monkeypatch.setattr(ranks, "world", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        shares.append(list(ScanShare(DataLoader([*"abcdefg"], batch_size=None))))
    assert shares == [[*"adg"], [*"bea"], [*"cfb"]]
    monkeypatch.setattr(ranks, "gathered", lambda _own: shares)
    assert ScanShare(DataLoader([*"abcdefg"], batch_size=None)).merged([]) == [*"abcdefg"]


def test_an_evaluator_without_scans_keeps_its_loader(monkeypatch):
    monkeypatch.setattr(ranks, "world", lambda: 2)
    evaluator = Engine(lambda _engine, _batch: None)
    evaluator.data_loader = DataLoader([], batch_size=None)
    divide(evaluator)
    assert isinstance(evaluator.data_loader, DataLoader)


def test_a_batch_feeds_each_process(monkeypatch):
    monkeypatch.setattr(ranks, "world", lambda: 3)
    require_shares(3)
    with pytest.raises(UsageError, match=r"E-CONFIG\]: training: batch_size 2 is less than the 3"):
        require_shares(2)
