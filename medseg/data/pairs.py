"""Pairs: one folder a pair, with a picture and the mask that was drawn on it.

``ROOT/pair_07/anything.png`` and ``ROOT/pair_07/anything_mask.png``: PNG or TIFF, by any names; the
mask is the one whose name says ``mask`` or ``label``. A pair is a scan of one slice and a patient
of its own, named by its folder. ROOT may be one pair's folder.

Faults: E-IO, E-NAME, E-EMPTY, E-PAIR (not one picture and one mask), E-FORMAT, and those of
`drawn`. Warnings: W-EXCLUDED and W-UNLABELLED.
"""

import os
import re
from pathlib import Path

from medseg.data.drawn import Drawn, organ_of, survey_drawn
from medseg.data.findings import Findings
from medseg.data.label_files import natural
from medseg.data.manifest import Manifest
from medseg.data.slice_folder import is_text, unreadable
from medseg.errors import Problem
from medseg.io.pictures import SUFFIXES

_NAME = re.compile(r"\w[\w .-]{0,99}", re.ASCII)
_MASK = re.compile(r"mask|label", re.IGNORECASE)
_OTHERS = (".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_WANTED = "a picture, and a mask with 'mask' or 'label' in its name"


def survey(
    root: Path, manifest: Manifest, *, exclude: bool = True, labelled: bool = True
) -> Findings:
    """Return the pairs of a folder in natural order, and every problem in it."""
    organ_of(manifest)
    problems: list[Problem] = []
    pairs: dict[str, Drawn] = {}
    for folder in _pair_folders(root, problems):
        name = folder.name
        if exclude and name in manifest.excluded:
            text = manifest.excluded[name]
            problems.append(Problem("W-EXCLUDED", name, text, level="warning"))
        elif pair := _pair(folder, problems):
            pairs[name] = pair
    # Without a single mask the folder is one to predict on, not one that lost its labels.
    labelled = labelled and any(pair.mask for pair in pairs.values())
    results = {
        name: survey_drawn(name, [pair], manifest, labelled=labelled)
        for name, pair in pairs.items()
    }
    problems += [problem for each in results.values() for problem in each.folder.problems]
    scans = tuple(each.scan for each in results.values() if each.scan)
    if not (scans or any(problem.level == "error" for problem in problems)):
        problems.append(Problem("E-EMPTY", str(root), "no pair to use", f"folders with {_WANTED}"))
    return Findings(scans, tuple(problems), {name: each.folder for name, each in results.items()})


def _pair_folders(root: Path, problems: list[Problem]) -> list[Path]:
    """Return the folders of pairs in natural order; the root itself when it holds a picture."""
    entries = _visible(root, problems)
    if any(path.suffix.lower() in SUFFIXES and path.is_file() for path in entries):
        return [root.absolute()]
    folders = [path for path in entries if path.is_dir()]
    for path in folders:
        if not _NAME.fullmatch(path.name):
            expected = "letters, digits, space, _ - and ., at most 100"
            problems.append(Problem("E-NAME", str(path), "is no name for a scan", expected))
    named = [path for path in folders if _NAME.fullmatch(path.name)]
    return sorted(named, key=lambda path: natural(path.name))


def _visible(folder: Path, problems: list[Problem]) -> list[Path]:
    try:
        entries = sorted(folder / entry.name for entry in os.scandir(folder))
    except OSError as error:
        problems.append(unreadable(folder, error))
        return []
    return [path for path in entries if not path.name.startswith((".", "__"))]


def _pair(folder: Path, problems: list[Problem]) -> Drawn | None:
    """Return the picture of a folder and its mask; None where it cannot be told which is which."""
    pictures: list[Path] = []
    masks: list[Path] = []
    before = len(problems)
    for path in _visible(folder, problems):
        suffix = path.suffix.lower()
        if not is_text(path.name):
            problems.append(Problem("E-IO", str(path), "name is no UTF-8 text"))
        elif suffix in _OTHERS:
            fix = "export it again from the original as PNG or TIFF"
            found = f"is {suffix[1:].upper()}"
            problems.append(Problem("E-FORMAT", str(path), found, ", ".join(SUFFIXES), fix))
        elif suffix in SUFFIXES:
            (masks if _MASK.search(path.stem) else pictures).append(path)
    if len(pictures) == 1 and len(masks) <= 1:
        return Drawn(1, pictures[0], masks[0] if masks else None)
    if len(problems) == before:
        names = [path.name for path in (*pictures, *masks)]
        found = f"holds {len(pictures)} pictures and {len(masks)} masks"
        shown = f": {', '.join(names[:6])}{', …' * (len(names) > 6)}" if names else ""
        problems.append(Problem("E-PAIR", folder.name, found + shown, _WANTED))
    return None
