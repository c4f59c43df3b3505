"""A run whose network never learnt anything, yet finds every organ somewhere."""

import torch

from medseg.bundle import Opened
from medseg.data import read_manifest, read_scans
from medseg.engine.checkpoints import export_weights, write_checkpoint
from medseg.stages.begin import Request, begin
from medseg.stages.display import Silent
from medseg.stages.prepare import split_of


def untrained_run(data, output, *, score=0.1, seed=0):
    """Return a run with a split and a checkpoint of random weights that validated so well."""
    asked = Request("uwmgi_segformer", data=data, demo=True, output=output, device="cpu")
    asked.settings["roi_px"] = "[64, 64]"
    run = begin(asked, Silent())
    split_of(run, read_scans(data, read_manifest("uwmgi")))
    torch.manual_seed(seed)
    network = Opened(run.config)["network"]
    state = {"network": network.state_dict(), "best_metric": score}
    write_checkpoint(run.folder / "checkpoints" / "best.pt", state)
    export_weights(run.folder / "weights.safetensors", network)
    return run
