"""A moving average of a network's weights, which often segments better than the last step's.

The average is exponential: after each step it keeps a share `decay` of itself and takes the rest
from the weights as they are now (Polyak, Juditsky 1992; Tarvainen, Valpola 2017). It begins as a
copy of the network, so a training of fewer than some ``3 / (1 - decay)`` steps has not forgotten
where it began.
"""

from collections.abc import Callable
from copy import deepcopy

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from medseg.errors import Problem, UsageError


def averaged(network: nn.Module, *, decay: float | None) -> nn.Module:
    """Return the network that is validated and kept: a copy that `WeightAverage` fills.

    Args:
        network: The one that learns.
        decay: Of the average, in (0, 1), such as 0.999. None returns `network` itself.

    Raises:
        UsageError: `decay` is neither.
    """
    if decay is None:
        return network
    if not 0 < decay < 1:
        expected = "null, or a number between 0 and 1"
        raise UsageError(Problem("E-CONFIG", "ema_decay", f"is {decay}", expected))
    return deepcopy(network).requires_grad_(False).eval()


class WeightAverage:
    """Average the weights after each step: a trainer's handler.

    Buffers of numbers, such as the statistics of a batch normalisation, are averaged too; those of
    integers, such as a table of indices, are copied.

    Args:
        network: The one that learns.
        into: What `averaged` returned for it.
        decay: Of the average; None does nothing.
    """

    def __init__(self, network: nn.Module, *, into: nn.Module, decay: float | None) -> None:
        self.network, self.into, self.decay = network, into, decay

    def attach(self, trainer: Engine) -> None:
        """Listen to the trainer; before what writes checkpoints."""
        if self.decay is not None:
            trainer.add_event_handler(Events.ITERATION_COMPLETED, self.update, self.decay)

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Take `1 - decay` of the weights as they are now into the average."""
        pairs = list(zip(_tensors(self.into), _tensors(self.network), strict=True))
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        average: Callable[..., None] = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(*map(list, zip(*floating, strict=True)), 0)
        for kept, now in pairs:
            if not kept.is_floating_point():
                kept.copy_(now)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]
