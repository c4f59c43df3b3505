"""Where a result comes from: versions, machine, command, seeds, and hashes of what went in.

Everything here is plain JSON and can be published with a paper: no absolute path, no user name, no
host name and no password leaves this module. `portable` is the one place that knows how.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import medseg
from medseg import machine

_PACKAGES = (
    *("torch", "monai", "pytorch-ignite", "transformers", "numpy", "scipy", "nibabel"),
    *("pillow", "mlflow", "safetensors", "matplotlib"),
)
_VARIABLES = ("MONAI_", "PYTORCH_", "TORCH_", "CUDA_", "CUBLAS_", "MLFLOW_", "HF_", "TRANSFORMERS_")
_VARIABLES_BY_NAME = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED")
# Where a server is says which machine somebody works on.
_SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|USER|KEY|CREDENTIAL|HEADER|URI|URL", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")
# Two levels at least: '/eval' in a configuration is a piece of a path, not a place on this machine.
_PATH = re.compile(
    r"(?:(?<=sqlite:///)|(?<=file://)|(?<![\w.:/~-]))/[^/\s'\",;:]+(?:/[^/\s'\",;:]+)+"
)
_FOLDERS = {"--data", "--output", "-o"}
_GIT_PATIENCE_S = 10


def portable(text: str) -> str:
    """Return `text` with absolute paths made relative and logins taken out of addresses.

    A path below the working folder becomes relative to it, the home folder becomes ``~``, and of
    any other absolute path only the last name is kept.

    >>> portable("/no/such/place/uwmgi")
    '…/uwmgi'
    >>> portable("https://ann:secret@example.org/mlflow")
    'https://example.org/mlflow'
    """
    text = _LOGIN.sub("", text)
    if "\n" not in text and (Path(text).is_absolute() or PureWindowsPath(text).is_absolute()):
        return _relative(text)
    return _PATH.sub(lambda found: _relative(found[0]), text)


def portable_values(content: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return plain JSON with every text in it made portable."""
    match content:
        case Mapping():
            return {key: portable_values(value) for key, value in content.items()}
        case list() | tuple():
            return [portable_values(value) for value in content]
        case str() | PurePath():
            return portable(str(content))
    return content


def provenance(
    *, seeds: Mapping[str, int], argv: Sequence[str] | None = None, started: datetime | None = None
) -> dict[str, Any]:
    """Return what is needed to explain and repeat a run, as plain JSON.

    Args:
        seeds: Each random generator's seed, by a name of the caller's choice.
        argv: The command line; that of this process by default.
        started: When the run began; now by default. Told in UTC.
    """
    began = (started or datetime.now(UTC)).astimezone(UTC)
    return {
        "medseg": medseg.__version__,
        "git": _git(),
        "started": began.isoformat(timespec="seconds"),
        "command": _command(sys.argv if argv is None else argv),
        "seeds": dict(seeds),
        "python": platform.python_version(),
        "os": platform.platform(),
        "devices": [device.as_dict() for device in machine.devices()],
        "threads": _threads(),
        "cuda": _cuda(),
        "versions": {name: found for name in _PACKAGES if (found := machine.version(name))},
        "environment": _environment(os.environ),
    }


def shape_of(argv: Sequence[str]) -> list[str]:
    """Return a command line without its values: inputs may be called after patients.

    >>> shape_of(["medseg", "predict", "model", "jane_doe", "-oresults", "--format=seg", "-q"])
    ['medseg', 'predict', '…', '…', '-o…', '--format=…', '-q']
    """
    told = [_without_value(word) for word in argv[2:]]
    return [*argv[:2], *told]


def packages() -> list[str]:
    """Return every installed distribution as ``name==version``, sorted, each once."""
    found = {(d.metadata["Name"] or "").lower(): d.version for d in distributions()}
    return [f"{name}=={number}" for name, number in sorted(found.items()) if name]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def config_hash(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration; the order of its keys does not matter.

    Raises:
        TypeError: A value is neither JSON nor a path, so that it has no stable text.
    """
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), default=_path_text)
    return hashlib.sha256(text.encode()).hexdigest()


def _path_text(value: object) -> str:
    if isinstance(value, PurePath):
        return value.as_posix()
    raise TypeError(f"a configuration holds no {type(value).__name__}: {value!r}")


def _relative(path: str) -> str:
    absolute = Path(os.path.normpath(path))
    for here in (Path.cwd(), Path.cwd().resolve()):
        if absolute.is_relative_to(here):
            return absolute.relative_to(here).as_posix()
    if absolute == Path.home():
        return "~"
    name = PureWindowsPath(path).name if "\\" in path else absolute.name
    return f"…/{name}"


def _command(argv: Sequence[str]) -> list[str]:
    """Return the command line; an option's value after ``=`` is made portable by itself.

    Where data lie and results go is not told at all: a folder may be called after a patient.
    """
    program, *rest = argv or ("medseg",)
    path = PurePath(program)
    shown = []
    for before, word in zip(("", *rest), rest, strict=False):
        name, equals, value = word.partition("=")
        if before in _FOLDERS:
            shown.append("…")
        elif equals:
            shown.append(f"{name}={'…' if name in _FOLDERS else portable(value)}")
        else:
            shown.append(portable(word))
    # `python -m medseg` puts the path of __main__.py there.
    return [path.parent.name if path.name == "__main__.py" else path.name, *shown]


def _without_value(word: str) -> str:
    if not word.startswith("-"):
        return "…"
    name = word.partition("=")[0] + "=" * ("=" in word) if word.startswith("--") else word[:2]
    return name + "…" * (len(word) > len(name))


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    return {
        name: "(set)" if _SECRET.search(name) else portable(value)
        for name, value in sorted(variables.items())
        if name.startswith(_VARIABLES) or name in _VARIABLES_BY_NAME
    }


def _git() -> dict[str, Any] | None:
    """Return the commit of the checkout medseg runs from, else of the working folder.

    ``dirty`` tells of uncommitted changes. None where neither is a git tree or git is missing.
    """
    source = Path(medseg.__file__).resolve().parents[1]
    # An installed medseg may lie in an environment inside somebody else's checkout.
    is_checkout = (source / ".git").exists() and (source / "pyproject.toml").exists()
    folder, of = (source, "medseg") if is_checkout else (Path.cwd(), "working folder")
    commit = _git_says(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git_says(folder, "status", "--porcelain", "--untracked-files=no")
    return {"of": of, "commit": commit, "dirty": bool(changed)}


def _git_says(folder: Path, *words: str) -> str:
    """Return what git prints; nothing when it fails, hangs or is absent."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=_GIT_PATIENCE_S,
            check=False,
            # A status must not take the lock from a commit that runs at the same time.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _cuda() -> dict[str, Any] | None:
    """Return the versions that torch was built for; None for a build without CUDA."""
    import torch

    cudnn: Any = torch.backends.cudnn
    return {"cuda": torch.version.cuda, "cudnn": cudnn.version()} if torch.version.cuda else None
