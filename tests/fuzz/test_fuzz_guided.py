"""A million inputs a parser, or ten minutes, each made from those that reached new code."""

from importlib.util import find_spec

import pytest
from fuzz_run import GUIDED, fuzzed
from fuzz_targets import TARGETS, Target, require_lawful

from medseg.errors import DataError, Problem

RUNS, SECONDS = 1_000_000, 600


def raising(error):
    def read(data):
        raise error

    return Target(read, lambda: [b""])


def test_an_error_of_another_kind_breaks_the_law():
    with pytest.raises(KeyError, match="lost"):
        require_lawful(raising(KeyError("lost")), b"")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(DataError(), id="without a problem"),
        pytest.param(DataError(Problem("E-X", "a", "")), id="that says nothing"),
        pytest.param(DataError(Problem("E-X", "a", "x" * 9000)), id="as long as its input"),
    ],
)
def test_an_error_that_does_not_tell_breaks_the_law(error):
    with pytest.raises(AssertionError, match=r"without a problem|characters"):
        require_lawful(raising(error), b"")


def test_an_error_that_tells_keeps_the_law():
    assert not require_lawful(raising(DataError(Problem("E-X", "a", "is none"))), b"")


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in GUIDED])
def test_guided_inputs_find_nothing(name):
    if find_spec("atheris") is None:
        pytest.skip("atheris is not installed: pip install 'medseg[fuzz]'")
    row = fuzzed(name, runs=RUNS, seconds=SECONDS)
    assert not row["crash"], row["crash"]
    assert row["runs"] >= RUNS or row["seconds"] >= SECONDS
    assert row["features"] > len(TARGETS[name].seeds())
