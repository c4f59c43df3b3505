"""DICOM series in a folder, each one volume or an error: nothing is skipped, guessed or stretched.

Files are told apart by what they hold, put together by SeriesInstanceUID and ordered by position;
names, numbers and the order in the folder mean nothing. What is no image that can be segmented is
passed over with a warning. Messages name files and numbers, and of identifiers the last digits
alone: texts in a header may name a patient.

Faults: E-IO, E-FORMAT, E-TOO-LARGE, and

- E-DCM-KIND: there is nothing to segment: only localizers, colour pictures, results, …
- E-DCM-SERIES: several series, and none or no single one was asked for.
- E-DCM-PATIENT, E-DCM-MIXED: images of several patients; a series that is not one.
- E-DCM-GEOM, E-DCM-GAP, E-DCM-TILT, E-DCM-DUP: slices that do not make a volume.
- E-DCM-TRUNC, E-DCM-TS, E-DCM-PIXELS: files that are cut short or cannot be decoded.
"""

import filecmp
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from medseg.errors import DataError, Problem
from medseg.io.dicom_files import list_dicom
from medseg.io.dicom_headers import Header, as_modality, numbers, read_header, tail
from medseg.io.dicom_planes import Plane, planes_of
from medseg.io.dicom_volume import crosses, faults, grid_of, ordered, plane_name
from medseg.io.dicom_written import silenced
from medseg.io.nifti_claims import MAX_BYTES
from medseg.scan import Series

# A series has one value of each.
_SAME: tuple[str, ...] = ("StudyInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "Modality")
_SAME += ("PhotometricInterpretation", "Columns", "Rows")
_MAX_NAME = 100


class _Looked(NamedTuple):
    """What a folder holds: images by series, what else, and what is wrong whatever is wanted."""

    images: dict[str, list[Header]]
    others: list[Header]
    problems: list[Problem]
    warnings: list[Problem]


def find_series(source: Path, *, wanted: str | None = None) -> list[Series]:
    """Find, check and order the series of a folder and all folders in it, or of one file.

    Args:
        source: A folder, mixed with other files at will, or one DICOM file.
        wanted: None where one series is expected; ``all``; or one series' number, UID, or the last
            characters of that.

    Returns:
        At least one series. Their names are the folder's or the file's, followed by the last
        characters of the UID if the folder holds several. Warnings about the folder are with the
        first.

    Raises:
        DataError: See above; all that is wrong with what is wanted in one pass.
    """
    with silenced():
        looked = _look(source)
        problems, found = list(looked.problems), []
        try:
            chosen = _chosen(looked, source, wanted)
        except DataError as error:
            raise DataError(*problems, *error.problems) from error
        names = _names(source, looked.images)
        for uid in chosen:
            series, faulty = _series(names[uid], looked.images[uid], source)
            problems += faulty
            found += [series] if series else []
    if problems:
        raise DataError(*_gathered(problems))
    first = replace(found[0], warnings=(*looked.warnings, *found[0].warnings))
    return [first, *found[1:]]


def _look(source: Path) -> _Looked:
    """Read every header once and sort the files by series."""
    listing = list_dicom(source)
    looked = _Looked({}, [], list(listing.problems), [])
    seen: dict[str, Header] = {}
    copies = 0
    for path in listing.files:
        try:
            header = read_header(path)
        except DataError as error:
            looked.problems.extend(error.problems)
            continue
        instance = str(header.dataset.get("SOPInstanceUID", path))
        if header.kind:
            looked.others.append(header)
        elif instance in seen and filecmp.cmp(seen[instance].path, path, shallow=False):
            copies += 1
        else:
            twin = seen.setdefault(instance, header)
            looked.problems.extend([] if twin is header else [_twins(twin, header)])
            looked.images.setdefault(header.series_uid, []).append(header)
    _set_localizers_apart(looked)
    looked.warnings.extend(_passed_over(source, listing.n_foreign, listing.n_links, copies))
    looked.warnings.extend(_of_other_kinds(source, looked.others) if looked.images else [])
    return looked


def _set_localizers_apart(looked: _Looked) -> None:
    """Move series of crossing planes to the other files, unless there is nothing else.

    Not every scanner writes into a localizer that it is one.
    """
    crossing = [
        uid
        for uid, headers in looked.images.items()
        if len(looked.images) > 1 and crosses([p for h in headers for p in planes_of(h)[0]])
    ]
    if len(crossing) < len(looked.images):
        for uid in crossing:
            headers = looked.images.pop(uid)
            looked.others.extend(header._replace(kind="localizer") for header in headers)


def _twins(one: Header, other: Header) -> Problem:
    found = f"has the SOPInstanceUID of {one.path.name}, and other content"
    return Problem("E-DCM-DUP", str(other.path), found, "one file of each", "keep the right one")


def _passed_over(source: Path, n_foreign: int, n_links: int, copies: int) -> Iterable[Problem]:
    for code, count, found in (
        ("W-DCM-JUNK", n_foreign, "files or hidden folders that are no DICOM are passed over"),
        ("W-DCM-JUNK", n_links, "links are not followed"),
        ("W-DCM-DUP", copies, "files are exact copies of others and are passed over"),
    ):
        if count:
            yield Problem(code, str(source), f"{count} {found}", level="warning")


def _of_other_kinds(source: Path, others: Sequence[Header]) -> Iterable[Problem]:
    if others:
        found = f"passed over, as they cannot be segmented: {_kinds(others)}"
        yield Problem("W-DCM-KIND", str(source), found, level="warning")


def _kinds(headers: Iterable[Header]) -> str:
    counts = Counter(header.kind for header in headers)
    return ", ".join(f"{n} files of kind {kind}" for kind, n in sorted(counts.items()))


def _chosen(looked: _Looked, source: Path, wanted: str | None) -> list[str]:
    """Return the UIDs of the series that are wanted.

    Raises:
        DataError: E-DCM-KIND, E-DCM-SERIES, E-DCM-PATIENT; nothing if no header could be read.
    """
    if wanted in (None, "all"):
        uids = list(looked.images)
    else:
        uids = _matches(looked.images, str(wanted))
        kinds = _matches(_by_series(looked.others), str(wanted))
        if kinds and not uids:
            raise _nothing(source, [h for h in looked.others if h.series_uid in kinds])
    if not looked.images:
        raise DataError() if looked.problems else _nothing(source, looked.others)
    problems = _patients([h for uid in uids for h in looked.images[uid]], source)
    if wanted != "all" and len(uids) != 1:
        problems.append(_several(looked.images, uids, source, wanted))
    if problems:
        raise DataError(*problems)
    return uids


def _patients(headers: Iterable[Header], source: Path) -> list[Problem]:
    patients = {str(header.dataset.get("PatientID", "")): header.path for header in headers}
    if len(patients) < 2:
        return []
    one, other, *_ = patients.values()
    found = f"{len(patients)} values of PatientID, such as in {one.name} and {other.name}"
    fix = "give each patient a folder, or choose with --series"
    return [Problem("E-DCM-PATIENT", str(source), found, "one patient", fix)]


def _by_series(headers: Iterable[Header]) -> dict[str, list[Header]]:
    by_series: dict[str, list[Header]] = {}
    for header in headers:
        by_series.setdefault(header.series_uid, []).append(header)
    return by_series


def _matches(series: dict[str, list[Header]], wanted: str) -> list[str]:
    """Return the UIDs that are `wanted`, or else have its number, or else end with it."""
    wanted = wanted.lstrip("…")
    numbered = [uid for uid, headers in series.items() if str(_number(headers)) == wanted]
    ending = [uid for uid in series if wanted and uid.endswith(wanted)]
    return [wanted] if wanted in series else numbered or ending


def _number(headers: Sequence[Header]) -> int | None:
    row = numbers(headers[0].dataset, "SeriesNumber", 1)
    return None if row is None else int(row[0])


def _nothing(source: Path, others: Sequence[Header]) -> DataError:
    found = f"nothing to segment: {_kinds(others) or 'no DICOM at all'}"
    expected = "a series of MR, CT or PET images, or of grey secondary captures with positions"
    return DataError(Problem("E-DCM-KIND", str(source), found, expected))


def _several(
    images: dict[str, list[Header]], uids: Sequence[str], source: Path, wanted: str | None
) -> Problem:
    tails = _tails(images)
    shown = "; ".join(f"{tails[uid]} ({_about(images[uid])})" for uid in uids or images)
    which = f" that fit {wanted!r}" if wanted is not None else ""
    found = f"{len(uids)} series{which}"
    fix = "choose one with --series and its number or last digits, or all with --series all"
    return Problem("E-DCM-SERIES", str(source), f"{found}: {shown}", "one", fix)


def _about(headers: Sequence[Header]) -> str:
    """Return a series in numbers and codes; no texts."""
    dataset = headers[0].dataset
    planes, _ = planes_of(headers[0])
    slices = sum(header.n_frames for header in headers)
    words = (
        f"series {_number(headers)}",
        f"{slices} slices of {dataset.get('Columns')} x {dataset.get('Rows')}",
        as_modality(dataset.get("Modality", "")),
        plane_name(planes[0]) if planes else "no position",
    )
    return ", ".join(word for word in words if word)


def _tails(uids: Iterable[str]) -> dict[str, str]:
    """Return the last characters of each UID, as many as tell them apart, at least 6."""
    uids = list(uids)
    for digits in range(6, 65):
        tails = {uid: tail(uid, digits) for uid in uids}
        if len(set(tails.values())) == len(uids):
            break
    return tails


def _names(source: Path, images: Iterable[str]) -> dict[str, str]:
    """Return what each series is called: after the folder or file, and its UID among several."""
    # A relative path such as "." has no name of its own; a link's name is what the user chose.
    own = Path(os.path.abspath(source))  # noqa: PTH100 - resolve() would follow links
    name = own.name if own.is_dir() else re.sub(r"(?i)\.(dcm|dicom|dic|ima)$", "", own.name)
    name = _file_name(name)
    tails = _tails(images)
    if len(tails) < 2:
        return dict.fromkeys(tails, name)
    return {uid: f"{name}_{_file_name(tails[uid].lstrip('…'))}" for uid in tails}


def _file_name(text: str) -> str:
    """Return `text` as a name that any file system takes.

    >>> _file_name("../an MR")
    'an_MR'
    """
    name = re.sub(r"[^\w.-]+", "_", text).strip("_.-")[:_MAX_NAME] or "dicom"
    reserved = re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name)
    return f"dicom_{name}" if reserved else name


def _series(
    name: str, headers: Sequence[Header], source: Path
) -> tuple[Series | None, list[Problem]]:
    """Return a series of one or more files, or all that keeps it from being a volume."""
    problems = [problem for header in headers for problem in header.problems]
    subject = f"{source} series {tail(headers[0].series_uid)}"
    problems += _mixed(headers, subject)
    planes: list[Plane] = []
    for header in (header for header in headers if not header.problems):
        placed, lacking = planes_of(header)
        planes += placed
        problems += lacking
    if problems:
        return None, problems
    planes = ordered(planes)
    columns, rows = int(headers[0].dataset.Columns), int(headers[0].dataset.Rows)
    problems = faults(planes, subject) or _too_large(columns * rows * len(planes) * 4, subject)
    if problems:
        return None, problems
    is_multi_frame = headers[0].is_multi_frame
    series = Series(
        name,
        (headers[0].path,) if is_multi_frame else tuple(plane.path for plane in planes),
        grid_of(planes, (columns, rows)),
        tuple(plane.frame for plane in planes) if is_multi_frame else (),
        as_modality(headers[0].dataset.get("Modality", "")),
        _inverse(headers[0], subject),
    )
    return series, []


def _too_large(n_bytes: int, subject: str) -> list[Problem]:
    found, expected = f"{n_bytes} bytes as numbers", f"at most {MAX_BYTES >> 30} GiB"
    return [Problem("E-TOO-LARGE", subject, found, expected)] if n_bytes > MAX_BYTES else []


def _mixed(headers: Sequence[Header], subject: str) -> list[Problem]:
    """Return in what a series' files differ, though one series has one value of it."""
    fix = "is it several series? Export each on its own"
    if len(headers) > 1 and any(header.is_multi_frame for header in headers):
        found = f"{len(headers)} files, of which some hold many frames"
        return [Problem("E-DCM-MIXED", subject, found, "one file of frames, or of slices", fix)]
    problems = []
    for keyword in _SAME:
        values = [str(header.dataset.get(keyword, "")) for header in headers]
        odd = [h.path.name for h, value in zip(headers, values, strict=True) if value != values[0]]
        if odd:
            more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            found = f"{keyword} of {headers[0].path.name} is not that of {odd[0]}{more}"
            problems.append(Problem("E-DCM-MIXED", subject, found, "one of a series", fix))
    return problems


def _inverse(header: Header, subject: str) -> tuple[Problem, ...]:
    if header.dataset.get("PhotometricInterpretation") != "MONOCHROME1":
        return ()
    found = "is MONOCHROME1, shown with low values bright; its values are kept as they are"
    return (Problem("W-DCM-MONO1", subject, found, level="warning"),)


def _gathered(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems, of those that say the same of several files the first with their count."""
    same: dict[Problem, list[Problem]] = {}
    for problem in problems:
        same.setdefault(replace(problem, subject=""), []).append(problem)
    return [
        replace(first, found=f"{first.found}; so are {len(more)} more files") if more else first
        for first, *more in same.values()
    ]
