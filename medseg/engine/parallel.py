"""Training on several processes: one network on each, whose gradients are averaged.

Each process computes its share of a batch. The loss and the norms are those of the whole batch
(`medseg.ranks`), so the steps are those of one process, but for what is random inside a network:
each process draws its own dropout.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from medseg import ranks
from medseg.errors import Problem, UsageError
from medseg.queries import RefinedQueries

Scores = list[tuple[float | None, ...]]


class Computed(nn.Module):
    """A network that is computed in a way of its own, such as compiled.

    Args:
        network: It has the parameters.
        forward: What computes it.
    """

    def __init__(self, network: nn.Module, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.network, self._computed = network, forward

    def forward(self, *inputs: Tensor) -> Any:  # noqa: ANN401 - what the network's loss takes
        """Return what the network says."""
        return self._computed(*inputs)


def distributed(
    network: nn.Module, forward: Callable[..., Any], inputs: tuple[Tensor, ...]
) -> nn.Module:
    """Return the network whose gradients are averaged over all ranks when they are computed.

    Its parameters are those of `network`, which keeps their names and is to be validated and saved.

    Args:
        network: In training mode, with synchronised norms, on the device of the inputs.
        forward: What computes it: itself, or what it was compiled to.
        inputs: Of a first step.
    """
    varies = ranks.largest(not _teaches_all(network, inputs)) > 0
    with warnings.catch_warnings():
        # Its newer name is not known to all versions of torch that serve.
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
        return DistributedDataParallel(
            Computed(network, forward),
            broadcast_buffers=False,  # they are the same everywhere
            find_unused_parameters=varies,
            gradient_as_bucket_view=True,
        )


def _teaches_all(network: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Whether each step gives each parameter a gradient; nobody keeps the results of this one.

    What refines its queries has noised ones where an image shows something, and none elsewhere.
    """
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    parameters = [each for each in network.parameters() if each.requires_grad]
    devices = [inputs[0].device] if inputs[0].is_cuda else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        output = network(*inputs)
        if isinstance(output, RefinedQueries):
            gradients: tuple[Tensor | None, ...] = (None,)
        else:
            total = torch.stack([each.float().sum() for each in _tensors(output)]).sum()
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            buffer.copy_(buffers[name])
    return all(gradient is not None for gradient in gradients)


def _tensors(output: Tensor | Iterable[Any] | None) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    else:
        for part in output or ():
            yield from _tensors(part)


def draw_apart(seed: int) -> None:
    """Give each rank a random stream of its own; that of rank 0 stays as it is."""
    if ranks.rank():
        state = np.random.SeedSequence([seed, ranks.rank()]).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0] >> np.uint64(1)))


def require_shares(batch_size: int) -> None:
    """Refuse a batch that leaves a process without any sample.

    Raises:
        UsageError: It does.
    """
    if batch_size < ranks.world():
        found = f"batch_size {batch_size} is less than the {ranks.world()} processes"
        fix = "set a larger batch_size, or start fewer processes"
        raise UsageError(Problem("E-CONFIG", "training", found, "a slice each or more", fix))


class ScanShare:
    """The scans that this rank validates, out of all: as many as every other rank.

    Where they do not go up evenly some ranks do one that another has, which counts once.

    Args:
        loader: Of all scans, with a ``dataset``.
    """

    def __init__(self, loader: Any) -> None:  # noqa: ANN401 - of whatever items
        self.scans = loader.dataset
        self._every: int = len(self.scans)

    def __len__(self) -> int:
        return math.ceil(self._every / ranks.world())

    def __iter__(self) -> Iterator[Any]:
        numbers = (ranks.rank() + ranks.world() * turn for turn in range(len(self)))
        return (self.scans[number % self._every] for number in numbers)

    def merged(self, own: Scores) -> Scores:
        """Return the scores of all scans in their order, from those of each rank's share."""
        shares = ranks.gathered(own)
        return [shares[n % len(shares)][n // len(shares)] for n in range(self._every)]


def divide(evaluator: Engine) -> None:
    """Give each rank its share of the scans that an evaluator goes through."""
    loader = evaluator.data_loader
    if ranks.world() > 1 and isinstance(loader, DataLoader) and len(loader):
        evaluator.data_loader = ScanShare(loader)
        evaluator.state.epoch_length = len(evaluator.data_loader)
