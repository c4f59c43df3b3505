"""Logged steps beside MLflow's own: the same numbers are in both stores."""

import mlflow
import pytest

from medseg.bench.tracking import works


def test_both_sides_keep_the_same_numbers(tmp_path):
    before = mlflow.get_tracking_uri()
    each, together = works(tmp_path, steps=3, flushed_every=2)
    assert mlflow.get_tracking_uri() == before
    own = each.ours()
    assert each.same(own, each.theirs()) == "both stores give back all 18 values"
    assert together.same(own, together.theirs()) == "both stores give back all 18 values"
    assert mlflow.get_tracking_uri() == before


def test_a_lost_step_is_noticed(tmp_path):
    (complete, _), (short, _) = works(tmp_path / "a", steps=2), works(tmp_path / "b", steps=1)
    with pytest.raises(AssertionError, match="the other did not keep what was logged"):
        complete.same(complete.ours(), short.ours())
