"""The measuring itself: turns, medians, and no ratio of unequal works."""

import itertools
import json

import pytest

from medseg.bench.measure import Timed, Work, compare
from medseg.bench.record import record, seconds, table
from medseg.errors import UsageError


def work_of(ours, theirs, same=lambda *_: "equal", **more):
    return Work("adding", "a slate", 2.0, ours, theirs, same, **more)


def test_ratio_is_the_median_of_the_rounds_and_the_warm_run_does_not_count():
    times = itertools.chain([99.0], [2.0, 4.0, 12.0])
    found = compare(
        work_of(lambda: Timed("sum", 2.0, 1.0), lambda: Timed("sum", next(times), 3.0)), rounds=3
    )
    assert (found.ratio, found.lowest, found.highest) == (2.0, 1.0, 6.0)
    assert (found.cpu_ratio, found.ours_s, found.theirs_s) == (3.0, 2.0, 4.0)
    assert found.reached
    assert found.same == "equal"


def test_sides_take_turns_and_change_who_goes_first():
    order = []
    compare(
        work_of(lambda: order.append("a"), lambda: order.append("b"), warm=2),
        rounds=3,
    )
    assert "".join(order) == "ab" + "ab" + "ab" + "ba" + "ab"


def test_unequal_results_are_not_timed():
    def same(ours, theirs):
        assert ours == theirs, "sums differ"
        return "equal"

    runs = []
    with pytest.raises(AssertionError, match="sums differ"):
        compare(work_of(lambda: runs.append(1) or 1, lambda: 2, same))
    assert len(runs) == 1


def test_no_rounds_are_refused():
    with pytest.raises(UsageError, match="0 rounds"):
        compare(work_of(int, int), rounds=0)


def test_table_marks_what_is_below_its_reach():
    slow = compare(work_of(lambda: Timed(0, 2e-3, 1.0), lambda: Timed(0, 3e-3, 1.0)))
    head, row = table([slow]).splitlines()
    assert head.split()[:2] == ["work", "against"]
    assert row.split() == [
        *("adding", "a", "slate", "1.50", "1.50", "-", "1.50", "2"),
        *("2.0", "ms", "3.0", "ms", "below", "reach"),
    ]
    assert table([]) == ""


def test_record_can_be_judged_and_repeated():
    row = compare(work_of(lambda: Timed(0, 1.0, 1.0), lambda: Timed(0, 2.123456, 1.0)))
    found = json.loads(json.dumps(record([row], threads=1)))
    assert found["rows"][0]["ratio"] == 2.123
    assert found["threads"] == 1
    assert found["machine"]["cores"] >= 1
    assert {"command", "commit", "versions"} <= set(found)


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        pytest.param(61.0, "61.00 s", id="a minute"),
        pytest.param(0.5, "500.0 ms", id="half a second"),
        pytest.param(2e-7, "0.2 us", id="less than the smallest unit"),
    ],
)
def test_seconds(value_s, text):
    assert seconds(value_s) == text
