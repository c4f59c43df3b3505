"""What one process and several compute of the same batches, for `test_parallel`.

``python several_processes.py FOLDER NUMBER WORLD PHANTOM`` is process NUMBER of WORLD. Process 0
first computes all by itself, then all do together, and it saves what came of both.
"""

import os
import sys
from pathlib import Path

import torch
from small_networks import loss_of, small
from torch import distributed as dist
from torch import nn

from medseg import ranks
from medseg.bundle import find_bundle
from medseg.engine.history import Unlogged
from medseg.engine.parallel import distributed
from medseg.errors import DataError, MedsegError, Problem
from medseg.models.normalisation import synchronise
from medseg.runs import Run
from medseg.stages.display import Silent
from medseg.stages.train import join, train


class Untold(Unlogged):
    def log_artifact(self, path, folder=None):
        """Send nothing."""


BATCH = 5
NETWORKS = ("resunet", "mednext, deep", "maskformer")
LOSSES = {
    "dice_ce": {},
    "dice_bce": {},
    "dice_ce over slices": {"over": "slice"},
    "dice_bce of absent organs": {"absent": True},
}
SETTINGS = {
    **{"roi_px": [32, 32], "spacing_mm": [9.0, 9.0, 9.0], "device": "cpu", "folds": 3},
    **{"epochs": 3, "epoch_length": 3, "batch_size": BATCH, "val_interval": 1, "ema_decay": 0.5},
    **{"network_def::base": 4, "amp": False},
    "optimizer": {"_target_": "torch.optim.SGD", "params": "@parameters", "lr": 0.02},
}


def without_dropout(network):
    """Return a network that draws nothing: each process draws its own."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return network


def of_network(name, *, overlapping=True):
    """Return the losses of three steps and the parameters after them."""
    torch.manual_seed(0)
    network = without_dropout(small(name, 1, 3, overlapping=overlapping)).train()
    loss, generator = loss_of(name, overlapping=overlapping), torch.Generator().manual_seed(1)
    optimizer, computed, losses = torch.optim.SGD(network.parameters(), lr=0.05), network, []
    for _ in range(3):
        images = torch.rand(BATCH, 1, 32, 32, generator=generator)
        masks = (torch.rand(BATCH, 3, 32, 32, generator=generator) > 0.8).to(torch.uint8)
        masks[0] = 0  # one image shows nothing, and the last organ is in one alone
        masks[:-1, 2] = 0
        own = images[ranks.rank() :: ranks.world()], masks[ranks.rank() :: ranks.world()]
        inputs = own if getattr(network, "takes_masks", False) else own[:1]
        if computed is network and ranks.world() > 1:
            synchronise(network)
            computed = distributed(network, network, inputs)
        optimizer.zero_grad()
        step = loss(computed(*inputs), own[1])
        step.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(step.detach())
    return torch.stack(losses), network.state_dict()


def of_loss(name):
    """Return a loss and its gradients by all images."""
    from medseg import losses

    kind = name.partition(" ")[0]
    exclusive = kind == "dice_ce"
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(BATCH, 3 + exclusive, 9, 7, generator=generator)
    masks = torch.rand(BATCH, 3, 9, 7, generator=generator) > 0.7
    masks[:, 1], masks[1:, 2] = False, False
    own = slice(ranks.rank(), None, ranks.world())
    part = logits[own].clone().requires_grad_()
    loss = getattr(losses, kind)(**LOSSES[name])(part, masks[own])
    loss.backward()
    gradient = torch.zeros_like(logits)
    gradient[own] = part.grad / ranks.world()
    return loss.detach(), ranks.summed(gradient)


def of_numbers():
    """Return what is counted and agreed on."""
    own = ranks.rank() + 1
    try:
        with ranks.alike():
            if own == ranks.world():
                raise DataError(Problem("E-LAST", f"process {own}", "is the last"))
        raised = ""
    except MedsegError as error:
        raised = error.problems[0].subject
    mean = torch.tensor(float("nan") if own == 1 < ranks.world() else 3.0 * own)
    weight = 0 if own == 1 < ranks.world() else own
    return {
        "total": ranks.total(own),
        "largest": ranks.largest(own),
        "gathered": ranks.gathered(own),
        "shared": ranks.shared(lambda: ["made by", own]),
        "averaged": float(ranks.averaged(mean, weight)),
        "raised": raised,
    }


def run_in(folder, phantom, **changed):
    """Return a run of three epochs that has the folder."""
    settings = {"dataset_dir": phantom, "output_dir": str(folder), "store_dir": f"{phantom}-store"}
    config = find_bundle("uwmgi_unet").config("train", settings=SETTINGS | settings | changed)
    folder.mkdir(exist_ok=True)
    run = Run(folder, config)
    run.write("config.json", config)
    return run


def trained(folder, phantom, **changed):
    """Train, as process 0, or take part."""
    if ranks.follows():
        join()
    else:
        with ranks.to_the_end():
            train(run_in(folder, phantom, **changed), Untold(), Silent())


def everything(folder):
    """Return all that is not a training."""
    return {
        "networks": {name: of_network(name) for name in NETWORKS},
        "losses": {name: of_loss(name) for name in LOSSES},
        "numbers": of_numbers(),
    }


def main(folder, number, world, phantom):
    folder = Path(folder)
    if number == "0":
        torch.save(everything(folder), folder / "1.pt")
        train(run_in(folder / "run1", phantom), Untold(), Silent())
    os.environ |= {"RANK": number, "WORLD_SIZE": world, "LOCAL_RANK": number}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    ranks._met[:] = [dist.FileStore(str(folder / "met"), int(world))]
    with ranks.together("cpu", name="figures"):
        found = everything(folder)
        if number == "0":
            torch.save(found, folder / f"{world}.pt")
    trained(folder / f"run{world}", phantom)


if __name__ == "__main__":
    main(*sys.argv[1:])
