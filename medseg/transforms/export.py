"""The last step of inference: masks on the scan's own grid become NIfTI files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Transform

from medseg.errors import Problem, UsageError
from medseg.io.colour_tables import write_itksnap, write_slicer
from medseg.io.nifti import ASSUMED, write_label_map, write_mask, write_probs
from medseg.labels import LabelSet

FORMATS = ("nifti",)


class SaveMasks(Transform):  # type: ignore[misc]
    """Write a scan's predicted masks as NIfTI: a label map, and on request the parts.

    The item holds ``pred``, masks on the grid ``native``, ``scan_id`` and, for a scan that came as
    NIfTI, its ``frame``. Writes ``<scan_id>.nii.gz``, a label map in which overlaps go to the
    organ of higher priority, and beside it the colour tables that ITK-SNAP and 3D Slicer read.

    Args:
        output_dir: The folder to write to.
        labels: The organs, in the masks' channel order.
        formats: Some of `FORMATS`.
        per_organ: Also write ``<scan_id>_<organ>.nii.gz``; only these keep overlaps.
        probabilities: Also write ``<scan_id>_<organ>_probs.nii.gz`` from the item's ``probs``.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        labels: LabelSet,
        formats: Sequence[str] = ("nifti",),
        per_organ: bool = False,
        probabilities: bool = False,
    ) -> None:
        if unknown := [name for name in formats if name not in FORMATS]:
            found, expected = f"holds {', '.join(unknown)}", f"some of {', '.join(FORMATS)}"
            raise UsageError(Problem("E-CONFIG", "formats", found, expected))
        self.output_dir, self.labels, self.formats = Path(output_dir), labels, tuple(formats)
        self.per_organ, self.probabilities = per_organ, probabilities
        self._tables_written = False

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Write the files of one item and add ``file``, the label map's path, to it."""
        masks, grid = np.asarray(item["pred"], bool), item["native"]
        frame = item.get("frame", ASSUMED)
        stem = self.output_dir / item["scan_id"]
        file = stem.with_name(f"{stem.name}.nii.gz")
        self._write_tables()
        for organ, mask in zip(self.labels.names, masks, strict=True):
            if self.per_organ:
                write_mask(stem.with_name(f"{stem.name}_{organ}.nii.gz"), mask, grid, frame=frame)
        if self.probabilities:
            for organ, probs in zip(self.labels.names, np.asarray(item["probs"]), strict=True):
                write_probs(
                    stem.with_name(f"{stem.name}_{organ}_probs.nii.gz"), probs, grid, frame=frame
                )
        # The label map last: where it stands, the scan is done.
        label_map = self.labels.label_map(list(masks))
        write_label_map(file, label_map, grid, labels=self.labels, frame=frame)
        return {**item, "file": file}

    def _write_tables(self) -> None:
        """Write what all scans of the folder share, once: bringing it to the disk takes a while."""
        if not self._tables_written:
            write_itksnap(self.output_dir / "labels_itksnap.txt", self.labels)
            write_slicer(self.output_dir / "labels_slicer.ctbl", self.labels)
            self._tables_written = True
