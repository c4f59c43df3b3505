"""The way back: logits that come slab by slab become masks on the scan's own grid.

A *slab* is a run of consecutive slices along K. Each is brought to the grid wanted and decided upon
before the next one comes, so that the logits of a whole volume never exist. Thresholding after
resampling draws an outline between voxels; the other way round would move blocks.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from medseg.errors import Problem, UsageError
from medseg.geometry import Grid
from medseg.transforms.regrid import Line, lines_through, sampled

LabelMode = Literal["overlapping", "exclusive"]
Box = tuple[slice, slice, slice]
# One an organ, None for the usual decision; empty where none has its own.
Thresholds = Sequence[float | None]

_MODES = ("overlapping", "exclusive")


class Decided(NamedTuple):
    """What logits say.

    Attributes:
        masks: ``(organs, I, J, K)`` uint8 of 0 and 1.
        probs: ``(organs, I, J, K)`` float32; None where they were not asked for.
    """

    masks: Tensor
    probs: Tensor | None


def decided(
    slabs: Iterable[Tensor],
    source: Grid,
    target: Grid,
    *,
    label_mode: LabelMode,
    probabilities: bool = False,
    thresholds: Thresholds = (),
) -> Decided:
    """Return masks on another grid from logits that come slab by slab.

    Outside `source` nothing was predicted: masks and probabilities are 0 there. Both lie on the
    device of the slabs.

    Args:
        slabs: Logits ``(n, classes, J, I)``, slab after slab from the first slice of `source` to
            its last; how many slices each holds changes nothing.
        source: The grid of the logits.
        target: The grid wanted, its axes parallel to those of `source`.
        label_mode: ``overlapping``, one logit an organ, or ``exclusive``, background first.
        probabilities: Whether to return those too.
        thresholds: As `masks_of` takes them.

    Raises:
        GeometryError: The axes are not parallel.
        UsageError: There is no such label mode.
    """
    if label_mode not in _MODES:
        raise UsageError(
            Problem("E-CONFIG", "label_mode", f"is {label_mode!r}", " or ".join(_MODES))
        )
    coming = iter(slabs)
    first = next(coming)
    i, j, k = target.shape
    organs = first.shape[1] - (label_mode == "exclusive")
    masks = first.new_zeros((organs, k, j, i), dtype=torch.uint8).permute(0, 3, 2, 1)
    probs = torch.zeros_like(masks, dtype=torch.float32) if probabilities else None
    slabs = chain([first], coming)
    del first  # it would be kept until the last one came
    for box, logits in regridded(slabs, source, target):
        masks[:, *box] = masks_of(logits, label_mode, thresholds)
        if probs is not None:
            probs[:, *box] = probs_of(logits, label_mode)
    return Decided(masks, probs)


def regridded(slabs: Iterable[Tensor], source: Grid, target: Grid) -> Iterator[tuple[Box, Tensor]]:
    """Interpolate a volume linearly on another grid while it comes, as `regrid` does a whole one.

    Where K is resampled, a slab waits for nothing but the one slice before it.

    Args:
        slabs: Values ``(n, C, J, I)``, slab after slab, of all slices of `source`.
        source: The grid of the values.
        target: The grid wanted.

    Yields:
        A box of `target` and the values in it, ``(C, *box)``. No two boxes overlap; together they
        hold the voxels of `target` that lie in `source` or within half a voxel of it.

    Raises:
        GeometryError: The axes are not parallel.
    """
    through = lines_through(source, target)
    box = [slice(line.first, line.stop) for line in through]
    # In the order of the slabs' memory: K, J, I.
    order = sorted(range(3), key=lambda axis: -through[axis].source_axis)
    along, *within = (through[axis] for axis in order)
    back = (0, *(1 + order.index(axis) for axis in range(3)))
    inside = all(line.stop > line.first for line in through)
    for run, held in _runs(slabs, along, source.shape[2]):
        if inside and run.stop > run.first:
            box[order[0]] = slice(run.first, run.stop)
            values = sampled(held.permute(1, 0, 2, 3), [run, *within], "linear")
            yield (box[0], box[1], box[2]), values.permute(back)


def _runs(slabs: Iterable[Tensor], along: Line, count: int) -> Iterator[tuple[Line, Tensor]]:
    """Yield for each slab the run of target samples that it completes, and the slices they need.

    Args:
        slabs: As `regridded` takes them.
        along: How the target runs along K.
        count: Slices of the source.
    """
    # The last slice that each sample is made of.
    last = along.at_vox if along.exact else (np.floor(along.at_vox) + 1).clip(max=count - 1)
    done, before = 0, None
    for slab in slabs:
        held = slab if before is None else torch.cat([before, slab])
        begin, done = done - (len(held) - len(slab)), done + len(slab)
        ready = np.flatnonzero((last >= done - len(slab)) & (last < done))
        first, stop = (int(ready[0]), int(ready[-1]) + 1) if len(ready) else (0, 0)
        yield (
            along._replace(
                at_vox=along.at_vox[first:stop] - begin,
                first=along.first + first,
                stop=along.first + stop,
            ),
            held,
        )
        before = None if along.exact else slab[-1:]


def masks_of(logits: Tensor, label_mode: LabelMode, thresholds: Thresholds = ()) -> Tensor:
    """Return masks ``(organs, ...)`` uint8 of logits ``(classes, ...)``.

    ``overlapping``: an organ is where its own logit is above 0, its probability above one half.
    ``exclusive``: the largest logit wins, and the lower channel where two are equal; the winner
    may be the background, channel 0.

    An organ with a threshold t is where its probability is above t. Of exclusive organs that is
    the probability against the background alone, p / (p + p of background): the likeliest organ
    of a voxel is drawn where it is above its own t, so that no organ's threshold moves another.
    """
    if label_mode == "overlapping":
        if thresholds:
            return torch.stack(
                [own > limit for own, limit in zip(logits, _limits(thresholds), strict=True)]
            ).view(torch.uint8)
        return (logits > 0).view(torch.uint8)
    if not thresholds:
        return torch.stack(_winners(list(logits))).view(torch.uint8)
    background, *organs = logits
    others = _winners(organs)
    first = ~torch.stack(others).any(0) if others else torch.ones_like(background, dtype=torch.bool)
    return torch.stack(
        [
            mask & (own > background if limit == 0 else own - background > limit)
            for mask, own, limit in zip([first, *others], organs, _limits(thresholds), strict=True)
        ]
    ).view(torch.uint8)


def _limits(thresholds: Thresholds) -> list[float]:
    """Return the logits of probabilities; that of one half, the usual decision, is 0."""
    return [0.0 if t is None else math.log(t / (1 - t)) for t in thresholds]


def _winners(channels: Sequence[Tensor]) -> list[Tensor]:
    """Return for each channel but the first where it is the largest, and the first of equals."""
    # A running maximum: argmax over channels is some twenty times slower on a CPU, and its indices
    # take eight bytes a voxel.
    best, masks = channels[0], list[Tensor]()
    for channel in channels[1:]:
        better = channel > best
        masks = [mask & ~better for mask in masks] + [better]
        best = torch.maximum(best, channel)
    return masks


def probs_of(logits: Tensor, label_mode: LabelMode) -> Tensor:
    """Return probabilities ``(organs, ...)`` float32: of each organ alone, or of all and none."""
    logits = logits.float()
    return logits.sigmoid() if label_mode == "overlapping" else logits.softmax(0)[1:]


def logits_of(probs: Tensor, label_mode: LabelMode) -> Tensor:
    """Return logits ``(classes, ...)`` whose probabilities are `probs` ``(organs, ...)`` float32.

    They need not be those that `probs_of` was given, but are decided upon alike, if for rounding:
    of exclusive classes only the differences count.
    """
    if label_mode == "overlapping":
        return probs.logit()
    background = 1 - probs.sum(0, keepdim=True)
    # Of a background that rounding left nothing of, or less, an organ is above any threshold.
    return torch.cat([background, probs]).clamp_min(torch.finfo(torch.float32).tiny).log()
