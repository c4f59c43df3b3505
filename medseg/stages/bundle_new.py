"""Begin a bundle: choose its values, build its network once to measure it, write the folder."""

import copy
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from medseg.bundle import Bundle, Opened, find_bundle
from medseg.bundle.recipe import Recipe, preset_called, recipe_of
from medseg.bundle.telling import Measured
from medseg.bundle.writing import files_of, write_bundle
from medseg.data.manifest import read_manifest
from medseg.engine.costs import cost_of
from medseg.errors import Problem, UsageError


class Begun(NamedTuple):
    """A new bundle, and what it was made of."""

    bundle: Bundle
    recipe: Recipe
    measured: Measured


def new_bundle(
    dataset: str,
    preset: str,
    *,
    out: Path | None = None,
    like: str | None = None,
    overwrite: bool = False,
) -> Begun:
    """Write a bundle for a network on a data set.

    Args:
        dataset: The name of a shipped manifest, or the path of one.
        preset: A network of `medseg.models`.
        out: The bundle's folder; None stands for ``<data set>_<network>``.
        like: The bundle to take values from first: a folder, or the name of a shipped one.
        overwrite: Replace the files of a bundle that is there.

    Raises:
        UsageError: There is no such data set or network, or the folder is not empty.
    """
    manifest, preset = read_manifest(dataset), preset_called(preset)
    root = out or Path(f"{manifest.name}_{preset}")
    if root.exists() and not overwrite and any(root.iterdir()):
        fix = "name another folder with -o, or give --overwrite"
        raise UsageError(Problem("E-EXISTS", str(root), "is there already", fix=fix))
    named = str(Path(dataset).resolve()) if Path(dataset).is_file() else dataset
    recipe = recipe_of(manifest, named, preset, like=find_bundle(like) if like else None)
    measured = measure(recipe.train)
    write_bundle(root, files_of(recipe, measured, root.name))
    return Begun(Bundle(root.resolve()), recipe, measured)


def measure(values: dict[str, Any]) -> Measured:
    """Return the size and cost of the network of a bundle's values, and how it can be exported."""
    sizes = {key: values[key] for key in ("channels", "neighbours", "label_mode", "roi_px")}
    network = Opened({**sizes, "weights": None, "network_def": values["network_def"]})[
        "network_def"
    ]
    in_channels, (height, width) = values["channels"] * values["neighbours"], values["roi_px"]
    cost = cost_of(network, in_channels=in_channels, size_px=(height, width))
    way = _export(network.eval(), torch.rand(1, in_channels, height, width))
    return Measured(cost.parameters, round(cost.macs / 1e9, 2), way)


def _export(network: torch.nn.Module, images: torch.Tensor) -> str:
    """Return how TorchScript takes the network: scripted, traced for one size, or none."""
    ways: dict[str, Callable[[], object]] = {
        "scripted": lambda: torch.jit.script(copy.deepcopy(network)),
        "traced": lambda: torch.jit.trace(network, images),  # type: ignore[no-untyped-call]
    }
    for way, export in ways.items():
        with warnings.catch_warnings(), suppress(Exception):  # the compiler's are of any kind
            warnings.simplefilter("ignore")
            export()
            return way
    return "none"
