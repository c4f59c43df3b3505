"""Pipelines as files: what they may say, and that every fault is told with its line."""

import pytest

from medseg.errors import UsageError
from medseg.pipeline import find_pipeline, parts, read_pipeline

TEXT = """\
title: Two
about: To see.
real: Nothing.
data: uwmgi
settings: {epochs: 7, batch_size: 2}
seeds: [0, 1]
runs:
  - name: A
    bundle: uwmgi_segformer
    settings: {batch_size: 3}
    source: {dice: 0.9}
  - name: B
    bundle: uwmgi_segformer_25d
    seeds: [5]
    demo: {settings: {epochs: 1}, folds: [1]}
demo:
  settings: {epochs: 2}
  seeds: [4]
"""


@pytest.fixture
def written(tmp_path):
    """A function that writes a pipeline, some of its text replaced."""

    def write(*changes):
        text = TEXT
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "two.yaml"
        path.write_text(text)
        return path

    return write


def read(path, *, demo=False):
    return parts(read_pipeline(path), path, demo=demo)


def test_settings_of_a_run_win_over_those_of_all(written):
    a, b = read(written())
    assert [part.bundle.name for part in (a, b)] == ["uwmgi_segformer", "uwmgi_segformer_25d"]
    assert a.settings == {"epochs": 7, "batch_size": 3}
    assert b.settings == {"epochs": 7, "batch_size": 2}
    assert (a.seeds, b.seeds) == ([0, 1], [5])
    assert a.folds == b.folds == [0]
    assert a.config["epochs"] == 7
    assert a.entry.source.dice == 0.9


def test_demo_wins_over_both_and_that_of_a_run_last(written):
    a, b = read(written(), demo=True)
    assert a.settings == {"epochs": 2, "batch_size": 3}
    assert b.settings == {"epochs": 1, "batch_size": 2}
    assert (a.seeds, b.seeds) == ([4], [4])
    assert (a.folds, b.folds) == ([0], [1])
    # Also over the bundle's own demo settings, which change what the pipeline does not name.
    assert a.config["epochs"] == 2
    assert a.config["roi_px"] != a.bundle.config("train")["roi_px"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            [("seeds: [0, 1]", "sedes: [0, 1]")],
            r"two\.yaml:6:1: sedes: unknown key .*did you mean 'seeds'\?",
            id="a misspelt key",
        ),
        pytest.param(
            [("{dice: 0.9}", "{dise: 0.9}")],
            r"two\.yaml:11:14: runs\[0\]\.source\.dise: unknown key .*did you mean 'dice'\?",
            id="a misspelt figure",
        ),
        pytest.param(
            [("bundle: uwmgi_segformer\n", "bundle: uwmgi_segfromer\n")],
            r"E-NAME.*two\.yaml:8:5: bundles/uwmgi_segfromer.*did you mean uwmgi_segformer\?",
            id="a misspelt bundle",
        ),
        pytest.param(
            [("{batch_size: 3}", "{bach_size: 3}")],
            r"E-SETTING.*two\.yaml:8:5: uwmgi_segformer: has no setting 'bach_size'.*batch_size\?",
            id="a misspelt setting",
        ),
        pytest.param(
            [("{epochs: 1}, folds", "{epochz: 1}, folds")],
            r"E-SETTING.*two\.yaml:12:5: .*has no setting 'epochz'.*did you mean epochs\?",
            id="a misspelt setting of a demo",
        ),
        pytest.param(
            [("data: uwmgi", "data: lgg")],
            r"E-PIPELINE.*two\.yaml:8:5: bundle uwmgi_segformer is for the data set uwmgi.*lgg",
            id="other data",
        ),
        pytest.param(
            [("name: B", "name: A")],
            r"two\.yaml:7:1: runs: two runs share a name",
            id="a name twice",
        ),
        pytest.param(
            [("seeds: [5]", "seeds: []")],
            r"two\.yaml:14:5: runs\[1\]\.seeds: list should have at least 1 item",
            id="no seeds",
        ),
        pytest.param([("title: Two\n", "")], r"E-YAML.*title: is missing", id="no title"),
    ],
)
def test_a_fault_is_told_with_its_line(written, changes, message):
    with pytest.raises(UsageError, match=message):
        read(written(*changes), demo=True)


def test_all_faults_are_told_at_once(written):
    path = written(("bundle: uwmgi_segformer\n", "bundle: x\n"), ("_25d", "_52d"))
    with pytest.raises(UsageError, match=r"(?s)two\.yaml:8:5.*two\.yaml:12:5") as caught:
        read(path)
    assert len(caught.value.problems) == 2


@pytest.fixture
def shipped_pipelines(monkeypatch, tmp_path):
    """Two pipelines in place of those that are shipped, one named like a bundle."""
    for name in ("cells_unets", "uwmgi_segformer"):
        (tmp_path / "pipelines" / f"{name}.yaml").parent.mkdir(exist_ok=True)
        (tmp_path / "pipelines" / f"{name}.yaml").write_text(TEXT)
    (tmp_path / "bundles" / "uwmgi_segformer").mkdir(parents=True)
    monkeypatch.setattr("medseg.resources._folder", lambda kind: tmp_path / kind)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pipelines"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        pytest.param("cells_unets", "cells_unets", id="a bare name"),
        pytest.param("cells_unets.yaml", "cells_unets", id="with its suffix"),
        pytest.param("elsewhere/cells_unets.yaml", "cells_unets", id="a path that is not there"),
        pytest.param("uwmgi_segformer.yaml", "uwmgi_segformer", id="named like a bundle"),
        pytest.param("uwmgi_segformer", None, id="a bundle's name is the bundle's"),
        pytest.param("bundles", None, id="a folder"),
        pytest.param("uwmgi_segfromer", None, id="nearest to both: the bundle tells"),
    ],
)
def test_a_pipeline_is_found_by_name_or_path(shipped_pipelines, target, name):
    expected = None if name is None else shipped_pipelines / f"{name}.yaml"
    assert find_pipeline(target) == expected


def test_a_file_of_ones_own_wins_over_the_shipped_one(shipped_pipelines, tmp_path):
    own = tmp_path / "cells_unets.yaml"
    own.write_text(TEXT)
    assert find_pipeline(str(own)) == own


def test_a_name_near_a_pipelines_is_told_so(shipped_pipelines):
    with pytest.raises(UsageError, match=r"E-NAME.*cells_unet.*did you mean cells_unets\?"):
        find_pipeline("cells_unet")
