"""Predict: scans in, NIfTI on the scans' own grids out."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from medseg.bundle import Config, Opened
from medseg.data.batches import in_advance
from medseg.data.sources import Item, inference_items
from medseg.errors import DataError, PartialError, Problem, UsageError
from medseg.runs import inference_config
from medseg.stages.display import Display

READ_AHEAD = 2


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


def predict_items(
    config: Config,
    chosen: Sequence[Item],
    display: Display,
    *,
    seen: Callable[[Item], Item] = lambda scan: scan,
) -> list[Path]:
    """Predict items and return the files written, one label map a scan.

    While one scan is computed the next are read and the one before is written, so that memory
    holds a handful of scans however many there are.

    Args:
        config: An inference configuration.
        chosen: What to predict.
        display: Where to show progress.
        seen: Called with each scan when ``pred``, and ``probs`` on request, are there; returns
            what is to be written.

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

    def segment(scan: Item) -> Item:
        pred, probs = inferer(scan["image"], network, native=scan["native"])
        # The image has served, and would wait with the masks for their turn to be written.
        return seen({**scan, "image": None, "pred": pred, "probs": probs})

    display.begin("predict", len(chosen))
    read = in_advance(_sparing(before), map(dict, chosen), ahead=READ_AHEAD)
    written = in_advance(_sparing(after), map(_sparing(segment), read), ahead=1)
    files: list[Path] = []
    problems: list[Problem] = []
    with closing(read), closing(written):
        for done, scan in enumerate(written, 1):
            if isinstance(scan, DataError):
                problems += scan.problems
            else:
                files.append(scan["file"])
            display.advance(done, len(chosen), chosen[done - 1]["scan_id"])
    if problems:
        raise (PartialError if files else DataError)(*problems)
    return files


def _sparing(step: Callable[[Item], Item]) -> Callable[[Item | DataError], Item | DataError]:
    """Return `step` as one that passes a faulty scan on as its error, so that the others go on."""

    def attempt(scan: Item | DataError) -> Item | DataError:
        if isinstance(scan, DataError):
            return scan
        try:
            return step(scan)
        except DataError as error:
            return error

    return attempt
