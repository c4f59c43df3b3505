"""What a network is found to be when it is built: size, cost, and how it can be exported."""

import copy
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import torch

from medseg.bundle.configuration import Opened
from medseg.engine.costs import cost_of


class Measured(NamedTuple):
    """What a network is found to be when it is built.

    Attributes:
        parameters: Their number.
        gmacs: Multiplications with their additions for one window, in thousand millions.
        torchscript: ``scripted``, ``traced`` for windows of one size, or ``none``.
    """

    parameters: int
    gmacs: float
    torchscript: str


def measure(values: dict[str, Any]) -> Measured:
    """Return the size and cost of the network of a bundle's values, and how it can be exported."""
    sizes = {key: values[key] for key in ("channels", "neighbours", "label_mode", "roi_px")}
    network = Opened({**sizes, "weights": None, "network_def": values["network_def"]})[
        "network_def"
    ]
    in_channels, (height, width) = values["channels"] * values["neighbours"], values["roi_px"]
    cost = cost_of(network, in_channels=in_channels, size_px=(height, width))
    way = _export(network.eval(), torch.rand(1, in_channels, height, width))
    return Measured(cost.parameters, round(cost.macs / 1e9, 2), way)


def _export(network: torch.nn.Module, images: torch.Tensor) -> str:
    """Return how TorchScript takes the network: scripted, traced for one size, or none."""
    ways: dict[str, Callable[[], object]] = {
        "scripted": lambda: torch.jit.script(copy.deepcopy(network)),
        "traced": lambda: torch.jit.trace(network, images),  # type: ignore[no-untyped-call]
    }
    for way, export in ways.items():
        with warnings.catch_warnings(), suppress(Exception):  # the compiler's are of any kind
            warnings.simplefilter("ignore")
            export()
            return way
    return "none"
