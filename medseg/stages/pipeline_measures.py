"""Measures: what a source tells of its training, counted as it counts, and what a network costs.

Slices are scored on the network's own grid, one by one and batch by batch, as training scripts do:
these figures stand beside a source's, never in the place of scores by organ and scan.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medseg.bundle import Config, Opened
from medseg.data import EpochSampler, read_manifest
from medseg.engine.checkpoints import load_network
from medseg.engine.costs import cost_of, forward_pace, step_pace
from medseg.engine.device import autocast
from medseg.engine.tracking import Tracker
from medseg.metrics.batchwise import batch_score, mean_of_batches
from medseg.metrics.slicewise import count_slices, slice_scores, summarise_slices
from medseg.runs import Run
from medseg.transforms.postprocess import masks_of

MEASURED = "measured.json"
ROUNDS = 2


def measure(run: Run, tracker: Tracker, *, roles: Sequence[str], costs: bool) -> None:
    """Write ``measured.json``: loss and overlap of the kept weights, by role, and costs.

    Args:
        run: A trained run.
        tracker: Where the losses go too.
        roles: Sides of the split, such as ``test``.
        costs: Whether to count and time the network.
    """
    opened = Opened(run.config)
    network = opened["network"]
    load_network(network, run.checkpoint)
    loss = None if getattr(network, "takes_masks", False) else opened["loss"]
    found = {role: _side(_sided(run.config, role), network, loss) for role in roles}
    if costs:
        found["costs"] = _costs(run.config, network, opened["loss"])
    run.write(MEASURED, found)
    losses = {f"{role}/loss": side["loss"] for role, side in found.items() if "loss" in side}
    tracker.log_metrics(
        {name: value for name, value in losses.items() if value is not None},
        step=run.config["epochs"],
    )


def _sided(config: Config, role: str) -> Config:
    config = deepcopy(config)
    config["train"]["dataset"]["data"]["role"] = role
    return config


@torch.inference_mode()
def _side(config: Config, network: Any, loss: Any) -> dict[str, Any]:  # noqa: ANN401 - as named
    """Return the mean loss and both overlaps over all slices of a side, not augmented."""
    organs = read_manifest(config["manifest"]).labels.names
    device = next(network.parameters()).device
    network.eval()
    slices, batches, total, n = [], [], 0.0, 0
    dataset = Opened(config)["train::dataset"]
    # In the order of the scans whole batches would be empty, as none is in a training.
    order = EpochSampler(dataset, seed=config["seed"])
    for batch in DataLoader(dataset, batch_size=config["batch_size"], sampler=order):
        image, masks = batch["image"].to(device), batch["label"].to(device)
        with autocast(device, amp=config["amp"]):
            logits = network(image)
            if loss is not None:
                total += float(loss(logits, masks)) * len(image)
        n += len(image)
        pred = masks_of(logits.transpose(0, 1), config["label_mode"]).transpose(0, 1)
        sides = [_last(side.bool()) for side in (pred, masks)]
        slices += slice_scores(*sides, organs=organs, scan_id=str(n))
        batches.append(batch_score(count_slices(*sides)))
    return {
        "loss": total / n if loss is not None else None,
        "batches": mean_of_batches(batches)._asdict(),
        "slices": [_plain(summary) for summary in summarise_slices(slices)],
    }


def _last(masks: Tensor) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return masks as ``(C, H, W, B)``: slices along the last axis."""
    return masks.permute(1, 2, 3, 0).cpu().numpy()


def _plain(summary: Any) -> Mapping[str, Any]:  # noqa: ANN401 - a NamedTuple of numbers
    return {
        **summary._asdict(),
        **{name: getattr(summary, name)._asdict() for name in ("dice", "iou")},
    }


def _costs(config: Config, network: Any, loss: Any) -> dict[str, float]:  # noqa: ANN401
    """Count and time the network on one batch of the training side."""
    dataset = Opened(_sided(config, "train"))["train::dataset"]
    batch = next(iter(DataLoader(dataset, batch_size=config["batch_size"])))
    device = next(network.parameters()).device
    images, masks = batch["image"].to(device), batch["label"].to(device)
    _, channels, height, width = images.shape
    cost = cost_of(network, in_channels=channels, size_px=(height, width))
    given = {"amp": config["amp"], "rounds": ROUNDS}
    step = step_pace(network, images, masks=masks, loss=loss, **given)
    return {
        **cost._asdict(),
        "images_per_s": forward_pace(network, images, **given).images_per_s,
        "training_images_per_s": step.images_per_s,
        "training_memory_bytes": step.memory_bytes,
    }
