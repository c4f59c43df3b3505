"""A training that is killed anywhere goes on to the very end that it would have had."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from driven import rows_of

HERE = Path(__file__).parent
STUDIES = 3
TOLD = {"trials", "seconds of a training"}
# Where the figures of the slow tests are kept, if anywhere.
RESULTS = os.environ.get("MEDSEG_RESULTS")


def figures_of(name, folder):
    """Return what a driver counted, from its file."""
    return json.loads((Path(RESULTS or folder) / "faults.json").read_text())[name]


def kept(folder):
    return ["--out", str(Path(RESULTS or folder).resolve() / "faults.json")]


def judged(folder, points, *more):
    return rows_of("kill_driver.py", folder, points, *more)


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


def require_studies_whole(rows):
    """Assert that each study was there or not, and that only those not there were made again."""
    for row in rows:
        assert row["unreadable"] == [], row
        # A kill may come between the record of a study and the word that it is there.
        assert row["lost"] <= 0, row
        assert row["resumed"] == 0, row
        assert row["finished then"] == STUDIES - row["complete"], row
        assert row["differs"] == [], row


def test_predictions_go_on_with_the_studies_that_are_missing(tmp_path):
    points = [
        *("write medseg.lock", "write case711_day0.nii.gz", "replace case711_day0.json#2"),
        *("fsync case836_day0_preview.png", "full write case836_day0.nii.gz", "write report.html"),
    ]
    rows = judged(tmp_path, ",".join(points), "--of", "predictions")
    assert [row["code"] for row in rows] == [-9, -9, -9, -9, 4, -9]
    complete = [row["complete"] for row in rows]
    # The study after one that cannot be written is computed by then, and may be written.
    assert complete in ([0, 0, 0, 1, 1, 3], [0, 0, 0, 1, 2, 3])
    require_studies_whole(rows)


@pytest.mark.slow
def test_predictions_at_every_point_where_something_is_written(tmp_path):
    rows = judged(tmp_path / "trials", "every", "--of", "predictions", *kept(tmp_path))
    assert len(rows) > 50
    assert {row["code"] for row in rows} == {-9}
    assert {row["complete"] for row in rows} == {0, 1, 2, 3}
    require_studies_whole(rows)


@pytest.mark.slow
def test_at_every_point_where_something_is_written(tmp_path):
    rows = judged(tmp_path / "trials", "every", *kept(tmp_path))
    assert len(rows) > 80
    assert {row["code"] for row in rows} == {-9}
    require_nothing_lost(rows)


@pytest.mark.slow
def test_at_two_hundred_random_moments(tmp_path):
    rows = judged(tmp_path / "trials", "random:200", *kept(tmp_path))
    require_nothing_lost(rows)
    figures = figures_of("medseg training, random", tmp_path)
    assert figures["trials"] == 200
    assert figures["killed"] > 150


@pytest.mark.slow
def test_beside_other_ways_to_write_checkpoints(tmp_path):
    done = subprocess.run(
        [sys.executable, HERE / "peer_driver.py", tmp_path, "40", *kept(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ours = figures_of("checkpoints, medseg", tmp_path)
    plain = figures_of("checkpoints, torch.save", tmp_path)
    assert [value for key, value in ours.items() if key not in TOLD] == [0, 0, 0, 0]
    assert plain["newest checkpoint unreadable"] > 0  # so the kills did come while it wrote
