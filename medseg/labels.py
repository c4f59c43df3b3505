"""Organs: their names, channels, codes, colours and SNOMED CT concepts.

*Masks* hold one boolean channel an organ, in the order of the label set, and may overlap. A *label
map* holds one integer a voxel: 0 is background, and where organs overlap the one that comes first
in `LabelSet.priority` wins. Masks can be turned into a label map, never back without loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Organ:
    """One structure: its name, its integer in a label map, its colour and its SNOMED CT concept."""

    name: str
    code: int
    colour: tuple[int, int, int]
    snomed: str
    meaning: str


@dataclass(frozen=True)
class LabelSet:
    """The organs of a data set in channel order, and which of them wins where they overlap."""

    organs: tuple[Organ, ...]
    priority: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The organs' names in channel order."""
        return tuple(organ.name for organ in self.organs)

    def channel(self, name: str) -> int:
        """Return the channel of the organ `name`; ValueError when there is none."""
        return self.names.index(name)

    @property
    def painting_order(self) -> tuple[int, ...]:
        """Channels from the lowest priority to the highest: the last one painted wins."""
        return tuple(self.channel(name) for name in reversed(self.priority))

    def label_map(self, masks: Sequence[NDArray[np.generic]]) -> NDArray[np.uint8]:
        """Return the label map of masks ``(C, ...)``; overlaps go to the organ of higher priority.

        No organ anywhere gives zeros. The map lies in memory as the first mask does.
        """
        painted = np.zeros_like(np.asarray(masks[0]), np.uint8)
        for channel in self.painting_order:
            np.copyto(painted, self.organs[channel].code, where=np.asarray(masks[channel], bool))
        return painted

    def masks(self, label_map: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Return masks ``(C, ...)`` of a label map; they never overlap."""
        return np.stack([np.asarray(label_map) == organ.code for organ in self.organs])
