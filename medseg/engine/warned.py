"""Warned: what medseg warns of while it works, kept for the record of that work."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from medseg.engine.provenance import portable

# Warnings that work went on in another way than asked for.
FALL_BACKS = {"W-CKPT", "W-COMPILE", "W-MEMORY", "W-STREAMED", "W-TRACKING"}

_MOST = 200
_CODE = re.compile(r"\[(W-[A-Z0-9-]+)\]")

Warned = dict[str, int]


class _Keep(logging.Handler):
    """Count the texts of warnings; what a quiet command still shows is passed on."""

    def __init__(self, kept: Warned, *, shown_from: int | None) -> None:
        super().__init__(logging.WARNING)
        self.kept, self.shown_from = kept, shown_from

    def emit(self, record: logging.LogRecord) -> None:
        text = portable(" ".join(record.getMessage().split()))
        if text in self.kept or len(self.kept) < _MOST:
            self.kept[text] = self.kept.get(text, 0) + 1
        if self.shown_from is not None and record.levelno >= self.shown_from:
            logging.getLogger().handle(record)


@contextmanager
def warned(kept: Warned | None = None) -> Iterator[Warned]:
    """Give the warnings of medseg's log, as counts by text that grow while the context is open.

    A quiet log stays quiet, and its warnings are kept nonetheless. Of one process: what a worker
    process warns of is not here. The first 200 different texts are kept.

    Args:
        kept: Earlier counts to go on with.
    """
    log, kept = logging.getLogger("medseg"), Warned() if kept is None else kept
    level, passes_on = log.level, log.propagate
    quiet = log.getEffectiveLevel() > logging.WARNING
    handler = _Keep(kept, shown_from=level if quiet else None)
    log.addHandler(handler)
    if quiet:
        log.setLevel(logging.WARNING)
        log.propagate = False
    try:
        yield kept
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = passes_on


def as_rows(kept: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return warnings as plain JSON, in their order: code, text, how many times."""
    rows = []
    for text, times in kept.items():
        code = _CODE.search(text)
        rows.append({"code": code[1] if code else "", "text": text, "times": times})
    return rows


def fall_backs(kept: Iterable[str]) -> list[str]:
    """Return the codes of the fall-backs among warnings, sorted, each once."""
    found = {code[1] for text in kept if (code := _CODE.search(text))}
    return sorted(found & FALL_BACKS)
