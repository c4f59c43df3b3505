"""Whether the parts of a configuration fit each other and the data set that it names."""

from collections.abc import Iterator

from medseg.bundle.configuration import Config, Opened
from medseg.errors import Problem

# The label mode of each loss, unless it is told another.
_MODES = {
    "dice": "overlapping",
    "dice_bce": "overlapping",
    "dice_ce": "exclusive",
    "mask_classification": "exclusive",
    "mask_dino": "exclusive",
}


def misfits(config: Config) -> Iterator[Problem]:
    """Yield a problem where the network and the manifest do not fit; the network is not built.

    The network has one class an organ, and one for background where classes exclude each other. It
    takes the channels of the data set's images.
    """
    from medseg.data import read_manifest

    opened, manifest = Opened(config), read_manifest(config["manifest"])
    organs = list(manifest.labels.names)
    classes = ["background"] * (opened["label_mode"] == "exclusive") + organs
    for part, names in (("network_def::out_channels", classes), ("channels", manifest.channels)):
        key, _, inner = part.partition("::")
        section = config.get(key)
        if section is None or (inner and inner not in section):
            continue
        if (found := opened[part]) != len(names):
            expected = f"{len(names)}: {', '.join(names)}"
            fix = f"set {part}={len(names)}, or name another manifest"
            yield Problem("E-MODEL", part, f"is {found}", expected, fix)
    yield from _of_loss(config.get("loss"), str(opened["label_mode"]))


def _of_loss(section: object, label_mode: str) -> Iterator[Problem]:
    """Yield a problem where a loss, or the one inside it, is for labels of the other mode."""
    if not isinstance(section, dict):
        return
    yield from _of_loss(section.get("loss"), label_mode)
    name = str(section.get("_target_", "")).removeprefix("medseg.losses.")
    mode = section.get("label_mode", _MODES.get(name))
    # Elsewhere it is worked out from label_mode, so that it fits.
    if isinstance(told := section.get("overlapping", False), str):
        mode = None
    elif told:
        mode = "overlapping"
    if mode in _MODES.values() and mode != label_mode:
        found, expected = f"{name} is for {mode} labels", f"one for {label_mode} labels"
        fix = "set loss and label_mode together"
        yield Problem("E-MODEL", "loss", found, expected, fix)
