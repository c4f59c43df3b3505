"""Scores as others report them, measured in the same pass as medseg's own."""

from collections.abc import Sequence
from typing import NamedTuple

from medseg.data.label_files import PlacedMasks
from medseg.data.manifest import Manifest
from medseg.metrics.competition import ScanTerms, competition_scores, measure_scan
from medseg.metrics.slicewise import SliceScore, slice_scores, summarise_slices
from medseg.report.reported import Reported
from medseg.stages.evaluation import Options

# The list in a manifest of scans that the competition's organisers leave out.
BLACK_LIST = "organisers"


class ReportedTerms(NamedTuple):
    """What one scan adds to them; what nobody asked for is not there."""

    competition: ScanTerms | None = None
    slice_wise: tuple[SliceScore, ...] = ()


def measure_reported(
    pred: PlacedMasks | None,
    truth: PlacedMasks,
    *,
    scan_id: str,
    organs: Sequence[str],
    options: Options,
) -> ReportedTerms:
    """Return what a scan adds to the scores asked for; its slices lie along the last axis."""
    masks, terms, slices = pred.masks if pred else None, None, []
    if options.competition:
        spacing_mm = truth.grid.spacing_mm
        terms = measure_scan(masks, truth.masks, scan_id=scan_id, spacing_mm=spacing_mm)
    if options.slice_wise:
        slices = slice_scores(masks, truth.masks, organs=organs, scan_id=scan_id)
    return ReportedTerms(terms, tuple(slices))


def reported(scans: Sequence[ReportedTerms], manifest: Manifest) -> Reported:
    """Return the scores over all scans."""
    terms = [scan.competition for scan in scans if scan.competition]
    known_bad = manifest.known_bad.get(BLACK_LIST)
    black_list = known_bad.scans if known_bad else ()
    scores = competition_scores(terms, black_list=black_list) if terms else {}
    slices = [score for scan in scans for score in scan.slice_wise]
    return Reported(scores, summarise_slices(slices))
