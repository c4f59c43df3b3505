"""Origin: what leads from a model back to its run, settings, split and data, as plain hashes.

A run's folder tells it, and whatever is made from the run carries it on: see `origin_of`. Nothing
here depends on where a run or its data lie.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from medseg.engine.provenance import config_hash, provenance, sha256_of

WEIGHTS = "weights.safetensors"

# Where things lie, what computes them and whether a run goes on decide over no result.
_PLACES = {
    *("bundle_root", "dataset_dir", "output_dir", "store_dir", "split_file"),
    *("device", "resume"),
}
_NAMED = ("manifest", "weights")

# What else a run's folder holds that one may want to compare.
_OUTPUTS = (
    *("splits.json", "ranges.json", "training.json", "cleaning.json"),
    *("metrics.csv", "summary.json", "predictions/*.nii.gz"),
)

# Of a model that came without a run nothing is known: each of these is None.
ORIGIN = (
    *("bundle", "experiment", "run", "fold", "config_sha256"),
    *("dataset", "dataset_sha256", "split_sha256", "medseg", "git"),
)

# What else a checkpoint tells of the command that wrote it, and of each one before.
_OF_COMMAND = (
    *("started", "command", "seeds", "python", "os", "devices", "device", "threads", "cuda"),
    *("versions", "environment", "parent", "mlflow_run_id"),
)
_OF_EARLIER = ("medseg", "git", "started", "command", "device", "threads")


def settings_hash(config: Mapping[str, Any]) -> str:
    """Return the hash of a run's resolved configuration, the same wherever the run lies."""
    told = {name: value for name, value in config.items() if name not in _PLACES}
    named = {name: _named(told[name]) for name in _NAMED if name in told}
    return config_hash(told | named)


def data_hashes(folder: Path) -> dict[str, str | None]:
    """Return the hash of a run's data set, all scans of its split, and of the split itself.

    The data set's is the SHA-256 of the scans' hashes in ``splits.json``, sorted and joined. None
    before there is a split.
    """
    split = _read(folder / "splits.json")
    if not split:
        return {"dataset_sha256": None, "split_sha256": None}
    scans = sorted(scan["sha256"] for scan in split["scans"].values())
    content = hashlib.sha256("".join(scans).encode()).hexdigest()
    return {"dataset_sha256": content, "split_sha256": split["sha256"]}


def result_hashes(folder: Path, checkpoint: Path | None) -> dict[str, Any]:
    """Return the hashes of what a run has made: its model, and its other results by name.

    Args:
        folder: The run's.
        checkpoint: The one that predicts; None for a run without one.
    """
    weights = folder / WEIGHTS
    files = sorted(path for name in _OUTPUTS for path in folder.glob(name))
    return {
        "checkpoint_sha256": sha256_of(checkpoint) if checkpoint else None,
        "weights_sha256": sha256_of(weights) if weights.exists() else None,
        "outputs": {path.relative_to(folder).as_posix(): sha256_of(path) for path in files},
    }


def origin_of(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the model of a run comes from; the names are those of `ORIGIN`.

    Versions are those that trained it, whichever evaluated it later.

    Args:
        folder: The run's.
        config: Its configuration.
    """
    trained = _trained_by(folder)
    return {
        "bundle": PurePath(config["bundle_root"]).name,
        "experiment": folder.resolve().parent.name,
        "run": folder.resolve().name,
        "fold": config["fold"],
        "config_sha256": settings_hash(config),
        "dataset": _named(config["manifest"]),
        **data_hashes(folder),
        "medseg": trained.get("medseg"),
        "git": trained.get("git"),
    }


def carried(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint carries, to be traced wherever it lies: its origin, and how it came.

    Versions are those of the command that is at work.

    Args:
        folder: The run's, where ``provenance.json`` tells of that command.
        config: Its configuration.
    """
    told = _read(folder / "provenance.json") or provenance(seeds={"run": config["seed"]})
    earlier = [{name: each.get(name) for name in _OF_EARLIER} for each in told.get("earlier", ())]
    return {
        **origin_of(folder, config),
        **{name: told.get(name) for name in ("medseg", "git")},
        **{name: told[name] for name in _OF_COMMAND if name in told},
        "earlier": earlier,
    }


def tensors_hash(path: Path) -> str:
    """Return a hash of what a file of weights holds, whatever its header tells beside that."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _trained_by(folder: Path) -> dict[str, Any]:
    """Return what the first command told that left the weights as they are now."""
    told, weights = _read(folder / "provenance.json"), folder / WEIGHTS
    if not told.get("earlier") or not weights.exists():
        return told
    now = sha256_of(weights)
    commands: list[dict[str, Any]] = [*told["earlier"], told]
    return next((each for each in commands if each.get("weights_sha256") == now), told)


def _named(value: object) -> object:
    """Return the name of a file or folder in place of where it lies."""
    path = PurePath(str(value))
    return path.name if path.is_absolute() else value


def _read(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return told
