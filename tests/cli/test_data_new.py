"""``medseg data new``: data of the user's own, described without writing code."""

import json

import pytest
from nnunet_layout import write_scans

from medseg.cli import main
from medseg.data import read_manifest, read_scans


@pytest.fixture
def root(tmp_path):
    return write_scans(tmp_path / "data")


def test_a_folder_of_nnunet_is_described_and_checked(root, tmp_path, capsys):
    out = tmp_path / "mine.yaml"
    assert main(["data", "new", "mine", str(root), "-o", str(out)]) == 0
    told = capsys.readouterr().out
    assert "4 scans of 3 patients, 4 with labels" in told
    assert "liver 1, tumour 3" in told
    facts = read_manifest(out)
    assert facts.channels == ["t1", "t2"]
    assert facts.size_px == [12, 10]
    assert facts.spacing_mm == (0.8, 0.9, 5.0)
    assert len(read_scans(root, facts)) == 4
    assert main(["data", "check", str(out), "--data", str(root)]) == 0
    assert "4 of 4 usable" in capsys.readouterr().out


def test_the_decathlons_words_are_understood(tmp_path, capsys):
    root = write_scans(tmp_path / "data", channels=1)
    for path in (root / "imagesTr").iterdir():
        path.rename(path.with_name(path.name.replace("_0000", "")))
    told = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Liver", "3": "tumour"}}
    (root / "dataset.json").write_text(json.dumps(told))
    out = tmp_path / "mine.yaml"
    assert main(["data", "new", "mine", str(root), "-o", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["scans"], found["channels"]) == (4, ["mri"])
    assert found["labels"] == {"liver": 1, "tumour": 3}


def test_a_table_needs_its_labels_named(root, tmp_path, capsys):
    table = root / "t.csv"
    table.write_text("image,mask\nimagesTr/b_0000.nii.gz,labelsTr/b.nii.gz\n")
    command = ["data", "new", "mine", str(table), "-o", str(tmp_path / "mine.yaml")]
    assert main(command) == 2
    assert "--labels liver=1,tumour=2" in capsys.readouterr().err
    assert main([*command, "--labels", "liver=1,tumour=3"]) == 0
    assert "1 scans of 1 patients" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("told", "code", "message"),
    [
        pytest.param('{"labels": {"a": [1, 2]}}', 3, "is a region of the codes", id="regions"),
        pytest.param("{", 3, "is not understood", id="no JSON"),
        pytest.param("[" * 100_000, 3, "is not understood: RecursionError", id="no end"),
        pytest.param('{"labels": {"a": Infinity}}', 3, "OverflowError", id="infinity"),
        pytest.param(
            '{"channel_names": {"0": "t"}, "labels": {"b": 0, "x": 1}}',
            3,
            "E-MISSING",
            id="fewer channels than files",
        ),
    ],
)
def test_what_does_not_fit_leaves_no_file(root, tmp_path, capsys, told, code, message):
    (root / "dataset.json").write_text(told)
    out = tmp_path / "mine.yaml"
    assert main(["data", "new", "mine", str(root), "-o", str(out)]) == code
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_file_that_is_there_stays(root, tmp_path, capsys):
    out = tmp_path / "mine.yaml"
    out.write_text("kept")
    assert main(["data", "new", "mine", str(root), "-o", str(out)]) == 2
    assert "E-EXISTS" in capsys.readouterr().err
    assert out.read_text() == "kept"
