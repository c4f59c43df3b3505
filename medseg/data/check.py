"""The full check of a data set: everything the reader checks, then every pixel.

Order is judged by likeness: in a body, slices 3 mm apart resemble each other more than slices 6 mm
apart. Where the two neighbours of a slice are closer to each other than to it, or where exchanging
two neighbours would bring all closer, the numbers in the names are probably wrong.

Faults: E-PNG-TRUNC, E-PNG-CRC and the other faults of `medseg.io.voxels.read_pixels`; E-LEAK.
Warnings: W-ORDER, W-CONST, W-TWIN.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.data.findings import Findings
from medseg.data.hashes import Twins, slice_hashes, twins
from medseg.data.manifest import Manifest
from medseg.data.readers import survey
from medseg.data.slice_folder import SliceFolder, ranges
from medseg.data.volumes import volume_problems
from medseg.errors import DataError, Problem
from medseg.io.rle import area_px, decode_slices
from medseg.io.voxels import Pixels, read_pixels
from medseg.scan import Scan

__all__ = ["Findings", "Summary", "inspect", "summarise"]

Progress = Callable[[int, int], object]

# Sound scans stay below 0.6; one slice out of place, or two exchanged, nearly always exceed 1.7.
MISPLACED = 1.2
_BLOCK_PX = 8


@dataclass(frozen=True)
class Summary:
    """What a data set holds, in numbers.

    Attributes:
        patients: Different cases.
        scans: Scans that can be used.
        labelled: Scans with labels.
        slices: Slices of all scans.
        sizes_px: Scans by width and height.
        spacings_mm: Scans by column, row and slice distance.
        organ_slices: Labelled slices that show each organ.
        organ_px: Pixels of each organ.
        empty_slices: Labelled slices without any organ.
        overlap_slices: Slices on which two organs share pixels.
        overlap_px: Pixels that two organs share.
    """

    patients: int
    scans: int
    labelled: int
    slices: int
    sizes_px: dict[str, int]
    spacings_mm: dict[str, int]
    organ_slices: dict[str, int]
    organ_px: dict[str, int]
    empty_slices: int
    overlap_slices: dict[str, int]
    overlap_px: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, for reports."""
        return asdict(self)


def inspect(
    root: Path,
    manifest: Manifest,
    *,
    exclude: bool = True,
    pixels: bool = True,
    progress: Progress | None = None,
) -> Findings:
    """Return the sound scans of a data set and every problem found in it; never raises for data.

    Args:
        root: The folder, laid out as the manifest says.
        manifest: The facts of the data set.
        exclude: Leave out the scans that the manifest knows to be bad.
        pixels: Decode every slice, and compare slices between scans; else check headers only.
        progress: Called with the slices done and the slices in all, once a scan.
    """
    findings = survey(root, manifest, exclude=exclude)
    if not pixels:
        return findings
    problems = list(findings.problems)
    told = {(problem.code, problem.subject) for problem in problems}
    # Two names of one fault: a colour picture that should be grey.
    told |= {("E-MODE", subject) for code, subject in told if code == "E-CHANNELS"}
    broken: set[str] = set()
    done, total = 0, sum(len(folder.files) for folder in findings.folders.values())
    for scan_id, folder in findings.folders.items():
        faults = _pixel_problems(scan_id, folder, channels=len(manifest.channels))
        if any(fault.level == "error" for fault in faults):
            broken.add(scan_id)
        # What the header showed is told already.
        problems += [fault for fault in faults if (fault.code, fault.subject) not in told]
        done += len(folder.files)
        if progress:
            progress(done, total)
    for scan in findings.scans:
        if scan.volume_files and (faults := volume_problems(scan)):
            problems += faults
            broken |= {scan.scan_id} if any(f.level == "error" for f in faults) else set()
    sound = tuple(scan for scan in findings.scans if scan.scan_id not in broken)
    hashes = {scan.scan_id: slice_hashes(scan) for scan in sound}
    problems += [_twin_problem(pair) for pair in twins(sound, hashes)]
    return Findings(sound, tuple(problems), findings.folders)


def summarise(scans: Sequence[Scan], manifest: Manifest) -> Summary:
    """Return what scans hold; no scans give zeros."""
    organs = manifest.labels.names
    slices: Counter[str] = Counter()
    area: Counter[str] = Counter()
    overlap_slices: Counter[str] = Counter()
    overlap_px: Counter[str] = Counter()
    empty = 0
    for scan in scans:
        if scan.rle is None:
            continue
        areas = {organ: [area_px(row) for row in scan.rle[organ]] for organ in organs}
        for organ, of_slices in areas.items():
            slices[organ] += sum(px > 0 for px in of_slices)
            area[organ] += sum(of_slices)
        for pair, shared in _overlaps(scan, scan.rle):
            overlap_slices[pair] += int(shared.astype(bool).sum())
            overlap_px[pair] += int(shared.sum())
        empty += sum(not any(px) for px in zip(*areas.values(), strict=True))
    return Summary(
        patients=len({scan.case_id for scan in scans}),
        scans=len(scans),
        labelled=sum(scan.rle is not None for scan in scans),
        slices=sum(len(scan.slice_numbers) for scan in scans),
        sizes_px=dict(Counter(f"{s.size_px[0]}x{s.size_px[1]}" for s in scans)),
        spacings_mm=dict(Counter("x".join(f"{mm:.2f}" for mm in s.spacing_mm) for s in scans)),
        organ_slices={organ: slices[organ] for organ in organs},
        organ_px={organ: area[organ] for organ in organs},
        empty_slices=empty,
        overlap_slices=dict(+overlap_slices),  # plus drops pairs that never meet
        overlap_px=dict(+overlap_px),
    )


def _overlaps(
    scan: Scan, rows: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield the pixels that every two organs share on each slice that shows both."""
    width, height = scan.size_px
    for a, b in combinations(rows, 2):
        both = [pair for pair in zip(rows[a], rows[b], strict=True) if all(map(area_px, pair))]
        masks = [decode_slices(texts, (height, width)) for texts in zip(*both, strict=True)]
        if masks:
            yield f"{a} & {b}", (masks[0] & masks[1]).sum((1, 2))


def _pixel_problems(scan_id: str, folder: SliceFolder, *, channels: int) -> list[Problem]:
    """Return what only decoding shows: damage, flat slices, slices out of order."""
    problems: list[Problem] = []
    thumbnails, flat, saturated = [], [], []
    for number, path in zip(folder.numbers, folder.files, strict=True):
        try:
            pixels = read_pixels(path, channels=channels)
        except DataError as error:
            problems += error.problems
            continue
        lowest, highest = pixels.min((1, 2)), pixels.max((1, 2))  # of each channel
        if (lowest == highest).any():
            flat.append(number)
        elif np.count_nonzero(pixels == highest[:, None, None]) * 2 > pixels.size:
            saturated.append(number)
        thumbnails.append(_thumbnail(pixels))
    for numbers, what in ((flat, "of one constant value"), (saturated, "saturated over half")):
        if numbers:
            found = f"{len(numbers)} slices are {what}: {ranges(numbers)}"
            problems.append(Problem("W-CONST", scan_id, found, level="warning"))
    if not any(problem.level == "error" for problem in (*problems, *folder.problems)):
        problems += _order_problems(scan_id, folder.numbers, np.array(thumbnails))
    return problems


def _thumbnail(pixels: Pixels) -> NDArray[np.float64]:
    """Return block means as a vector of mean 0 and length 1; a flat slice gives zeros."""
    height, width = (max(1, n // _BLOCK_PX) for n in pixels.shape[1:])
    step = min(_BLOCK_PX, *pixels.shape[1:])
    cut = pixels[:, : height * step, : width * step]
    means = cut.reshape(-1, height, step, width, step).mean((2, 4)).ravel()
    means -= means.mean()
    length = float(np.linalg.norm(means))
    if length > 0:
        means /= length
    return np.asarray(means, np.float64)


def _order_problems(
    scan_id: str, numbers: Sequence[int], thumbnails: NDArray[np.float64]
) -> list[Problem]:
    """Tell slices that lie elsewhere than their number says, with how sure that is."""
    if len(thumbnails) < 5:
        return []
    near = _distance(thumbnails, 1)
    far = np.maximum(_distance(thumbnails, 2), 1e-9)
    # Slice k against its neighbours: farther from both than they are from each other.
    alien = np.minimum(near[:-1], near[1:]) / far
    # Slices k and k + 1: what their outer neighbours gain from the exchange.
    exchange = (near[:-2] + near[2:]) / (far[:-1] + far[1:])
    suspects = {numbers[k + 1] for k in np.flatnonzero(alien > MISPLACED).tolist()}
    for k in np.flatnonzero(exchange > MISPLACED).tolist():
        suspects |= {numbers[k + 1], numbers[k + 2]}
    if not suspects:
        return []
    found = (
        f"slices {ranges(sorted(suspects))} do not resemble their neighbours: "
        f"ratio {max(alien.max(), exchange.max()):.1f}"
    )
    fix = "compare their numbers with the source"
    return [
        Problem("W-ORDER", scan_id, found, f"below {MISPLACED}", fix, level="warning"),
    ]


def _distance(thumbnails: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Return 1 - correlation of slices `step` apart."""
    distance: NDArray[np.float64] = 1 - (thumbnails[step:] * thumbnails[:-step]).sum(1)
    return distance


def _twin_problem(pair: Twins) -> Problem:
    subject = f"{pair.first.scan_id}, {pair.second.scan_id}"
    found = f"{pair.slices} slices are the same picture, such as {pair.files[0].name}"
    if pair.first.case_id == pair.second.case_id:
        return Problem("W-TWIN", subject, found, level="warning")
    fix = "remove the copy: a split could part the two"
    return Problem("E-LEAK", subject, found, "different pictures of different patients", fix)
