"""Whether the parts of a configuration fit each other and the data set that it names."""

from collections.abc import Iterator

from medseg.bundle.configuration import Config, Opened
from medseg.errors import Problem


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
