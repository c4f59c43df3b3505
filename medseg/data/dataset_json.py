"""``dataset.json``, in which nnU-Net and the Medical Segmentation Decathlon name what they hold.

nnU-Net: ``channel_names`` {"0": "T2"} and ``labels`` {"background": 0, "liver": 1}. Decathlon:
``modality`` {"0": "CT"} and ``labels`` {"0": "background", "1": "liver"}.

Fault: E-DATASET.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from medseg.errors import DataError, Problem

# Of JSON itself, and of content that is another than it should be: OverflowError is of Infinity.
_NOT_UNDERSTOOD = (
    *(OSError, ValueError, RecursionError),
    *(KeyError, AttributeError, TypeError, OverflowError),
)


class Told(NamedTuple):
    """What the file tells: the channels' names in order, and the organs' codes by name."""

    channels: tuple[str, ...]
    labels: Mapping[str, int]


def read_dataset_json(root: Path) -> Told:
    """Return what ``root/dataset.json`` tells; without the file nothing is told.

    Raises:
        DataError: It is no such file, or a label is a region of several codes.
    """
    path = root / "dataset.json"
    if not path.is_file():
        return Told((), {})
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        channels = facts.get("channel_names") or facts.get("modality") or {}
        ordered = [channels[key] for key in sorted(channels, key=int)]
        codes = dict(_code(path, *pair) for pair in facts["labels"].items())
    except _NOT_UNDERSTOOD as error:
        found = f"is not understood: {type(error).__name__}: {str(error)[:200]}"
        expected = "channel_names (or modality) and labels, as nnU-Net or the Decathlon write them"
        raise DataError(Problem("E-DATASET", str(path), found, expected)) from error
    return Told(
        tuple(map(named, ordered)),
        {named(name): code for name, code in codes.items() if code},
    )


def named(text: object) -> str:
    """Return a text as a name of manifests: small letters, digits and ``_``, a letter first.

    >>> named("Enhancing Tumour")
    'enhancing_tumour'
    """
    name = re.sub(r"[^a-z0-9]+", "_", str(text).lower()).strip("_")
    return name if name[:1].isalpha() else f"label_{name}"


def _code(path: Path, key: str, value: Any) -> tuple[str, int]:  # noqa: ANN401 - JSON
    """Return name and code, whichever of the two is the key."""
    if isinstance(value, list):
        found = f"label {key[:80]!r} is a region of the codes {str(value)[:200]}"
        fix = "give label maps with one code an organ, and name them with --labels"
        raise DataError(Problem("E-DATASET", str(path), found, "one code a label", fix))
    return (str(value), int(key)) if isinstance(value, str) else (key, int(value))
