"""The works of starting up run whole processes and look at what these say."""

import json

import pytest

from medseg.bench.measure import Timed
from medseg.bench.startup import process, works


@pytest.fixture
def starting(tmp_path):
    return works(tmp_path)


def test_works_aim_at_what_is_asked(starting):
    assert [work.reach for work in starting] == [3, 3, 1.5]
    assert "needs torch" in starting[0].name


def test_a_process_is_timed_by_the_clock_and_by_its_own_processor_time(tmp_path):
    # Work for several ticks of the processor's clock, and rest.
    code = "import time; sum(range(5_000_000)); print('said'); time.sleep(0.3)"
    found = process("-c", code, folder=tmp_path)
    assert isinstance(found, Timed)
    assert found.output == "said\n"
    assert found.wall_s > 0.3
    assert 0 < found.cpu_s < found.wall_s


def test_help_on_stderr_counts_as_said(tmp_path):
    code = "import sys; print('help', file=sys.stderr)"
    assert process("-c", code, folder=tmp_path).output == "help\n"


def test_medsegs_sides_say_what_is_compared(starting):
    monai_help = "NAME\n    __main__.py - A MONAI Bundle\n"
    assert "devices by torch" in starting[0].same(starting[0].ours().output, monai_help)
    assert starting[1].same(starting[1].ours().output, monai_help) == "both tell their help"
    assert starting[2].same("1.6.1\n", "1.6.1\n") == "MONAI 1.6.1"


@pytest.mark.parametrize(
    ("index", "ours", "theirs", "message"),
    [
        pytest.param(0, '{"devices": []}', "bundle", "not asked", id="no devices"),
        pytest.param(
            0, json.dumps({"devices": ["cpu"]}), "Traceback", "MONAI said", id="MONAI failed"
        ),
        pytest.param(1, "Traceback", "bundle", "medseg said", id="medseg failed"),
        pytest.param(2, "1.6.1", "1.6.2", "1.6.1 and 1.6.2", id="two versions"),
    ],
)
def test_a_side_that_failed_is_noticed(starting, index, ours, theirs, message):
    with pytest.raises(AssertionError, match=message):
        starting[index].same(ours, theirs)
