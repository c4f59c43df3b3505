"""A training that is killed anywhere goes on to the very end that it would have had."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOLD = {"trials", "seconds of a training"}


def judged(folder, points, *more):
    """Return a row for each trial of the driver; see there."""
    done = subprocess.run(
        [sys.executable, HERE / "kill_driver.py", folder, points, *more],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def require_nothing_lost(rows):
    for row in rows:
        assert row["unreadable"] == [], row
        assert row["lost"] <= 1, row
        assert row["resumed"] == 0, row
        # Checkpoint, weights, training.json, MLflow's history in one run, and nothing left over.
        assert row["differs"] == [], row


def test_three_epochs_a_kill_and_three_more_are_six_in_one_go(tmp_path):
    rows = judged(tmp_path, "write last.pt#4,full write hashes.json#3")
    assert [row["code"] for row in rows] == [-9, 4]
    assert [row["finished"] for row in rows] == [4, 3]
    require_nothing_lost(rows)


@pytest.mark.slow
def test_at_every_point_where_something_is_written(tmp_path):
    rows = judged(tmp_path, "every")
    assert len(rows) > 80
    assert {row["code"] for row in rows} == {-9}
    require_nothing_lost(rows)


@pytest.mark.slow
def test_at_two_hundred_random_moments(tmp_path):
    out = tmp_path / "faults.json"
    rows = judged(tmp_path / "trials", "random:200", "--out", str(out))
    require_nothing_lost(rows)
    (figures,) = json.loads(out.read_text()).values()
    assert figures["trials"] == 200
    assert figures["killed"] > 150


@pytest.mark.slow
def test_beside_other_ways_to_write_checkpoints(tmp_path):
    done = subprocess.run(
        [sys.executable, HERE / "peer_driver.py", tmp_path, "40"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads((tmp_path / "faults.json").read_text())
    ours, plain = told["checkpoints, medseg"], told["checkpoints, torch.save"]
    assert [value for key, value in ours.items() if key not in TOLD] == [0, 0, 0, 0]
    assert plain["newest checkpoint unreadable"] > 0  # so the kills did come while it wrote
