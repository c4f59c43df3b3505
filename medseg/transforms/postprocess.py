"""The way back: logits from the network's grid to the scan's own, and only then a decision.

Thresholding after resampling draws an outline between voxels; the other way round would move
blocks.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from torch import Tensor

from medseg.errors import Problem, UsageError
from medseg.geometry import Grid
from medseg.labels import LabelSet
from medseg.transforms.export import SaveMasks
from medseg.transforms.placed import Chain, Item, grid_of, on_grid
from medseg.transforms.regrid import Mode, regrid

LabelMode = Literal["overlapping", "exclusive"]

OUTSIDE = 100.0  # a logit that leaves no doubt, in float16 too
_FILLS: dict[str, tuple[float, ...]] = {
    "overlapping": (-OUTSIDE,),
    "exclusive": (OUTSIDE, -OUTSIDE),
}


def postprocessing(
    label_mode: LabelMode,
    *,
    labels: LabelSet | None = None,
    output_dir: str | Path | None = None,
    per_organ: bool = False,
    probabilities: bool = False,
) -> Chain:
    """Return the chain that turns an item's ``pred``, logits, into masks on the scan's own grid.

    The item holds ``pred`` ``(C, I, J, K)`` on the grid of its prepared ``image``, and ``native``,
    the scan's own grid. ``pred`` becomes masks ``(organs, I, J, K)`` uint8.

    Args:
        label_mode: ``overlapping``, one logit an organ, or ``exclusive``, background first.
        labels: The organs in channel order; needed to write files.
        output_dir: Where `SaveMasks` writes the masks; nothing is written without.
        per_organ: Also write a file an organ.
        probabilities: Also keep the probabilities ``(organs, I, J, K)`` as ``probs``, and write
            them where files are written.
    """
    discrete = Discreted("pred", label_mode=label_mode)
    chain: list[Transform] = [BackToGridd("pred", fill=_FILLS[discrete.label_mode])]
    if probabilities:
        chain.append(KeepProbsd("pred", label_mode=label_mode))
    chain.append(discrete)
    if output_dir is not None:
        if labels is None:
            raise UsageError(
                Problem("E-CONFIG", "postprocessing", "an output folder, but no labels", "both")
            )
        chain.append(
            SaveMasks(output_dir, labels=labels, per_organ=per_organ, probabilities=probabilities)
        )
    return Chain(chain)


class BackToGridd(MapTransform):  # type: ignore[misc]
    """Bring tensors from the grid of the prepared image back to the scan's own.

    Exact where the two differ by flips, permuted axes, crop and padding alone.

    Args:
        keys: Tensors ``(C, I, J, K)`` on the grid of the image.
        image_key: The prepared image; only its grid is used.
        native_key: The grid to go to.
        fill: The value outside the prepared grid, where nothing was predicted: one number a
            channel, the last one standing for all further channels. The default is the logit of
            an organ that is surely absent.
        mode: ``linear`` for logits and probabilities, ``nearest`` for masks.
        allow_missing_keys: Whether items may lack a key.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        *,
        image_key: str = "image",
        native_key: str = "native",
        fill: float | Sequence[float] = -OUTSIDE,
        mode: Mode = "linear",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key, self.native_key, self.mode = image_key, native_key, mode
        self.fill = tuple(fill) if isinstance(fill, Sequence) else (float(fill),)

    def __call__(self, data: Item) -> dict[str, object]:
        """Return the item with its tensors on the scan's own grid, as MetaTensors."""
        item = dict(data)
        source, target = grid_of(item[self.image_key]), item[self.native_key]
        for key in self.key_iterator(item):
            item[key] = on_grid(self._back(item[key], source, target), target)
        return item

    def _back(self, volume: Tensor, source: Grid, target: Grid) -> Tensor:
        volume = volume.as_subclass(Tensor)
        # Channel by channel: the two gathers of an interpolation need room for one only.
        i, j, k = target.shape
        back = volume.new_empty((len(volume), k, j, i)).permute(0, 3, 2, 1)
        for channel in range(len(volume)):
            back[channel] = regrid(
                volume[channel : channel + 1],
                source,
                target,
                mode=self.mode,
                fill=self.fill[min(channel, len(self.fill) - 1)],
            )[0]
        return back


class KeepProbsd(MapTransform):  # type: ignore[misc]
    """Keep the probabilities of logits ``(C, I, J, K)`` under another key.

    They are ``(organs, I, J, K)`` float32: sigmoid where organs overlap, softmax without its
    background where they exclude one another.
    """

    def __init__(
        self, keys: KeysCollection = "pred", *, label_mode: LabelMode, probs_key: str = "probs"
    ) -> None:
        super().__init__(keys)
        self.label_mode, self.probs_key = _known(label_mode), probs_key

    def __call__(self, data: Item) -> dict[str, object]:
        """Return the item with the probabilities of its first key."""
        logits = data[self.keys[0]]
        plain = logits.as_subclass(Tensor).float()
        probs = plain.sigmoid() if self.label_mode == "overlapping" else plain.softmax(0)[1:]
        return {**data, self.probs_key: _as_placed(probs, logits)}


class Discreted(MapTransform):  # type: ignore[misc]
    """Turn logits ``(C, I, J, K)`` into masks ``(organs, I, J, K)`` uint8 of 0 and 1.

    ``overlapping``: an organ is where its own logit is above 0, its probability above one half.
    ``exclusive``: channel 0 is the background; the largest logit wins, and the lower channel where
    two are equal. An organ that wins nowhere gives zeros.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        *,
        label_mode: LabelMode,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_mode = _known(label_mode)

    def __call__(self, data: Item) -> dict[str, object]:
        """Return the item with its logits turned into masks; a MetaTensor stays one."""
        item = dict(data)
        for key in self.key_iterator(item):
            logits = item[key]
            plain = logits.as_subclass(Tensor)
            masks = (plain > 0).byte() if self.label_mode == "overlapping" else _winners(plain)
            item[key] = _as_placed(masks, logits)
        return item


def _known(label_mode: LabelMode) -> LabelMode:
    if label_mode not in _FILLS:
        raise UsageError(
            Problem("E-CONFIG", "label_mode", f"is {label_mode!r}", " or ".join(_FILLS))
        )
    return label_mode


def _as_placed(volume: Tensor, like: Tensor) -> Tensor:
    return on_grid(volume, grid_of(like)) if isinstance(like, MetaTensor) else volume


def _winners(logits: Tensor) -> Tensor:
    """Return which organ holds the largest of the logits ``(1 + organs, ...)``.

    A running maximum: argmax over channels is some twenty times slower on a CPU, and its indices
    take eight bytes a voxel.
    """
    best = logits[0].clone()
    winner = torch.zeros_like(best, dtype=torch.uint8)
    for channel in range(1, len(logits)):
        better = logits[channel] > best
        winner.masked_fill_(better, channel)
        torch.maximum(best, logits[channel], out=best)
    return torch.stack([(winner == channel).byte() for channel in range(1, len(logits))])
