"""``medseg bundle new`` writes a bundle that stands its checks."""

import json

import pytest

from medseg import resources
from medseg.cli import main


def test_it_writes_a_folder_and_says_where_the_values_are_from(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bundle", "new", "cells", "unext"]) == 0
    folder = tmp_path / "cells_unext"
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}: 1,471,633 parameters, 0.42 GMACs",
        "values of the data set: from cells_potinet",
        "values of the network: from lgg_unext",
        f"next: medseg bundle check {folder}",
    ]
    files = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}
    shipped = resources.shipped("bundles", "cells_unet")
    assert files == {str(f.relative_to(shipped)) for f in shipped.rglob("*") if f.is_file()}
    title, *_, last = (folder / "docs" / "README.md").read_text().splitlines()
    assert (title, last) == (
        "# Cell microscopy pairs, UNeXt",
        "Research use only: not for diagnosis or treatment.",
    )


def test_what_is_there_is_replaced_only_on_demand(tmp_path, capsys):
    out = tmp_path / "own"
    assert main(["bundle", "new", "lgg", "unext", "-o", str(out), "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["bundle", "new", "lgg", "unext_paper", "-o", str(out)]) == 2
    assert "is there already. Fix: name another folder" in capsys.readouterr().err
    words = ["bundle", "new", "lgg", "unext_paper", "-o", str(out), "--overwrite", "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == {
        "folder": str(out),
        "data_from": "lgg_unext",
        "network_from": "lgg_unext",
        "parameters": 1580961,
        "gmacs": 1.18,
        "torchscript": "scripted",
    }


@pytest.mark.parametrize(
    ("words", "found"),
    [
        pytest.param(["uwmgi", "unxt"], "did you mean unext?", id="network"),
        pytest.param(["uwmgii", "unext"], "did you mean uwmgi?", id="data set"),
        pytest.param(["uwmgi", "unext", "--like", "lgg_unett"], "lgg_unet", id="bundle"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(words, found, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bundle", "new", *words]) == 2
    assert found in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
