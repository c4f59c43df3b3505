"""What is shown of a run and of a folder, and the server that shows it."""

import json
import logging
import signal
import urllib.request

import pytest
from predicted_folder import MISSED, predicted

from medseg.errors import DataError, Stopped
from medseg.stages.view import shown, view


@pytest.fixture(scope="module")
def folder(tiny_phantom, tmp_path_factory):
    """A folder of predictions with metrics.csv."""
    made = tmp_path_factory.mktemp("runs") / "predictions"
    predicted(made, tiny_phantom)
    return made


@pytest.fixture
def run(folder, tmp_path, tiny_phantom):
    """A run folder with as much of a run as is shown."""
    made = tmp_path / "uwmgi_segformer" / "fold0"
    made.mkdir(parents=True)
    (made / "predictions").symlink_to(folder)
    (made / "metrics.csv").write_bytes((folder / "metrics.csv").read_bytes())
    config = {"dataset_dir": str(tiny_phantom), "manifest": "uwmgi", "fold": 0}
    (made / "config.json").write_text(json.dumps(config))
    return made


def test_a_run_knows_its_data(run, tiny_phantom):
    what = shown(run)
    assert what.predictions == run / "predictions"
    assert (what.images, what.reference) == (tiny_phantom, tiny_phantom)
    assert (what.scores, what.manifest) == (run / "metrics.csv", "uwmgi")
    assert what.title == "uwmgi_segformer fold0"


def test_folders_that_are_named_come_before_the_runs_own(run, tmp_path):
    what = shown(run, images=tmp_path / "a", reference=tmp_path / "b", manifest="other.yaml")
    assert (what.images, what.reference) == (tmp_path / "a", tmp_path / "b")
    assert what.manifest == "other.yaml"


def test_a_run_whose_data_are_gone_is_shown_without_them(run, caplog):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "dataset_dir": "/gone"}))
    with caplog.at_level(logging.WARNING, "medseg"):
        what = shown(run)
    assert (what.images, what.reference) == (None, None)
    assert "W-DATA" in caplog.text
    assert "--images" in caplog.text


def test_a_folder_is_shown_as_it_is(folder):
    assert shown(folder) == (
        *(folder, "uwmgi", None, None, folder / "metrics.csv"),
        "predictions",
    )


def test_without_scores_the_list_has_none(tmp_path):
    assert shown(tmp_path).scores is None


def test_ctrl_c_is_the_way_to_end_and_no_fault(folder):
    urls = []

    def ready(url):
        urls.append(url)
        raise KeyboardInterrupt

    view(shown(folder), port=0, ready=ready)
    assert urls[0].startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match="refused"):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(urls[0])


def test_a_signal_keeps_its_exit_code(folder):
    def ready(_url):
        raise Stopped(signal.SIGTERM)

    with pytest.raises(Stopped, match=str(int(signal.SIGTERM))):
        view(shown(folder), port=0, ready=ready)


def test_a_folder_with_nothing_to_show_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"E-EMPTY.*holds no label files"):
        view(shown(tmp_path), port=0, ready=print)


def test_the_cases_of_a_run_are_those_it_predicted(run, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "medseg.stages.view.routes",
        lambda cases, _labels, *, title: seen.append((cases, title)),
    )

    def ready(_url):
        raise KeyboardInterrupt

    view(shown(run), port=0, ready=ready)
    ((cases, title),) = seen
    assert title == "uwmgi_segformer fold0"
    assert MISSED in {case.scan_id for case in cases}
    assert all(case.image is case.truth for case in cases)
