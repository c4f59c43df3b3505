"""What a run held out, as its own files tell it."""

import pytest

from medseg.data.sides import held_out
from medseg.data.splits import ScanFacts, Splits
from medseg.errors import DataError


@pytest.fixture
def run(tmp_path):
    """A run's folder with a split of three patients, and no configuration yet."""
    facts = {
        f"case{n}_day0": ScanFacts(patient=f"case{n}", sha256="0" * 64, organ_slices={"liver": 1})
        for n in (1, 2, 3)
    }
    Splits((("case1",), ("case2",), ("case3",)), facts).write(tmp_path / "splits.json")
    return tmp_path


def test_the_fold_of_the_configuration_is_held_out(run):
    (run / "config.json").write_text('{"fold": 1}')
    assert held_out(run) == {"case2_day0"}


def test_a_folder_without_a_configuration_is_no_run(run):
    assert held_out(run) is None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"\x80", id="no text"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b"[" * 100_000, id="nested without end"),
        pytest.param(b"{}", id="no fold"),
        pytest.param(b'{"fold": null}', id="null"),
        pytest.param(b'{"fold": Infinity}', id="infinity"),
    ],
)
def test_a_configuration_that_tells_no_fold_is_refused(run, content):
    (run / "config.json").write_bytes(content)
    with pytest.raises(DataError, match=r"E-RUN.*config\.json: does not tell its fold"):
        held_out(run)
