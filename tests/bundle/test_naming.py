"""Names that stand for nothing are told before anything is built, with the nearest there is."""

from pathlib import Path

import pytest

from medseg.bundle import Opened, find_bundle
from medseg.bundle.naming import misnamed, nearest
from medseg.errors import UsageError

ROOT = Path(__file__).parents[2] / "bundles"
BUNDLES = sorted(path.parents[1].name for path in ROOT.glob("*/configs/train.json"))
SOUND = {
    "mode": "exclusive",
    "lr": 0.1,
    "network": {"_target_": "medseg.models.unet", "in_channels": 1, "out_channels": 4},
    "loss": {"_target_": "medseg.losses.dice", "label_mode": "@mode", "over": "slice"},
    "optimizer": {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": "@lr"},
    "train": {
        "handlers": [
            {"_target_": "MetricsSaver", "save_dir": "user@example.org"},
            {"_target_": "dict", "anything": "@train::handlers::0"},
        ],
        "step": {
            "_target_": "medseg.engine.scan_step",
            "_mode_": "callable",
            "_desc_": "for later",
        },
    },
}


def told(**changed):
    return [str(problem) for problem in misnamed(SOUND | changed)]


def test_sound_names_are_left_alone():
    assert told() == []


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in BUNDLES])
def test_every_bundle_names_what_there_is(name):
    for names in (["train", "demo"], ["train", "evaluate"], ["inference"]):
        assert misnamed(find_bundle(name).config(*names)) == []


@pytest.mark.parametrize(
    ("target", "near"),
    [
        pytest.param("medseg.models.segfromer_b0", "medseg.models.segformer_b0", id="network"),
        pytest.param("medseg.losses.dice_cee", "medseg.losses.dice_ce", id="loss"),
        pytest.param("medseg.loses.dice_ce", "medseg.losses.dice_ce", id="package"),
        pytest.param("medsegg.losses.dice_ce", "medseg.losses.dice_ce", id="library"),
        pytest.param("torch.optim.Adamw", "torch.optim.AdamW", id="case"),
        pytest.param("SupervisedTraner", "SupervisedTrainer", id="MONAI's own"),
    ],
)
def test_a_callable_that_is_not_there_has_a_nearest_name(target, near):
    (row,) = told(network={"_target_": target})
    assert row == f"error[E-CONFIG]: network: there is no {target}. Fix: did you mean {near}?"


def test_a_name_like_none_is_told_without_advice():
    (row,) = told(network={"_target_": "medseg.models.qqqqqqqq"})
    assert row == "error[E-CONFIG]: network: there is no medseg.models.qqqqqqqq."


def test_settings_that_are_not_taken_or_missing_are_told_together():
    optimizer = {"_target_": "torch.optim.SGD", "lr": 0.1, "nestrov": True}
    assert told(optimizer=optimizer) == [
        "error[E-CONFIG]: optimizer: torch.optim.SGD takes no 'nestrov'. "
        "Fix: did you mean nesterov?",
        "error[E-CONFIG]: optimizer: torch.optim.SGD needs 'params'. Fix: give it.",
    ]


def test_what_takes_anything_and_what_is_called_later_need_nothing():
    assert told(optimizer={"_target_": "torch.optim.SGD", "_mode_": "callable"}) == []
    assert told(extra={"_target_": "dict", "nestrov": 1}) == []


def test_a_word_that_is_not_known_is_told_where_it_stands():
    (row,) = told(mode="exclusve")
    assert row == (
        "error[E-CONFIG]: mode: is 'exclusve' (expected exclusive, overlapping). "
        "Fix: did you mean exclusive?"
    )
    loss = {"_target_": "medseg.losses.dice", "over": "slices"}
    (row,) = told(loss=loss)
    assert row.startswith("error[E-CONFIG]: loss::over: is 'slices' (expected batch, slice).")


def test_a_reference_that_leads_in_a_circle_is_no_word():
    loss = {"_target_": "medseg.losses.dice", "over": "@a"}
    assert told(loss=loss, a="@b", b="@a") == []


@pytest.mark.parametrize(
    "value", [pytest.param("@netwrok", id="alone"), pytest.param("$2 * @netwrok", id="in a sum")]
)
def test_a_reference_leads_somewhere(value):
    (row,) = told(copy=[value])
    assert row == (
        "error[E-CONFIG]: copy::0: refers to netwrok, which is not there. "
        "Fix: did you mean network?"
    )


def test_the_nearest_name_may_differ_in_case_alone():
    assert nearest("ADAM", ["adamw", "Adam"]) == "Adam"
    assert nearest("xyz", ["adamw"]) is None


def test_every_fault_of_a_bundle_is_told_at_once():
    loss = {"_target_": "medseg.losses.dice", "label_mode": "@label_mode", "smoth": 1}
    settings = {"loss": loss, "label_mode": "overlaping"}
    with pytest.raises(UsageError, match=r"E-CONFIG.*did you mean") as caught:
        find_bundle("uwmgi_segformer").config("train", settings=settings)
    subjects = [problem.subject for problem in caught.value.problems]
    assert sorted(subjects) == ["label_mode", "loss"]  # though two parts read label_mode


def test_values_that_a_library_refuses_are_a_usage_error():
    own = {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "nesterov": True}
    with pytest.raises(UsageError, match=r"E-CONFIG.*torch\.optim\.SGD: Nesterov momentum req"):
        _ = Opened(SOUND | {"optimizer": own})["optimizer"]


def test_what_breaks_in_a_part_of_medseg_stays_an_error_of_its_own():
    network = {"_target_": "medseg.models.unet", "out_channels": "four"}
    with pytest.raises(RuntimeError, match=r"Failed to instantiate component 'medseg\.models"):
        _ = Opened({"network": network})["network"]


def test_an_entry_that_is_misspelt_beside_the_right_one_changes_nothing_and_is_told():
    found = "error[E-CONFIG]: networks: changes nothing. Fix: did you mean network?"
    assert told(networks=3) == [found]
    assert told(initialize=["$None"]) == []
    # Somebody uses it, whatever it is called.
    assert told(networks=3, epochs="@networks") == []
