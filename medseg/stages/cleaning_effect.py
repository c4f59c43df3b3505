"""What rules for masks do to scans that they were not chosen on: Dice with and without them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from medseg.data.label_files import Mask
from medseg.metrics.statistics import patient_intervals
from medseg.stages.tune_search import dice_of
from medseg.transforms.postprocess import LabelMode, logits_of, masks_of

EFFECT = "cleaning_effect.json"


class ScanEffect(NamedTuple):
    """The Dice of each organ of a scan, before and after cleaning."""

    patient: str
    before: tuple[float, ...]
    after: tuple[float, ...]


def scan_effect(
    patient: str, pred: Tensor, probs: Tensor, *, truth: Sequence[Mask], label_mode: LabelMode
) -> ScanEffect:
    """Return what cleaning did to a scan.

    Args:
        patient: Whose it is.
        pred: Masks ``(organs, I, J, K)`` that were cleaned.
        probs: The probabilities ``(organs, I, J, K)``, from which they came.
        truth: The masks of the reference.
        label_mode: Of the network.
    """
    plain = masks_of(logits_of(probs, label_mode), label_mode)
    before, after = (
        tuple(dice_of(np.asarray(own, bool), mask) for own, mask in zip(masks, truth, strict=True))
        for masks in (plain, pred)
    )
    return ScanEffect(patient, before, after)


def effects(scans: Sequence[ScanEffect], organs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return by organ mean Dice ``before`` and ``after``, and the gain, as JSON: NaN is null."""
    before = np.array([scan.before for scan in scans]).reshape(-1, len(organs))
    after = np.array([scan.after for scan in scans]).reshape(-1, len(organs))
    gains = patient_intervals(after - before, [scan.patient for scan in scans])
    found = {}
    for channel, organ in enumerate(organs if scans else ()):
        told = {"before": before[:, channel].mean(), "after": after[:, channel].mean()}
        row = {**told, **gains[channel]._asdict()}
        found[organ] = {name: None if math.isnan(v) else v for name, v in row.items()}
    return found
