"""Warnings that a command's record keeps, whatever of them was shown."""

import logging
from pathlib import Path

import pytest

from medseg.engine.warned import as_rows, fall_backs, warned

LOG = logging.getLogger("medseg.engine.memory")


@pytest.fixture
def level():
    """A function that sets the level of medseg's log, which is what it was afterwards."""
    log = logging.getLogger("medseg")
    before = log.level
    yield log.setLevel
    log.setLevel(before)


def test_warnings_are_counted_by_their_text_and_nothing_less_is():
    with warned() as kept:
        LOG.info("all is well")
        LOG.warning("%s", "warning[W-MEMORY]: cpu: too much.")
        LOG.warning("odd")
        LOG.warning("odd")
    LOG.warning("too late")
    assert as_rows(kept) == [
        {"code": "W-MEMORY", "text": "warning[W-MEMORY]: cpu: too much.", "times": 1},
        {"code": "", "text": "odd", "times": 2},
    ]


def test_a_fall_back_is_a_warning_of_another_way():
    with warned() as kept:
        for code in ("W-STREAMED", "W-AFFINE", "W-MEMORY", "W-STREAMED"):
            LOG.warning("[%s]: %s", code, object())
    assert fall_backs(kept) == ["W-MEMORY", "W-STREAMED"]
    assert fall_backs(()) == []


def test_a_warning_tells_no_place_of_this_machine(tmp_path):
    with warned() as kept:
        LOG.warning("[W-AFFINE]: %s: odd", tmp_path / "a.nii.gz")
        LOG.warning("[W-AFFINE]: %s/b/c: odd", Path.home())
    text = "".join(kept)
    assert str(tmp_path) not in text
    assert str(Path.home()) not in text
    assert "…/a.nii.gz" in text


def test_a_quiet_log_stays_quiet_and_is_kept(level, caplog):
    level(logging.ERROR)
    with warned() as kept:
        LOG.warning("not shown")
        LOG.error("shown")
    assert list(kept) == ["not shown", "shown"]
    assert [record.getMessage() for record in caplog.records] == ["shown"]
    assert logging.getLogger("medseg").level == logging.ERROR
    caplog.clear()
    LOG.error("afterwards")
    assert [record.getMessage() for record in caplog.records] == ["afterwards"]


def test_a_log_that_is_not_quiet_shows_each_warning_once(level, caplog):
    level(logging.WARNING)
    with warned() as outer, warned() as inner:
        LOG.warning("once")
    assert outer == inner == {"once": 1}
    assert [record.getMessage() for record in caplog.records] == ["once"]


def test_of_endless_warnings_the_first_are_kept():
    with warned() as kept:
        for number in range(250):
            LOG.warning("number %d", number)
        LOG.warning("number 0")
    assert len(kept) == 200
    assert (kept["number 0"], kept["number 199"]) == (2, 1)
