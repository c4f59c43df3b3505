"""A trained network in MLflow's model registry: text and safetensors, nothing pickled.

What is registered comes from a run's folder: ``weights.safetensors``, ``inference.json`` and
``manifest.yaml``.
"""

import json
import re
import sqlite3
import warnings
from collections.abc import Sequence
from importlib.metadata import requires
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import save_model
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from medseg import machine
from medseg.engine.tracking_rows import reason_of, warned
from medseg.engine.tracking_store import connected, require_store
from medseg.errors import Problem, UsageError

BEST = "best"
FILES = {
    "weights": "weights.safetensors",
    "inference": "inference.json",
    "manifest": "manifest.yaml",
}
_FOLDER = "model"
_OF_RUN = re.compile(r"runs:/(\w+)/(.+)")
_REGISTERED = re.compile(r"models:/([^/@]+)(?:/(\d+)|@(.+))")
_CODE = Path(__file__).with_name("tracking_pyfunc.py")


def signature(channels: int) -> ModelSignature:
    """Return what a model takes and gives: an image of several channels has them first."""
    shape = (-1, -1, -1) if channels == 1 else (channels, -1, -1, -1)
    # A spacing of zeros is refused: it stands for one that was not given.
    spacing = ParamSpec("spacing_mm", DataType.double, [0.0, 0.0, 0.0], (-1,))
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), shape, "image")]),
        outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, -1), "masks")]),
        params=ParamSchema([spacing]),
    )


def register(client: MlflowClient, run_id: str, row: dict[str, Any], *, folder: Path) -> None:
    """Add the model in a run's folder to its run, and to the registry as a version of ``name``.

    A run has one version: registered again, its files are replaced. A model that cannot be made
    is a warning, as to try again would not help.
    """
    with TemporaryDirectory() as made:
        try:
            save(Path(made) / _FOLDER, folder, metadata={"organs": row["organs"]})
        except Exception as fault:
            found = f"cannot be made: {reason_of(fault)}"
            warned(
                "W-TRACKING-MODEL",
                row["name"],
                found,
                "the network is in the run's folder all the same",
            )
            return
        client.log_artifacts(run_id, made)
    try:
        client.create_registered_model(row["name"])
    except MlflowException as fault:
        if fault.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    every = client.search_model_versions(f"name = '{row['name']}'")
    own = next((version for version in every if version.run_id == run_id), None)
    tags = row["tags"] | ({} if row["score"] is None else {"medseg.score": repr(row["score"])})
    if own is None:
        uri = client.get_run(run_id).info.artifact_uri
        own = client.create_model_version(row["name"], f"{uri}/{_FOLDER}", run_id, tags)
    else:
        for key, value in tags.items():
            client.set_model_version_tag(own.name, own.version, key, value)
    others = [version for version in every if version.run_id != run_id]
    if row["score"] is not None and row["score"] >= _highest(others):
        client.set_registered_model_alias(own.name, BEST, own.version)


def save(path: Path, folder: Path, *, metadata: dict[str, Any]) -> None:
    """Write the model in a run's folder to `path`, in MLflow's format."""
    settings = json.loads((folder / FILES["inference"]).read_text())
    with warnings.catch_warnings():
        # It would rather have an example than the signature that it is given.
        warnings.simplefilter("ignore", UserWarning)
        save_model(
            path,
            python_model=str(_CODE),
            artifacts={key: str(folder / name) for key, name in FILES.items()},
            signature=signature(settings.get("channels", 1)),
            pip_requirements=requirements(),
            metadata=metadata,
        )
    # MLflow notes where everything came from on this machine, and never looks there again.
    made = Model.load(path)
    flavor = made.flavors["python_function"]
    flavor["model_code_path"] = _CODE.name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    made.save(path / "MLmodel")


def fetched(uri: str, tracking_uri: str) -> dict[str, Path]:
    """Return the files of a registered model by the names of `FILES`, fetched where need be.

    Args:
        uri: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/RUN/model``.
        tracking_uri: The store's address.

    Raises:
        UsageError: There is no such model, or it is none of medseg's.
    """
    require_store(tracking_uri)
    try:
        folder = _folder_of(connected(tracking_uri), uri)
    except (MlflowException, OSError, sqlite3.Error) as fault:
        found = f"cannot be fetched: {reason_of(fault)}"
        fix = "name the store with --tracking-uri"
        raise UsageError(Problem("E-MODEL", uri, found, "a model in MLflow", fix)) from fault
    files = {key: folder / "artifacts" / name for key, name in FILES.items()}
    if missing := [path.name for path in files.values() if not path.is_file()]:
        found = f"lacks {', '.join(missing)}"
        raise UsageError(Problem("E-MODEL", uri, found, "a model that medseg registered"))
    return files


def _folder_of(client: MlflowClient, uri: str) -> Path:
    """Return the folder of a model's files, which a server's are downloaded to."""
    if found := _OF_RUN.fullmatch(uri):
        run_id, path = found.groups()
    elif found := _REGISTERED.fullmatch(uri):
        name, version, alias = found.groups()
        if alias:
            version = client.get_model_version_by_alias(name, alias).version
        run_id, path = client.get_model_version(name, version).run_id, _FOLDER
    else:
        known = "models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID/model"
        raise UsageError(Problem("E-MODEL", uri, "names no model", known))
    return Path(client.download_artifacts(run_id, path))


def requirements() -> list[str]:
    """Return medseg and what it needs, with the versions that are installed."""
    needed = [text for text in requires("medseg") or [] if "extra" not in text]
    names = sorted((re.split(r"[^\w.-]", text)[0] for text in needed), key=str.lower)
    found = {name: machine.version(name) for name in ("medseg", *names)}
    # What follows the plus says how a wheel was built, and is not in every index.
    return [f"{name}=={number.split('+')[0]}" for name, number in found.items() if number]


def _highest(versions: Sequence[Any]) -> float:
    return max((float(v.tags.get("medseg.score", "-inf")) for v in versions), default=-np.inf)
