"""The score of the UW-Madison GI competition, in the variants that people report.

Score = 0.4 Dice + 0.6 (1 - Hausdorff): Dice by row, which is one organ on one slice, Hausdorff in
3D as a share of the largest distance that a scan allows. The scorer was never published, its
description leaves much open, and every re-implementation filled the gaps its own way. A number
says little without the name of its variant.

Each variant is a function below, which sums a scan's terms; means are over the terms of all scans,
as a leaderboard's are. None is to be compared with `medseg.metrics.summary`'s.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medseg.geometry import Spacing
from medseg.metrics.hausdorff import of_corners_mm, of_outlines_one_way, of_voxels_in_unit_cube
from medseg.metrics.slicewise import Mask, Masks, SliceCounts, count_slices

DICE_WEIGHT, HAUSDORFF_WEIGHT = 0.4, 0.6


class Variant(NamedTuple):
    """A row of the table of variants.

    Attributes:
        name: What a number of this variant must be called.
        about: What it does, in a line.
        unit: Of its Hausdorff distance: empty for a share of the largest possible, else ``mm``;
            then there is no score, only its two parts.
    """

    name: str
    about: str
    unit: str = ""


VARIANTS = (
    Variant("official", "rows empty on both sides skipped, as the host said; an organ at a time"),
    Variant("official_text", "the page to the letter: rows empty on both sides count 0"),
    Variant("mle_bench", "distance of all organs as one; 1 when predicted above 10 times too much"),
    Variant("participants", "rows without reference skipped; distance from the prediction only"),
    Variant(
        "organisers", "Dice of whole organs; distance in mm; no score, black list left out", "mm"
    ),
)


class Terms(NamedTuple):
    """Sums of Dice and of Hausdorff distances, and over how many each is."""

    dice: float
    n_dice: int
    hausdorff: float
    n_hausdorff: int


class ScanTerms(NamedTuple):
    """What one scan adds to each variant, by the variant's name."""

    scan_id: str
    terms: Mapping[str, Terms]


class CompetitionScore(NamedTuple):
    """One variant over many scans.

    Attributes:
        score: In [0, 1]; NaN where the variant has none, or there is nothing to score.
        dice: Mean over `n_dice` terms.
        hausdorff: Mean over `n_hausdorff` terms: a share in [0, 1], or mm.
        n_dice: Rows, slices or organs, as the variant has it.
        n_hausdorff: Scans or organs of scans.
    """

    score: float
    dice: float
    hausdorff: float
    n_dice: int
    n_hausdorff: int


class Pair(NamedTuple):
    """A prediction and its reference; `given` is False where there is no prediction at all."""

    preds: list[Mask]
    refs: list[Mask]
    counts: SliceCounts
    spacing_mm: Spacing
    given: bool

    def over(self, distances: Sequence[float], *, empty: float = math.nan) -> tuple[float, int]:
        """Return sum and number of shares, NaN counting `empty`: not at all where that is NaN."""
        nothing = empty if self.given else 1.0
        counted = [nothing if math.isnan(distance) else distance for distance in distances]
        known = [distance for distance in counted if not math.isnan(distance)]
        return math.fsum(known), len(known)


def measure_scan(
    pred_masks: Masks | None, ref_masks: Masks, *, scan_id: str, spacing_mm: Spacing
) -> ScanTerms:
    """Return what a scan adds to each of `VARIANTS`.

    Args:
        pred_masks: ``(C, I, J, K)``, slices along K; they may overlap. None stands for a scan
            without a prediction, which no variant knows: every term is the worst then, those of
            rows and organs that the reference does not show included where a prediction of them
            would have counted. To have it scored as empty, give empty masks.
        ref_masks: The same shape.
        scan_id: The scan's name.
        spacing_mm: Distance between voxels along I, J and K; for `organisers` alone.

    Raises:
        GeometryError: The shapes differ.
    """
    refs = [np.asarray(ref, bool) for ref in ref_masks]
    preds = [np.zeros_like(ref) for ref in refs]
    if pred_masks is not None:
        preds = [np.asarray(pred, bool) for pred in pred_masks]
    given = pred_masks is not None
    pair = Pair(preds, refs, count_slices(preds, refs), spacing_mm, given)
    clarified = official(pair)
    return ScanTerms(
        scan_id,
        {
            "official": clarified,
            "official_text": official_text(pair, clarified),
            "mle_bench": mle_bench(pair, clarified),
            "participants": participants(pair),
            "organisers": organisers(pair),
        },
    )


def competition_scores(
    scans: Sequence[ScanTerms], *, black_list: Collection[str] = ()
) -> dict[str, CompetitionScore]:
    """Return each variant's score over scans, by name in the order of `VARIANTS`.

    Args:
        scans: The terms of every scan.
        black_list: Scans that `organisers` leaves out.
    """
    kept = [scan for scan in scans if scan.scan_id not in black_list]
    return {
        variant.name: _score(
            [
                scan.terms[variant.name]
                for scan in (kept if variant.name == "organisers" else scans)
            ],
            scored=not variant.unit,
        )
        for variant in VARIANTS
    }


def official(pair: Pair) -> Terms:
    """The competition's page, with what its host clarified and the plainest reading of the rest.

    Dice: a row at a time; a row that is empty on both sides is skipped (the page says 0; the host
    corrected it, discussion 324934). Hausdorff: an organ's slices stacked with depth 1, every
    position divided by the scan's size, so that all lie in a unit cube; the larger directed
    distance between all voxels of both sides, over the cube's diagonal. The page does not say
    whether organs are taken one by one, what divides the distance, or what empties count: here one
    by one, sqrt 3, and skipped where both are empty, 1 where one is.

    Source: the competition's page *Evaluation*, and its discussion 324934.
    """
    rows = pair.counts.dice
    skipped = int(np.isnan(rows).sum()) if pair.given else 0
    distances = [
        of_voxels_in_unit_cube(*organ) for organ in zip(pair.preds, pair.refs, strict=True)
    ]
    return Terms(float(np.nansum(rows)), rows.size - skipped, *pair.over(distances))


def official_text(pair: Pair, clarified: Terms) -> Terms:
    """As `official`, but a row that is empty on both sides counts 0, as the page has it."""
    return clarified._replace(n_dice=pair.counts.dice.size)


def mle_bench(pair: Pair, clarified: Terms) -> Terms:
    """As OpenAI's MLE-bench grades it: Dice as `official`, the organs' union for the distance.

    All organs of a scan are one mask. A prediction of more than ten times the reference's voxels
    is not measured: it counts 1. Else as `official`: unit cube, all voxels, over sqrt 3. Rows are
    read as the competition's page says, column by column, which is wrong for its data: slices that
    are not square come out scrambled, both sides alike, and so does their distance here.

    Source: github.com/openai/mle-bench, grade.py of uw-madison-gi-tract-image-segmentation.
    """
    pred, ref = (_read_by_column(np.logical_or.reduce(masks)) for masks in (pair.preds, pair.refs))
    excess = np.count_nonzero(pred) > 10 * np.count_nonzero(ref)
    distance = 1.0 if excess else of_voxels_in_unit_cube(pred, ref)
    return Terms(clarified.dice, clarified.n_dice, *pair.over([distance]))


def participants(pair: Pair) -> Terms:
    """As the score that many participants chose their models by, which MONAI's parts made.

    Dice: the mean of the organs that the reference shows on a slice, then over slices that show
    any; what is predicted elsewhere costs nothing. Hausdorff: an organ at a time, in voxels, from
    the prediction's outline to the nearest of the reference's and not back, over the volume's
    diagonal; 0 where both sides are the same, empty ones too, 1 where one is empty. A prediction
    of one right outline voxel pays nothing here. Their training loop gives slices to a function
    that is written for volumes; this is the volumes'.

    Source: github.com/CarnoZhao/Kaggle-UWMGIT, monai/metric.py and monai/multilabel_train.py
    (first place), after the competition's public MONAI baseline.
    """
    present = pair.counts.ref > 0
    shown = present.sum(axis=0)
    sums = np.where(present, pair.counts.dice, 0.0).sum(axis=0)
    slices = shown > 0
    distances = [of_outlines_one_way(*organ) for organ in zip(pair.preds, pair.refs, strict=True)]
    dice = float((sums[slices] / shown[slices]).sum())
    return Terms(dice, int(slices.sum()), *pair.over(distances, empty=0.0))


def organisers(pair: Pair) -> Terms:
    """As the organisers' own tools measure: Dice in 3D and Hausdorff in mm, of organs in the scan.

    An organ that the reference does not show is ignored, whatever was predicted. The distance is
    between surfaces as DeepMind's surface-distance draws them: corners of voxels where inside
    meets outside. Their code refuses an empty prediction; here it counts Dice 0 and the scan's
    diagonal, so that nothing is gained by it. They give no score.

    Source: github.com/happyharrycn/UW-Madison-GI-Tract-Segmentation-Data-Tools, common.py;
    github.com/google-deepmind/surface-distance.
    """
    dices, distances_mm = [], []
    pred_vox, ref_vox, both_vox = (counts.sum(axis=1).tolist() for counts in pair.counts)
    for channel, (pred, ref) in enumerate(zip(pair.preds, pair.refs, strict=True)):
        if not ref_vox[channel]:
            continue
        dices.append(2 * both_vox[channel] / (pred_vox[channel] + ref_vox[channel]))
        if pred_vox[channel]:
            distances_mm.append(of_corners_mm(pred, ref, pair.spacing_mm))
        else:
            distances_mm.append(math.hypot(*np.multiply(ref.shape, pair.spacing_mm)))
    return Terms(math.fsum(dices), len(dices), math.fsum(distances_mm), len(distances_mm))


def _read_by_column(mask: Mask) -> Mask:
    """Return ``(I, J, K)`` with each slice's pixels taken row by row and put column by column.

    Square slices come out transposed, which changes no distance in the unit cube.
    """
    return mask.transpose(1, 0, 2).reshape(mask.shape)


def _score(terms: Sequence[Terms], *, scored: bool) -> CompetitionScore:
    n_dice, n_hausdorff = sum(t.n_dice for t in terms), sum(t.n_hausdorff for t in terms)
    dice = math.fsum(t.dice for t in terms) / n_dice if n_dice else math.nan
    distances = math.fsum(t.hausdorff for t in terms)
    hausdorff = distances / n_hausdorff if n_hausdorff else math.nan
    score = DICE_WEIGHT * dice + HAUSDORFF_WEIGHT * (1 - hausdorff) if scored else math.nan
    return CompetitionScore(score, dice, hausdorff, n_dice, n_hausdorff)
