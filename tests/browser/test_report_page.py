"""The report of a run, and the page of a comparison, in a real browser without a network."""

import re

import numpy as np
import pytest
from reported_run import MANIFEST, finished_run
from scored_runs import study

from medseg.metrics.comparison import compare_scores
from medseg.report.comparison_page import save_page
from medseg.report.scores import read_csv
from medseg.stages.display import Silent
from medseg.stages.report import write_report


@pytest.fixture(scope="module")
def run(tiny_phantom, tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("run") / "uwmgi_unet" / "a", tiny_phantom)


@pytest.fixture(scope="module")
def file(run):
    return write_report(run, Silent())


@pytest.fixture
def opened(page, file):
    """A function that opens a file without a network, and what the browser complained of."""
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.context.set_offline(True)

    def show(path=file, *, width=1400):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(path.as_uri())
        return page

    yield show
    assert complaints == []


def widths(page):
    return page.evaluate("[document.scrollingElement.scrollWidth, window.innerWidth]")


def test_the_report_is_complete_without_a_network(opened, run):
    page = opened()
    pictures = page.locator("img")
    assert pictures.count() >= 2 + 4 * 3
    assert all(pictures.evaluate_all("all => all.map(i => i.complete && i.naturalWidth > 0)"))
    text = page.inner_text("main")
    for score in read_csv(run.folder / "metrics.csv"):
        assert score.organ.replace("_", " ") in text
        assert f"{score.dice:.2f}" in text
    assert "Research use only" in text
    assert re.fullmatch(r"uwmgi_unet, a", page.title())
    page.keep("report")


@pytest.mark.parametrize("width", [1400, 400], ids=["desk", "phone"])
def test_nothing_is_wider_than_the_window(opened, width):
    page = opened(width=width)
    scrolled, window = widths(page)
    assert scrolled <= window == width
    page.locator("#cases").scroll_into_view_if_needed()
    page.keep(f"report-cases-{width}")


def test_links_lead_to_the_picture_of_a_failure(opened):
    page = opened()
    page.locator("#failures a").first.click()
    assert page.evaluate("document.querySelector(':target').tagName") == "FIGURE"
    assert page.evaluate("document.querySelector(':target').getBoundingClientRect().top") < 900


def test_it_prints_on_several_sheets(opened, tmp_path):
    page = opened()
    printed = page.pdf(prefer_css_page_size=True, print_background=True)
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 1


def test_no_picture_is_cut_by_the_end_of_a_sheet(opened):
    page = opened()
    page.emulate_media(media="print")
    kept = page.locator("figure").evaluate_all(
        "all => all.map(f => getComputedStyle(f).breakInside)"
    )
    assert set(kept) == {"avoid"}


def test_the_keyboard_reaches_every_table_that_scrolls(opened):
    page = opened(width=400)
    scrolling = page.locator(".wide").evaluate_all(
        "all => all.filter(d => d.scrollWidth > d.clientWidth).map(d => d.tabIndex)"
    )
    assert scrolling
    assert set(scrolling) == {0}


def test_organs_have_the_colours_of_the_manifest(opened):
    page = opened()
    shown = page.locator("#cases h3 .swatch").evaluate_all(
        "all => all.map(s => getComputedStyle(s).backgroundColor)"
    )
    colours = [f"rgb({', '.join(map(str, o.colour))})" for o in MANIFEST.labels.organs]
    assert shown == colours


@pytest.mark.parametrize("width", [1400, 400], ids=["desk", "phone"])
def test_a_comparison_is_read_as_well(opened, tmp_path, width):
    runs = study(np.random.default_rng(0), n_patients=12, shift=1.0)
    named = dict(zip(("uwmgi_segformer", "uwmgi_unet"), runs.values(), strict=True))
    page = opened(save_page(compare_scores(named, "dice", n_resamples=500), tmp_path), width=width)
    scrolled, window = widths(page)
    assert scrolled <= window == width
    assert page.locator("img").evaluate_all("all => all.every(i => i.naturalWidth > 0)")
    assert "Ranked by the mean over organs: uwmgi_segformer" in page.inner_text("header")
    page.keep(f"comparison-{width}")
