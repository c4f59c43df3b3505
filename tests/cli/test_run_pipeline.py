"""``medseg run`` of a pipeline, as a user asks for it."""

import json

import pytest

from medseg.cli import main
from medseg.runs import Run
from medseg.stages import pipeline as stage


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text("title: Two\n")
    return path


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the command asked for, in place of doing it."""
    calls = []

    def done(path, request, _display, *, folds):
        calls.append((path, request, folds))
        return Run(tmp_path, {})

    monkeypatch.setattr(stage, "run_pipeline", done)
    return calls


def test_a_file_is_a_pipeline_and_goes_on_by_itself(asked, file):
    assert main(["run", str(file), "--demo", "-q"]) == 0
    ((path, request, folds),) = asked
    assert (path, folds) == (file, None)
    assert (request.resume, request.demo, request.seed) == (True, True, None)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--fold", "2", "--fold", "0"], [2, 0], id="folds in place of its own"),
        pytest.param(["--folds", "all"], "all", id="all folds"),
    ],
)
def test_folds_are_handed_on(asked, file, words, expected):
    assert main(["run", str(file), "-q", *words]) == 0
    assert asked[0][2] == expected


def test_it_begins_anew_when_told_to(asked, file):
    words = ["--no-resume", "--seed", "3", "--set", "epochs=1", "--output", "out"]
    assert main(["run", str(file), "-q", *words]) == 0
    request = asked[0][1]
    assert (request.resume, request.seed, request.settings) == (False, 3, {"epochs": "1"})
    assert request.output.name == "out"


@pytest.mark.parametrize(
    "word",
    [
        pytest.param(["--stage", "train"], id="a stage"),
        pytest.param(["--weights", "w"], id="weights"),
    ],
)
def test_what_is_for_bundles_only_is_refused(asked, file, word, capsys):
    assert main(["run", str(file), *word]) == 2
    assert "--stage and --weights are for bundles" in capsys.readouterr().err
    assert asked == []


def test_json_tells_the_summary(asked, file, tmp_path, capsys):
    (tmp_path / "summary.json").write_text('{"title": "Two"}')
    assert main(["run", str(file), "--json"]) == 0
    told = {"run": str(tmp_path), "summary": {"title": "Two"}}
    assert json.loads(capsys.readouterr().out) == told


def test_a_fault_of_the_file_ends_with_2_and_its_line(file, capsys):
    assert main(["run", str(file)]) == 2
    told = capsys.readouterr().err
    assert "error[E-YAML]: two.yaml:1:1: about: is missing" in told
    assert "runs: is missing" in told


def test_a_misspelt_pipeline_ends_with_2_and_the_nearest_name(capsys):
    assert main(["run", "cells_unetz.yaml"]) == 2
    assert "did you mean cells_unets?" in capsys.readouterr().err


def test_help_names_the_pipelines_that_are_shipped(capsys):
    assert main(["run", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Pipelines: cells_unets, crossval, lgg_unext_settings, uwmgi_networks" in told
