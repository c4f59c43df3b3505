"""Losses of logits: what is reported, Dice, and what every pixel teaches, cross-entropy.

Each is ``(1 - Dice) + weight * cross-entropy``, computed in float32 or better also under autocast:

- 1 - Dice, for what is reported. Dice is soft (probabilities p, not squared, and masks m), taken
  per organ without background, and smoothed by s::

      Dice_k = (2 sum(p_k m_k) + s) / (sum(p_k) + sum(m_k) + s)

  The sums are over the pixels of the whole batch together. Most slices are empty, and Dice of one
  empty slice jumps from 0 to 1 at the first false pixel: over the batch it does not. An organ that
  no slice of the batch shows adds nothing, neither to the loss nor to its gradient. The term is
  the sum of 1 - Dice_k divided by the number of organs. Others sum over one slice at a time, or
  ask for Dice of absent organs too: values say so.
- Cross-entropy, the mean over all pixels, which teaches absence and is smooth everywhere. With
  exclusive classes it is categorical and has a background class; with overlapping organs it is the
  binary one of each organ, averaged over them too.

Where several processes train together the batch is that of all of them; see `medseg.ranks`.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg import ranks
from medseg.errors import Problem, UsageError

__all__ = ["SMOOTH", "dice", "dice_bce", "dice_ce", "exclusive_classes"]

SMOOTH = 1e-5

Over = Literal["batch", "slice"]


def dice(
    *,
    label_mode: Literal["exclusive", "overlapping"] = "overlapping",
    painting_order: Sequence[int] | None = None,
    smooth: float = SMOOTH,
    over: Over = "batch",
    absent: bool = False,
) -> nn.Module:
    """Return 1 - Dice, of classes that exclude each other or of organs that may overlap.

    The module takes logits and masks as `dice_ce` or as `dice_bce` does, and returns a scalar. It
    is 0 where no organ is, unless `absent` organs count.

    Args:
        label_mode: ``exclusive``, as in `dice_ce`, or ``overlapping``, as in `dice_bce`.
        painting_order: See `dice_ce`; overlapping organs need none.
        smooth: Added above and below the line, more than 0.
        over: What Dice is summed over: the ``batch``, or each ``slice``, whose losses are averaged.
        absent: Count organs that the batch, or the slice, does not show: their Dice is
            ``smooth / (sum(p) + smooth)``.
    """
    exclusive = label_mode == "exclusive"
    return _DiceAndEntropy(_Dice(smooth, over, absent), 0.0, exclusive, painting_order)


def dice_ce(
    *,
    painting_order: Sequence[int] | None = None,
    ce_weight: float = 1.0,
    smooth: float = SMOOTH,
    over: Over = "batch",
    absent: bool = False,
) -> nn.Module:
    """Return (1 - Dice) + cross-entropy for classes that exclude each other.

    The module takes logits ``(B, K+1, H, W)``, background first, and masks ``(B, K, H, W)``, and
    returns a scalar. Where organs overlap, the target is the one painted last.

    Args:
        painting_order: Channels of the masks from the lowest priority to the highest, as
            `LabelSet.painting_order` gives them. None paints them as they come.
        ce_weight: Of the cross-entropy.
        smooth: See `dice`.
        over: See `dice`.
        absent: See `dice`.
    """
    return _DiceAndEntropy(_Dice(smooth, over, absent), ce_weight, True, painting_order)


def dice_bce(
    *,
    bce_weight: float = 1.0,
    smooth: float = SMOOTH,
    over: Over = "batch",
    absent: bool = False,
) -> nn.Module:
    """Return (1 - Dice) + binary cross-entropy for organs that may overlap.

    The module takes logits ``(B, K, H, W)`` and masks ``(B, K, H, W)``, and returns a scalar.

    Args:
        bce_weight: Of the cross-entropy.
        smooth: See `dice`.
        over: See `dice`.
        absent: See `dice`.
    """
    return _DiceAndEntropy(_Dice(smooth, over, absent), bce_weight, False)


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


class _DiceAndEntropy(nn.Module):
    """1 - Dice, and a share of cross-entropy, of classes that exclude each other or do not."""

    def __init__(
        self,
        dice: "_Dice",
        entropy_weight: float,
        exclusive: bool,
        painting_order: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if entropy_weight < 0:
            found = f"the weight of the cross-entropy is {entropy_weight}"
            raise UsageError(Problem("E-CONFIG", "loss", found, "0 or more"))
        self.dice, self.entropy_weight = dice, entropy_weight
        self.exclusive, self.painting_order = exclusive, painting_order
        categorical, binary = functional.cross_entropy, functional.binary_cross_entropy_with_logits
        self.entropy = categorical if exclusive else binary

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        told = self._exclusive if self.exclusive else self._overlapping
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            probs, organs, target = told(logits, masks)
            loss: Tensor = self.dice(probs, organs)
            if self.entropy_weight:
                entropy = ranks.averaged(self.entropy(logits, target), target.numel())
                loss = loss + self.entropy_weight * entropy
            return loss

    def _exclusive(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _require_channels(logits, masks.shape[1] + 1, "background and one an organ")
        classes = exclusive_classes(masks, self.painting_order)
        organs = torch.stack([classes == organ for organ in range(1, logits.shape[1])], dim=1)
        return logits.softmax(1)[:, 1:], organs, classes

    def _overlapping(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _require_channels(logits, masks.shape[1], "one an organ")
        organs = masks != 0
        return logits.sigmoid(), organs, organs.to(logits.dtype)


class _Dice(nn.Module):
    """The mean over organs, and over slices, of 1 - Dice; see `dice`."""

    def __init__(self, smooth: float, over: Over, absent: bool) -> None:
        super().__init__()
        if not smooth > 0:
            raise UsageError(Problem("E-CONFIG", "smooth", f"is {smooth}", "more than 0"))
        self.smooth, self.over_batch, self.absent = smooth, over == "batch", absent

    def forward(self, probs: Tensor, masks: Tensor) -> Tensor:
        pixels = [*range(2, probs.ndim)]
        axes = [0, *pixels] if self.over_batch else pixels
        truth = masks.to(probs.dtype)
        both, found, there = (probs * truth).sum(axes), probs.sum(axes), truth.sum(axes)
        if self.over_batch:
            both, found, there = ranks.summed_each(both, found, there)
        # Half of what only one of them has, in the order in which MONAI adds it up.
        missed, wrong = (there - both) * 0.5, (found - both) * 0.5
        shared = 2 * both + self.smooth
        losses = 1 - shared / (2 * (both + wrong + missed) + self.smooth)
        counted = losses if self.absent else torch.where(there > 0, losses, 0.0)
        return counted.mean() if self.over_batch else ranks.averaged(counted.mean(), len(probs))


def _require_channels(logits: Tensor, channels: int, meaning: str) -> None:
    if not torch.is_tensor(logits):
        found = f"the network gives {type(logits).__name__}, no logits"
        fix = "name the loss that is made for the network"
        raise UsageError(Problem("E-MODEL", "loss", found, "one tensor of logits", fix))
    if logits.shape[1] != channels:
        found = f"the network gives {logits.shape[1]} channels"
        raise UsageError(Problem("E-MODEL", "loss", found, f"{channels}: {meaning}"))
