"""The page of a pipeline in a real browser, wide and narrow, without a network."""

import pytest
from pipeline_results import results_of, vote

from medseg.report.pipeline_page import save_outcome


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    save_outcome(results_of(votes=[vote()]), folder)
    return folder / "report.html"


@pytest.mark.parametrize(
    "width", [pytest.param(1400, id="desk"), pytest.param(400, id="telephone")]
)
def test_the_page_fits_and_its_pictures_can_be_read(page, file, width):
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.context.set_offline(True)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(file.as_uri())
    assert page.evaluate("document.scrollingElement.scrollWidth") == width
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    # On a narrow screen a chart is moved sideways, not made too small to read.
    assert page.evaluate("Math.min(...[...document.images].map(i => i.clientWidth))") >= 560
    assert page.locator("#source table tbody tr").count() == 3
    assert page.locator("#ways table").is_visible()
    assert complaints == []
    page.keep(f"pipeline-{width}")
