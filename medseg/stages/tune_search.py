"""Which rules an organ gains by: one more at a time, as long as patients say so.

Each round tries every rule that is not used yet, with a few values, on top of those that are. The
one of the largest mean gain is taken among those whose interval lies above zero; where there is
none, the search ends.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.metrics.overlap import count_overlap
from medseg.metrics.statistics import Interval, patient_intervals
from medseg.stages.tune_scans import KeptScan, Voxels, masks_above
from medseg.transforms.cleaning import cleaned

Values = dict[str, Any]
Floats = NDArray[np.float64]

# Of one rule the gentler values first: of equal gains the first is taken. The thresholds are those
# of `medseg.stages.tune_scans.THRESHOLDS`.
CANDIDATES: tuple[tuple[str, Any], ...] = (
    *(("threshold", threshold) for threshold in (0.4, 0.6, 0.3, 0.7)),
    *(("smooth_mm", sigma_mm) for sigma_mm in (1.5, 3.0)),
    ("bridge_mm", 10.0),
    ("fill_holes", True),
    *(("largest", count) for count in (2, 1)),
    *(("min_ml", volume_ml) for volume_ml in (0.5, 2.0, 5.0)),
    ("contiguous", True),
)


class Tried(NamedTuple):
    """One rule on top of others.

    Attributes:
        rule: Its name.
        value: Its value.
        beside: The rules that it was tried with.
        gain: In Dice, over scans; the interval is by patient.
        used: Whether it was taken.
    """

    rule: str
    value: Any
    beside: Values
    gain: Interval
    used: bool


class Found(NamedTuple):
    """What was found for one organ.

    Attributes:
        rules: Those to use; empty where none gains.
        before: Mean Dice without rules.
        after: Mean Dice with `rules`.
        gain: Of all rules together.
        tried: All that was tried, in its order.
    """

    rules: Values
    before: float
    after: float
    gain: Interval
    tried: tuple[Tried, ...]


def search(scans: Sequence[KeptScan], channel: int) -> Found:
    """Return the rules that one organ gains by.

    Args:
        scans: Of validation patients, at least one.
        channel: The organ.
    """
    patients = [scan.patient for scan in scans]
    first = now = _dice(scans, channel, [{}])[:, 0]
    rules: Values = {}
    tried: list[Tried] = []
    while tries := [(name, value) for name, value in CANDIDATES if name not in rules]:
        dice = _dice(scans, channel, [{**rules, name: value} for name, value in tries])
        gains = patient_intervals(dice - now[:, None], patients)
        good = [index for index, gain in enumerate(gains) if gain.low > 0]
        best = max(good, key=lambda index: gains[index].mean, default=None)
        tried += [
            Tried(*tries[index], dict(rules), gain, index == best)
            for index, gain in enumerate(gains)
        ]
        if best is None:
            break
        rules[tries[best][0]], now = tries[best][1], dice[:, best]
    [gain] = patient_intervals((now - first)[:, None], patients)
    return Found(rules, float(first.mean()), float(now.mean()), gain, tuple(tried))


def dice_of(pred: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the Dice of two masks; 1 where both are empty.

    There a rule that takes away all that should not be there is to be told from one that leaves
    some of it.
    """
    dice = count_overlap(pred, truth).dice
    return 1.0 if np.isnan(dice) else dice


def _dice(scans: Sequence[KeptScan], channel: int, tries: Sequence[Values]) -> Floats:
    """Return the Dice of one organ ``(scans, tries)``."""
    return np.array([_dice_of(scan, channel, tries) for scan in scans])


def _dice_of(scan: KeptScan, channel: int, tries: Sequence[Values]) -> list[float]:
    levels, truth, grid = scan.around(channel)
    found = []
    for rules in tries:
        masks: Voxels = masks_above(levels, channel, rules.get("threshold"))
        own = cleaned(masks, channel, rules=rules, grid=grid).view(bool)
        found.append(dice_of(own, truth))
    return found


def as_plain(found: Mapping[str, Found]) -> dict[str, Any]:
    """Return what was found, by organ, as JSON: ``rules``, ``gains`` and ``tried``."""
    return {
        "rules": {organ: each.rules for organ, each in found.items() if each.rules},
        "gains": {
            organ: {"before": each.before, "after": each.after, **each.gain._asdict()}
            for organ, each in found.items()
        },
        "tried": [
            {
                "organ": organ,
                **{"rule": one.rule, "value": one.value, "beside": one.beside, "used": one.used},
                **one.gain._asdict(),
            }
            for organ, each in found.items()
            for one in each.tried
        ],
    }


def line_of(organ: str, found: Found) -> str:
    """Return a line on one organ."""
    if not found.rules:
        return f"{organ}: no rule gains"
    rules = ", ".join(f"{name} {json.dumps(value)}" for name, value in found.rules.items())
    gain = found.gain
    told = f"{gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}), {gain.n_patients} patients"
    return f"{organ}: {rules}; Dice {found.before:.3f} to {found.after:.3f}, {told}"
