"""Leak: what a split by slices, as many papers make it, is worth without any learning.

Slices of one scan look alike, and 3 mm on the outlines have hardly moved. Where some of them are
for training and some for testing, copying the outline of the nearest training slice is a model:
its score is what the split gives away. Split by patients, there is nothing to copy.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.data.label_files import LabelRows
from medseg.data.splits import SliceSplit
from medseg.labels import LabelSet
from medseg.metrics.slicewise import SliceSummary, slice_scores, summarise_slices
from medseg.scan import Scan
from medseg.stages.display import Display


class Leak(NamedTuple):
    """What a split by slices leaks.

    Attributes:
        n_patients: Patients.
        n_torn: Of these with slices on both sides.
        n_test: Test slices.
        n_beside: Of these with a training slice directly above or below.
        copied: The scores, slice by slice, of copying the nearest training slice of the scan.
    """

    n_patients: int
    n_torn: int
    n_test: int
    n_beside: int
    copied: tuple[SliceSummary, ...]


def measure_leak(
    scans: Sequence[Scan], split: SliceSplit, labels: LabelSet, *, display: Display
) -> Leak:
    """Copy outlines from the training side to the test side of each scan, and score that.

    Args:
        scans: Scans with labels.
        split: Which of their slices are on which side.
        labels: The organs.
        display: Where to show progress.
    """
    scores = []
    display.begin("leak", len(scans))
    for done, scan in enumerate(scans, 1):
        test = np.flatnonzero([(scan.scan_id, n) in split.test for n in scan.slice_numbers])
        train = np.flatnonzero([(scan.scan_id, n) in split.train for n in scan.slice_numbers])
        masks = LabelRows(scan.scan_id, scan).read(labels).masks
        truth = [mask[:, :, test] for mask in masks]
        copied = [_nearest(mask, train, test) for mask in masks]
        scores += slice_scores(copied, truth, organs=labels.names, scan_id=scan.scan_id)
        display.advance(done, len(scans), scan.scan_id)
    patients = {scan.case_id for scan in scans}
    counts = len(patients), len(split.torn), len(split.test), split.n_beside
    return Leak(*counts, summarise_slices(scores))


def _nearest(
    mask: NDArray[np.bool_], train: NDArray[np.intp], test: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Return for each test slice the nearest training slice, the upper of two; nothing for none."""
    if not train.size:
        return np.zeros((*mask.shape[:2], test.size), bool)
    return mask[:, :, train[np.abs(test[:, None] - train).argmin(axis=1)]]
