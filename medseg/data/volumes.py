"""Volumes in NIfTI, laid out as nnU-Net or the Medical Segmentation Decathlon do.

``imagesTr/NAME_0000.nii.gz``, one file a channel, or ``imagesTr/NAME.nii.gz``, and
``labelsTr/NAME.nii.gz``. Headers are checked; no voxel is read. NAME is the scan; before ``_day``
and a number, or a date, it is the patient.

Faults: E-EMPTY, E-NAME, E-MISSING (a channel or an image lacks), E-GRID, and those of
`medseg.io.nifti`. Warnings: W-EXCLUDED, W-UNLABELLED (an image without label, left out).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from medseg.data.findings import Findings
from medseg.data.label_files import natural
from medseg.data.label_map_rows import LabelMapRows
from medseg.data.manifest import Manifest
from medseg.errors import DataError, MedsegError, Problem
from medseg.geometry import require_same_grid
from medseg.io.nifti import read_grid
from medseg.io.nifti_names import stem_of, volumes_in
from medseg.io.voxels import read_voxels
from medseg.scan import Scan

_CHANNEL = re.compile(r"(.+)_(\d{4})", re.ASCII)


def survey(
    root: Path, manifest: Manifest, *, exclude: bool = True, labelled: bool = True
) -> Findings:
    """Return the scans of a folder in natural order, and every problem in it."""
    images = channel_files(root / "imagesTr")
    labels = {stem_of(path): path for path in volumes_in(root / "labelsTr")}
    scans: list[Scan] = []
    problems = list(_lost(images, labels))
    if not images:
        expected = "NAME_0000.nii.gz or NAME.nii.gz"
        problems.append(Problem("E-EMPTY", str(root / "imagesTr"), "holds no volumes", expected))
    for name in sorted(images, key=natural):
        if exclude and name in manifest.excluded:
            text = manifest.excluded[name]
            problems.append(Problem("W-EXCLUDED", name, text, level="warning"))
        elif labelled and labels and name not in labels:
            found = "has no label; left out of training and evaluation"
            problems.append(Problem("W-UNLABELLED", name, found, level="warning"))
        else:
            label = labels.get(name) if labelled else None
            try:
                scans.append(volume(name, images[name], label, manifest))
            except MedsegError as error:
                problems += error.problems
    return Findings(tuple(scans), tuple(problems), {})


def volume(
    scan_id: str, files: Mapping[int, Path] | Sequence[Path], label: Path | None, manifest: Manifest
) -> Scan:
    """Return the scan of some NIfTI files by what their headers say.

    Args:
        scan_id: Its name.
        files: A file a channel, by number or in their order.
        label: The label map; None for a scan without labels.
        manifest: Names the channels, and the organs' codes.

    Raises:
        DataError: A channel is missing, or is one too many.
        GeometryError: The files lie on different grids.
    """
    numbered = dict(files if isinstance(files, Mapping) else enumerate(files))
    wanted = set(range(len(manifest.channels)))
    if set(numbered) != wanted:
        found = f"has channels {sorted(numbered)}"
        expected = ", ".join(f"{n} {name}" for n, name in enumerate(manifest.channels))
        raise DataError(Problem("E-MISSING", scan_id, found, expected))
    paths = tuple(numbered[n] for n in sorted(numbered))
    grid = read_grid(paths[0])
    for path in (*paths[1:], *([label] if label else [])):
        require_same_grid(grid, read_grid(path), subject=str(path))
    codes = {organ.name: organ.code for organ in manifest.labels.organs}
    return Scan(
        scan_id=scan_id,
        slice_files=(),
        slice_numbers=tuple(range(1, grid.shape[2] + 1)),
        size_px=grid.shape[:2],
        spacing_mm=grid.spacing_mm,
        channels=len(paths),
        rle=LabelMapRows(label, codes) if label else None,
        volume_files=paths,
        own_grid=grid,
    )


def volume_problems(scan: Scan) -> list[Problem]:
    """Return what only reading shows of a volume: damage, one constant value, unknown codes."""
    problems: list[Problem] = []
    try:
        for path, channel in zip(scan.volume_files, read_voxels(scan), strict=True):
            if channel.min() == channel.max():
                found = f"is {channel.flat[0]:g} everywhere"
                problems.append(Problem("W-CONST", str(path), found, level="warning"))
    except DataError as error:
        problems += error.problems
    try:
        any((scan.rle or {}).values())
    except DataError as error:
        problems += error.problems
    return problems


def channel_files(folder: Path) -> dict[str, dict[int, Path]]:
    """Return the volumes of a folder by scan and channel; a name without a number is channel 0."""
    found: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in volumes_in(folder):
        numbered = _CHANNEL.fullmatch(stem_of(path))
        name, channel = (numbered[1], int(numbered[2])) if numbered else (stem_of(path), 0)
        found[name][channel] = path
    return dict(found)


def _lost(images: Mapping[str, object], labels: Mapping[str, Path]) -> Iterator[Problem]:
    for name in sorted(labels.keys() - images.keys(), key=natural):
        found = "has no image in imagesTr"
        fix = "restore the image or remove the label"
        yield Problem("E-MISSING", str(labels[name]), found, f"{name}_0000.nii.gz", fix)
