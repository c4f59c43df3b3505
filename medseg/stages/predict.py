"""Predict: scans in, NIfTI on the scans' own grids out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.bundle import Config, Opened, carried_over, find_bundle
from medseg.data.sources import Item, inference_items, items
from medseg.errors import DataError, PartialError, Problem, UsageError
from medseg.stages.display import Display
from medseg.stages.runs import Run, open_run


def held_out(run: Run) -> list[Item]:
    """Return the items of the test side of the run's fold."""
    return items(
        run.config["dataset_dir"],
        manifest=run.config["manifest"],
        role="test",
        fold=run.config["fold"],
        split_file=run.splits,
    )


def predict_held_out(run: Run, display: Display) -> list[Path]:
    """Predict the scans that `held_out` names into ``predictions/``; return the label maps."""
    config = {
        **_inference_of(run),
        "device": run.config["device"],
        "output_dir": str(run.predictions),
    }
    return predict_items(config, [_unlabelled(item) for item in held_out(run)], display)


def predict(
    model: Path, sources: Sequence[Path], settings: dict[str, Any], display: Display
) -> list[Path]:
    """Predict scan folders, data folders or NIfTI files with a run or a bundle with weights.

    Args:
        model: A run folder, a bundle folder with ``models/model.pt``, or a shipped bundle's name.
        sources: What to predict.
        settings: Overrides of the inference configuration, ``output_dir`` among them.
        display: Where to show progress.

    Raises:
        PartialError: Some scans failed; the others are written.
    """
    config = inference_config(model, settings)
    return predict_items(config, inference_items(sources, manifest=config["manifest"]), display)


def inference_config(model: Path, settings: dict[str, Any]) -> Config:
    """Return the inference configuration of a run folder or a bundle, with overrides."""
    if (model / "config.json").is_file():
        return {**_inference_of(open_run(model)), **settings}
    bundle = find_bundle(model)
    config = bundle.config("inference", settings=settings)
    if not (bundle.root / "models" / "model.pt").exists():
        raise UsageError(
            Problem(
                "E-MODEL",
                bundle.name,
                "has no models/model.pt",
                "a bundle with weights, or a run folder",
                "train it with 'medseg run', then name the run's folder",
            )
        )
    return config


def predict_items(config: Config, chosen: Sequence[Item], display: Display) -> list[Path]:
    """Predict items one at a time and return the files written, one label map a scan.

    Raises:
        PartialError: Some scans failed; the others are written.
        DataError: Every scan failed.
    """
    opened = Opened(config)
    opened["initialize"]
    network = opened["network"].eval()
    before, inferer, after = (
        opened[part] for part in ("preprocessing", "inferer", "postprocessing")
    )
    display.begin("predict", len(chosen))
    written: list[Path] = []
    problems: list[Problem] = []
    for done, item in enumerate(chosen, 1):
        try:
            ready = before(dict(item))
            ready["pred"] = inferer(ready["image"][None], network)[0]
            written.append(after(ready)["file"])
        except DataError as error:
            problems += error.problems
        display.advance(done, len(chosen), item["scan_id"])
    if problems:
        raise (PartialError if written else DataError)(*problems)
    return written


def _inference_of(run: Run) -> Config:
    bundle = find_bundle(run.config["bundle_root"])
    config = carried_over(bundle.config("inference"), run.config)
    return {**config, "checkpoint": str(run.checkpoint)}


def _unlabelled(item: Item) -> Item:
    return {key: value for key, value in item.items() if key != "label"}
