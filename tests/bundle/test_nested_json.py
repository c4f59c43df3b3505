"""JSON that nests without end: Python's reader gives up on it with an error of its own."""

import pytest

from medseg.bundle import Bundle, overridden
from medseg.errors import UsageError

DEEP = "[" * 100_000


def test_a_configuration_that_nests_without_end_is_refused(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").write_text(DEEP)
    with pytest.raises(UsageError, match=r"E-JSON.*train.json:1:1: nested deeper than 32"):
        Bundle(tmp_path).written("train")


def test_a_setting_that_nests_without_end_is_text():
    assert overridden({"note": ""}, {"note": DEEP}, subject="toy") == {"note": DEEP}
