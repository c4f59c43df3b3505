"""The run-length rows of a NIfTI label map, read when somebody asks for them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from medseg.errors import DataError, Problem
from medseg.io.nifti import read_label_map
from medseg.io.rle import encode


class LabelMapRows(Mapping[str, tuple[str, ...]]):
    """Rows by organ, one a slice ``k`` of the label map, ``(H, W)`` being its J and I.

    The names are known at once; the file is read for the first rows, and its rows are kept.

    Args:
        path: The label map.
        codes: The integer of each organ; 0 is background.

    Raises:
        DataError: When rows are asked for: those of `read_label_map`; E-LABEL, a code that is no
            organ's.
    """

    def __init__(self, path: Path, codes: Mapping[str, int]) -> None:
        self.path, self.codes = path, dict(codes)
        self._rows: dict[str, tuple[str, ...]] = {}

    def __getitem__(self, organ: str) -> tuple[str, ...]:
        """Return the rows of an organ, empty where it is absent."""
        if organ not in self.codes:
            raise KeyError(organ)
        if not self._rows:
            self._rows = self._encoded()
        return self._rows[organ]

    def __iter__(self) -> Iterator[str]:
        return iter(self.codes)

    def __len__(self) -> int:
        return len(self.codes)

    def _encoded(self) -> dict[str, tuple[str, ...]]:
        slices = np.ascontiguousarray(read_label_map(self.path)[0].T)  # (K, J, I)
        unknown = sorted(set(np.unique(slices).tolist()) - {0, *self.codes.values()})
        if unknown:
            known = ", ".join(f"{code} {organ}" for organ, code in self.codes.items())
            fix = "name every label in the manifest"
            found = f"holds codes {unknown}"
            raise DataError(Problem("E-LABEL", str(self.path), found, f"0 or {known}", fix))
        return {
            organ: tuple(encode(each == code) for each in slices)
            for organ, code in self.codes.items()
        }
