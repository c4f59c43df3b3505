"""Each check of a bundle finds the fault that it is there for, and says what it is."""

import json
import shutil

import pytest

from medseg import resources
from medseg.bundle import Bundle
from medseg.bundle.checks import CHECKS, outcomes
from medseg.bundle.examined import Examined


@pytest.fixture
def copy(tmp_path):
    """A copy of a shipped bundle, under its own name."""
    root = tmp_path / "uwmgi_segformer"
    shutil.copytree(resources.shipped("bundles", "uwmgi_segformer"), root)
    return root


def change(root, name, **values):
    """Lay values over a configuration, by id with _ for ::; None takes an entry away."""
    file = root / "configs" / f"{name}.json"
    config = json.loads(file.read_text())
    for key, value in values.items():
        *sections, last = key.split("__")
        part = config
        for section in sections:
            part = part[section]
        if value is None:
            del part[last]
        else:
            part[last] = value
    file.write_text(json.dumps(config))


def found(root, check, tmp_path, *, data=None):
    """Return the outcome of one check with the demo's network."""
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    examined = Examined(Bundle(root), folder, data=data, demo=True)
    (outcome,) = outcomes(examined, {check: CHECKS[check]})
    return outcome


def test_a_missing_and_a_large_file(copy, tmp_path):
    (copy / "LICENSE").unlink()
    (copy / "docs" / "film.avi").write_bytes(bytes(25_000_001))
    (copy / "models").mkdir(exist_ok=True)
    (copy / "models" / "model.pt").write_bytes(bytes(25_000_001))  # weights may be large
    assert found(copy, "directory", tmp_path)[1:] == (
        "failed",
        "LICENSE is missing; docs/film.avi is larger than 25 MB",
    )


def test_a_key_that_stands_twice_and_what_is_no_json(copy, tmp_path):
    demo, evaluate = (copy / "configs" / f"{name}.json" for name in ("demo", "evaluate"))
    demo.write_text('{"train": {"epochs": 1, "folds": 2, "epochs": 3}}')
    evaluate.write_text('{"epochs": 1,}')
    state, reason = found(copy, "keys", tmp_path)[1:]
    assert state == "failed"
    assert reason.startswith("demo.json: epochs stands twice; evaluate.json: is no JSON: ")


def test_a_version_without_a_changelog_and_a_package_that_is_not_there(copy, tmp_path):
    change(copy, "metadata", version="9.9.9", required_packages_version={"medsegg": "1.0.0"})
    assert found(copy, "version", tmp_path)[1:] == (
        "failed",
        "the changelog lacks version 9.9.9; medsegg is not installed",
    )


def test_metadata_that_the_specification_does_not_know(copy, tmp_path):
    change(copy, "metadata", network_data_format__inputs__image__format="photo")
    state, reason = found(copy, "metadata", tmp_path)[1:]
    assert state == "failed"
    assert "'photo' is not one of" in reason


def test_an_overlay_that_names_what_is_not_there(copy, tmp_path):
    change(copy, "demo", epochz=3, **{"train::loader": 1, "optimizer::weight_decay": 0.1})
    assert found(copy, "overlays", tmp_path).reason == (
        "demo.json sets epochz, which is not there; "
        "demo.json sets train::loader, which is not there"
    )


def test_an_overlay_that_gives_a_callable_what_it_does_not_take(copy, tmp_path):
    change(copy, "demo", **{"optimizer::lrr": 0.1})
    assert found(copy, "overlays", tmp_path).state == "ok"
    assert "takes no 'lrr'" in found(copy, "targets", tmp_path).reason


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        pytest.param("medseg.losses.dice_cee", "loss: there is no medseg", id="misspelt"),
        pytest.param("medseg.losses.overlap.dice_bce", "", id="a public name of a module"),
        pytest.param("medseg.losses.overlap._Dice", "_Dice is not public", id="a private name"),
        pytest.param("collections.Counter", "Counter is none of medseg, torch", id="another's"),
        pytest.param("medsegg.losses.dice", "medsegg.losses.dice is none of", id="no library"),
        pytest.param("torch.nn.MSELoss", "", id="torch"),
        pytest.param("torch.nn.MSELos", "loss: there is no torch.nn.MSELos", id="not in torch"),
        pytest.param("DiceLoss", "", id="short name of MONAI"),
        pytest.param("DiceeLoss", "loss: there is no DiceeLoss", id="no name of MONAI"),
    ],
)
def test_a_target_that_leads_nowhere_or_to_what_is_not_public(copy, tmp_path, target, reason):
    change(copy, "train", loss={"_target_": target})
    outcome = found(copy, "targets", tmp_path)
    assert outcome.state == ("failed" if reason else "ok")
    assert reason in outcome.reason


def test_another_wiring(copy, tmp_path):
    change(copy, "train", train__inferer="SimpleInferer", epochs=7, extra=1, run=["$print()"])
    assert found(copy, "wiring", tmp_path).reason == (
        "train.json: extra is not as in uwmgi_segformer; "
        "train.json: run is not as in uwmgi_segformer; "
        "train.json: train::inferer is not as in uwmgi_segformer"
    )


def test_channels_that_the_manifest_does_not_name(copy, tmp_path):
    change(
        copy,
        "metadata",
        network_data_format__outputs__pred__channel_def__1="colon",
        network_data_format__inputs__image__num_channels=3,
        network_data_format__inputs__image__spatial_shape=[99, 288],
    )
    reason = found(copy, "channels", tmp_path).reason
    assert "classes: ['background', 'colon', 'small_bowel', 'stomach'], not ['back" in reason
    assert "num_channels of the image: 3, not 1" in reason
    assert "spatial_shape of the image: [99, 288], not [288, 288]" in reason


def test_a_loss_for_other_labels(copy, tmp_path):
    change(copy, "train", loss={"_target_": "medseg.losses.dice_bce"})
    outcome = found(copy, "channels", tmp_path)
    assert (outcome.state, "dice_bce is for overlapping labels" in outcome.reason) == (
        "failed",
        True,
    )


def test_training_and_inference_that_part_ways(copy, tmp_path):
    change(copy, "inference", spacing_mm=[1.0, 1.0, 3.0], network_def__out_channels=5)
    assert found(copy, "agreement", tmp_path).reason == (
        "spacing_mm differs; the networks of training and inference have other parameters"
    )


def test_a_network_that_does_not_fit_its_metadata(copy, tmp_path):
    change(copy, "metadata", network_data_format__outputs__pred__num_channels=3)
    assert found(copy, "network", tmp_path)[1:] == (
        "failed",
        "ValueError: output channel number `4` doesn't match: `3`.",
    )


def test_preprocessing_that_differs(copy, tmp_path, tiny_phantom):
    change(copy, "inference", spacing_mm=[2.0, 2.0, 3.0], preprocessing__spacing_mm=[1.5, 1.5, 3.0])
    change(copy, "demo", spacing_mm=[2.0, 2.0, 3.0])
    outcome = found(copy, "preprocessing", tmp_path, data=tiny_phantom)
    assert outcome.state == "failed"
    assert "for training, (1, " in outcome.reason


def test_a_property_that_monai_misses(copy, tmp_path, tiny_phantom):
    change(copy, "inference", inferer=None)
    outcome = found(copy, "inference properties", tmp_path, data=tiny_phantom)
    assert (outcome.state, "inferer" in outcome.reason) == ("failed", True)


def test_what_reads_scans_is_left_out_where_there_are_none(copy, tmp_path):
    reason = "there is no phantom of uwmgi, and no data was given"
    for check in ("preprocessing", "train properties", "inference properties", "runs elsewhere"):
        assert found(copy, check, tmp_path) == (check, "left out", reason)


def test_weights_of_another_network(copy, tmp_path):
    assert found(copy, "weights", tmp_path)[1] == "left out"
    (copy / "models").mkdir(exist_ok=True)
    (copy / "models" / "model.pt").write_bytes(b"no weights")
    outcome = found(copy, "weights", tmp_path)
    assert (outcome.state, "cannot be read" in outcome.reason) == ("failed", True)


def test_an_export_is_left_out_where_the_metadata_say_that_there_is_none(copy, tmp_path):
    change(copy, "metadata", network={"torchscript": "none"})
    assert found(copy, "TorchScript", tmp_path)[1:] == (
        "left out",
        "the metadata say that the network cannot be exported",
    )
