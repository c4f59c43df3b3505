"""Write a bundle: every file of it, from a recipe and what its network is measured to be."""

import json
from pathlib import Path

from medseg.bundle.measuring import Measured
from medseg.bundle.recipe import Recipe, Values
from medseg.bundle.telling import metadata, page
from medseg.bundle.wiring import overlay, rewired, template
from medseg.io.atomic import replacing


def files_of(recipe: Recipe, measured: Measured, name: str) -> dict[str, str]:
    """Return the text of each file of a bundle, by its path in the folder called `name`."""
    facts = metadata(recipe, measured)
    train = recipe.train
    copied = ("LICENSE", "configs/evaluate.json", "configs/logging.conf")
    return {
        "configs/metadata.json": json.dumps(facts, indent=2, ensure_ascii=False) + "\n",
        "configs/train.json": rewired("train", train),
        "configs/inference.json": rewired("inference", _for_inference(train)),
        "configs/demo.json": overlay(recipe.demo),
        "docs/README.md": page(recipe, facts, name),
        **{each: (template().root / each).read_text(encoding="utf-8") for each in copied},
    }


def write_bundle(root: Path, files: dict[str, str]) -> None:
    """Write the files of a bundle below `root`; others that lie there stay."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write(text.encode())


def _for_inference(train: Values) -> Values:
    """Return the values that inference shares: it has a batch of its own, and loads weights."""
    network = {key: value for key, value in train["network_def"].items() if key != "weights"}
    shared = {k: v for k, v in train.items() if k not in ("batch_size", "_desc_")}
    return {**shared, "network_def": network}
