"""Several networks as one: what the networks of all folds say together."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from medseg.engine.checkpoints import load_network


class Ensemble(nn.Module):
    """Networks whose logits are averaged, as nnU-Net does with those of its folds.

    Args:
        networks: Of one kind of output, such as the same network once a fold.
        weights: A checkpoint for each, or bare weights; none leaves the networks as they are.

    Raises:
        UnsafeError: A file cannot be read, or its parameters are not the network's.
    """

    def __init__(self, networks: Sequence[nn.Module], weights: Sequence[str | Path] = ()) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        for network, path in zip(self.networks, weights, strict=bool(weights)):
            load_network(network, path)

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean of the logits ``(B, K, H, W)`` for images ``(B, C, H, W)``."""
        logits = [network(images).float() for network in self.networks]
        return torch.stack(logits).mean(dim=0)
