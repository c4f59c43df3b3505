"""Who may run: what medseg ships, what is only data, and what the user trusts.

A bundle, a run and a pipeline are configurations, and a configuration is code. One that medseg does
not ship is read first, with nothing of it executed (`medseg.bundle.scanning`). If it does what
shipped bundles do, with other values, it is data, and opens. If not, everything that it would run
is told and it is refused (E-TRUST), unless its content is on the user's trust list
(`medseg.bundle.trusted`) or all of this command is `trusting`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg import resources
from medseg.bundle import trusted
from medseg.bundle.scanning import PLACES, Strange, plain, strange, strange_file
from medseg.bundle.wiring import template
from medseg.data.findings import log_warnings
from medseg.errors import MedsegError, Problem, UnsafeError, UsageError

_CODE = {".py", ".pyc", ".pyd", ".so", ".dll", ".pth", ".sh"}
_PLAIN = (".json", ".yaml", ".yml")
# What a bundle leaves when it is run in its own folder.
_RESULTS = {"runs", "eval", "models", "docs"}

_trusting: ContextVar[bool] = ContextVar("trusting", default=False)


@contextmanager
def trusting() -> Iterator[None]:
    """Let everything open that is asked for within the block."""
    before = _trusting.set(True)
    try:
        yield
    finally:
        _trusting.reset(before)


def require_trust(path: Path) -> None:
    """Refuse a bundle, run or file that is neither shipped, nor data, nor trusted.

    Args:
        path: The folder of a bundle or a run, or a configuration by itself.

    Raises:
        UsageError: Its files are no plain JSON or YAML (E-JSON, E-YAML), and nothing else is wrong.
        UnsafeError: It would run code of its own; all of it is told, and nothing was run (E-TRUST).
            Or the trust list is not to be believed (E-TRUST-LIST).
    """
    path = path.resolve()
    if _trusting.get() or resources.is_shipped(path):
        return
    rows = told(path)
    if not rows or digest_of(path) in trusted.listed():
        return
    unread = _unread(path)
    if len(unread) == len(rows):  # nothing but slips: a file that is not whole says nothing
        raise UsageError(*unread.values())
    found = "would run code that medseg does not ship; none of it was run"
    fix = f"read it; then 'medseg bundle trust {path}', or --trust-bundle for this once"
    listed = (Problem("E-TRUST", row.subject(path), row.found) for row in rows)
    raise UnsafeError(Problem("E-TRUST", str(path), found, fix=fix), *listed)


def require_data(config: Mapping[str, Any], path: Path) -> None:
    """Refuse what was to be laid into a configuration and is more than data.

    Raises:
        UnsafeError: It would run something (E-TRUST).
    """
    if rows := strange(config, path.name):
        fix = "name a run that medseg made"
        raise UnsafeError(*(Problem("E-TRUST", str(path), row.found, fix=fix) for row in rows))


def told(path: Path) -> list[Strange]:
    """Return everything that a bundle, a run or a file would run of its own."""
    return sorted(row for name, file in _files(path).items() for row in _strange(file, name))


def digest_of(path: Path) -> str:
    """Return the hash of all configuration and script files of a bundle or run, or of one file."""
    return trusted.digest_of(_files(path).items())


def trust(path: Path) -> str:
    """Put a bundle, run or file on the trust list and return its hash.

    Raises:
        UsageError: It is none of these.
        UnsafeError: It holds links, whose files may change unseen.
    """
    path = path.resolve()
    files = _files(path)
    if not files:
        found = "is no bundle, run or configuration"
        raise UsageError(Problem("E-BUNDLE", str(path), found, "a folder with configs"))
    if links := [name for name, file in files.items() if file.is_symlink()]:
        found, fix = "is a link: what it leads to may change unseen", "put the file in its place"
        raise UnsafeError(*(Problem("E-TRUST", f"{path}/{name}", found, fix=fix) for name in links))
    digest = digest_of(path)
    trusted.add(digest, path)
    return digest


def remember(path: Path) -> None:
    """Trust what was just made here from what the user asked for, if it is not data.

    Where the list cannot be written, that is a warning: it will be asked for later.
    """
    if not told(path):
        return
    try:
        trust(path)
    except MedsegError as error:
        log_warnings(replace(problem, level="warning") for problem in error.problems)


def _files(path: Path) -> dict[str, Path]:
    """Return the files that decide what runs, by their names in the folder."""
    if path.is_file():
        return {path.name: path} if path.suffix in _PLAIN else {}
    found = [file for file in [path / "config.json"] if file.is_file()]
    if (path / "configs").is_dir():
        found += [file for file in path.rglob("*") if _decides(file, path)]
    return {file.relative_to(path).as_posix(): file for file in found}


def _decides(file: Path, root: Path) -> bool:
    top = file.relative_to(root).parts[0]
    if top in _RESULTS:
        return False
    if file.is_symlink():
        return True
    return file.is_file() and (top in ("configs", "scripts") or file.suffix in _CODE)


def _strange(file: Path, name: str) -> list[Strange]:
    """Return what a file would run."""
    if file.is_symlink():
        return [Strange(name, "", "is a link")]
    if name == "configs/logging.conf":
        pattern = template().root / name
        return [] if _lines(file) == _lines(pattern) else _logging(file, name)
    if file.suffix in _PLAIN:
        return strange_file(file, name, places=PLACES if name == "config.json" else ())
    if file.suffix in _CODE or file.suffix == ".conf" or name.startswith("scripts/"):
        return [Strange(name, "", f"is a script of {file.stat().st_size} bytes")]
    return []


def _unread(path: Path) -> dict[str, Problem]:
    """Return the first fault of each file that is no plain JSON or YAML."""
    faults = {}
    for name, file in _files(path).items():
        if file.suffix in _PLAIN and not file.is_symlink():
            try:
                plain(file)
            except UsageError as fault:
                faults[name] = fault.problems[0]
    return faults


def _logging(file: Path, name: str) -> list[Strange]:
    """Return the lines of a logging configuration that Python evaluates."""
    rows = [Strange(name, "", "configures logging in a way of its own")]
    keys = ("args", "kwargs", "class", "style", "format", "datefmt")
    lines = (line.strip() for line in _lines(file))
    return rows + [
        Strange(name, "", f"has {line[:200]}")
        for line in lines
        if line.replace(":", "=").partition("=")[0].strip().lower() in keys
    ]


def _lines(file: Path) -> list[str]:
    return file.read_bytes().decode("utf-8", "backslashreplace").splitlines()
