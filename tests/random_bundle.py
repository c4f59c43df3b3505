"""A bundle whose network never learnt anything, yet finds something in any image."""

import shutil

import torch

from medseg.engine.checkpoints import write_checkpoint
from medseg.models import segformer_b0
from medseg.resources import shipped

# How `medseg predict` is told that the network is a small one.
SMALL = [
    *("--set", "roi_px=[32, 32]", "--device", "cpu"),
    *("--set", "network_def::_target_=medseg.models.segformer_b0"),
]


def random_bundle(folder, *, finds=True):
    """Copy the main bundle into a folder that is not there, with random weights, and return it.

    With `finds` false its network sees background everywhere.
    """
    torch.manual_seed(0)
    shutil.copytree(shipped("bundles", "uwmgi_segformer"), folder)
    (folder / "models").mkdir(exist_ok=True)
    network = segformer_b0(in_channels=1, out_channels=4)
    network.eval()
    with torch.no_grad():  # so that no class wins everywhere
        mean = network(torch.rand(1, 1, 32, 32)).mean((0, 2, 3))
        bias = list(network.parameters())[-1].sub_(mean)
        bias[0] += 0 if finds else 1000
    write_checkpoint(folder / "models" / "model.pt", network.state_dict())
    return folder
