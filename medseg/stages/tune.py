"""Tune: by which rules the masks of validation patients get better, organ by organ."""

from collections.abc import Mapping, Sequence
from typing import Any

from medseg.bundle import Config
from medseg.data import label_set
from medseg.data.sources import Item
from medseg.engine.provenance import sha256_of
from medseg.engine.tracking import Tracker
from medseg.metrics.statistics import LEAST_PATIENTS
from medseg.runs import CLEANING, Run, inference_of
from medseg.stages.display import Display
from medseg.stages.held_out import side_of
from medseg.stages.tune_scans import predicted_scans
from medseg.stages.tune_search import Found, as_plain, line_of, search


def tune(run: Run, tracker: Tracker, display: Display) -> None:
    """Choose rules for the masks of the run's network, and keep them with the run.

    Only scans of the validation side are looked at. With fewer than `LEAST_PATIENTS` of them
    nothing is predicted and no rule is taken: an interval would not mean what it says. Rules that
    were chosen for the present checkpoint stay. Leaves ``cleaning.json``.
    """
    checkpoint = sha256_of(run.checkpoint)
    if (run.read(CLEANING) or {}).get("checkpoint_sha256") == checkpoint:
        display.begin("tune", 0)
        display.say("tune: the rules that were chosen for this checkpoint stay")
        return
    config, chosen = inference_of(run), side_of(run, "validation")
    count = len({item["case_id"] for item in chosen})
    why_not = _why_not(config, count)
    display.begin("tune", 0 if why_not else len(chosen))
    found = {} if why_not else _searched(run, config, chosen, display)
    told = {"checkpoint_sha256": checkpoint, "patients": count, "scans": len(chosen)}
    run.write(CLEANING, {**told, "why_not": why_not, **as_plain(found)})
    for line in [why_not] if why_not else [line_of(*each) for each in found.items()]:
        display.say(f"tune: {line}")
    tracker.log_artifact(run.folder / CLEANING)
    gains = {f"val/cleaning_gain/{organ}": each.gain.mean for organ, each in found.items()}
    tracker.log_metrics(gains, step=run.config["epochs"])


def _why_not(config: Config, count: int) -> str:
    """Return why there is nothing to choose; nothing where there is."""
    if not {"cleaning", "probabilities"} <= config["inferer"].keys():
        return "the bundle's inferer takes no cleaning, so that there is nothing to choose"
    if config["cleaning"]:
        return "the bundle has rules of its own, which stay"
    if count < LEAST_PATIENTS:
        found = f"{count or 'no'} validation patient{'s' * (count != 1)}"
        least = f"with fewer than {LEAST_PATIENTS} a gain cannot be told from chance"
        return f"{found}: {least}, so no rule is used"
    return ""


def _searched(
    run: Run, config: Config, chosen: Sequence[Item], display: Display
) -> Mapping[str, Found]:
    """Return what was found for each organ."""
    labels = label_set(run.config["manifest"])
    inferer: dict[str, Any] = {**config["inferer"], "probabilities": True}
    scans, config = [], {**config, "inferer": inferer, "device": run.config["device"]}
    for scan in predicted_scans(config, chosen, labels):
        scans.append(scan)
        display.advance(len(scans), len(chosen), chosen[len(scans) - 1]["scan_id"])
    display.begin("rules", len(labels.names))
    found = {}
    for channel, organ in enumerate(labels.names):
        found[organ] = search(scans, channel)
        display.advance(channel + 1, len(labels.names), organ)
    return found
