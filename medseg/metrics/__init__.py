"""How good a prediction is, per organ and scan, with one policy for masks that are empty.

``overlap`` counts voxels, ``surface`` measures outlines in millimetres, ``scores`` puts both into a
row an organ and scan, and ``summary`` says what may be said of many. ``competition`` and
``slicewise`` compute what others report, ``comparison`` says which of several runs is better and
``statistics`` how sure that is. The names below load their module on first use.
"""

from typing import TYPE_CHECKING

from medseg.lazy import loader

if TYPE_CHECKING:
    from medseg.metrics.comparison import Comparison, compare_scores
    from medseg.metrics.competition import competition_scores, measure_scan
    from medseg.metrics.overlap import OverlapCounts, count_overlap
    from medseg.metrics.scores import METRICS, Metric, OrganScore, score_scan
    from medseg.metrics.slicewise import slice_scores, summarise_slices
    from medseg.metrics.statistics import Interval, patient_interval
    from medseg.metrics.summary import OrganSummary, Summary, summarise
    from medseg.metrics.surface import SurfaceDistances, surface_distances

_HOMES = {
    "Comparison": "comparison",
    "Interval": "statistics",
    "METRICS": "scores",
    "Metric": "scores",
    "OrganScore": "scores",
    "OrganSummary": "summary",
    "OverlapCounts": "overlap",
    "Summary": "summary",
    "SurfaceDistances": "surface",
    "compare_scores": "comparison",
    "competition_scores": "competition",
    "count_overlap": "overlap",
    "measure_scan": "competition",
    "patient_interval": "statistics",
    "score_scan": "scores",
    "slice_scores": "slicewise",
    "summarise": "summary",
    "summarise_slices": "slicewise",
    "surface_distances": "surface",
}

__all__ = [
    "METRICS",
    "Comparison",
    "Interval",
    "Metric",
    "OrganScore",
    "OrganSummary",
    "OverlapCounts",
    "Summary",
    "SurfaceDistances",
    "compare_scores",
    "competition_scores",
    "count_overlap",
    "measure_scan",
    "patient_interval",
    "score_scan",
    "slice_scores",
    "summarise",
    "summarise_slices",
    "surface_distances",
]

__getattr__ = loader(__name__, _HOMES)
