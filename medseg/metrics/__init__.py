"""How good a prediction is, per organ and scan, with one policy for masks that are empty.

``overlap`` counts voxels, ``surface`` measures outlines in millimetres, ``scores`` puts both into a
row an organ and scan, and ``summary`` says what may be said of many. The names below load their
module on first use.
"""

from typing import TYPE_CHECKING

from medseg.lazy import loader

if TYPE_CHECKING:
    from medseg.metrics.overlap import OverlapCounts, count_overlap
    from medseg.metrics.scores import METRICS, Metric, OrganScore, score_scan
    from medseg.metrics.summary import OrganSummary, Summary, summarise
    from medseg.metrics.surface import SurfaceDistances, surface_distances

_HOMES = {
    "METRICS": "scores",
    "Metric": "scores",
    "OrganScore": "scores",
    "OrganSummary": "summary",
    "OverlapCounts": "overlap",
    "Summary": "summary",
    "SurfaceDistances": "surface",
    "count_overlap": "overlap",
    "score_scan": "scores",
    "summarise": "summary",
    "surface_distances": "surface",
}

__all__ = [
    "METRICS",
    "Metric",
    "OrganScore",
    "OrganSummary",
    "OverlapCounts",
    "Summary",
    "SurfaceDistances",
    "count_overlap",
    "score_scan",
    "summarise",
    "surface_distances",
]

__getattr__ = loader(__name__, _HOMES)
