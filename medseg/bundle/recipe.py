"""What a new bundle says: values of its data set and of its network, from bundles that are there.

The shipped bundles are the tables. Values of the data set come from a bundle of the same data set,
those of the network from a bundle of the same network, or of another size of it, on this data set
or another. Where there is none, the manifest tells what it can, and the rest is as in the template.
"""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from medseg import models, resources
from medseg.bundle.configuration import Bundle, Config
from medseg.bundle.wiring import DATA_VALUES, NETWORK_VALUES, PACE_VALUES, template
from medseg.data.manifest import Manifest
from medseg.errors import Problem, UsageError

PRESETS = "medseg.models."
UNKNOWN_ROI_PX = (256, 256)
# Networks halve their maps up to five times; larger slices are seen window by window.
STEP_PX, LARGEST_PX = 32, 512

Values = dict[str, Any]


class Homes(NamedTuple):
    """The bundles that a new one takes its values from; None where there is no such bundle."""

    data: Bundle | None
    network: Bundle | None


@dataclass(frozen=True)
class Recipe:
    """All that a bundle says of itself, but for what its network is measured to be.

    Attributes:
        manifest: The data set.
        preset: The network, a function of `medseg.models`.
        homes: Where the values come from.
        train: Values of ``train.json``; those of ``inference.json`` are among them.
        demo: What ``demo.json`` holds.
    """

    manifest: Manifest
    preset: str
    homes: Homes
    train: Values
    demo: Values


def preset_called(name: str) -> str:
    """Return the preset `name`.

    Raises:
        UsageError: There is none; the message tells the nearest.
    """
    known = [each for each in models.__all__ if each.islower()]
    if name not in known:
        near = get_close_matches(name.lower(), known, n=1)
        fix = f"did you mean {near[0]}?" if near else "choose one of them"
        found = "is no network of medseg.models"
        raise UsageError(Problem("E-NAME", name, found, ", ".join(known), fix))
    return name


def recipe_of(manifest: Manifest, named: str, preset: str, *, like: Bundle | None = None) -> Recipe:
    """Return the recipe for a network on a data set.

    Args:
        manifest: The data set.
        named: How the bundle is to name it: a shipped manifest's name, or a path.
        preset: The network.
        like: The bundle to take values from before all others.
    """
    homes = _homes(named, preset, like)
    data = _data_values(manifest, named, homes.data)
    own = (homes.network or template()).written("train")
    same = homes.network is not None and homes.network == homes.data
    pace = own if same or homes.data is None else homes.data.written("train")
    train = {**_of(own, NETWORK_VALUES), **_of(pace, PACE_VALUES), **data}
    organs = len(manifest.label_facts)
    exclusive = data["label_mode"] == "exclusive"
    if not same or preset_of(homes.network or template()) != preset:
        train["_desc_"] = _origin(homes)
    train["network_def"] = _network(own["network_def"], preset, organs + exclusive)
    train["loss"] = _loss(own["loss"], preset, homes.network, exclusive=exclusive)
    return Recipe(manifest, preset, homes, train, _demo(homes))


def _origin(homes: Homes) -> str:
    """Return the remark on values that nobody has trained with together."""
    network = (homes.network or template()).name
    data = homes.data.name if homes.data else "the manifest"
    return f"Values of the data set from {data}, of the network from {network}; not yet tried."


def _homes(named: str, preset: str, like: Bundle | None) -> Homes:
    """Return the first bundle of the network and the first of the data set, nearest first."""

    def is_of(bundle: Bundle) -> bool:
        return bool(bundle.written("train")["manifest"] == named)

    def distance(bundle: Bundle) -> tuple[bool, bool, bool]:
        return bundle != like, preset_of(bundle) != preset, not is_of(bundle)

    shipped = [Bundle(resources.shipped("bundles", name)) for name in resources.names("bundles")]
    known = [*([] if like is None or like in shipped else [like]), *shipped]
    related = [b for b in known if _family(preset_of(b)) == _family(preset)]
    network = min(related, key=distance, default=None)
    first = [b for b in (like, network) if b is not None]
    data = next((b for b in [*first, *known] if is_of(b)), None)
    return Homes(data, network)


def preset_of(bundle: Bundle) -> str:
    """Return the name of a bundle's network."""
    return str(bundle.written("train")["network_def"]["_target_"]).removeprefix(PRESETS)


def _family(preset: str) -> str:
    """Return the module that builds a preset: all sizes of one network share it."""
    return str(getattr(getattr(models, preset, None), "__module__", preset))


def _of(config: Mapping[str, Any], keys: Iterable[str]) -> Values:
    return {key: config[key] for key in keys if key in config}


def _data_values(manifest: Manifest, named: str, home: Bundle | None) -> Values:
    if home is not None:
        return {
            **_of(home.written("inference"), DATA_VALUES),
            **_of(home.written("train"), DATA_VALUES),
        }
    organs = len(manifest.label_facts)
    return {
        **_of(template().written("train"), DATA_VALUES),
        "dataset_dir": f"data/{manifest.name}",
        "manifest": named,
        "label_mode": "exclusive" if organs > 1 else "overlapping",
        **_scale(manifest),
        "channels": len(manifest.channels),
        "per_organ": False,
    }


def _scale(manifest: Manifest) -> Values:
    """Return the usual spacing and size; slices of unknown scale are resized."""
    if not (manifest.spacing_known and manifest.spacing_mm and manifest.size_px):
        return {"spacing_mm": None, "roi_px": list(UNKNOWN_ROI_PX)}
    columns, rows = manifest.size_px
    window = [min(-side_px // STEP_PX * -STEP_PX, LARGEST_PX) for side_px in (rows, columns)]
    return {"spacing_mm": list(manifest.spacing_mm), "roi_px": window}


def _network(own: Config, preset: str, classes: int) -> Config:
    """Return the definition of a network, with what another of its family was given besides."""
    takes = inspect.signature(getattr(models, preset)).parameters
    given = {key: value for key, value in own.items() if key in takes}
    channels = {"in_channels": own["in_channels"], "out_channels": classes}
    weights = {"weights": "@weights"} if "weights" in takes else {}
    return {"_target_": PRESETS + preset, **channels, **weights, **{**given, **channels}}


def _loss(own: Config, preset: str, home: Bundle | None, *, exclusive: bool) -> Config:
    """Return the loss of the network's own bundle, for the way in which these labels overlap."""
    loss = _in_mode(own, exclusive=exclusive)
    returns = inspect.signature(getattr(models, preset)).return_annotation
    if home is None and getattr(returns, "takes_masks", False):
        return {"_target_": "medseg.losses.deep_supervision", "loss": loss}
    return loss


def _in_mode(loss: Config, *, exclusive: bool) -> Config:
    """Return a loss with the cross-entropy of classes that exclude each other, or may overlap.

    Only two losses are for one of the modes; the others are told by the configuration.
    """
    modes = ("medseg.losses.dice_bce", "medseg.losses.dice_ce")
    if loss["_target_"] not in modes or loss["_target_"] == modes[exclusive]:
        return loss
    own, other = ("ce_weight", "bce_weight") if exclusive else ("bce_weight", "ce_weight")
    rest = {own if key == other else key: value for key, value in loss.items()}
    order = {"painting_order": "$@labels.painting_order"} if exclusive else {}
    rest.pop("painting_order", None)
    return {**rest, "_target_": modes[exclusive], **order}


def _demo(homes: Homes) -> Values:
    """Return what makes a demo: the data set's coarse pixels and short pace, the small network."""
    pattern = template().written("demo")
    data = (homes.data.written("demo")) if homes.data else pattern
    network = homes.network.written("demo") if homes.network else pattern
    unknown = set() if homes.data else {"spacing_mm", "roi_px"}
    unknown |= set() if homes.network else {"network_def"}
    wanted = (
        {"folds", *DATA_VALUES, *PACE_VALUES} - unknown,
        {*NETWORK_VALUES} - unknown - {"_desc_"},
    )
    parts = [
        {key: value for key, value in each.items() if key.partition("::")[0] in sections}
        for each, sections in zip((data, network), wanted, strict=True)
    ]
    return {"_desc_": pattern["_desc_"], **parts[0], **parts[1]}
