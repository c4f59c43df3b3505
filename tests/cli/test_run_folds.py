"""Which folds ``medseg run`` does, as a user asks for them."""

import json

import pytest

from medseg.cli import main
from medseg.runs import Run
from medseg.stages import folds as many
from medseg.stages import run as one


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the command asked for, in place of doing it."""
    calls = []

    def done(request, *folds_and_display):
        calls.append((request.fold, *(list(each) for each in folds_and_display[:-1])))
        return Run(tmp_path, {})

    monkeypatch.setattr(one, "run", done)
    monkeypatch.setattr(many, "run_folds", done)
    return calls


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param([], (0,), id="the first by default"),
        pytest.param(["--fold", "2"], (2,), id="one is a run of its own"),
        pytest.param(["--fold", "0", "--fold", "1"], (0, [0, 1]), id="several have a parent"),
        pytest.param(["--folds", "all"], (0, []), id="all"),
    ],
)
def test_folds_are_asked_for(asked, words, expected):
    assert main(["run", "uwmgi_segformer", "-q", *words]) == 0
    assert asked == [expected]


def test_json_names_the_parent_and_the_scores_of_all_folds(asked, tmp_path, capsys):
    (tmp_path / "summary.json").write_text('{"n_scans": 6}')
    assert main(["run", "uwmgi_segformer", "--folds", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"run": str(tmp_path), "summary": {"n_scans": 6}}


def test_one_fold_and_all_folds_exclude_each_other(asked, capsys):
    assert main(["run", "uwmgi_segformer", "--fold", "1", "--folds", "all"]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert asked == []
