"""Predictions that are the truth moved a little, and what they score."""

import numpy as np

from medseg.data import read_manifest, read_scans
from medseg.data.label_files import read_reference
from medseg.io.nifti import write_mask
from medseg.report.scores import write_csv
from medseg.stages.evaluate import evaluate

MISSED = "case711_day28"


def moved(mask, columns):
    """Return a mask moved towards the patient's left."""
    return np.roll(mask, columns, axis=0)


def predicted(folder, root):
    """Write masks of every scan, the n-th moved by n columns, and metrics.csv; return the scans.

    The large bowel of the scan `MISSED` is missed.
    """
    manifest = read_manifest("uwmgi")
    scans = {scan.scan_id: scan for scan in read_scans(root, manifest)}
    for columns, scan in enumerate(scans.values()):
        masks = read_reference(scan, manifest.labels).masks
        for organ, mask in zip(manifest.labels.names, masks, strict=True):
            lost = scan.scan_id == MISSED and organ == "large_bowel"
            pred = np.zeros_like(mask) if lost else moved(mask, columns)
            write_mask(folder / f"{scan.scan_id}_{organ}.nii.gz", pred, scan.grid, organ=organ)
    write_csv(folder / "metrics.csv", evaluate(folder, root, manifest).scores)
    return scans
