"""Losses of logits: what is reported, Dice, and what every pixel teaches, cross-entropy.

Both losses are a sum of two terms, computed in float32 or better also under autocast:

- 1 - Dice, for what is reported. Dice is soft (probabilities, not squared), taken per organ over
  the pixels of the whole batch together, without background::

      Dice_k = (2 sum(p_k m_k) + s) / (sum(p_k) + sum(m_k) + s),   s = 1e-5

  The term is the sum of 1 - Dice_k over the organs that occur in the batch, divided by K. Most
  slices are empty, and Dice of one empty slice jumps from 0 to 1 at the first false pixel: over the
  batch it does not. An organ that no slice of the batch shows adds nothing, neither to the loss nor
  to its gradient.
- Cross-entropy, the mean over all pixels, which teaches absence and is smooth everywhere. With
  exclusive classes it is categorical and has a background class; with overlapping organs it is the
  binary one of each organ, averaged over them too.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import Problem, UsageError

__all__ = ["SMOOTH", "dice_bce", "dice_ce", "exclusive_classes"]

SMOOTH = 1e-5


def dice_ce(*, painting_order: Sequence[int] | None = None) -> nn.Module:
    """Return (1 - Dice) + cross-entropy for classes that exclude each other.

    The module takes logits ``(B, K+1, H, W)``, background first, and masks ``(B, K, H, W)``, and
    returns a scalar. Where organs overlap, the target is the one painted last.

    Args:
        painting_order: Channels of the masks from the lowest priority to the highest, as
            `LabelSet.painting_order` gives them. None paints them as they come.
    """
    return _DiceCrossEntropy(painting_order)


def dice_bce() -> nn.Module:
    """Return (1 - Dice) + binary cross-entropy for organs that may overlap.

    The module takes logits ``(B, K, H, W)`` and masks ``(B, K, H, W)``, and returns a scalar.
    """
    return _DiceBinaryCrossEntropy()


def exclusive_classes(masks: Tensor, painting_order: Sequence[int] | None = None) -> Tensor:
    """Return one class a pixel, int64 ``(B, *spatial)``: 0 background, k + 1 for channel k.

    Args:
        masks: ``(B, K, *spatial)``, not 0 where the organ is.
        painting_order: Channels from the lowest priority to the highest; the last one painted wins
            where organs overlap. None paints them as they come.

    Raises:
        UsageError: `painting_order` does not name each channel once.
    """
    channels = masks.shape[1]
    order = list(range(channels) if painting_order is None else painting_order)
    if sorted(order) != list(range(channels)):
        expected = f"each of the channels 0 to {channels - 1} once"
        raise UsageError(Problem("E-LABEL", "painting_order", f"is {order}", expected))
    classes = torch.zeros_like(masks[:, 0], dtype=torch.int64)
    for channel in order:
        # Chosen, not assigned where the mask is: that would ask a GPU how many pixels there are.
        classes = torch.where(masks[:, channel] != 0, channel + 1, classes)
    return classes


class _DiceCrossEntropy(nn.Module):
    def __init__(self, painting_order: Sequence[int] | None) -> None:
        super().__init__()
        self.painting_order = painting_order
        self.dice = _dice()

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        _require_channels(logits, masks.shape[1] + 1, "background and one an organ")
        classes = exclusive_classes(masks, self.painting_order)
        with torch.autocast(logits.device.type, enabled=False):
            logits = _precise(logits)
            organs = range(1, logits.shape[1])
            exclusive = torch.stack([classes == organ for organ in organs], dim=1)
            overlap = _one_minus_dice(self.dice, logits.softmax(1)[:, 1:], exclusive)
            return overlap + functional.cross_entropy(logits, classes)


class _DiceBinaryCrossEntropy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dice = _dice()

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        _require_channels(logits, masks.shape[1], "one an organ")
        with torch.autocast(logits.device.type, enabled=False):
            logits = _precise(logits)
            present = masks != 0
            overlap = _one_minus_dice(self.dice, logits.sigmoid(), present)
            binary = functional.binary_cross_entropy_with_logits(logits, present.to(logits.dtype))
            return overlap + binary


def _dice() -> nn.Module:
    # Importing MONAI takes seconds.
    from monai.losses import DiceLoss

    dice: nn.Module = DiceLoss(batch=True, reduction="none", smooth_nr=SMOOTH, smooth_dr=SMOOTH)
    return dice


def _one_minus_dice(dice: nn.Module, probs: Tensor, masks: Tensor) -> Tensor:
    """Return the mean over organs of 1 - Dice, 0 for those absent from the batch."""
    occurs = masks.transpose(0, 1).flatten(1).any(1)
    losses = dice(probs, masks.to(probs.dtype)).flatten()
    return torch.where(occurs, losses, 0.0).mean()


def _precise(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _require_channels(logits: Tensor, channels: int, meaning: str) -> None:
    if logits.shape[1] != channels:
        found = f"the network gives {logits.shape[1]} channels"
        raise UsageError(Problem("E-MODEL", "loss", found, f"{channels}: {meaning}"))
