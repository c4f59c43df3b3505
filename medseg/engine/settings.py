"""Settings as a table of names and short texts, the way a tracking server shows them."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from medseg.engine.provenance import portable

# What the stores of MLflow 3 take (mlflow/utils/validation.py).
LONGEST_KEY = 250
LONGEST_VALUE = 6000

# Of a bundle's configuration: places of one machine, and what only puts parts together.
_UNTOLD = {
    *("bundle_root", "dataset_dir", "output_dir", "store_dir", "split_file"),
    *("initialize", "run", "labels", "resume"),
}
_SHORT = {"manifest": "dataset", "optimizer.lr": "lr"}


def flatten(params: Mapping[str, Any]) -> dict[str, str]:
    """Return nested settings as MLflow parameters: dotted names and short, portable text.

    A list of plain values stays one value; a list of sections is numbered. A text longer than
    MLflow keeps is cut and ends with the hash of the whole.

    >>> flatten({"train": {"batch_size": 8, "flips": [True, None]}})
    {'train.batch_size': '8', 'train.flips': '[true, null]'}
    """
    flat: dict[str, str] = {}
    for key, value in params.items():
        name = re.sub(r"[^\w\-. :/]", "_", str(key))
        for below, text in _texts(value).items():
            full = f"{name}.{below}" if below else name
            flat[_shortened(full, LONGEST_KEY)] = _shortened(text, LONGEST_VALUE)
    return flat


def parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that tell one run from another, by short names.

    A part goes by the name of what builds it, its own settings by their names behind that:
    ``network`` is ``segformer_b0``, ``augmentation.rotate_deg`` is 15. How parts are put together
    and what is not set is left out.
    """
    told = {name: value for name, value in config.items() if name not in _UNTOLD}
    told["network"] = told.pop("network_def")
    return {_SHORT.get(name, name): value for name, value in _plain(told).items()}


def _texts(value: object) -> dict[str, str]:
    """Return the text of a value under an empty name, or those of a section by their names."""
    if isinstance(value, Mapping) and value:
        return flatten(value)
    if isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
        return flatten({str(n): v for n, v in enumerate(value)})
    if isinstance(value, str | PurePath):
        return {"": portable(str(value))}
    return {"": portable(json.dumps(value, default=str))}


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    mark = f"...sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return text[: longest - len(mark)] + mark


def _plain(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            if "_target_" in value:
                found[prefix + name] = str(value["_target_"]).rpartition(".")[2]
                found |= _plain(value, f"{prefix}{name}.")
        elif value is not None and name[0] != "_" and not str(value).startswith(("$", "@")):
            found[prefix + name] = value
    return found
