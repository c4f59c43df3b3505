"""The page of a comparison says what the comparison says."""

import numpy as np
import pytest
from reported_run import Page
from scored_runs import run, study

from medseg.metrics.comparison import compare_scores
from medseg.report.comparison_page import comparison_page, save_page
from medseg.report.conclusions import conclusions


@pytest.fixture(scope="module")
def comparison():
    runs = study(np.random.default_rng(0), n_patients=12, shift=1.0, n_runs=3)
    named = dict(zip(("ours", "<b>theirs</b>", "third"), runs.values(), strict=True))
    return compare_scores(named, "dice", n_resamples=500)


@pytest.fixture(scope="module")
def page(comparison):
    return Page(comparison_page(comparison))


def test_it_is_whole_and_needs_nothing(page):
    assert page.faults == []
    assert page.of("script") == []
    assert page.of("b") == []
    assert all(a.startswith(("data:image/", "#")) for a in page.addresses())


def test_every_conclusion_is_told_once(page, comparison):
    told = " ".join(page.sections.values())
    assert [told.count(line) for line in conclusions(comparison)] == [1] * len(
        conclusions(comparison)
    )


def test_the_ranking_comes_first_and_says_how_firm_it_is(page, comparison):
    assert "Ranked by the mean over organs: ours" in page.sections[""]
    first = comparison.ranking.first[comparison.ranking.order[0]]
    assert f"ours {100 * first:.0f} % of draws" in page.sections["numbers"]


def test_all_runs_and_pairs_have_their_rows(page):
    rows = page.of("tr")
    # Three heads; three runs and three pairs by three organs and their mean; three ranks.
    assert len(rows) == 3 + 2 * 3 * 4 + 3


def test_too_few_patients_come_first():
    comparison = compare_scores({"a": run(0.9, 0.8), "b": run(0.7, 0.6)}, "dice", n_resamples=100)
    head = Page(comparison_page(comparison)).sections[""]
    assert "With 2 patients nothing can be concluded" in head


def test_the_file_is_the_page(comparison, tmp_path):
    assert save_page(comparison, tmp_path).read_text("utf-8") == comparison_page(comparison)
