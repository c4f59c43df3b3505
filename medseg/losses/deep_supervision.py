"""Deep supervision: the same loss at several sizes, the finest counting most."""

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["deep_supervision"]


def deep_supervision(*, loss: nn.Module) -> nn.Module:
    """Return the weighted mean of a loss over the sizes at which a network gives logits.

    The module takes logits at several sizes, finest first, and masks ``(B, K, H, W)``, and returns
    a scalar. Each size is compared with the masks sampled to it at the nearest pixels. The weights
    are 1, 1/2, 1/4 … divided by their sum, so the loss is as large as `loss` itself would be; of
    logits of a single size it is `loss`.

    Args:
        loss: Of logits and masks of one size, such as `dice_ce`.

    References:
        Lee et al. (2015), Deeply-Supervised Nets, AISTATS. The weights are those of nnU-Net.
    """
    return _DeepSupervision(loss)


class _DeepSupervision(nn.Module):
    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        # Importing MONAI takes seconds.
        from monai.losses import DeepSupervisionLoss

        self.levels = DeepSupervisionLoss(loss)

    def forward(self, logits: Sequence[Tensor] | Tensor, masks: Tensor) -> Tensor:
        if isinstance(logits, Tensor):
            logits = [logits]
        total: Tensor = self.levels(list(logits), masks)
        weights: list[float] = self.levels.get_weights(len(logits))
        return total / sum(weights)
