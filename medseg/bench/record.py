"""What a benchmark leaves: a table to read, and JSON with command, commit, machine and versions."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from medseg import __version__, machine
from medseg.bench.measure import Comparison
from medseg.engine.provenance import provenance

_PACKAGES = ("torch", "monai", "transformers", "mlflow", "numpy", "numba", "isal", "nibabel")


def table(rows: Sequence[Comparison]) -> str:
    """Return the comparisons as aligned text, one a line; empty without any."""
    lines = [("work", "against", "times as fast", "from - to", "reach", "medseg", "other", "")]
    lines += [
        (
            row.work,
            row.against,
            f"{row.ratio:.2f}",
            f"{row.lowest:.2f} - {row.highest:.2f}",
            f"{row.reach:g}",
            seconds(row.ours_s),
            seconds(row.theirs_s),
            "" if row.reached else "below reach",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join(aligned) if rows else ""


def seconds(value_s: float) -> str:
    """Return a duration in the unit that suits it.

    >>> seconds(0.0123), seconds(2.5), seconds(4e-5)
    ('12.3 ms', '2.50 s', '40.0 us')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value_s >= size or unit == "us":
            return f"{value_s / size:.2f} s" if unit == "s" else f"{value_s / size:.1f} {unit}"
    raise AssertionError(value_s)


def record(rows: Sequence[Comparison], **facts: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the comparisons with all that one needs to judge them and to run them again.

    Args:
        rows: What was measured.
        facts: More to keep, as plain JSON: sizes, threads, single figures.
    """
    made = provenance(seeds={})
    return {
        "command": made["command"],
        "commit": (made["git"] or {}).get("commit"),
        "uncommitted_changes": (made["git"] or {}).get("dirty"),
        "medseg": __version__,
        "machine": _machine(),
        "versions": {name: machine.version(name) for name in _PACKAGES},
        **facts,
        "rows": [_rounded(row._asdict()) for row in rows],
    }


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write a record as JSON."""
    path.write_text(json.dumps(content, indent=1) + "\n")


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "processor": next(device.model for device in machine.devices()),
        "cores": os.cpu_count(),
        "devices": [device.name for device in machine.devices()],
        "load": [round(load, 1) for load in psutil.getloadavg()],
    }


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: float(f"{value:.4g}") if isinstance(value, float) else value
        for key, value in row.items()
    }
