"""Values that cannot be right end ``medseg run`` with 2 or 3 before any training starts."""

import shutil

import pytest

from medseg.cli import main
from medseg.data import make_splits, read_manifest, read_scans


def run(data, output, *settings, fold=0):
    words = ["run", "uwmgi_segformer", "--data", str(data), "--output", str(output)]
    words += ["--device", "cpu", "--demo", "--fold", str(fold)]
    return main([*words, *(word for each in settings for word in ("--set", each))])


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        pytest.param(
            "network_def::_target_=medseg.models.segfromer_b0",
            "network_def: there is no medseg.models.segfromer_b0. "
            "Fix: did you mean medseg.models.segformer_b0?",
            id="network",
        ),
        pytest.param(
            "loss::_target_=medseg.losses.dice_cee",
            "loss: there is no medseg.losses.dice_cee. Fix: did you mean medseg.losses.dice_ce?",
            id="loss",
        ),
        pytest.param(
            "label_mode=exclusiv",
            "label_mode: is 'exclusiv' (expected exclusive, overlapping). "
            "Fix: did you mean exclusive?",
            id="label mode",
        ),
        pytest.param(
            "network_def::out_channels=3",
            "network_def::out_channels: is 3 (expected 4: background, large_bowel, small_bowel, "
            "stomach). Fix: set network_def::out_channels=4, or name another manifest",
            id="classes",
        ),
        pytest.param(
            "label_mode=overlapping",
            "network_def::out_channels: is 4 (expected 3: large_bowel, small_bowel, stomach)",
            id="classes of another label mode",
        ),
        pytest.param("channels=3", "channels: is 3 (expected 1: intensity)", id="channels"),
    ],
)
def test_a_wrong_value_ends_with_2_before_there_is_a_run(
    setting, told, tiny_phantom, tmp_path, capsys
):
    assert run(tiny_phantom, tmp_path, setting) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_fold_whose_training_lacks_an_organ_ends_with_3_before_data_are_prepared(
    tiny_phantom, tmp_path, capsys
):
    data = tmp_path / "data"
    shutil.copytree(tiny_phantom, data)
    scans = read_scans(data, read_manifest("uwmgi"))
    splits = make_splits(scans, folds=3, seed=0)
    (tested,) = splits.groups[1]  # so in fold 1 no other patient may show the stomach
    table = data / "train.csv"
    rows = table.read_text().splitlines()
    emptied = [
        f"{row.rpartition(',')[0]}," if ",stomach," in row and f"{tested}_" not in row else row
        for row in rows
    ]
    assert emptied != rows
    table.write_text("\n".join(emptied) + "\n")
    assert run(data, tmp_path / "out", "folds=3", fold=1) == 3
    said = capsys.readouterr()
    assert "fold 1: no slice of the training side shows stomach" in said.err
    assert "prepare" not in said.out
