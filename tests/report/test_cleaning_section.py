"""What a run's page says of rules for masks: those used, those not, and on whom."""

import pytest
from reported_run import Page, facts_of, scores_of

from medseg.report.cleaning import in_words, organ_rules, tried_rules
from medseg.report.run_page import run_page
from medseg.transforms.cleaning_rules import RULES


def row(mean, low, high, n_patients=8):
    return {"mean": mean, "low": low, "high": high, "n_scans": 16, "n_patients": n_patients}


NONE = row(0.0, 0.0, 0.0)
TRIED = [
    {"organ": "stomach", "rule": "largest", "value": 1, "beside": {}, "used": True}
    | row(0.0312, 0.0101, 0.0523),
    {"organ": "stomach", "rule": "min_ml", "value": 2.0, "beside": {"largest": 1}, "used": False}
    | row(-0.004, -0.009, 0.001),
    {"organ": "large_bowel", "rule": "fill_holes", "value": True, "beside": {}, "used": False}
    | NONE,
]
TOLD = {
    "checkpoint_sha256": "7" * 64,
    "why_not": "",
    "patients": 8,
    "scans": 16,
    "rules": {"stomach": {"largest": 1}},
    "gains": {
        "large_bowel": {"before": 0.85, "after": 0.85} | NONE,
        "stomach": {"before": 0.9, "after": 0.9312} | row(0.0312, 0.0101, 0.0523),
    },
    "tried": TRIED,
}
EFFECT = {
    "large_bowel": {"before": 0.8, "after": 0.8} | NONE,
    "stomach": {"before": 0.88, "after": 0.891} | row(0.011, None, None, n_patients=1),
}


def section(**facts):
    page = Page(run_page(facts_of(scores_of(8), **facts), {}))
    assert page.faults == []
    return page.sections["cleaning"]


def test_rules_are_told_with_their_gain_and_interval():
    said = section(cleaning=TOLD)
    assert (
        "stomach largest parts kept: 1 validation 0.900 0.931 0.0312 (0.0101 to 0.0523) 16 8"
        in said
    )
    assert "large bowel none: no rule gains validation 0.850 0.850 – 16 8" in said
    assert "the rules were chosen, as the best of many: expect less of others" in said
    assert "held out" not in said


def test_all_that_was_tried_is_told_and_what_came_of_it():
    said = section(cleaning=TOLD)
    assert "stomach largest parts kept: 1 – 0.0312 (0.0101 to 0.0523) 8 used" in said
    assert (
        "stomach parts from 2.0 ml on largest parts kept: 1 −0.0040 (−0.0090 to 0.0010) 8 not used"
    ) in said
    assert "large bowel holes filled – 0.0000 (0.0000 to 0.0000) 8 not used" in said


def test_held_out_scans_are_told_beside_them():
    said = section(cleaning=TOLD, cleaning_effect=EFFECT)
    # One patient: no interval.
    assert "(0.0101 to 0.0523) 16 8 held out 0.880 0.891 0.0110 16 1" in said
    assert "none: no rule gains validation 0.850 0.850 – 16 8 stomach" in said
    assert said.count("held out") == 1


@pytest.mark.parametrize(
    ("told", "said"),
    [
        pytest.param({}, "No rules for masks were sought in this run.", id="nothing"),
        pytest.param(
            {"why_not": "1 validation patient: too few", "rules": {}, "gains": {}, "tried": []},
            "1 validation patient: too few.",
            id="too few",
        ),
        pytest.param({"why_not": "the bundle has rules"}, "The bundle has rules.", id="others"),
    ],
)
def test_why_there_are_no_rules_is_said(told, said):
    assert said in section(cleaning=told)


def test_what_a_caller_says_goes_before_it():
    page = run_page(facts_of([], cleaning={"why_not": "x"}), {}, absent={"cleaning": "Each fold."})
    assert "Each fold." in Page(page).sections["cleaning"]


def test_every_rule_has_words():
    for name in RULES:
        assert in_words({name: 3}) not in ("", name)
    assert (
        in_words({"largest": 2, "contiguous": True}) == "largest parts kept: 2, one run of slices"
    )
    assert in_words({}) == ""


def test_rows_are_as_many_as_organs_and_tries():
    assert [each.organ for each in organ_rules(TOLD, {})] == ["large_bowel", "stomach"]
    assert [each.used for each in tried_rules(TOLD)] == [True, False, False]
    assert organ_rules({}, {}) == tried_rules({}) == []
