"""Register: the trained network as a version of a model in MLflow's registry."""

from pathlib import Path

from medseg.bundle.trust import remember
from medseg.data import read_manifest
from medseg.engine.checkpoints import read_checkpoint
from medseg.engine.provenance import portable_values
from medseg.engine.settings import parameters
from medseg.engine.tracking import Tracker
from medseg.io.atomic import replacing
from medseg.resources import located
from medseg.runs import Run, inference_of

# Of an inference configuration a model needs what leads from a volume to masks, and no places.
_UNNEEDED = {
    *("bundle_root", "dataset_dir", "output_dir", "checkpoint", "probabilities", "per_organ"),
    *("dataset", "dataloader", "postprocessing", "evaluator", "initialize", "run"),
}


def register(run: Run, tracker: Tracker) -> None:
    """Register the run's network under the name of its experiment.

    Leaves ``inference.json`` and ``manifest.yaml``, which with ``weights.safetensors`` are all
    that a prediction needs.
    """
    config = inference_of(run)
    needed = {name: value for name, value in config.items() if name not in _UNNEEDED}
    needed["inferer"] = {**needed["inferer"], "probabilities": False}
    run.write("inference.json", portable_values(needed))
    remember(run.folder / "inference.json")
    manifest = located("data_manifests", run.config["manifest"])
    with replacing(run.folder / "manifest.yaml") as stream:
        stream.write(Path(manifest).read_bytes())
    params = parameters(run.config)
    score = read_checkpoint(run.checkpoint)["best_metric"]
    tracker.log_model(
        run.experiment,
        organs=read_manifest(run.config["manifest"]).labels.names,
        tags={f"medseg.{name}": str(params[name]) for name in ("network", "dataset", "fold")},
        score=score if score >= 0 else None,
    )
