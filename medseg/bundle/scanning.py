"""What a configuration would run, found by reading it: nothing is imported, built or evaluated.

MONAI's configurations are programs: ``_target_`` calls whatever it names, a text that begins with
``$`` is Python, ``%`` brings in another file. A configuration is *data* all the same when its
programs are those that medseg ships: wired as all shipped bundles are, with networks, losses,
optimizers and plain values of its own. `strange` tells what goes beyond that.

The places of plain values are not open to all texts: one in the place of wiring, such as the folder
that masks are written to, would lead a command to write where it was never told to.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from medseg import resources
from medseg.bundle.configuration import Bundle
from medseg.bundle.wiring import VALUES, template
from medseg.errors import Problem, UsageError
from medseg.io import strict_json, strict_yaml
from medseg.io.strict_yaml import MAX_DEPTH

Id = tuple[str, ...]

# Entries of a run that say where things lie, which its user said or medseg wrote there.
PLACES = frozenset(("output_dir", "store_dir", "split_file", "checkpoint", "weights"))

_OWN = ("medseg.models", "medseg.losses")
# Classes whose arguments are numbers and other classes of these.
_TORCH = re.compile(r"torch\.(nn|optim|optim\.lr_scheduler)\.[A-Z][A-Za-z0-9]*", re.ASCII)
# By name: others of these packages fetch code or weights from addresses that they are given.
_MONAI = {
    "monai.losses": (
        *("DiceLoss", "DiceCELoss", "DiceFocalLoss", "FocalLoss", "GeneralizedDiceLoss"),
        *("GeneralizedDiceFocalLoss", "HausdorffDTLoss", "TverskyLoss"),
    ),
    "monai.networks.nets": (
        *("AttentionUnet", "BasicUNet", "BasicUNetPlusPlus", "DynUNet", "SegResNet"),
        *("SwinUNETR", "UNETR", "UNet", "VNet"),
    ),
}
_KNOWN = frozenset(f"{home}.{name}" for home, names in _MONAI.items() for name in names)
_VERBS = {"$": "evaluates", "@": "refers to", "%": "reads"}
_WORD = re.compile(r"(?!.*\.\.)[\w.:*-]{0,64}", re.ASCII)
# What `medseg.models.weights` takes for a name on the hub, and would download.
_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_LONGEST = 300
_FILES = ("train", "inference", "evaluate", "demo")


class Strange(NamedTuple):
    """Something that a file would run, and where in it."""

    file: str
    place: str
    what: str

    @property
    def found(self) -> str:
        """What is told, the place first."""
        return f"{self.place} {self.what}".strip()[:_LONGEST]

    def subject(self, path: Path) -> str:
        """Return what the file is called, of a folder or by itself."""
        return str(path) if path.is_file() else f"{path.name}/{self.file}"


def strange(config: Mapping[str, Any], file: str, *, places: Collection[str] = ()) -> list[Strange]:
    """Return everything in a configuration, or in an overlay of one, that is not data.

    Args:
        config: The content of a JSON file.
        file: What to call it.
        places: Top-level entries that may hold any path.
    """
    rows = []
    for path, leaf in _leaves(config, ()):
        if what := _odd_key(path) or _odd_leaf(path, leaf, places):
            rows.append(Strange(file, "::".join(path), what))
    return rows


def strange_file(path: Path, file: str, *, places: Collection[str] = ()) -> list[Strange]:
    """Return everything in a JSON or YAML file that is not data.

    A file that cannot be read as what it is, or is too large, is strange as a whole.
    """
    try:
        return _strange_content(plain(path), path, file, places)
    except UsageError as fault:
        row = fault.problems[0]
        return [Strange(file, "", f"is not to be read: {row.subject}: {row.found}")]
    except ValueError as fault:  # ids for keys may nest deeper than the file does
        return [Strange(file, "", f"is not to be read: {fault}")]


def _strange_content(
    config: Mapping[str, Any], path: Path, file: str, places: Collection[str]
) -> list[Strange]:
    if path.name == "metadata.json":
        return _strange_text(config, file)
    if path.suffix != ".json" and "runs" in config:  # a pipeline, of which settings are laid over
        return [row for each in _settings(config) for row in strange(each, file)]
    return strange(config, file, places=places)


def _strange_text(config: object, file: str) -> list[Strange]:
    """Return what of a file that is never built would run if it were."""
    rows = ((path, _marked(leaf)) for path, leaf in _leaves(config, ()))
    return [Strange(file, "::".join(path), what) for path, what in rows if what]


def _settings(part: object) -> Iterator[Mapping[str, Any]]:
    """Yield the settings of a pipeline, of its runs and of their demos."""
    if isinstance(part, Mapping):
        if isinstance(part.get("settings"), Mapping):
            yield part["settings"]
        part = [value for key, value in part.items() if key != "settings"]
    if isinstance(part, list):
        for each in part:
            yield from _settings(each)


def plain(path: Path) -> Mapping[str, Any]:
    """Return the object in a JSON or YAML file; nothing of it is built.

    Raises:
        UsageError: The file is no such object, or uses what plain data do without; with its place.
    """
    if path.suffix == ".json":
        return strict_json.read(path)
    content = strict_yaml.read(path).data
    if not isinstance(content, Mapping):
        raise UsageError(Problem("E-YAML", f"{path.name}:1:1", "holds no object", "key: value"))
    return content


def _leaves(part: object, path: Id) -> Iterator[tuple[Id, object]]:
    """Yield everything that is no container, with its id; an empty container as None.

    Raises:
        ValueError: It is nested too deeply.
    """
    inner: list[tuple[object, object]] = []
    if isinstance(part, Mapping):
        inner = list(part.items())
    elif isinstance(part, list | tuple):
        inner = list(enumerate(part))
    if len(path) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if path and not inner:
        yield path, None if isinstance(part, Mapping | list | tuple) else part
    for key, value in inner:
        # In an overlay a key may be a whole id.
        keys = [str(key)] if path else str(key).replace("#", "::").split("::")
        yield from _leaves(value, (*path, *keys))


def _odd_key(path: Id) -> str:
    """Return what is odd about the keys that lead to a value: MONAI gives them a meaning."""
    for key in path:
        if key.startswith("+"):
            return "is added to what another file has"
        if "::" in key or "#" in key:
            return "has an id for a key"
        if re.fullmatch("_.*_", key) and key not in ("_target_", "_mode_", "_desc_", "_meta_"):
            return f"steers MONAI by {key}"
    return ""


def _odd_leaf(path: Id, leaf: object, places: Collection[str]) -> str:
    """Return what a value would run, or nothing: neither does one that all bundles have there."""
    shipped = _wired().get(path, frozenset())
    if leaf in shipped:
        return ""
    own = path[0] in VALUES
    if "_target_" in path:
        return "" if own and _allowed(leaf) else f"calls {leaf}"
    if path[-1] == "_mode_":
        return "" if own and leaf in ("callable", "default") else f"has the mode {leaf}"
    return _odd_text(path, leaf, own=own, places=places) if isinstance(leaf, str) else ""


def _odd_text(path: Id, text: str, *, own: bool, places: Collection[str]) -> str:
    place = len(path) == 1 and path[0] in places
    if marked := _marked(text):
        fine = own and (text.startswith("@") or text in _expressions())
        return "" if fine else marked
    if path[-1] == "weights" and not place and _HUB.fullmatch(text):
        return f"fetches weights {text}"
    plain = own or place or path[0] not in _wiring() or path[-1] == "_desc_"
    # A word leads no command elsewhere.
    return "" if plain or _WORD.fullmatch(text) else f"is {text!r}, not wired"


def _marked(leaf: object) -> str:
    """Return what MONAI would do with a text, nothing for one that it leaves alone."""
    if not isinstance(leaf, str) or not leaf.lstrip().startswith(tuple(_VERBS)):
        return ""
    return f"{_VERBS[leaf.lstrip()[0]]} {leaf.lstrip()[1:]}"


def _allowed(target: object) -> bool:
    """Whether a bundle may name a callable as a value of its own."""
    if not isinstance(target, str):
        return False
    if target in _KNOWN or target in _targets() or _TORCH.fullmatch(target):
        return True
    home, _, name = target.rpartition(".")
    return home in _OWN and name in import_module(home).__all__


@cache
def _wired() -> dict[Id, frozenset[object]]:
    """Return what stands in each place of the template's files."""
    found: dict[Id, set[object]] = {}
    for name in _FILES:
        for path, leaf in _leaves(template().written(name), ()):
            found.setdefault(path, set()).add(leaf)
    return {path: frozenset(leaves) for path, leaves in found.items()}


@cache
def _wiring() -> frozenset[str]:
    """Return the entries that put parts together; the others are plain in all bundles."""
    return frozenset(
        path[0]
        for path, leaves in _wired().items()
        if "_target_" in path or any(_marked(leaf) for leaf in leaves)
    )


@cache
def _values() -> tuple[tuple[Id, object], ...]:
    """Return every value of the shipped bundles that makes a model that one."""
    bundles = [Bundle(resources.shipped("bundles", name)) for name in resources.names("bundles")]
    contents = (bundle.written(name) for bundle in bundles for name in _FILES)
    leaves = (row for content in contents for row in _leaves(content, ()))
    return tuple((path, leaf) for path, leaf in leaves if path[0] in VALUES)


@cache
def _targets() -> frozenset[object]:
    return frozenset(leaf for path, leaf in _values() if path[-1] == "_target_")


@cache
def _expressions() -> frozenset[object]:
    return frozenset(leaf for _, leaf in _values() if isinstance(leaf, str) and leaf[:1] == "$")
