"""The smaller commands of ``medseg data``: info, split, phantom."""

import json
from pathlib import Path

from medseg.cli import main


def test_info_tells_licence_and_citation(capsys):
    assert main(["data", "info"]) == 0
    told = capsys.readouterr().out
    assert "CC BY-NC-SA 4.0" in told
    assert "10.1016/j.dib.2024.111159" in told
    assert main(["data", "info", "uwmgi", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"][0]["name"] == "large_bowel"


def test_split_writes_a_file_that_is_not_replaced_by_another(kaggle, capsys, tmp_path):
    for case in range(1, 5):
        kaggle.add(f"case{case}_day0")
    for row in kaggle.rows:
        row[2] = "1 2"
    out = tmp_path / "splits.json"
    command = ["data", "split", "--data", str(kaggle.save()), "--folds", "2", "-o", str(out)]
    assert main(command) == 0
    first = out.read_bytes()
    assert "group 1: 2 patients, 2 scans" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sha256"] == json.loads(first)["sha256"]
    assert main([*command, "--seed", "9"]) == 2
    assert "E-EXISTS" in capsys.readouterr().err
    assert out.read_bytes() == first
    assert main([*command, "--seed", "9", "--overwrite"]) == 0
    assert json.loads(out.read_bytes())["seed"] == 9


def test_19_split_refuses_one_scan_under_two_patients(kaggle, capsys, tmp_path):
    kaggle.add("case1_day0", seed=1).add("case2_day0", seed=1)
    out = tmp_path / "splits.json"
    assert main(["data", "split", "--data", str(kaggle.save()), "-o", str(out)]) == 3
    assert "error[E-LEAK]" in capsys.readouterr().err
    assert not out.exists()


def test_phantom_writes_what_is_asked_for(tmp_path, capsys, monkeypatch):
    calls = {}

    def write(out, *, progress, **options):
        calls.update(options, out=out)
        progress(1, 3)
        progress(3, 3)

    monkeypatch.setattr("medseg.data.phantom.write_phantom", write)
    out = str(tmp_path / "phantom")
    command = ["data", "phantom", out, "--patients", "3", "--days", "1", "--seed", "4", "--json"]
    assert main(command) == 0
    assert calls == {"out": Path(out), "like": "uwmgi", "patients": 3, "days": 1, "seed": 4}
    assert json.loads(capsys.readouterr().out) == {"data": out, "like": "uwmgi", "scans": 3}


def test_phantom_knows_every_data_set_and_what_it_counts(tmp_path, capsys):
    out = tmp_path / "phantom"
    assert main(["data", "phantom", str(out), "--like", "cells", "--pairs", "2", "-q"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["PHANTOM.txt", "pair_01", "pair_02"]
    assert main(["data", "phantom", str(out), "--like", "cell"]) == 2
    assert "cell: has no phantom (expected uwmgi, lgg, cells)" in capsys.readouterr().err
    assert main(["data", "phantom", str(out), "--like", "cells", "--days", "2"]) == 2
    assert "days: 2, but this data set has none (expected pairs)" in capsys.readouterr().err
    assert main(["data", "phantom", str(out), "--like", "lgg", "--patients", "0"]) == 2
    assert "patients: 0 (expected 1 to 5000)" in capsys.readouterr().err
