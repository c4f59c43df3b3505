"""How a bundle's parts are put together, the same in all bundles, and the values that differ.

The wiring is that of one shipped bundle, the `template`. A bundle's own are the *values*: top-level
entries of ``train.json`` and ``inference.json`` such as the network, the loss and the batch size.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from json.decoder import WHITESPACE, JSONDecoder  # type: ignore[attr-defined]
from typing import Any

from medseg.bundle.configuration import Bundle
from medseg.resources import shipped

TEMPLATE = "uwmgi_segformer"

# What depends on the data set; on the pace, which depends on both; on the network.
DATA_VALUES = (
    *("dataset_dir", "manifest", "label_mode", "spacing_mm", "roi_px", "intensity", "channels"),
    *("bias_correction", "neighbours", "stride", "per_organ", "augmentation"),
)
PACE_VALUES = ("epochs", "epoch_length", "batch_size", "val_interval", "patience")
NETWORK_VALUES = (
    *("_desc_", "network_def", "loss", "optimizer", "lr_scheduler"),
    *("head_factor", "decay_all", "clip_norm", "ema_decay"),
)
VALUES = frozenset(chain(DATA_VALUES, PACE_VALUES, NETWORK_VALUES))

_WIDTH = 180


@cache
def template() -> Bundle:
    """Return the bundle whose wiring all others have."""
    return Bundle(shipped("bundles", TEMPLATE))


def rewired(name: str, values: Mapping[str, Any]) -> str:
    """Return the template's ``configs/<name>.json`` with values of another bundle in place.

    Values that the file does not have are left out; what does not change keeps its lines.
    """
    text = template().file(name).read_text(encoding="utf-8")
    for key, begin, end in reversed(list(_entries(text))):
        if key in values and json.loads(text[begin:end]) != values[key]:
            text = text[:begin] + laid_out(values[key], len(key) + 6) + text[end:]
    return text


def overlay(values: Mapping[str, Any]) -> str:
    """Return the text of an overlay, an entry a line."""
    lines = [f"  {json.dumps(key)}: {laid_out(v, len(key) + 6)}" for key, v in values.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def laid_out(value: Any, column: int) -> str:  # noqa: ANN401 - whatever JSON holds
    """Return a value as JSON that begins in a column; a long section goes on in further lines."""
    text = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, Mapping) or column + len(text) <= _WIDTH:
        return text
    lines, room = [""], _WIDTH - column
    for key, part in value.items():
        entry = f"{json.dumps(key)}: {json.dumps(part, ensure_ascii=False)}, "
        if lines[-1] and len(lines[-1]) + len(entry) > room:
            lines.append("")
            room = _WIDTH - 4
        lines[-1] += entry
    return "{" + "\n    ".join(line.rstrip() for line in lines).rstrip(",") + "}"


def _entries(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield each entry of a JSON object: its key, and where its value begins and ends."""
    decode, blank = JSONDecoder().raw_decode, WHITESPACE.match
    place = blank(text, text.index("{") + 1).end()
    while text[place] != "}":
        key, place = decode(text, place)
        begin = blank(text, text.index(":", place) + 1).end()
        _, end = decode(text, begin)
        yield key, begin, end
        place = blank(text, end).end()
        if text[place] == ",":
            place = blank(text, place + 1).end()
