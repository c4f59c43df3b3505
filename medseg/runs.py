"""Run folders: ``<output>/<experiment>/<run>`` with the configuration, checkpoints and results.

::

    config.json       the resolved settings; `python -m monai.bundle run` accepts it
    splits.json       which patient is on which side
    ranges.json       what the training side measures: slices, sizes, spacing
    provenance.json   versions, commit, device, command line
    checkpoints/      last.pt, previous.pt, best.pt, and their hashes
    cleaning.json     rules for masks, chosen on the validation side, and what each gained
    weights.safetensors
    predictions/      NIfTI of the held-out scans
    metrics.csv       a row an organ and scan

Several folds of one request have a parent, ``<output>/<experiment>/<time>-folds``, with the scores
of all of them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.bundle import Config, carried_over, find_bundle, overridden
from medseg.bundle.trust import require_data, require_trust
from medseg.bundle.wiring import template
from medseg.engine.checkpoint_files import BEST, LAST, PREVIOUS, first_sound
from medseg.engine.origin import ORIGIN, origin_of
from medseg.engine.provenance import sha256_of
from medseg.errors import Problem, UsageError
from medseg.io.atomic import replacing
from medseg.io.remote_work import brought

# The rules for masks, what was tried, and the checkpoint that it is about.
CLEANING = "cleaning.json"


@dataclass(frozen=True)
class Run:
    """One training and what came of it."""

    folder: Path
    config: Config

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def experiment(self) -> str:
        """The name of the experiment: the bundle's, with ``_demo`` for demo settings."""
        return self.folder.parent.name

    @property
    def parent(self) -> str | None:
        """The name of the run that this one is a fold of, None for a run of its own."""
        return (self.read("provenance.json") or {}).get("parent")

    @property
    def splits(self) -> Path:
        """Which patient is on which side."""
        return self.folder / "splits.json"

    @property
    def predictions(self) -> Path:
        """The folder of held-out predictions."""
        return self.folder / "predictions"

    @property
    def trained(self) -> bool:
        """Whether the run has a checkpoint."""
        return bool(self._checkpoints)

    @property
    def checkpoint(self) -> Path:
        """The best checkpoint; the last one when no validation chose a best.

        One that is not as it was written is passed over with a warning, W-CKPT: the last is taken
        for the best, and the one before for the last.

        Raises:
            UsageError: The run has not been trained.
            UnsafeError: All checkpoints are damaged.
        """
        if not self.trained:
            raise UsageError(
                Problem("E-RUN", self.name, "has no checkpoint", fix="run its stage train first")
            )
        return first_sound(self._checkpoints)

    @property
    def _checkpoints(self) -> list[Path]:
        paths = (self.folder / "checkpoints" / name for name in (BEST, LAST, PREVIOUS))
        return [path for path in paths if path.exists()]

    def write(self, name: str, content: Any) -> None:  # noqa: ANN401 - any JSON
        """Write `content` as JSON into the run's folder, atomically."""
        with replacing(self.folder / name) as stream:
            stream.write((json.dumps(content, indent=2) + "\n").encode())

    def read(self, name: str) -> Any:  # noqa: ANN401 - any JSON
        """Return the JSON content of a file of the run, None when it is not there."""
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else None


def new_run(experiment: Path, config: Config, *, kind: str | None = None) -> Run:
    """Return a run in a new folder of `experiment`, named by the time and its kind: the fold."""
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{kind or 'fold' + str(config['fold'])}"
    experiment.mkdir(parents=True, exist_ok=True)
    folder = next(filter(_is_made, _names(experiment / name)))
    return Run(folder, config)


def _names(first: Path) -> Iterator[Path]:
    yield first
    yield from (first.with_name(f"{first.name}-{number}") for number in count(1))


def _is_made(folder: Path) -> bool:
    """Whether a folder was made by this call: another process may ask at the same time."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def latest_run(experiment: Path, *, fold: int) -> Run | None:
    """Return the newest run of the fold in `experiment`, None when there is none.

    In a working folder of an object store only its settings are there; see `brought`.
    """
    brought(experiment, pattern="*/config.json")
    folders = sorted((path.parent for path in experiment.glob("*/config.json")), reverse=True)
    runs = (open_run(folder) for folder in folders)
    return next((run for run in runs if run.config["fold"] == fold), None)


def latest_folder(experiment: Path, kind: str) -> Path | None:
    """Return the newest folder of a kind in `experiment`, such as ``folds``; None without one."""
    brought(experiment, pattern=f"*-{kind}*/provenance.json")
    return max(experiment.glob(f"*-{kind}*"), default=None)


def folds_of(folder: Path) -> list[Run]:
    """Return the runs below a parent, by fold; none where the folder is no parent's."""
    own = folder.resolve()
    folders = (path.parent for path in own.parent.glob("*/config.json"))
    # What is none of its folds is not opened: a stranger beside them is no reason to refuse.
    below = [open_run(each) for each in folders if Run(each, {}).parent == own.name]
    return sorted(below, key=lambda run: int(run.config["fold"]))


def open_run(folder: Path) -> Run:
    """Return the run in `folder`.

    Raises:
        UsageError: The folder is not a run's.
        UnsafeError: Its configuration is neither data nor trusted; see `require_trust`.
    """
    if not (folder / "config.json").is_file():
        raise UsageError(
            Problem("E-RUN", str(folder), "has no config.json", "a run folder", "name another")
        )
    require_trust(folder)
    config = json.loads((folder / "config.json").read_text())
    if "output_dir" in config:  # it may have been moved, and one from elsewhere may say anything
        config["output_dir"] = str(folder.resolve())
    if config.get("split_file"):
        config["split_file"] = str(folder.resolve() / "splits.json")
    return Run(folder, config)


def inference_config(
    model: str | Path, settings: Mapping[str, Any], *, tracking_uri: str | None = None
) -> Config:
    """Return the inference configuration of a trained model, with overrides.

    Args:
        model: A run folder, a bundle folder with ``models/model.pt`` or a shipped bundle's name,
            or the address of a model in MLflow, ``models:/NAME@best`` or ``runs:/ID/model``.
        settings: Overrides by id.
        tracking_uri: Where MLflow's store is; None is ``runs/mlflow.db``.

    Raises:
        UsageError: There is no such model, or no such setting; or another major version of medseg
            made it.
    """
    if re.match(r"(models|runs):/", str(model)):
        config = _of_mlflow(str(model), tracking_uri)
        _require_version(str(model), config["origin"].get("medseg"))
        return overridden(config, settings, subject=str(model))
    model = Path(model)
    if (model / "config.json").is_file():
        run = open_run(model)
        _require_version(run.name, (run.read("provenance.json") or {}).get("medseg"))
        return overridden(inference_of(run), settings, subject=model.name)
    bundle = find_bundle(model)
    config = bundle.config("inference", settings=settings)
    weights = bundle.root / "models" / "model.pt"
    if not weights.exists():
        raise UsageError(
            Problem(
                "E-MODEL",
                bundle.name,
                "has no models/model.pt",
                "a bundle with weights, or a run folder",
                "train it with 'medseg run', then name the run's folder",
            )
        )
    origin = _origin(weights, bundle.name)
    _require_version(bundle.name, origin.get("medseg"))
    return {**config, "checkpoint": str(weights), "origin": origin}


def _origin(weights: Path, bundle: str) -> dict[str, Any]:
    """Return where the weights of a bundle come from, as far as they tell."""
    from medseg.engine.checkpoints import provenance_of  # torch comes with it

    told = provenance_of(weights)
    origin = {name: told[name] for name in ORIGIN if name in told} or {"bundle": bundle}
    require_data(origin, weights)
    return origin


def _require_version(name: str, made: object) -> None:
    """Refuse a model of another major version of medseg: what its settings mean may have changed.

    Args:
        name: What the model is called.
        made: The version that made it; None where nobody knows.
    """
    if made is not None and str(made).split(".")[0] != __version__.split(".")[0]:
        fix = f"predict with medseg {made}, or train it again"
        found = f"was made by medseg {made}"
        raise UsageError(Problem("E-MODEL", name, found, f"this version, {__version__}", fix))


def _of_mlflow(uri: str, tracking_uri: str | None) -> Config:
    """Return the configuration of a registered model: its own values in the common wiring."""
    from medseg.engine.tracking_model import fetched
    from medseg.engine.tracking_store import default_uri

    files = fetched(uri, tracking_uri or default_uri(Path("runs")))
    require_trust(files["inference"])
    config = json.loads(files["inference"].read_text())
    places = {"checkpoint": str(files["weights"]), "manifest": str(files["manifest"])}
    unknown = {"origin": {"bundle": None}}
    return {**template().config("inference"), **unknown, **config, **places}


def inference_of(run: Run) -> Config:
    """Return the inference configuration of a run, with its own settings and checkpoint."""
    bundle = find_bundle(run.config["bundle_root"])
    config = carried_over(bundle.config("inference"), run.config)
    learnt = {"ranges": run.read("ranges.json") or {}, "origin": origin_of(run.folder, run.config)}
    if rules := _rules(run):
        learnt["cleaning"] = rules
    require_data(learnt, run.folder)
    return {**config, **learnt, "checkpoint": str(run.checkpoint)}


def _rules(run: Run) -> dict[str, Any]:
    """Return the rules for masks that were chosen for the run's present checkpoint."""
    told = run.read(CLEANING) or {}
    if not told.get("rules") or told["checkpoint_sha256"] != sha256_of(run.checkpoint):
        return {}
    rules: dict[str, Any] = told["rules"]
    return rules
