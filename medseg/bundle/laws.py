"""What medseg asks of a bundle beyond MONAI: the drifts and slips that text cannot rule out.

Training and inference are two files that must say the same, and all bundles are wired alike. These
laws hold them to it.
"""

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec

from medseg.bundle.configuration import APART, Config, Opened, ids
from medseg.bundle.examined import Broken, Examined, told
from medseg.bundle.fitting import misfits
from medseg.bundle.wiring import VALUES, template
from medseg.errors import UsageError

LIBRARIES = ("torch", "monai", "ignite")


def targets(examined: Examined) -> str:
    """Every name leads somewhere, and what is called is public: medseg's, MONAI's or torch's."""
    bundle, rows = examined.bundle, []
    for names in (("train",), ("train", "demo"), ("train", "evaluate"), ("inference",)):
        if not (bundle.root / "configs" / f"{names[-1]}.json").is_file():
            continue
        try:
            bundle.config(*names)
        except UsageError as error:
            rows += [f"{names[-1]}.json: {p.subject}: {p.found}" for p in error.problems]
        called = sorted(set(_targets(bundle.written(names[-1]))))
        rows += [
            f"{names[-1]}.json: {each} {fault}" for each in called if (fault := _private(each))
        ]
    return told(rows)


def overlays(examined: Examined) -> str:
    """What is laid over a configuration names only what is there: MONAI would add it in silence.

    A callable may be given what it was not given before; `targets` tells whether it takes that.
    """
    bundle = examined.bundle
    known = {"_desc_", *ids(bundle.config("train")), *ids(bundle.config("inference"))}
    rows = []
    for name in ("demo", "evaluate"):
        if (bundle.root / "configs" / f"{name}.json").is_file():
            laid = bundle.written(name)
            new = (
                key
                for key in laid.keys() - known
                if f"{key.rpartition('::')[0]}::_target_" not in known
            )
            rows += [f"{name}.json sets {key}, which is not there" for key in new]
    return told(sorted(rows))


def wiring(examined: Examined) -> str:
    """All but the values that make a model this one is as in the bundle that others are made of."""
    rows = []
    for name in ("train", "inference", "evaluate"):
        own, pattern = examined.bundle.written(name), template().written(name)
        places = {"bundle_root", "_desc_", *VALUES}
        rows += [
            f"{name}.json: {key} is not as in {template().name}"
            for key in _unequal(own, pattern, but=places)
        ]
    return told(rows)


def agreement(examined: Examined) -> str:
    """What training and inference both define is the same, and so are the networks."""
    import torch

    configs = [examined.bundle.config(name) for name in ("train", "inference")]
    train, inference = configs
    shared = (train.keys() & inference.keys()) - APART
    rows = [f"{key} differs" for key in sorted(shared) if train[key] != inference[key]]
    with torch.device("meta"):  # names and shapes will do, and weights need not be drawn
        networks = [examined.network(config).state_dict() for config in configs]
    shapes = [{name: tuple(t.shape) for name, t in each.items()} for each in networks]
    if shapes[0] != shapes[1]:
        rows.append("the networks of training and inference have other parameters")
    return told(rows)


def channels(examined: Examined) -> str:
    """Metadata, network and loss fit the manifest's organs and channels, and the window."""
    config, facts = examined.bundle.config("inference"), examined.bundle.metadata
    formats = facts["network_data_format"]
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    opened = Opened(config)
    background = ["background"] if config["label_mode"] == "exclusive" else []
    expected = {
        "classes": (list(pred["channel_def"].values()), [*background, *opened["labels"].names]),
        "the network's classes": (config["network_def"]["out_channels"], len(pred["channel_def"])),
        "the network's channels": (
            opened["network_def::in_channels"],
            len(image["channel_def"]),
        ),
        "num_channels of the image": (image["num_channels"], len(image["channel_def"])),
        "num_channels of the prediction": (pred["num_channels"], len(pred["channel_def"])),
        "spatial_shape of the image": (image["spatial_shape"], config["roi_px"]),
        "spatial_shape of the prediction": (pred["spatial_shape"], config["roi_px"]),
    }
    rows = [
        f"{what}: {have}, not {want}" for what, (have, want) in expected.items() if have != want
    ]
    unfit = misfits(examined.bundle.config("train"))
    return told([*rows, *(f"{fault.subject}: {fault.found}" for fault in unfit)])


def preprocessing(examined: Examined) -> str:
    """A scan is prepared for training and for inference alike, to the bit."""
    import torch

    from medseg.data import items

    train, inference = examined.train, examined.inference
    item = items(examined.readable(), manifest=train["manifest"], role="train")[0]
    bare = {key: value for key, value in item.items() if key != "label"}
    learnt = Opened(train)["validate::preprocessing"](dict(item))["image"]
    seen = Opened(inference)["preprocessing"](bare)["image"]
    if learnt.shape != seen.shape or not torch.equal(learnt.affine, seen.affine):
        raise Broken(f"{tuple(learnt.shape)} for training, {tuple(seen.shape)} for inference")
    if not torch.equal(learnt, seen):
        raise Broken(f"values differ by up to {(learnt - seen).abs().max():.2g}")
    return ""


def _targets(part: object) -> Iterator[str]:
    if isinstance(part, Mapping):
        if "_target_" in part:
            yield str(part["_target_"])
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _targets(each)


def _private(target: str) -> str:
    """Return why a callable is not one that bundles may name, or nothing."""
    home, _, name = target.rpartition(".")
    top = target.partition(".")[0]
    if home and top not in ("medseg", *LIBRARIES):
        return f"is none of {', '.join(('medseg', *LIBRARIES))}"
    if top != "medseg" or find_spec(home) is None:
        return ""
    return "" if name in getattr(import_module(home), "__all__", ()) else "is not public"


def _unequal(own: Config, pattern: Config, *, but: Iterable[str]) -> list[str]:
    """Return the ids of the two, sections entered, whose values differ."""
    keys = (own.keys() | pattern.keys()) - set(but)
    rows = []
    for key in sorted(keys):
        have, want = own.get(key), pattern.get(key)
        if isinstance(have, Mapping) and isinstance(want, Mapping) and "_target_" not in want:
            rows += [f"{key}::{below}" for below in _unequal(dict(have), dict(want), but=())]
        elif have != want:
            rows.append(key)
    return rows
