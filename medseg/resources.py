"""What is shipped beside the code: bundles, pipelines and data manifests, found by name.

In a source tree they lie beside ``medseg/``; a wheel carries them in ``medseg/share/``.
"""

from difflib import get_close_matches
from pathlib import Path

from medseg.errors import Problem, UsageError

_SUFFIX = {"bundles": "", "pipelines": ".yaml", "data_manifests": ".yaml"}
_PACKAGE = Path(__file__).resolve().parent


def shipped(kind: str, name: str) -> Path:
    """Return the path of the shipped thing called `name`.

    Args:
        kind: ``bundles``, ``pipelines`` or ``data_manifests``.
        name: A name without suffix, such as ``uwmgi_segformer``.

    Raises:
        UsageError: Nothing of that kind has the name; the message tells the nearest.
    """
    known = names(kind)
    if name not in known:
        near = get_close_matches(Path(name).stem, known, n=1)
        raise UsageError(
            Problem(
                "E-NAME",
                f"{kind}/{name}",
                "is neither a path nor shipped with medseg",
                ", ".join(known) or "nothing of the kind is shipped",
                f"did you mean {near[0]}?" if near else "give the path of a file or folder",
            )
        )
    return _folder(kind) / (name + _SUFFIX[kind])


def located(kind: str, target: str | Path) -> Path:
    """Return `target` itself where it exists as a path, else what is shipped under that name."""
    path = Path(target)
    return path if path.exists() else shipped(kind, str(target))


def is_shipped(path: Path) -> bool:
    """Whether a path is that of something shipped: the thing itself, nothing below it."""
    return path.resolve().parent in [_folder(kind).resolve() for kind in _SUFFIX]


def names(kind: str) -> list[str]:
    """Return the names of everything shipped of a kind, sorted; empty when there is nothing."""
    folder, suffix = _folder(kind), _SUFFIX[kind]
    if not folder.is_dir():
        return []
    found = (p for p in folder.iterdir() if p.suffix == suffix and p.name[0] not in "._")
    return sorted(p.stem for p in found if p.is_dir() == (kind == "bundles"))


def _folder(kind: str) -> Path:
    share = _PACKAGE / "share"
    return (share if share.is_dir() else _PACKAGE.parent) / kind
