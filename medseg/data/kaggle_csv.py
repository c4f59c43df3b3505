"""The label table of UW-Madison GI: ``train.csv`` with the columns id, class, segmentation.

One row an organ and slice; ``case123_day20_slice_0001`` names the slice, an empty segmentation
says that the organ is absent. A table sent in to the competition calls its third column predicted.
Byte-order mark, line ends and column order do not matter.

Faults: E-IO, E-CSV, E-CLASS, E-DUPROW, and E-ORPHAN for an id that names no slice at all.
Warning: W-DUPROW.
"""

import csv
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple, TextIO

from medseg.errors import Problem

COLUMNS = ("id", "class", "segmentation")
SUBMITTED = ("id", "class", "predicted")
_ID = "such as case123_day20_slice_0001"
_DIGITS = 10  # a slice's name has fewer; of thousands Python makes no number


class Row(NamedTuple):
    """The segmentation of one organ on one slice, and the line of the file it stands on."""

    rle: str
    line: int


class Labels(NamedTuple):
    """A label table by scan, then by slice number and organ; and what is wrong with the file."""

    scans: dict[str, dict[tuple[int, str], Row]]
    problems: list[Problem]


def read_labels(
    path: Path, organs: Sequence[str], *, forms: Sequence[tuple[str, str, str]] = (COLUMNS,)
) -> Labels:
    """Return the rows of a label table; faults are collected, not raised.

    Args:
        path: The CSV file.
        organs: The names that the column ``class`` may hold.
        forms: What its columns may be: `COLUMNS`, `SUBMITTED` or either.
    """
    csv.field_size_limit(1 << 24)  # a ragged mask of a large slice outgrows the usual 128 KiB
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _Table(path, file, organs, forms).read()
    except OSError as error:
        found = f"cannot be read: {error.strerror or type(error).__name__}"
        return Labels({}, [Problem("E-IO", str(path), found, fix="check the file")])
    except UnicodeDecodeError:
        found = "is not UTF-8 text"
        return Labels({}, [_broken(path, found)])


def _broken(path: Path, found: str, line: int | None = None) -> Problem:
    return Problem(
        "E-CSV",
        str(path) if line is None else f"{path}:{line}",
        found,
        ",".join(COLUMNS),
        "save it as comma-separated UTF-8 text with these columns",
    )


class _Table:
    """One pass over a label table."""

    def __init__(
        self,
        path: Path,
        file: TextIO,
        organs: Sequence[str],
        forms: Sequence[tuple[str, str, str]],
    ) -> None:
        self.path = path
        self.forms = forms
        self.lines = csv.reader(file, strict=True)
        self.organs = frozenset(organs)
        self.scans: dict[str, dict[tuple[int, str], Row]] = {}
        self.problems: list[Problem] = []
        self.strangers: dict[str, list[int]] = {}  # lines by unknown class
        self.nameless: dict[str, int] = {}  # first line by id that names no slice

    def read(self) -> Labels:
        try:
            header = [name.strip() for name in next(self.lines, [])]
            fitting = [each for each in self.forms if set(each) <= set(header)]
            if len(fitting) != 1 or len(set(header)) < len(header):
                found = f"header is {','.join(header)[:120]!r}" if header else "is empty"
                return Labels({}, [_broken(self.path, found)])
            self._rows([header.index(name) for name in fitting[0]], len(header))
        except csv.Error as error:
            self.problems.append(_broken(self.path, str(error), self.lines.line_num))
        self._tell_strangers()
        return Labels(self.scans, self.problems)

    def _rows(self, columns: Sequence[int], width: int) -> None:
        at_id, at_class, at_rle = columns
        last_id = ""
        slices: dict[tuple[int, str], Row] | None = None
        number = 0
        for fields in self.lines:
            line = self.lines.line_num
            if len(fields) != width:
                if fields:  # a blank line is no row
                    self.problems.append(_broken(self.path, f"{len(fields)} fields", line))
                continue
            name, organ = fields[at_id], fields[at_class]
            if name != last_id:  # three rows a slice share an id
                slices, number = self._slice(name, line)
                last_id = name
            if slices is None:
                continue
            if organ not in self.organs:
                self.strangers.setdefault(organ, []).append(line)
                continue
            row = Row(fields[at_rle], line)
            earlier = slices.setdefault((number, organ), row)
            if earlier is not row:
                self._tell_twice(f"{name} {organ}", earlier, row)

    def _slice(self, name: str, line: int) -> tuple[dict[tuple[int, str], Row] | None, int]:
        scan_id, _, number = name.rpartition("_slice_")
        if not (scan_id and number.isascii() and number.isdigit() and len(number) < _DIGITS):
            self.nameless.setdefault(name, line)
            return None, 0
        return self.scans.setdefault(scan_id, {}), int(number)

    def _tell_twice(self, name: str, earlier: Row, row: Row) -> None:
        subject = f"{self.path.name}:{row.line}: {name}"
        if earlier.rle.split() == row.rle.split():
            found = f"same row as line {earlier.line}; dropped"
            self.problems.append(Problem("W-DUPROW", subject, found, level="warning"))
        else:
            found = f"another mask stands on line {earlier.line}"
            self.problems.append(Problem("E-DUPROW", subject, found, "one row", "remove one"))

    def _tell_strangers(self) -> None:
        for organ, at in self.strangers.items():
            folded = organ.strip().lower().replace(" ", "_").replace("-", "_")
            near = get_close_matches(folded, self.organs, n=1)
            self.problems.append(
                Problem(
                    "E-CLASS",
                    f"{self.path.name}:{at[0]}",
                    f"unknown class {organ!r} in {len(at)} rows",
                    ", ".join(sorted(self.organs)),
                    f"did you mean {near[0]}?" if near else "",
                )
            )
        if self.nameless:
            name, line = next(iter(self.nameless.items()))
            found = f"{len(self.nameless)} ids name no slice, the first is {name[:80]!r}"
            subject = f"{self.path.name}:{line}"
            self.problems.append(Problem("E-ORPHAN", subject, found, _ID))
