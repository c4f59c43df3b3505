"""How good a prediction is, per organ and scan, with one policy for masks that are empty.

``overlap`` counts voxels: Dice, IoU and volumes, and summaries that say over how many scans. The
names below load their module on first use.
"""

from typing import TYPE_CHECKING

from medseg.lazy import loader

if TYPE_CHECKING:
    from medseg.metrics.overlap import (
        OrganScore,
        OrganSummary,
        OverlapCounts,
        Summary,
        count_overlap,
        score_scan,
        summarise,
    )

_HOMES = {
    "OrganScore": "overlap",
    "OrganSummary": "overlap",
    "OverlapCounts": "overlap",
    "Summary": "overlap",
    "count_overlap": "overlap",
    "score_scan": "overlap",
    "summarise": "overlap",
}

__all__ = [
    "OrganScore",
    "OrganSummary",
    "OverlapCounts",
    "Summary",
    "count_overlap",
    "score_scan",
    "summarise",
]

__getattr__ = loader(__name__, _HOMES)
