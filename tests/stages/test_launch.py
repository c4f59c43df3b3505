"""What of a command in several processes is tried again, and what it ends with."""

import signal
from pathlib import Path

import pytest

from medseg.cli import main
from medseg.errors import DataError, Problem, ResourceError, Stopped
from medseg.ranks import LOST
from medseg.stages.begin import Request, again
from medseg.stages.launch import OUTCOME, _code, lasting


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        pytest.param(DataError(Problem("E-GAP", "a", "is wrong")), "3", id="bad data stay bad"),
        pytest.param(ValueError("a fault"), "1", id="a fault stays"),
        pytest.param(ResourceError(Problem(LOST, "a", "is lost")), None, id="others may come back"),
        pytest.param(Stopped(signal.SIGTERM), None, id="the launcher knows of signals"),
    ],
)
def test_what_lasts_is_kept(tmp_path, monkeypatch, error, kept):
    monkeypatch.setenv(OUTCOME, str(tmp_path / "code"))
    with pytest.raises(type(error)), lasting():
        raise error
    assert (tmp_path / "code").exists() is (kept is not None)
    assert kept is None or (tmp_path / "code").read_text() == kept


def test_alone_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv(OUTCOME, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="a fault"), lasting():
        raise ValueError("a fault")
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_killed_again_and_again_is_told():
    assert _code(1) == 1
    with pytest.raises(ResourceError, match="was ended by SIGKILL, 4 times"):
        _code(-signal.SIGKILL)


@pytest.mark.parametrize("count", [pytest.param("0", id="none"), pytest.param("-2", id="negative")])
def test_no_processes_are_no_number(capsys, count):
    assert main(["run", "uwmgi_unet", "--nproc", count]) == 2
    assert "E-USAGE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "name", "goes_on"),
    [
        pytest.param("1", "29990101-000000-fold0", True, id="killed after it began"),
        pytest.param("1", "20000101-000000-fold0", False, id="killed before it began"),
        pytest.param("0", "29990101-000000-fold0", False, id="not killed"),
    ],
)
def test_what_was_begun_goes_on(tmp_path, monkeypatch, count, name, goes_on):
    places = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    for key, value in {**places, "TORCHELASTIC_RESTART_COUNT": count}.items():
        monkeypatch.setenv(key, value)
    (tmp_path / "uwmgi_unet" / name).mkdir(parents=True)
    request = Request("uwmgi_unet", data=Path("data"), output=tmp_path)
    assert again(request).resume is goes_on
