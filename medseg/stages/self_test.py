"""Self-test: whether medseg keeps its promises on this machine, in a minute and with no data.

All of it happens in a temporary folder. Later checks look at what earlier ones left.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from medseg.bundle.checks import undisturbed
from medseg.errors import MedsegError, cause_of
from medseg.stages import self_test_files as files
from medseg.stages import self_test_safety as safety
from medseg.stages import self_test_training as trainings
from medseg.stages.self_test_ground import Ground, UnexpectedError

Check = Callable[[Ground], str]

_OWN = (MedsegError, UnexpectedError)

CHECKS: Mapping[str, Check] = {
    "phantom": trainings.phantom,
    "metrics": files.metrics,
    "landmarks": files.landmarks,
    "damaged files": safety.bombs,
    "full disk": safety.full_disk,
    "hostile bundle": safety.hostile_bundle,
    "hostile checkpoint": safety.hostile_checkpoint,
    "training": trainings.training,
    "kill and resume": trainings.kill_and_resume,
    "MLflow": trainings.store,
    "damaged checkpoint": safety.damaged_checkpoint,
    "prediction": files.prediction,
}


class Outcome(NamedTuple):
    """What a check saw.

    Attributes:
        name: What was checked.
        ok: Whether it was as it has to be.
        seen: What was seen, in words.
        seconds: How long it took.
    """

    name: str
    ok: bool
    seen: str
    seconds: float

    def __str__(self) -> str:
        state = "ok" if self.ok else "failed"
        return f"{state:7} {self.name:19} {self.seconds:5.1f} s  {self.seen}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, for ``--json``."""
        return {**self._asdict(), "seconds": round(self.seconds, 2)}


def self_test(checks: Mapping[str, Check] = CHECKS) -> Iterator[Outcome]:
    """Make each check in a folder that is removed at the end, and yield what it saw.

    What a check meets fails that check alone, whatever it is; those that build on it fail too.
    """
    with TemporaryDirectory(prefix="medseg-self-test-") as folder:
        ground = Ground(Path(folder).resolve())
        for name, check in checks.items():
            began_s = time.monotonic()
            ok, seen = _made(check, ground)
            yield Outcome(name, ok, seen, time.monotonic() - began_s)


def _made(check: Check, ground: Ground) -> tuple[bool, str]:
    try:
        with undisturbed():
            return True, check(ground)
    except Exception as error:
        own = cause_of(error) or error
        told = " ".join(str(own).split())[:300]
        # Errors of our own say what they are.
        return False, told if isinstance(own, _OWN) else f"{type(own).__name__}: {told}"
