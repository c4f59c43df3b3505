"""JSON objects that are checked as they are read, with the line and column of what is wrong.

As in `medseg.io.strict_yaml`: no key twice, no nesting beyond 32 levels, no file above 1 MiB.

Fault: E-JSON, whose subject is ``name:line:column``.
"""

import json
from pathlib import Path
from typing import Any

from medseg.errors import Problem, UsageError
from medseg.io import strict_yaml
from medseg.io.strict_yaml import MAX_BYTES, MAX_DEPTH


def read(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        UsageError: The file cannot be read, is too large, no JSON, holds no object, or has a key
            twice.
    """
    content = parsed(path, _text(path))
    if not isinstance(content, dict):
        raise UsageError(_problem(path, "holds no object", "{…}"))
    return content


def parsed(path: Path, text: str) -> Any:  # noqa: ANN401 - whatever the text holds
    """Return what a JSON text holds; `path` is what faults name. See `read`."""
    try:
        content = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        found = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise UsageError(_problem(path, found, "JSON", (error.lineno, error.colno))) from error
    except RecursionError as error:
        found = f"nested deeper than {MAX_DEPTH} levels"
        raise UsageError(_problem(path, found, f"at most {MAX_DEPTH} levels")) from error
    except _TwiceError as error:
        raise UsageError(*_places(path, text, error)) from error
    if _depth(content) > MAX_DEPTH:
        found = f"nested deeper than {MAX_DEPTH} levels"
        raise UsageError(_problem(path, found, f"at most {MAX_DEPTH} levels"))
    return content


class _TwiceError(ValueError):
    """A key stands twice in an object; the argument is the key."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _TwiceError(next(key for key in keys if keys.count(key) > 1))
    return content


def _places(path: Path, text: str, error: _TwiceError) -> tuple[Problem, ...]:
    """Return where keys stand twice, by the reader of YAML, which takes nearly all JSON."""
    try:
        # Between the parts of JSON a tab is as good as a space; in YAML it is not.
        strict_yaml.parsed(path, text.replace("\t", " "))
    except UsageError as fault:
        rows = [row for row in fault.problems if "stands twice" in row.found]
        if rows:
            return tuple(Problem("E-JSON", row.subject, row.found, row.expected) for row in rows)
    return (_problem(path, f"{str(error)[:60]}: key stands twice", "each key once"),)


def _depth(content: object) -> int:
    """Return how many containers lie in one another; the reader of JSON allows some hundred."""
    if isinstance(content, dict):
        return 1 + max(map(_depth, content.values()), default=0)
    if isinstance(content, list):
        return 1 + max(map(_depth, content), default=0)
    return 0


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            found = f"{size} bytes, more than {MAX_BYTES}"
            raise UsageError(Problem("E-JSON", path.name, found, f"at most {MAX_BYTES} bytes"))
        return path.read_text(encoding="utf-8")
    except OSError as error:
        found = f"cannot be read: {error.strerror or type(error).__name__}"
        raise UsageError(Problem("E-JSON", str(path), found)) from error
    except UnicodeDecodeError as error:
        raise UsageError(Problem("E-JSON", path.name, "is not UTF-8 text")) from error


def _problem(path: Path, found: str, expected: str, at: tuple[int, int] = (1, 1)) -> Problem:
    return Problem("E-JSON", f"{path.name}:{at[0]}:{at[1]}", found, expected)
