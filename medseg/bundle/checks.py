"""The checks of a bundle, in the order in which they tell most, and how each ended."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, NamedTuple

from medseg.bundle import laws, specification
from medseg.bundle.examined import Broken, Check, Examined, LeftOut

State = Literal["ok", "failed", "left out"]

CHECKS: Mapping[str, Check] = {
    "directory": specification.directory,
    "keys": specification.keys,
    "version": specification.versions,
    "metadata": specification.schema,
    "overlays": laws.overlays,
    "targets": laws.targets,
    "wiring": laws.wiring,
    "channels": laws.channels,
    "agreement": laws.agreement,
    "network": specification.network,
    "TorchScript": specification.torchscript,
    "preprocessing": laws.preprocessing,
    "train properties": specification.training_properties,
    "inference properties": specification.inference_properties,
    "weights": specification.weights,
    "runs elsewhere": specification.runs_elsewhere,
}


class Outcome(NamedTuple):
    """How one check of a bundle ended, and why."""

    check: str
    state: State
    reason: str

    def __str__(self) -> str:
        return f"{self.state:8}  {self.check}{f': {self.reason}' * bool(self.reason)}"


def outcomes(examined: Examined, checks: Mapping[str, Check] = CHECKS) -> Iterator[Outcome]:
    """Make each check and yield how it ended; what a library raises is a reason like any other."""
    for name, check in checks.items():
        try:
            with undisturbed():
                told = check(examined)
            yield Outcome(name, "ok", told)
        except LeftOut as reason:
            yield Outcome(name, "left out", str(reason))
        except Broken as verdict:
            yield Outcome(name, "failed", str(verdict))
        except Exception as error:
            said = " ".join(str(error).split())
            yield Outcome(name, "failed", f"{type(error).__name__}: {said}"[:400])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep warnings out of a table of checks; what matters is an outcome."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
