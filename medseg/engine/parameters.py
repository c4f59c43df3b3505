"""Which of a network's parameters learn how fast, and which of them decay."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from medseg.errors import Problem, UsageError

Groups = list[dict[str, Any]]


def parameter_groups(
    network: nn.Module, *, lr: float, head_factor: float = 1.0, decay_all: bool = True
) -> Groups:
    """Return the groups that a torch optimiser takes for its ``params``.

    The head is what lies outside a network's encoder. Each parameter is in one group; with the
    defaults there is one group, of all parameters in the network's order.

    Args:
        network: One that tells its encoder, see `medseg.models`, if `head_factor` is not 1.
        lr: The learning rate of the encoder: the optimiser's own.
        head_factor: The head learns at `lr` times this. SegFormer's authors take 10.
        decay_all: Whether weight decay is for all parameters. False frees norms, biases, position
            embeddings and learnt queries of it, as is usual for transformers.

    Raises:
        UsageError: `head_factor` is no positive number, or the network tells no encoder.
    """
    if not head_factor > 0:
        raise UsageError(Problem("E-CONFIG", "head_factor", f"is {head_factor}", "more than 0"))
    parted = head_factor != 1
    encoder = encoder_names(network) if parted else ("",)
    free = set() if decay_all else set(_free_of_decay(network))
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        head, no_decay = not _within(name, encoder), name in free
        settings: dict[str, Any] = {"lr": lr * head_factor} if head else {}
        settings |= {"name": "head" if head else "encoder"} if parted else {}
        settings |= {"weight_decay": 0.0} if no_decay else {}
        group = groups.setdefault((head, no_decay), {"params": [], **settings})
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def encoder_names(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the modules that are the network's encoder.

    Raises:
        UsageError: The network does not tell them.
    """
    names: tuple[str, ...] = getattr(network, "encoder_names", ())
    if not names:
        found = f"{type(network).__name__} does not tell which part is its encoder"
        fix = "give the class encoder_names, or leave head_factor at 1"
        raise UsageError(Problem("E-CONFIG", "head_factor", found, fix=fix))
    return names


def _within(name: str, modules: tuple[str, ...]) -> bool:
    return any(not module or name.startswith(f"{module}.") for module in modules)


def _free_of_decay(network: nn.Module) -> Iterator[str]:
    """Yield the names of norms, biases, scales, position embeddings and learnt queries."""
    for path, module in network.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            # A vector, also one that is shaped to be multiplied with maps.
            vector = parameter.ndim < 2 or parameter.numel() == parameter.shape[-1]
            looked_up = isinstance(module, nn.Embedding) or "position" in own or "token" in own
            if vector or looked_up:
                yield f"{path}.{own}" if path else own
