"""What a run's page is made of: plain facts, each of which may be missing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from medseg.data.manifest import Manifest
from medseg.metrics.calibration import Calibration
from medseg.metrics.scores import OrganScore


class Side(NamedTuple):
    """What was trained, validated or tested on; `slices` is None where the data are out of reach.

    Attributes:
        role: ``training``, ``validation`` or ``test``.
        patients: How many.
        scans: How many.
        slices: How many.
    """

    role: str
    patients: int
    scans: int
    slices: int | None


@dataclass(frozen=True)
class RunFacts:
    """A run as its folder tells it; what is not there is empty.

    Attributes:
        name: The run's name.
        experiment: What it is a run of.
        config: Its configuration.
        manifest: The data set.
        metadata: The bundle's ``metadata.json``.
        sides: Who was trained, validated and tested on.
        split: ``sha256`` and ``rule`` of the split.
        provenance: Versions, machine, command, seeds.
        training: ``parameters``, ``slices`` and ``epochs``, a row each.
        weights: ``sha256`` of the weights, and the hash of the configuration.
        scores: Of the held-out scans.
        calibration: Of the held-out scans, by organ.
        cleaning: Rules for masks and what was tried, the content of ``cleaning.json``.
        cleaning_effect: What they do to the held-out scans, by organ.
        phantom: Whether the patients are computed.
    """

    name: str
    experiment: str
    config: Mapping[str, Any]
    manifest: Manifest
    metadata: Mapping[str, Any] = field(default_factory=dict)
    sides: Sequence[Side] = ()
    split: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    scores: Sequence[OrganScore] = ()
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    cleaning: Mapping[str, Any] = field(default_factory=dict)
    cleaning_effect: Mapping[str, Any] = field(default_factory=dict)
    phantom: bool = False

    @property
    def data_title(self) -> str:
        """What the data are, in a line."""
        title = self.manifest.title
        return f"Phantom in the layout of {title}: computed bodies" if self.phantom else title

    @property
    def history(self) -> list[dict[str, float]]:
        """A row an epoch; none where the run kept none."""
        return list(self.training.get("epochs", ()))

    @property
    def network(self) -> str:
        """The network's name in the configuration, such as ``segformer_b0``."""
        return last_name(self.config.get("network_def"))

    @property
    def training_s(self) -> float:
        """Seconds of all epochs, validation not counted; NaN where none is told."""
        seconds = [row["train/seconds"] for row in self.history if "train/seconds" in row]
        return math.fsum(seconds) if seconds else math.nan

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose parameters were kept: the first that validated best; None without."""
        rows = [row for row in self.history if not math.isnan(row.get("val/dice/mean", math.nan))]
        best = max(rows, key=lambda row: row["val/dice/mean"], default=None)
        return None if best is None else int(best["epoch"])

    def side(self, role: str) -> Side | None:
        """Return the side with this role, None when it is not told."""
        return next((side for side in self.sides if side.role == role), None)


def last_name(part: Any) -> str:  # noqa: ANN401 - any JSON
    """Return the name of what a part of a configuration builds; empty where it names nothing."""
    target = part.get("_target_", "") if isinstance(part, Mapping) else ""
    return str(target).rsplit(".", 1)[-1]
