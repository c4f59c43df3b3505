"""Pictures of a predicted scan: three planes, and each organ where it is largest."""

from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.label_files import find_label_files, read_reference
from medseg.labels import LabelSet
from medseg.report.figures import overlay_per_organ, run_picture, save
from medseg.scan import Scan
from medseg.transforms import ReadVolumed


def draw_scan(scan: Scan, predictions: Path, labels: LabelSet, *, folder: Path) -> None:
    """Write ``scan.png`` and ``<organ>.png`` with reference and prediction of a labelled scan.

    Args:
        scan: The scan, whose own labels are the reference.
        predictions: The folder that holds its predicted label files.
        labels: The organs.
        folder: Where to write.

    Raises:
        DataError: The scan or its prediction cannot be read, or they lie on different grids.
    """
    item: dict[str, Any] = ReadVolumed("image")({"image": scan})
    image = item["image"][0].numpy()
    truth = np.stack(read_reference(scan, labels).masks)
    found = find_label_files(predictions, labels)[scan.scan_id].read(labels)
    pred = np.stack(found.onto(scan.grid, subject=scan.scan_id).masks)
    spacing_mm, title = scan.spacing_mm, scan.scan_id
    planes = run_picture(image, truth, pred, labels, spacing_mm=spacing_mm, title=title)
    organs = overlay_per_organ(image, truth, pred, labels, spacing_mm=spacing_mm, title=title)
    for name, figure in {"scan": planes, **organs}.items():
        save(figure, folder / f"{name}.png")
