"""What a list tells of the shipped bundles, read from their files: nothing is built for it."""

from typing import Any

from medseg.bundle.configuration import Bundle
from medseg.resources import shipped


def described(name: str) -> dict[str, Any]:
    """Return what there is to know of a shipped bundle at a glance.

    Size and cost are what `medseg bundle new` measured and wrote into the metadata; None where a
    bundle does not tell them.

    Raises:
        UsageError: A file is missing or cannot be read.
    """
    bundle = Bundle(shipped("bundles", name))
    facts, train = bundle.metadata, bundle.written("train")
    network = facts.get("network", {})
    return {
        "name": name,
        "dataset": train.get("manifest", ""),
        "network": network.get("name", ""),
        "label_mode": train.get("label_mode", ""),
        "parameters": network.get("parameters"),
        "gmacs": network.get("gmacs"),
        "window_px": train.get("roi_px"),
        "task": facts.get("task", ""),
        "title": facts.get("name", ""),
        "version": facts.get("version", ""),
        "folder": str(bundle.root),
    }
