"""Predict: scans in, NIfTI on the scans' own grids out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.bundle import Config, Opened
from medseg.data.sources import Item, inference_items
from medseg.errors import DataError, PartialError, Problem, UsageError
from medseg.runs import inference_config
from medseg.stages.display import Display


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
    chosen = inference_items(sources, manifest=config["manifest"])
    _require_inputs_safe(chosen, Path(config["output_dir"]))
    return predict_items(config, chosen, display)


def _require_inputs_safe(chosen: Sequence[Item], out: Path) -> None:
    problems = [
        Problem("E-EXISTS", str(item["image"]), "would be overwritten", fix="choose another --out")
        for item in chosen
        if (out / f"{item['scan_id']}.nii.gz").resolve() == _file_of(item)
    ]
    if problems:
        raise UsageError(*problems)


def _file_of(item: Item) -> Path | None:
    return item["image"].resolve() if isinstance(item["image"], Path) else None


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
