"""The trust list: configurations that the user has read and allows to run, by their content.

It is ``medseg/trusted.json`` in the user's configuration folder: ``$XDG_CONFIG_HOME``, by default
``~/.config``. Only the user may read or write it; one that others may write is not believed. A
configuration is known by the SHA-256 of its files, so that a change of any of them ends the trust,
and a copy of it elsewhere has it too.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from medseg.errors import Problem, ResourceError, UnsafeError
from medseg.io.atomic import replacing

Rows = dict[str, dict[str, str]]


def list_file() -> Path:
    """Return where the list is, or would be."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    # A relative one is to be ignored: XDG Base Directory Specification 0.8.
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    return base / "medseg" / "trusted.json"


def listed() -> Rows:
    """Return what is trusted: by hash, its ``path`` and ``since`` when.

    Raises:
        UnsafeError: Somebody else may have written the list, or it is damaged (E-TRUST-LIST).
    """
    path = list_file()
    if not path.is_file():
        return {}
    facts = path.stat()
    if facts.st_mode & 0o022 or (hasattr(os, "getuid") and facts.st_uid != os.getuid()):
        found, fix = "others may write it", f"look through it, then chmod 600 {path}"
        raise UnsafeError(Problem("E-TRUST-LIST", str(path), found, "a list of your own", fix))
    try:
        rows: Rows = json.loads(path.read_text(encoding="utf-8"))
        return {
            digest: {"path": row["path"], "since": row["since"]} for digest, row in rows.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise UnsafeError(
            Problem("E-TRUST-LIST", str(path), "is damaged", fix="remove it, and trust anew")
        ) from fault


def add(digest: str, path: Path) -> None:
    """Put a configuration on the list."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    _write({**listed(), digest: {"path": str(path), "since": now}})


def remove(wanted: str) -> list[str]:
    """Take off the list what has a hash, of eight digits or more, or a path; return the paths."""
    rows = listed()
    path = str(Path(wanted).resolve())
    gone = [
        digest
        for digest, row in rows.items()
        if row["path"] == path or (len(wanted) >= 8 and digest.startswith(wanted))
    ]
    if gone:
        _write({digest: row for digest, row in rows.items() if digest not in gone})
    return [rows[digest]["path"] for digest in gone]


def digest_of(files: Iterable[tuple[str, Path]]) -> str:
    """Return the hash of files and their names, in any order."""
    rows = [f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n" for name, path in files]
    return hashlib.sha256("".join(sorted(rows)).encode("utf-8", "surrogateescape")).hexdigest()


def _write(rows: Mapping[str, Mapping[str, str]]) -> None:
    path = list_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason, fix = error.strerror or str(error), "set XDG_CONFIG_HOME to a folder of yours"
        raise ResourceError(Problem("E-IO", str(path.parent), reason, fix=fix)) from error
    with replacing(path) as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write((json.dumps(rows, indent=2) + "\n").encode())
