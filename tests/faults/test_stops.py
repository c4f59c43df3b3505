"""SIGTERM ends with 143 and Ctrl-C with 130, in every stage; what is done is kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def stopped(folder, wanted):
    """Return a row for each trial of the driver; see there."""
    done = subprocess.run(
        [sys.executable, HERE / "stop_driver.py", folder, wanted],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def require_kept(rows):
    """Assert that each ended with its signal's code and kept what was done, to be gone on with."""
    for row in rows:
        assert row["code"] == {"SIGTERM": 143, "SIGINT": 130}[row["signal"]], row
        assert row["left over"] == row["locks"] == [], row
        assert row["told"] == ([] if row["stage"] == "predict" else [row["code"]]), row
        assert row["saved"] == (row["stage"] == "train"), row
        assert row["then"] == 0, row


def test_a_stop_keeps_what_is_done(tmp_path):
    rows = stopped(tmp_path, "train-SIGTERM,predict-SIGINT")
    assert [row["stage"] for row in rows] == ["train", "predict"]
    require_kept(rows)


@pytest.mark.slow
def test_each_signal_in_each_stage(tmp_path):
    rows = stopped(tmp_path, "every")
    assert len(rows) == 6
    require_kept(rows)
