"""What a configuration names, looked up before anything is built.

MONAI finds a misspelt name when it builds the part that has it: after the data were prepared, and
in a traceback. Here every callable, the settings it is given, the words it takes and all references
are looked up at once, and a fault comes with the nearest name there is.
"""

import inspect
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from pydoc import ErrorDuringImport, locate
from typing import Any, Literal, Union, get_args, get_origin

from medseg.errors import Problem

Parameters = Mapping[str, inspect.Parameter]

_MARKS = ("$", "@")
# Shipped names that are alike, such as fold and folds, are all in use.
_LIKELY = 0.75
_LIBRARIES = ("medseg", "monai", "torch", "ignite", "transformers")


def misnamed(config: Mapping[str, Any]) -> list[Problem]:
    """Return a problem for each name in a configuration that stands for nothing.

    Those are callables (``_target_``), their settings that they do not take or that are missing,
    texts that they do not know, and references; and entries that nothing refers to, where they are
    called nearly as one that something does. What an expression does is not looked at.
    """
    parts = dict(_parts(config))
    problems = list(_idle(config, parts))
    for where, value in parts.items():
        if isinstance(value, str):
            problems += _lost(where, value, parts)
        elif isinstance(value, Mapping) and "_target_" in value:
            problems += _unfit(where, value, parts)
    return list(dict.fromkeys(problems))  # several parts may read the same value


def _idle(config: Mapping[str, Any], parts: Mapping[str, object]) -> Iterator[Problem]:
    """Yield a problem for each entry that looks like a setting and changes nothing."""
    from monai.bundle import ReferenceResolver

    texts = [value for value in parts.values() if isinstance(value, str) and "@" in value]
    wanted = {name for text in texts for name in ReferenceResolver.match_refs_pattern(text)}
    used = {name.partition("::")[0] for name in wanted} & {*config}
    for name in config.keys() - used:
        if near := get_close_matches(name, sorted(used), n=1, cutoff=_LIKELY):
            yield Problem("E-CONFIG", name, "changes nothing", fix=f"did you mean {near[0]}?")


def _parts(config: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield everything in a configuration with its id, also what lists hold."""
    inner: Any = ()
    if isinstance(config, Mapping):
        inner = config.items()
    elif isinstance(config, list | tuple):
        inner = enumerate(config)
    for key, value in inner:
        yield f"{prefix}{key}", value
        yield from _parts(value, f"{prefix}{key}::")


def _lost(where: str, text: str, parts: Mapping[str, object]) -> Iterator[Problem]:
    """Yield a problem for each reference in a text that leads nowhere."""
    from monai.bundle import ReferenceResolver

    for name in ReferenceResolver.match_refs_pattern(text):
        if name not in parts:
            found = f"refers to {name}, which is not there"
            yield Problem("E-CONFIG", where, found, fix=_near(name, parts))


def _unfit(where: str, part: Mapping[str, Any], parts: Mapping[str, object]) -> Iterator[Problem]:
    """Yield what is wrong with a callable and its settings."""
    target = part["_target_"]
    if not isinstance(target, str) or target.startswith(_MARKS):
        return
    found = _located(target)
    if found is None:
        yield Problem("E-CONFIG", where, f"there is no {target}", fix=_nearest(target))
        return
    try:
        takes = inspect.signature(found).parameters
    except (TypeError, ValueError):  # no callable, or one written in C
        return
    given = {key: value for key, value in part.items() if not _of_monai(key)}
    for key, value in given.items():
        if key in takes:
            yield from _unknown_word(f"{where}::{key}", value, takes[key].annotation, parts)
    faults = [*_not_taken(given, takes)]
    if part.get("_mode_") != "callable":
        faults += _missing(given, takes)
    yield from (Problem("E-CONFIG", where, f"{target} {fault}", fix=fix) for fault, fix in faults)


def _not_taken(given: Mapping[str, Any], takes: Parameters) -> Iterator[tuple[str, str]]:
    """Yield each setting that a callable does not take, and what to do."""
    if not any(each.kind is each.VAR_KEYWORD for each in takes.values()):
        yield from ((f"takes no '{key}'", _near(key, takes)) for key in given if key not in takes)


def _missing(given: Mapping[str, Any], takes: Parameters) -> Iterator[tuple[str, str]]:
    """Yield each setting that a callable cannot be without, and what to do."""
    starred = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    for key, each in takes.items():
        if each.default is each.empty and key not in given and each.kind not in starred:
            yield f"needs '{key}'", "give it"


def _unknown_word(
    where: str, value: object, annotation: object, parts: Mapping[str, object]
) -> Iterator[Problem]:
    words = _words(annotation)
    seen: set[str] = set()
    while isinstance(value, str) and value.startswith("@") and value not in seen:
        seen.add(value)
        where, value = value[1:], parts.get(value[1:].replace("#", "::"))
    if not words or not isinstance(value, str) or value.startswith(_MARKS) or value in words:
        return
    expected = ", ".join(sorted(words))
    yield Problem("E-CONFIG", where, f"is '{value}'", expected, _near(value, words))


def _words(annotation: object) -> Sequence[str]:
    """Return the texts that an annotation allows; none where it allows others as well."""
    if get_origin(annotation) is Literal:
        return [word for word in get_args(annotation) if isinstance(word, str)]
    if get_origin(annotation) in (Union, types.UnionType):
        rows = [_words(each) for each in get_args(annotation) if each is not types.NoneType]
        return [word for row in rows for word in row] if all(rows) else []
    return []


def _located(target: str) -> Any:  # noqa: ANN401 - any callable
    """Return what a name stands for, as MONAI finds it; None for nothing."""
    from monai.bundle import ComponentLocator

    home = None if "." in target else ComponentLocator().get_component_module_name(target)
    if home is not None:
        target = f"{home if isinstance(home, str) else home[0]}.{target}"
    try:
        return locate(target)
    except ErrorDuringImport:
        return None


def _nearest(target: str) -> str:
    """Return a sentence with the nearest name to one that stands for nothing."""
    home, left = "", target.split(".")
    known: Iterable[str] = _LIBRARIES if len(left) > 1 else _monai_names()
    while len(left) > 1:
        inner = f"{home}.{left[0]}".lstrip(".")
        if (module := _module(inner)) is None:
            break
        home, left, known = inner, left[1:], _names_in(module)
    near = nearest(left[0], known)
    return f"did you mean {'.'.join(filter(None, (home, near, *left[1:])))}?" if near else ""


def _monai_names() -> set[str]:
    """Return the names that MONAI's own configurations need no module for."""
    homes = ("data", "engines", "handlers", "inferers", "losses", "transforms")
    return {name for home in homes for name in dir(import_module(f"monai.{home}"))}


def _module(name: str) -> types.ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None


def _names_in(module: types.ModuleType) -> list[str]:
    own = getattr(module, "__all__", None) or dir(module)
    below = (each.name for each in iter_modules(getattr(module, "__path__", ())))
    return [*own, *below]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like `name`, whatever its case; None without one."""
    names = sorted(known)
    alike = [each for each in names if each.casefold() == name.casefold()]
    return next(iter(alike or get_close_matches(name, names, n=1)), None)


def _near(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f"did you mean {near}?" if near else ""


def _of_monai(key: str) -> bool:
    return key.startswith("_") and key.endswith("_")
