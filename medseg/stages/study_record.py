"""Records: what each study of a folder of predictions was made from, and with what.

A study's record is its statistics file. It is written when work on the study begins and again when
all its files are there, so that a later run can tell what is done, what a killed one left behind,
and what is not medseg's.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from medseg import __version__
from medseg.bundle import Config
from medseg.engine.origin import ORIGIN
from medseg.engine.provenance import config_hash, provenance, sha256_of, shape_of
from medseg.engine.warned import as_rows, fall_backs
from medseg.errors import DataError, Problem
from medseg.io.atomic import replacing
from medseg.io.output_names import OutputNames

# Where things lie and what computes them changes no result worth the name.
_PLACES = {"bundle_root", "dataset_dir", "output_dir", "checkpoint", "device", "batch_size"}
# Nor does where the model came from: its weights are hashed.
_UNHASHED = _PLACES | {"origin"}

Row = dict[str, Any]


class Made(NamedTuple):
    """What a prediction was made with: medseg's version, and hashes of weights and settings."""

    medseg: str
    model_sha256: str
    settings_sha256: str


def made_with(config: Config, asked: Mapping[str, Any]) -> Made:
    """Return what predictions of a configuration are made with.

    Args:
        config: An inference configuration.
        asked: What else decides over the files, as plain JSON.
    """
    settings = {key: value for key, value in config.items() if key not in _UNHASHED}
    told = config_hash({"config": settings, "asked": dict(asked)})
    return Made(__version__, sha256_of(Path(config["checkpoint"])), told)


def origin(config: Config) -> dict[str, Any]:
    """Return where the model of an inference configuration came from; None where nobody knows.

    A run and a model in MLflow know all of it, a bundle with weights its own name.
    """
    bundle = Path(config.get("bundle_root", "")).name or None
    return dict.fromkeys(ORIGIN) | (config.get("origin") or {"bundle": bundle})


def predicting(config: Config) -> dict[str, Any]:
    """Return what predicts: versions, commit, machine, command without its values, device."""
    return {**provenance(seeds={}, argv=shape_of(sys.argv)), "device": config.get("device")}


class Records(NamedTuple):
    """The records of a folder of predictions.

    Attributes:
        made: What the predictions to come are made with.
        overwrite: Whether files of other models, settings or images may be replaced.
        model: Where the model came from, see `origin`; decides over nothing.
        made_by: What predicts, see `predicting`; decides over nothing.
        warnings: What was warned of so far.
    """

    made: Made
    overwrite: bool = False
    model: Mapping[str, Any] = MappingProxyType({})
    made_by: Mapping[str, Any] = MappingProxyType({})
    warnings: Mapping[str, int] = MappingProxyType({})

    def own(self, names: OutputNames, files: Iterable[Path]) -> set[Path]:
        """Return which of a study's files its record stands for: one that only begun, for all."""
        row = _read(names.statistics)
        if row is None:
            return set()
        known = {names.statistics, *(names.folder / name for name in row["files"])}
        return {path for path in files if row["status"] == "begun" or path in known}

    def conflict(
        self, scan_id: str, names: OutputNames, existing: Sequence[Path]
    ) -> Problem | None:
        """Return why the files of a study cannot be written; None where they can, or are there.

        Args:
            scan_id: The study.
            names: What its files are called.
            existing: Those of the files to be written that are there.
        """
        row = _read(names.statistics)
        if self.overwrite or not existing:
            return None
        if row is None:
            found = "is there, and no record of medseg says what it is"
            return Problem("E-EXISTS", str(existing[0]), found, fix=FIX)
        if row["status"] == "begun" or row["made_with"] == self.made._asdict():
            return None
        differing = [k for k, v in self.made._asdict().items() if row["made_with"].get(k) != v]
        found = f"was predicted with another {' and '.join(map(_spoken, differing))}"
        return Problem("E-EXISTS", scan_id, found, fix=FIX)

    def finished(self, names: OutputNames, input_sha256: str) -> Row | None:
        """Return the record of a study whose files are all there; None where they must be made.

        Raises:
            DataError: E-EXISTS, they were made from another image.
        """
        row = _read(names.statistics)
        if row is None or row["status"] == "begun" or row["made_with"] != self.made._asdict():
            return None
        if row["input_sha256"] != input_sha256:
            if self.overwrite:
                return None
            found = "was predicted from another image of this name"
            raise DataError(Problem("E-EXISTS", row["scan_id"], found, fix=FIX))
        whole = all((names.folder / name).is_file() for name in row["files"])
        return row if whole else None

    def begin(self, scan_id: str, names: OutputNames, input_sha256: str) -> Row:
        """Write and return the record of a study that is worked on from now."""
        row = {"status": "begun", "scan_id": scan_id, "made_with": self.made._asdict()}
        row |= {"input_sha256": input_sha256, "files": {}}
        row |= {"model": dict(self.model), "made_by": {**self.made_by, "started": _now()}}
        _write(names.statistics, row)
        return row

    def end(self, names: OutputNames, row: Row, files: Sequence[Path]) -> Row:
        """Write the record of a study with the hashes of its files; return it."""
        met = {"warnings": as_rows(self.warnings), "fall_backs": fall_backs(self.warnings)}
        whole = {
            **row,
            "files": {path.name: sha256_of(path) for path in files},
            "made_by": {**row["made_by"], "ended": _now(), **met},
        }
        _write(names.statistics, whole)
        return whole

    def sent(self, names: OutputNames, row: Row, to: str) -> Row:
        """Write the record of a study whose DICOM files were sent somewhere; return it."""
        whole = {**row, "sent_to": to}
        _write(names.statistics, whole)
        return whole


FIX = "write to another folder, or replace it with --overwrite"


def key_of(path: Path) -> str:
    """Return a text that tells one secret from another and does not tell the secret."""
    return hashlib.sha256(b"medseg" + path.read_bytes()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _spoken(field: str) -> str:
    return {"medseg": "version of medseg", "model_sha256": "model"}.get(field, "setting")


def _read(path: Path) -> Row | None:
    """Return a record; None for a file that is not there or is none."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    needed = {"status", "scan_id", "made_with", "input_sha256", "files"}
    return row if isinstance(row, dict) and needed <= set(row) else None


def _write(path: Path, row: Row) -> None:
    with replacing(path) as stream:
        stream.write((json.dumps(row, indent=2) + "\n").encode())
