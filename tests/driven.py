"""Scripts that kill or stop medseg and tell of each trial, run as a user runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def rows_of(driver, *words):
    """Return the row that a script of ``tests/faults`` tells of each trial; see there."""
    done = subprocess.run(
        [sys.executable, TESTS / "faults" / driver, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]
