"""The last step of inference: masks on the scan's own grid become files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Transform
from numpy.typing import NDArray

from medseg.errors import DataError, Problem, UsageError
from medseg.io.bids import write_dataset, write_sidecar
from medseg.io.colour_tables import write_itksnap, write_slicer
from medseg.io.nifti import ASSUMED, write_label_map, write_mask, write_probs
from medseg.io.output_names import OutputNames, output_names
from medseg.labels import LabelSet
from medseg.scan import Series

FORMATS = ("nifti", "seg", "rtstruct")
OF_DICOM = ("seg", "rtstruct")

_Item = Mapping[str, Any]
_Masks = NDArray[np.bool_]


class SaveMasks(Transform):  # type: ignore[misc]
    """Write a scan's predicted masks in some formats.

    The item holds ``pred``, masks on the grid ``native``, ``scan_id``, ``source``, what the image
    was read from, and, for one that came from a file, its ``frame``. ``algorithm`` and ``clean``
    are for DICOM: what to call the model, and how headers are to be de-identified.

    NIfTI is ``<scan_id>.nii.gz``, a label map in which overlaps go to the organ of higher priority,
    and beside it the colour tables that ITK-SNAP and 3D Slicer read; DICOM is
    ``<scan_id>_seg.dcm`` and ``<scan_id>_rtstruct.dcm``, whose organs may overlap.

    Args:
        output_dir: The folder to write to.
        labels: The organs, in the masks' channel order.
        formats: Some of `FORMATS`.
        per_organ: Also write ``<scan_id>_<organ>.nii.gz``; they keep overlaps.
        probabilities: Also write ``<scan_id>_<organ>_probs.nii.gz`` from the item's ``probs``.
        bids: Name files as BIDS derivatives, with the files that BIDS wants beside them.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        labels: LabelSet,
        formats: Sequence[str] = ("nifti",),
        per_organ: bool = False,
        probabilities: bool = False,
        bids: bool = False,
    ) -> None:
        if unknown := [name for name in formats if name not in FORMATS]:
            found, expected = f"holds {', '.join(unknown)}", f"some of {', '.join(FORMATS)}"
            raise UsageError(Problem("E-CONFIG", "formats", found, expected))
        self.output_dir, self.labels, self.formats = Path(output_dir), labels, tuple(formats)
        self.per_organ, self.probabilities, self.bids = per_organ, probabilities, bids
        self._tables_written = False

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Write the files of one item and add ``files``, and ``file``, the first of them.

        Raises:
            DataError: E-NO-SOURCE, DICOM is wanted of a scan that did not come as DICOM.
        """
        require_source(item, self.formats)
        names = output_names(self.output_dir, item["scan_id"], bids=self.bids)
        masks = np.asarray(item["pred"], bool)
        self._write_tables()
        files = self._write_parts(item, names, masks)
        for name in (each for each in OF_DICOM if each in self.formats):
            files.append(_write_dicom(name, item, names, masks, labels=self.labels))
        # The label map last: where it stands, the scan is done.
        if "nifti" in self.formats:
            label_map, frame = self.labels.label_map(list(masks)), item.get("frame", ASSUMED)
            write_label_map(
                names.label_map, label_map, item["native"], labels=self.labels, frame=frame
            )
            files.insert(0, names.label_map)
            if self.bids:
                write_sidecar(names.sidecar)
                files.append(names.sidecar)
        return {**item, "files": files, "file": files[0]}

    def _write_parts(self, item: _Item, names: OutputNames, masks: _Masks) -> list[Path]:
        """Write what there is a file an organ of, and return the files."""
        grid, frame = item["native"], item.get("frame", ASSUMED)
        files: list[Path] = []
        for organ, mask in zip(self.labels.names, masks, strict=True):
            if self.per_organ:
                files.append(names.mask(organ))
                write_mask(files[-1], mask, grid, organ=organ, frame=frame)
        if self.probabilities:
            for organ, probs in zip(self.labels.names, np.asarray(item["probs"]), strict=True):
                files.append(names.probs(organ))
                write_probs(files[-1], probs, grid, frame=frame)
        return files

    def _write_tables(self) -> None:
        """Write what all scans of the folder share, once: bringing it to the disk takes a while."""
        if self._tables_written:
            return
        if self.bids:
            write_dataset(self.output_dir, self.labels)
        elif "nifti" in self.formats:
            write_itksnap(self.output_dir / "labels_itksnap.txt", self.labels)
            write_slicer(self.output_dir / "labels_slicer.ctbl", self.labels)
        self._tables_written = True


def require_source(item: _Item, formats: Sequence[str]) -> None:
    """Raise DataError where DICOM is to be written of what is none: it would refer to nothing."""
    wanted = [name for name in formats if name in OF_DICOM]
    if wanted and not isinstance(item.get("source"), Series):
        found = f"did not come as DICOM, so that {' and '.join(wanted)} have nothing to refer to"
        fix = "write nifti, or make a series of it with 'medseg data to-dicom'"
        raise DataError(Problem("E-NO-SOURCE", item["scan_id"], found, "a DICOM series", fix))


def _write_dicom(
    name: str, item: _Item, names: OutputNames, masks: _Masks, *, labels: LabelSet
) -> Path:
    # pydicom and highdicom take a second to import, and most predictions need neither.
    from medseg.io.dicom_seg import write_seg
    from medseg.io.dicom_sources import sources_of
    from medseg.io.dicom_written import Algorithm
    from medseg.io.rtstruct import write_rtstruct

    writers: dict[str, Callable[..., object]] = {"seg": write_seg, "rtstruct": write_rtstruct}
    series, path = item["source"], getattr(names, name)
    sources = sources_of(series, clean=item.get("clean"))
    algorithm = item.get("algorithm") or Algorithm("medseg", "")
    writers[name](path, masks, labels, sources=sources, series=series, algorithm=algorithm)
    return Path(path)
