"""The checklist holds what a run knows, and nothing else."""

from reported_run import facts_of, scores_of

from medseg.report.claim import claim_items
from medseg.report.findings import organ_rows

# Who paid, who drew, who was asked: no file of a run says so.
FOR_PEOPLE = {*(2, 3, 4, 5, 6, 8, 12), *range(14, 20), *(30, 31, 34), *(39, 40, 41, 42)}


def answers(scores):
    rows = organ_rows(scores) if scores else []
    return {item.number: item.answer for item in claim_items(facts_of(scores), rows)}


def test_there_are_42_items_and_what_only_people_know_is_left_to_them():
    told = answers(scores_of(8))
    assert list(told) == list(range(1, 43))
    assert {number for number, answer in told.items() if not answer} == FOR_PEOPLE


def test_answers_are_the_runs_own():
    told = answers(scores_of(8))
    assert told[20].endswith("training: 9 patients, 18 scans; test: 8 patients, 16 scans")
    assert "unet, 3.7 million parameters" in told[22]
    assert told[24] == "random numbers"
    assert told[26] == "The epoch with the best mean validation Dice, 3."
    assert told[29] == "95\N{NO-BREAK SPACE}% intervals, bootstrapped by patient."
    assert told[37].startswith("0 organs missed, 0 drawn where there is none")


def test_few_patients_and_no_scores_answer_less():
    assert answers(scores_of(2))[29] == "None: too few patients."
    assert answers(scores_of(2))[36] == ""
    assert not any(answers([])[number] for number in (28, 29, 35, 36, 37))
