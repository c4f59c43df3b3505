"""SIGTERM ends with 143 and Ctrl-C with 130, in every stage; what is done is kept."""

import pytest
from driven import rows_of


def require_kept(rows):
    """Assert that each ended with its signal's code and kept what was done, to be gone on with."""
    for row in rows:
        assert row["code"] == {"SIGTERM": 143, "SIGINT": 130}[row["signal"]], row
        assert row["left over"] == row["locks"] == [], row
        assert row["told"] == ([] if row["stage"] == "predict" else [row["code"]]), row
        assert row["saved"] == (row["stage"] == "train"), row
        assert row["then"] == 0, row


def test_a_stop_keeps_what_is_done(tmp_path):
    rows = rows_of("stop_driver.py", tmp_path, "train-SIGTERM,predict-SIGINT")
    assert [row["stage"] for row in rows] == ["train", "predict"]
    require_kept(rows)


@pytest.mark.slow
def test_each_signal_in_each_stage(tmp_path):
    rows = rows_of("stop_driver.py", tmp_path, "every")
    assert len(rows) == 6
    require_kept(rows)
