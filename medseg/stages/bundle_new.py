"""Begin a bundle: choose its values, build its network once to measure it, write the folder."""

from pathlib import Path
from typing import NamedTuple

from medseg.bundle import Bundle, find_bundle
from medseg.bundle.measuring import Measured, measure
from medseg.bundle.recipe import Recipe, preset_called, recipe_of
from medseg.bundle.writing import files_of, write_bundle
from medseg.data.manifest import read_manifest
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
