"""YAML files that are checked as they are read, with the line and column of every fault.

Only plain data pass: no tags, no anchors or aliases (which can grow without bound), no key twice,
no nesting beyond 32 levels, no file above 1 MiB. A pydantic model judges the content; its
complaints are told at the place in the file, with the nearest known key for one that is misspelt.

Fault: E-YAML, whose subject is ``name:line:column``.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from yaml.nodes import MappingNode, Node, SequenceNode

from medseg.errors import Problem, UsageError

MAX_BYTES = 1 << 20
MAX_DEPTH = 32

Place = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)


class Document(NamedTuple):
    """The data of a file, and the line and column, from 1, of every key and item in it."""

    data: Any
    marks: Mapping[Place, tuple[int, int]]


def read(path: Path) -> Document:
    """Return the data of a YAML file and where each part of it stands.

    Raises:
        UsageError: The file cannot be read, is too large, no YAML, or uses what is not allowed.
    """
    return parsed(path, _text(path))


def parsed(path: Path, text: str) -> Document:
    """Return the data of a YAML text; `path` is what faults name. See `read`."""
    try:
        _refuse_growth(path, text)
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        marks: dict[Place, tuple[int, int]] = {(): (1, 1)}
        faults: list[Problem] = []
        if root is not None:
            _walk(path, root, (), marks, faults)
        if faults:
            raise UsageError(*faults)
        return Document(None if root is None else loader.construct_document(root), marks)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        found = error.problem or error.context or "no YAML"
        raise UsageError(_problem(path, at, found, "plain YAML")) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        found = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(_problem(path, (1, 1), found, "plain YAML")) from error


def read_model(path: Path, model: type[ModelT]) -> ModelT:
    """Return the content of a YAML file as a pydantic model.

    Raises:
        UsageError: As `read`; or the content is not what the model asks, all faults at once.
    """
    document = read(path)
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise UsageError(
            *(_complaint(path, document, model, row) for row in error.errors())
        ) from error


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UsageError(
                Problem("E-YAML", str(path), f"{size} bytes", f"at most {MAX_BYTES} bytes")
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        found = f"cannot be read: {error.strerror or type(error).__name__}"
        raise UsageError(Problem("E-YAML", str(path), found)) from error
    except UnicodeDecodeError as error:
        raise UsageError(Problem("E-YAML", str(path), "is not UTF-8 text")) from error


def _refuse_growth(path: Path, text: str) -> None:
    """Refuse what makes a small file large or slow: anchors, aliases and endless nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        anchor = getattr(event, "anchor", None)  # of an alias, or of what an alias may name
        mark = event.start_mark
        at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if anchor:
            found = f"anchor or alias {anchor!r}"
            raise UsageError(_problem(path, at, found, "the value written out"))
        if depth > MAX_DEPTH:
            raise UsageError(_problem(path, at, "nested too deeply", f"at most {MAX_DEPTH} levels"))


def _walk(
    path: Path,
    node: Node,
    place: Place,
    marks: dict[Place, tuple[int, int]],
    faults: list[Problem],
) -> None:
    """Note where each part of `node` stands, and each key that stands there twice."""
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            marks[*place, index] = _mark(item)
            _walk(path, item, (*place, index), marks, faults)
    if not isinstance(node, MappingNode):
        return
    for key, value in node.value:
        here = (*place, str(key.value))
        if here in marks:
            faults.append(
                _problem(path, _mark(key), f"{_dotted(here)}: key stands twice", "each key once")
            )
        marks[here] = _mark(key)
        _walk(path, value, here, marks, faults)


def _mark(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _complaint(
    path: Path, document: Document, model: type[BaseModel], row: ErrorDetails
) -> Problem:
    """Return one complaint of pydantic as a problem at its place in the file."""
    place: Place = tuple(row["loc"])
    known = next((place[:n] for n in range(len(place), 0, -1) if place[:n] in document.marks), ())
    at = document.marks[known]
    if row["type"] == "extra_forbidden":
        keys = _keys(model, place[:-1])
        near = get_close_matches(str(place[-1]), keys, n=1, cutoff=0.5)
        fix = f"did you mean {near[0]!r}?" if near else ""
        return _problem(path, at, f"{_dotted(place)}: unknown key", ", ".join(keys), fix)
    if row["type"] == "missing":
        return _problem(path, at, f"{_dotted(place)}: is missing")
    found = "" if isinstance(row["input"], Mapping) else f", got {str(row['input'])[:60]!r}"
    message = row["msg"].removeprefix("Value error, ")
    return _problem(path, at, f"{_dotted(place)}: {message[:1].lower()}{message[1:]}{found}")


def _keys(model: type[BaseModel], place: Place) -> list[str]:
    """Return the keys that a mapping at `place` of a model may have."""
    schema = model.model_json_schema()
    here: dict[str, Any] = schema
    for step in place:
        if isinstance(step, int):
            here = here.get("items") or here.get("prefixItems", [{}])[0]
        else:
            here = here.get("properties", {}).get(step) or _value_schema(here)
        if "$ref" in here:
            here = schema["$defs"][here["$ref"].rsplit("/", 1)[-1]]
    return list(here.get("properties", {}))


def _value_schema(mapping: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the values of a mapping whose keys are free."""
    patterns = mapping.get("patternProperties", {})
    values = next(iter(patterns.values()), mapping.get("additionalProperties"))
    return values if isinstance(values, dict) else {}


def _dotted(place: Place) -> str:
    """Return a place as people write it.

    >>> _dotted(("labels", 0, "code"))
    'labels[0].code'
    """
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".") or "file"


def _problem(
    path: Path, at: tuple[int, int], found: str, expected: str = "", fix: str = ""
) -> Problem:
    return Problem("E-YAML", f"{path.name}:{at[0]}:{at[1]}", found, expected, fix)
