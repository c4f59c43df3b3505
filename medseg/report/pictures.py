"""Pictures of predicted scans: one in three planes, and slices of single organs."""

from typing import Any

import numpy as np

from medseg.data.label_files import LabelFiles, read_reference
from medseg.labels import LabelSet
from medseg.report.cases import Case
from medseg.report.page import Picture, number, photograph
from medseg.report.panels import alone, spoken
from medseg.report.scene import Scene
from medseg.scan import Scan
from medseg.transforms import ReadVolumed

_DPI = 164


def read_scene(scan: Scan, predicted: LabelFiles | None, labels: LabelSet) -> Scene:
    """Return a labelled scan, cut to the body, with its own labels and what was predicted, if any.

    Raises:
        DataError: The scan or its prediction cannot be read, or they lie on different grids.
    """
    item: dict[str, Any] = ReadVolumed("image")({"image": scan})
    truth = np.stack(read_reference(scan, labels).masks)
    pred = None
    if predicted is not None:
        pred = np.stack(predicted.read(labels).onto(scan.grid, subject=scan.scan_id).masks)
    return Scene(item["image"][0].numpy(), truth, pred, scan.spacing_mm).cut_to_body()


def case_picture(scene: Scene, labels: LabelSet, case: Case) -> Picture:
    """Return an axial slice of a scan that shows one organ: where it is largest in the reference.

    Of a failure, and of the worst scan, it is the slice with most voxels on one side alone.
    """
    organ, score = labels.channel(case.score.organ), case.score
    typical = case.why in ("best", "median")
    index = scene.largest([organ], axis=2) if typical else scene.most_wrong(organ)
    index = scene.image.shape[2] // 2 if index is None else index
    place = f"slice {index + 1} of {scene.image.shape[2]}"
    figure = alone(scene.view(2, index, place), labels)
    alt = (
        f"{spoken(score.organ)} of {score.scan_id}, {place}: reference and prediction outlined; "
        f"Dice {number(score.dice, 2)}"
    )
    return photograph(figure, alt, dpi=_DPI)
