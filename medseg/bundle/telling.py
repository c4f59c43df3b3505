"""What a bundle tells people and MONAI of itself: its metadata and its page."""

import inspect
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from medseg import __version__, models
from medseg.bundle.measuring import Measured
from medseg.bundle.recipe import Recipe
from medseg.bundle.wiring import template
from medseg.data.manifest import Manifest
from medseg.data.phantom import TWINS

PACKAGES = ("transformers", "pytorch-ignite", "nibabel")


def metadata(recipe: Recipe, measured: Measured) -> dict[str, Any]:
    """Return the content of ``metadata.json``."""
    manifest, train = recipe.manifest, recipe.train
    organs = [fact.name.replace("_", " ") for fact in manifest.label_facts]
    name, told = _network_name(recipe), _told_of_data(recipe)
    return {
        "schema": template().metadata["schema"],
        "version": "0.1.0",
        "changelog": {"0.1.0": "First version."},
        "monai_version": _plain(version("monai")),
        "pytorch_version": _plain(version("torch")),
        "numpy_version": _plain(version("numpy")),
        "required_packages_version": {
            "medseg": __version__,
            **{package: _plain(version(package)) for package in PACKAGES},
        },
        "supported_apps": {},
        "name": f"{manifest.title}, {name}",
        "task": told["task"],
        "description": f"{name}, {_seen(train)}, with {_said(train)}.",
        "authors": "medseg contributors",
        "copyright": "Copyright (c) medseg contributors",
        "data_source": f"{manifest.title}: {_cited(manifest)}",
        "data_type": told["data_type"],
        "image_classes": told["image_classes"],
        "label_classes": ", ".join(organs) + ("; masks may overlap" if len(organs) > 1 else ""),
        "pred_classes": _classes(manifest, train),
        "eval_metrics": {},
        "intended_use": "Research. Not for diagnosis or treatment.",
        "references": [_paper(recipe.preset), _cited(manifest)],
        "network": {"name": name, **measured._asdict()},
        "network_data_format": _formats(manifest, train, told["modality"]),
    }


def page(recipe: Recipe, facts: Mapping[str, Any], name: str) -> str:
    """Return the text of ``docs/README.md``.

    Args:
        recipe: What the bundle says.
        facts: Its metadata.
        name: Its folder's name.
    """
    train = recipe.train
    return (
        _pages()
        .get_template("bundle.md")
        .render(
            name=name,
            facts=facts,
            train=train,
            seen=_seen(train),
            said=_said(train),
            organs=[fact.name.replace("_", " ") for fact in recipe.manifest.label_facts],
            priority=[each.replace("_", " ") for each in recipe.manifest.priority],
            named=_called,
            weights="weights" in train["network_def"],
            phantom=train["manifest"] in TWINS,
        )
    )


@cache
def _pages() -> Environment:
    # Markdown, not HTML: nothing is to be escaped.
    return Environment(
        loader=PackageLoader("medseg.bundle", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _network_name(recipe: Recipe) -> str:
    """Return what the network's own bundle calls it, or else the preset's name."""
    home = recipe.homes.network
    target = recipe.train["network_def"]["_target_"]
    if home is not None and home.written("train")["network_def"]["_target_"] == target:
        return str(home.metadata.get("network", {}).get("name", recipe.preset))
    return recipe.preset


def _told_of_data(recipe: Recipe) -> dict[str, str]:
    """Return what no manifest tells, from a bundle of the data set or in general words."""
    manifest, home = recipe.manifest, recipe.homes.data
    if home is not None:
        facts = home.metadata
        told = {key: facts[key] for key in ("task", "data_type", "image_classes")}
        return told | {"modality": facts["network_data_format"]["inputs"]["image"]["modality"]}
    organs = " and ".join(fact.name.replace("_", " ") for fact in manifest.label_facts)
    return {
        "task": f"Segmentation of {organs}: {manifest.title}",
        "data_type": f"{manifest.layout.images}, or NIfTI",
        "image_classes": ", ".join(manifest.channels),
        "modality": "unknown",
    }


def _formats(manifest: Manifest, train: Mapping[str, Any], modality: str) -> dict[str, Any]:
    shape = list(train["roi_px"])
    seen = _channel_names(manifest, train["neighbours"])
    said = [fact.name for fact in manifest.label_facts]
    said = ["background", *said] if train["label_mode"] == "exclusive" else said
    image = {"type": "image", "format": "magnitude", "modality": modality}
    pred = {"type": "image", "format": "segmentation"}
    return {
        "inputs": {"image": image | _tensor(seen, shape, value_range=[0, 1])},
        "outputs": {"pred": pred | _tensor(said, shape, value_range=[])},
    }


def _tensor(channels: list[str], shape: list[int], *, value_range: list[int]) -> dict[str, Any]:
    return {
        "num_channels": len(channels),
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": value_range,
        "is_patch_data": True,
        "channel_def": {str(number): name for number, name in enumerate(channels)},
    }


def _channel_names(manifest: Manifest, neighbours: int) -> list[str]:
    """Return the name of each channel, the first slice's channels first."""
    own = list(manifest.channels) if len(manifest.channels) > 1 else [""]
    steps = range(-(neighbours // 2), neighbours // 2 + 1)
    slices = [f"slice {step:+d}" if step else "slice" for step in steps]
    return [f"{channel}, {each}".removeprefix(", ") for each in slices for channel in own]


def _seen(train: Mapping[str, Any]) -> str:
    neighbours = train["neighbours"]
    return "one slice at a time" if neighbours == 1 else f"{neighbours} neighbouring slices at once"


def _said(train: Mapping[str, Any]) -> str:
    if train["label_mode"] == "overlapping":
        return "one sigmoid an organ"
    return "a softmax over background and organs"


def _classes(manifest: Manifest, train: Mapping[str, Any]) -> str:
    names = [fact.name.replace("_", " ") for fact in manifest.label_facts]
    if train["label_mode"] == "overlapping":
        return f"one mask each of {', '.join(names)}" + "; masks may overlap" * (len(names) > 1)
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(["background", *names]))
    first = ", then ".join(name.replace("_", " ") for name in manifest.priority)
    return f"{numbered}; overlaps go to {first}"


def _paper(preset: str) -> str:
    """Return the references of the module that builds a network."""
    module = sys.modules[getattr(models, preset).__module__]
    told = inspect.getdoc(module) or ""
    return " ".join(told.partition("References:")[2].split()) or module.__name__


def _cited(manifest: Manifest) -> str:
    doi = f", doi {manifest.citation.doi}" if manifest.citation.doi else ""
    return manifest.citation.text.strip().rstrip(".") + doi


def _called(section: Mapping[str, Any]) -> str:
    """Return a section's target with its plain values, as people write a call."""
    section = section.get("lr_lambda", section)  # the rule within torch's scheduler
    plain = {
        key: value
        for key, value in section.items()
        if key not in ("_target_", "fused")
        and isinstance(value, int | float | str)
        and not str(value).startswith(("$", "@"))
    }
    values = ", ".join(f"{key} {value}" for key, value in plain.items())
    name = str(section["_target_"]).rpartition(".")[2]
    return f"`{name}`" + f" ({values})" * bool(values)


def _plain(release: str) -> str:
    """Return the numbers of a version alone, as the zoo's tests read it."""
    return ".".join(re.match(r"[\d.]+", release)[0].strip(".").split(".")[:3])  # type: ignore[index]
