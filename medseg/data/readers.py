"""Readers: from the folder of a data set to scans, by the layout that its manifest names.

A reader is a module with a function ``survey(root, manifest, *, exclude=True, labelled=True)`` that
returns `Findings` and never raises for data.
"""

from importlib import import_module
from pathlib import Path

from medseg.data.findings import Findings, log_warnings
from medseg.data.manifest import Manifest
from medseg.errors import DataError
from medseg.scan import Scan


def survey(
    root: Path, manifest: Manifest, *, exclude: bool = True, labelled: bool = True
) -> Findings:
    """Return what `read_scans` would, with all problems and without raising."""
    # A module a layout; only the one that is needed is loaded.
    reader = import_module(f"medseg.data.{manifest.layout.reader}")
    found: Findings = reader.survey(Path(root), manifest, exclude=exclude, labelled=labelled)
    return found


def read_scans(
    root: Path, manifest: Manifest, *, exclude: bool = True, labelled: bool = True
) -> list[Scan]:
    """Return the scans of a data set in natural order. Warnings go to the log.

    Args:
        root: The folder, laid out as the manifest says.
        manifest: The facts of the data set.
        exclude: Leave out the scans that the manifest knows to be bad.
        labelled: Read the labels, and leave out scans whose labels are incomplete; else no scan has
            labels.

    Raises:
        DataError: Anything is wrong with any scan; all problems are told.
    """
    findings = survey(root, manifest, exclude=exclude, labelled=labelled)
    if findings.errors:
        raise DataError(*findings.problems)
    log_warnings(findings.warnings)
    return list(findings.scans)


def is_data_set(folder: Path, manifest: Manifest) -> bool:
    """Whether a folder is laid out as the manifest's data set is, and not merely holds labels."""
    if manifest.layout.reader == "uwmgi":
        return (folder / "train.csv").exists()
    of_run = (folder / "config.json").is_file()
    return folder.is_dir() and not of_run and not any(folder.glob("*.nii*"))
