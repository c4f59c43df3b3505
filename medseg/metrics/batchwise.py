"""Scores batch by batch, as many training scripts print them, and why they are not to be compared.

The pixels of all slices of a batch are taken together, and the mean over batches is told. A small
organ then weighs less than a large one, slices without any hardly at all, and the figure depends on
the size of the batch and on the order of the slices.
"""

from collections.abc import Sequence
from typing import NamedTuple

from medseg.metrics.slicewise import SliceCounts

# As in the training scripts: it makes a batch without an organ count 1.
_SMOOTH = 1e-5


class BatchScore(NamedTuple):
    """The overlap of one batch, in [0, 1]; 1 where prediction and reference are both empty."""

    iou: float

    @property
    def dice(self) -> float:
        """What the scripts make of it: 2 IoU / (1 + IoU)."""
        return 2 * self.iou / (1 + self.iou)


class BatchMeans(NamedTuple):
    """Means over batches; the mean Dice is not the Dice of the mean IoU, but a little less."""

    dice: float
    iou: float
    n: int


def batch_score(counts: SliceCounts) -> BatchScore:
    """Return the overlap of all organs and slices of a batch taken together."""
    both = int(counts.both.sum())
    either = int(counts.pred.sum() + counts.ref.sum()) - both
    return BatchScore((both + _SMOOTH) / (either + _SMOOTH))


def mean_of_batches(scores: Sequence[BatchScore]) -> BatchMeans:
    """Return the means over batches, at least one."""
    n = len(scores)
    return BatchMeans(sum(s.dice for s in scores) / n, sum(s.iou for s in scores) / n, n)
