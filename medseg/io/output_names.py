"""What the files of a predicted scan are called: plainly, or as BIDS wants derivatives named.

References:
    BIDS 1.10, "Imaging data types" and "Derivatives": ``sub-``, ``ses-``, ``desc-``, ``label-``.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

# With what is put before and behind it a name is to have the 255 bytes that file systems take.
LONGEST_BYTES = 150
_BAD = re.compile(r'[<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?", re.ASCII | re.IGNORECASE)
# As `case_id_of` tells a patient from a day.
_BIDS_SCAN = re.compile(r"(.+)_(day\d+|\d{8})", re.ASCII)


class OutputNames(NamedTuple):
    """Where the files of one scan go.

    Attributes:
        folder: The folder that they are in.
        stem: What their names begin with.
        bids: Whether they are named as BIDS derivatives.
    """

    folder: Path
    stem: str
    bids: bool = False

    @property
    def label_map(self) -> Path:
        """One integer a voxel."""
        return self._named("_desc-medseg_dseg.nii.gz", ".nii.gz")

    @property
    def preview(self) -> Path:
        """A picture in three planes."""
        return self._named("_desc-medseg_preview.png", "_preview.png")

    @property
    def statistics(self) -> Path:
        """What was found, and what it was made with."""
        return self._named("_desc-medseg_statistics.json", ".json")

    @property
    def seg(self) -> Path:
        """DICOM SEG."""
        return self._named("_desc-medseg_seg.dcm", "_seg.dcm")

    @property
    def rtstruct(self) -> Path:
        """DICOM RTSTRUCT."""
        return self._named("_desc-medseg_rtstruct.dcm", "_rtstruct.dcm")

    @property
    def sidecar(self) -> Path:
        """What BIDS wants to know of the label map; only there."""
        return self.folder / f"{self.stem}_desc-medseg_dseg.json"

    def mask(self, organ: str) -> Path:
        """Return where one organ's mask goes."""
        return self._named(f"_label-{_word(organ)}_desc-medseg_mask.nii.gz", f"_{organ}.nii.gz")

    def probs(self, organ: str) -> Path:
        """Return where one organ's probabilities go."""
        own = f"_label-{_word(organ)}_desc-medseg_probseg.nii.gz"
        return self._named(own, f"_{organ}_probs.nii.gz")

    def planned(
        self, formats: Collection[str], *, masks: Iterable[str] = (), probs: Iterable[str] = ()
    ) -> list[Path]:
        """Return all files that will be written of a scan, but for its picture.

        Args:
            formats: Some of nifti, seg and rtstruct.
            masks: The organs that have a mask each.
            probs: The organs that have a file of probabilities each.
        """
        of_nifti = [self.label_map, *[self.sidecar] * self.bids]
        parts = {"nifti": of_nifti, "seg": [self.seg], "rtstruct": [self.rtstruct]}
        files = [self.statistics]
        files += [path for name, paths in parts.items() if name in formats for path in paths]
        return [*files, *map(self.mask, masks), *map(self.probs, probs)]

    def _named(self, bids: str, plain: str) -> Path:
        return self.folder / f"{self.stem}{bids if self.bids else plain}"


def output_names(out: Path, scan_id: str, *, bids: bool = False) -> OutputNames:
    """Return where the files of a scan go below `out`.

    >>> output_names(Path("out"), "case7_day20").label_map.as_posix()
    'out/case7_day20.nii.gz'
    >>> output_names(Path("out"), "case7_day20", bids=True).label_map.as_posix()
    'out/sub-case7/ses-day20/anat/sub-case7_ses-day20_desc-medseg_dseg.nii.gz'
    """
    if not bids:
        return OutputNames(out, scan_id)
    parts = _BIDS_SCAN.fullmatch(scan_id)
    subject = f"sub-{_word(parts[1] if parts else scan_id)}"
    session = [f"ses-{parts[2]}"] if parts else []
    folder = out.joinpath(subject, *session, "anat")
    return OutputNames(folder, "_".join([subject, *session]), bids=True)


def fault_of_name(scan_id: str) -> str:
    """Return why files cannot be called after a scan, on this system or another; empty if they can.

    >>> fault_of_name("case7_day20")
    ''
    >>> fault_of_name("aux.1")
    'is a name that Windows keeps for itself'
    """
    if not scan_id.isprintable():
        return "holds characters that cannot be printed"
    if bad := _BAD.findall(scan_id):
        return f"holds {' '.join(dict.fromkeys(bad))}"
    if scan_id != scan_id.strip(" .") or not scan_id:
        return "begins or ends with a dot or a space, or is empty"
    if _RESERVED.fullmatch(scan_id):
        return "is a name that Windows keeps for itself"
    if len(scan_id.encode()) > LONGEST_BYTES:
        return f"is longer than {LONGEST_BYTES} bytes"
    return ""


def _word(text: str) -> str:
    """Return the letters and digits of a text: a value in BIDS has no other."""
    return re.sub(r"[^A-Za-z0-9]", "", text)
