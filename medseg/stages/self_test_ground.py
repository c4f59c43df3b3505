"""What the checks of the self-test stand on: a folder, a tiny phantom, trainings of seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from medseg.stages.begin import Request

EPOCHS, STEPS = 4, 2
KILLED_AFTER = 2
PATIENTS, DAYS = 3, 1

_SETTINGS = {
    **{"roi_px": "[32, 32]", "spacing_mm": "[9.0, 9.0, 9.0]", "epochs": str(EPOCHS)},
    **{"epoch_length": str(STEPS), "batch_size": "2", "val_interval": "1", "ema_decay": "0.9"},
    **{"network_def::_target_": "medseg.models.unext"},
}


class UnexpectedError(Exception):
    """A check saw something else than it has to see; the text is what is told."""


class Ground(NamedTuple):
    """The folder that all of a self-test happens in; it is removed after it."""

    folder: Path

    @property
    def data(self) -> Path:
        """Where the phantom lies."""
        return self.folder / "data"

    def request(
        self, output: str, *, resume: bool = False, stages: Sequence[str] = ("prepare", "train")
    ) -> Request:
        """Return what a user would ask for, in a folder of runs of its own."""
        return Request(
            "uwmgi_unext",
            data=self.data,
            demo=True,
            stages=stages,
            settings=dict(_SETTINGS),
            resume=resume,
            device="cpu",
            output=self.folder / output,
        )


def expect(fact: object, otherwise: str) -> None:
    """Go on where `fact` holds.

    Raises:
        UnexpectedError: It does not; `otherwise` says what is there instead.
    """
    if not fact:
        raise UnexpectedError(otherwise)
