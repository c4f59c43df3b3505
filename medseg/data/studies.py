"""From what a user wants segmented to items: images, folders of slices, DICOM, lists of these."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from medseg.data.label_files import natural
from medseg.data.manifest import Manifest, read_manifest
from medseg.data.readers import is_data_set, read_scans
from medseg.data.sources import Item
from medseg.data.study_list import SUFFIXES as LIST_SUFFIXES
from medseg.data.study_list import Study, read_study_list
from medseg.data.uwmgi import read_scan_folder
from medseg.data.volumes import channel_files, volume
from medseg.errors import DataError, Problem
from medseg.io.dicom_names import holds_dicom
from medseg.io.image_names import SUFFIXES as IMAGE_SUFFIXES
from medseg.io.image_names import image_stem
from medseg.io.output_names import fault_of_name
from medseg.scan import Scan, Series, case_id_of


def inference_items(source: str | Path | Sequence[str | Path], *, manifest: str) -> list[Item]:
    """Return unlabelled items of whatever can be predicted, with DICOM series found; see `studies`.

    Raises:
        DataError: A source is none of these, or two scans have one name, so that one prediction
            would overwrite the other; all such are named together.
    """
    sources = [source] if isinstance(source, str | Path) else source
    items, problems = studies([Study(Path(each)) for each in sources], manifest=manifest)
    if problems:
        raise DataError(*problems)
    return [found(item) for item in items]


class Studies(NamedTuple):
    """The studies that were asked for, and what is wrong with the others."""

    items: list[Item]
    problems: list[Problem]


def studies(sources: Iterable[Study], *, manifest: str) -> Studies:
    """Return unlabelled items of images, scan folders, DICOM, data folders and lists of these.

    DICOM is looked through when its turn comes, by `found`, unless some of its series are named:
    their outputs then have the last digits of their UIDs in their names.
    Of two scans with one name the second is a problem: its prediction would overwrite the first's.
    So is one after which no file can be called.
    """
    items: dict[str, Item] = {}
    problems: list[Problem] = []
    for study in _listed(sources, problems):
        try:
            for item in _items_in(study, read_manifest(manifest)):
                if fault := fault_of_name(item["scan_id"]):
                    problems.append(_misnamed(item["scan_id"], fault, study.image))
                elif item["scan_id"] in items:
                    problems.append(_same_name(item["scan_id"], study.image))
                else:
                    items[item["scan_id"]] = item
        except DataError as error:
            problems += error.problems
    return Studies(list(items.values()), problems)


def found(item: Item) -> Item:
    """Return an item with its DICOM series found; any other as it is.

    Raises:
        DataError: See `medseg.io.dicom_series.find_series`.
    """
    source = item["image"]
    if not isinstance(source, Path) or source.name.endswith(IMAGE_SUFFIXES):
        return item
    # pydicom takes a third of a second to import, and most data are not DICOM.
    from medseg.io.dicom_series import find_series

    (series,) = find_series(source)
    return {**item, "image": replace(series, scan_id=item["scan_id"])}


def _misnamed(scan_id: str, fault: str, source: Path) -> Problem:
    fix = "rename it, or give it a name in a list of studies"
    found = f"its results would be called {scan_id[:60]!r}, which {fault}"
    return Problem("E-NAME", str(source), found, "a file's name", fix)


def _same_name(scan_id: str, source: Path) -> Problem:
    fix = "rename one, or predict them into two folders"
    return Problem("E-DUP", str(source), f"is a second scan named {scan_id}", "one", fix)


def _listed(sources: Iterable[Study], problems: list[Problem]) -> Iterator[Study]:
    """Yield the studies, those of a list in its place; what is wrong with a list is kept."""
    for study in sources:
        if study.image.suffix.lower() not in LIST_SUFFIXES:
            yield study
            continue
        try:
            yield from read_study_list(study.image)
        except DataError as error:
            problems += error.problems


def _items_in(study: Study, manifest: Manifest) -> list[Item]:
    source = study.image
    if not source.exists():
        raise DataError(Problem("E-IO", str(source), "is not there", "a file or a folder"))
    if source.name.endswith(IMAGE_SUFFIXES):
        return [_unlabelled(study.name or image_stem(source), source)]
    if source.is_file() or holds_dicom(source):
        return _of_dicom(study)
    scans = _scans_in(source, manifest)
    if scans is None and (images := _images_in(source)):
        return [_unlabelled(image_stem(path), path) for path in images]
    if scans is None:
        scans = [read_scan_folder(source, manifest)]
    if study.name and len(scans) == 1:
        scans = [replace(scans[0], scan_id=study.name)]
    return [_unlabelled(scan.scan_id, scan) for scan in scans]


def _scans_in(source: Path, manifest: Manifest) -> list[Scan] | None:
    """Return the scans of a folder laid out as a data set is, or of a file a channel; else None."""
    if (source / "train").is_dir() or is_data_set(source, manifest):
        return read_scans(source, manifest, labelled=False)
    if len(manifest.channels) > 1 and (files := channel_files(source)):
        return [volume(name, files[name], None, manifest) for name in sorted(files, key=natural)]
    return None


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.name.endswith(IMAGE_SUFFIXES))


def _of_dicom(study: Study) -> list[Item]:
    """Return the item of a DICOM folder or file, or one for each of its series that is wanted."""
    if study.series is None:
        # A relative path such as "." has no name of its own.
        own = Path(os.path.abspath(study.image))  # noqa: PTH100 - resolve() would follow links
        name = study.name or (own.name if own.is_dir() else own.stem)
        return [_unlabelled(name, study.image)]
    from medseg.io.dicom_series import find_series

    chosen = find_series(study.image, wanted=study.series)
    if study.name and len(chosen) == 1:
        chosen = [replace(chosen[0], scan_id=study.name)]
    return [_unlabelled(series.scan_id, series) for series in chosen]


def _unlabelled(scan_id: str, image: Path | Scan | Series) -> Item:
    return {"scan_id": scan_id, "case_id": case_id_of(scan_id), "image": image}
