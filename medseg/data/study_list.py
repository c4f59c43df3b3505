"""A list of studies to predict: a CSV table or a JSON file with a row a study.

``image`` is a path, from the list's folder or absolute; ``name`` what the outputs are called, the
file's or folder's own name where it is left out; ``series`` which of several DICOM series is meant.

::

    image,name,series          [{"image": "mr/0007", "name": "case7_day0"},
    mr/0007,case7_day0,         {"image": "mr/0012", "series": "401"}]
    mr/0012,,401
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from medseg.errors import DataError, Problem, UsageError
from medseg.io import strict_json

SUFFIXES = (".csv", ".json")
MAX_BYTES = 1 << 26

_COLUMNS = ("image", "name", "series")
_NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)


class Study(NamedTuple):
    """One study of a list: where it lies, its name and its series, where the list tells them."""

    image: Path
    name: str | None = None
    series: str | None = None


def read_study_list(path: Path) -> list[Study]:
    """Return the studies of a list in its order.

    Raises:
        DataError: The file is no such list; every fault of it is told. What its paths lead to is
            not looked at.
    """
    problems: list[Problem] = []
    studies: list[Study] = []
    for place, row in _rows(path):
        fault = _fault_of(row)
        if fault:
            problems.append(Problem("E-LIST", f"{path} {place}", fault, fix=_suggestion(row)))
        else:
            told = {key: str(value) for key, value in row.items() if value not in ("", None)}
            image = path.parent / told.pop("image")
            studies.append(Study(image, told.get("name"), told.get("series")))
    if not problems and not studies:
        problems.append(Problem("E-LIST", str(path), "lists no study", "a row a study"))
    if problems:
        raise DataError(*problems)
    return studies


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each row of a list and where it stands."""
    text = _text(path)
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(text.splitlines(), restkey="more than the header has")
        try:
            for row in reader:
                yield f"line {reader.line_num}", row
        except csv.Error as fault:
            raise DataError(Problem("E-LIST", str(path), f"is no CSV: {fault}")) from fault
        return
    try:
        content = strict_json.parsed(path, text)
    except UsageError as fault:
        rows = (
            replace(row, code="E-LIST", found=f"is no JSON: {row.found}") for row in fault.problems
        )
        raise DataError(*rows) from fault
    if not isinstance(content, list):
        raise DataError(Problem("E-LIST", str(path), "is no list", '[{"image": "…"}, …]'))
    for number, row in enumerate(content, 1):
        yield f"entry {number}", row if isinstance(row, Mapping) else {"image": row}


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            found = f"has {path.stat().st_size} bytes"
            raise DataError(Problem("E-TOO-LARGE", str(path), found, f"at most {MAX_BYTES}"))
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        found = f"cannot be read: {error.strerror or type(error).__name__}"
        raise DataError(Problem("E-IO", str(path), found)) from error
    except UnicodeDecodeError as error:
        raise DataError(Problem("E-LIST", str(path), "is no text in UTF-8")) from error


def _unknown(row: Mapping[str, Any]) -> list[str]:
    return [str(key) for key in row if key not in _COLUMNS]


def _suggestion(row: Mapping[str, Any]) -> str:
    """Return the column that was meant where one is misspelt."""
    near = [get_close_matches(key, _COLUMNS, n=1) for key in _unknown(row)]
    return next((f"did you mean {names[0]!r}?" for names in near if names), "see docs/predict.md")


def _fault_of(row: Mapping[str, Any]) -> str:
    """Return what is wrong with a row; nothing where it is sound."""
    if unknown := _unknown(row):
        return f"has {', '.join(unknown)}, and only {', '.join(_COLUMNS)} are known"
    if wrong := [key for key, value in row.items() if not isinstance(value, str | int | None)]:
        return f"{wrong[0]} is no text"
    if not row.get("image"):
        return "has no image"
    name = row.get("name")
    if name not in ("", None) and (not _NAME.fullmatch(str(name)) or str(name).startswith(".")):
        return "its name has more than letters, digits, dot, dash and underscore"
    return ""
