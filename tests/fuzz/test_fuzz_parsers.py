"""Every parser, given harmed files, returns or raises its own errors, in bounded memory."""

import tracemalloc
import warnings

import pytest
from fuzz_targets import TARGETS, require_lawful
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# Inputs are of some kilobytes. Deflate swells a thousandfold at most, and voxels become floats.
MEMORY_BYTES = 300 << 20
LONGEST = 200_000

PARSERS = [pytest.param(name, id=name) for name in TARGETS]
_FEW = settings(max_examples=25, suppress_health_check=list(HealthCheck))
_MANY = settings(max_examples=5000, suppress_health_check=list(HealthCheck), derandomize=False)


def changed(data, edits):
    """Return bytes after edits, each at a share of the length: replace, insert, cut, repeat."""
    for kind, share, piece in edits:
        at = int(share * len(data))
        if kind == "replace":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "cut":
            data = data[:at] + data[at + len(piece) :]
        elif kind == "end":
            data = data[:at]
        else:
            data = data[:at] + 3 * data[at : at + 5 * len(piece)] + data[at:]
    return data[:LONGEST]


def harmed(target):
    pieces = st.binary(min_size=1, max_size=4)
    if target.words:
        pieces |= st.sampled_from(target.words)
    kinds = st.sampled_from(["replace", "insert", "cut", "repeat", "replace", "insert", "end"])
    edits = st.lists(st.tuples(kinds, st.floats(0, 1), pieces), max_size=6)
    return st.builds(changed, st.sampled_from(list(target.seeds())), edits)


def require_bounded(name, data):
    """Run a target under the law, all that warnings say apart, and weigh what it took."""
    tracemalloc.reset_peak()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's and Pillow's, of elements that are not read
        read = require_lawful(TARGETS[name], data)
    assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    return read


@pytest.fixture(autouse=True)
def _weighed():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("name", PARSERS)
def test_sound_files_are_read(name):
    read = [require_bounded(name, seed) for seed in TARGETS[name].seeds()]
    assert any(read)


@pytest.mark.parametrize("name", PARSERS)
def test_a_harmed_file_is_read_or_refused(name):
    @_FEW
    @given(harmed(TARGETS[name]))
    def law(data):
        require_bounded(name, data)

    law()


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_thousands_of_harmed_files_are_read_or_refused(name):
    @_MANY
    @given(harmed(TARGETS[name]) | st.binary(max_size=4096))
    def law(data):
        require_bounded(name, data)

    law()
