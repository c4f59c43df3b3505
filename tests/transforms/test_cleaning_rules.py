"""What a table of rules may say, and what is told of one that says something else."""

import pytest

from medseg.errors import UsageError
from medseg.transforms import Cleaning
from medseg.transforms.cleaning_rules import checked


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        pytest.param({"stomack": {}}, r"cleaning::stomack: is no organ.*mean stomach", id="organ"),
        pytest.param({"stomach": {"larges": 1}}, r"larges: is no rule.*mean largest", id="rule"),
        pytest.param({"stomach": {"largest": 0}}, r"largest: is 0 \(expected a whole", id="none"),
        pytest.param({"stomach": {"largest": 1.5}}, r"largest: is 1\.5", id="half a part"),
        pytest.param({"stomach": {"largest": True}}, r"largest: is True", id="a switch"),
        pytest.param({"stomach": {"threshold": 1}}, r"threshold: is 1 \(expected a n", id="one"),
        pytest.param({"stomach": {"threshold": "a"}}, r"threshold: is 'a'", id="a text"),
        pytest.param({"stomach": {"min_ml": -2}}, r"min_ml: is -2", id="below nothing"),
        pytest.param({"stomach": {"min_ml": float("inf")}}, r"min_ml: is inf", id="infinite"),
        pytest.param({"stomach": {"fill_holes": 1}}, r"fill_holes: is 1 \(expected true", id="1"),
        pytest.param({"stomach": 3}, r"cleaning::stomach: is 3 \(expected values", id="no table"),
        pytest.param("none", r"cleaning: is 'none' \(expected rules by organ", id="a word"),
    ],
)
def test_rules_without_a_meaning_are_refused(rules, told):
    with pytest.raises(UsageError, match=told):
        Cleaning(["stomach", "bowel"], rules=rules)


def test_all_that_is_wrong_is_told_at_once():
    rules = {"stomach": {"larges": 1, "min_ml": 0}, "x": {}}
    with pytest.raises(UsageError, match="larges") as caught:
        Cleaning(["stomach"], rules=rules)
    assert len(caught.value.problems) == 3


def test_thresholds_are_told_by_channel():
    rules = {"b": {"threshold": 0.3}, "c": {"largest": 1}}
    assert Cleaning(["a", "b", "c"], rules=rules).thresholds == (None, 0.3, None)
    assert Cleaning(["a", "b", "c"], rules={"c": {"largest": 1}}).thresholds == ()


def test_what_says_nothing_is_left_out():
    rules = {"a": {"largest": None, "fill_holes": False}, "b": {"min_ml": 2, "contiguous": False}}
    assert checked(["a", "b"], rules) == {"b": {"min_ml": 2}}
