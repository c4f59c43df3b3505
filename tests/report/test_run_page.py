"""The page of a run: what it says, what it may not load, and whom it keeps out of nothing."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest
from reported_run import MANIFEST, Page, facts_of, scores_of
from scored_runs import score

from medseg.data import read_manifest
from medseg.report.cases import MOST_PICTURES, pictured
from medseg.report.page import photograph
from medseg.report.pictures import case_picture
from medseg.report.run_page import PLANES, run_page
from medseg.report.scene import Scene

SECTIONS = [
    *("setup", "training", "results", "cases", "size", "volumes", "failures"),
    *("calibration", "cleaning", "provenance", "card", "claim"),
]
EMPTY = ("split", "provenance", "training", "weights", "calibration", "metadata")


def picture(n=0):
    return photograph_of(np.full((4, 6), n, float))


def photograph_of(pixels):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.6, 0.4))
    figure.add_axes((0, 0, 1, 1)).imshow(pixels)
    return photograph(figure, "a slice", dpi=20)


def pictures_of(scores):
    return {case.key: picture() for case in pictured(scores)} | {PLANES: picture()}


@pytest.fixture(scope="module")
def page():
    scores = scores_of(8)
    return Page(run_page(facts_of(scores), pictures_of(scores)))


def test_the_sections_are_there_in_their_order(page):
    assert [attrs["id"] for attrs in page.of("section")] == SECTIONS


def test_every_tag_is_closed_where_it_belongs(page):
    assert page.faults == []


def test_nothing_is_loaded_from_anywhere(page):
    addresses = page.addresses()
    assert len(addresses) > 20
    assert [a for a in addresses if not a.startswith(("data:image/", "#"))] == []
    assert page.of("script") == []
    inside = [
        base64.b64decode(a.partition("base64,")[2]).decode()
        for a in addresses
        if a.startswith("data:image/svg")
    ]
    for svg in inside:
        assert re.findall(r"(?:href|src)=\"(?!#)[^\"]*|url\((?!#)[^)]*|<script", svg) == []


def test_links_lead_to_places_of_their_own(page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for attrs in page.of("a")]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert sum(link.startswith("#picture-") for link in links) == 3 * 2


def test_a_reader_who_sees_nothing_is_told(page):
    assert page.of("html")[0]["lang"] == "en"
    assert all(len(attrs["alt"]) > 5 for attrs in page.of("img"))
    assert all(attrs["scope"] in ("col", "row", "rowgroup") for attrs in page.of("th"))
    assert all(
        {"aria-label", "tabindex"} <= set(a) for a in page.of("div") if a.get("class") == "wide"
    )


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_from_the_paper(page):
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", page.html))
    used = set(re.findall(r"[{;\s]color: var\(--(\w+)\)", page.html))
    assert used >= {"ink", "soft", "accent"}
    for name in used:
        assert 1.05 / (luminance(colours[name]) + 0.05) >= 4.5


def test_a_name_may_be_anything():
    evil = "<script>alert(1)</script>"
    scores = [score(evil, organ, 0.1) for organ in MANIFEST.labels.names]
    facts = facts_of(
        scores, name=evil, experiment='"><img src=x onerror=y>', metadata={"task": evil}
    )
    found = Page(run_page(facts, {case.key: picture() for case in pictured(scores)}))
    assert found.of("script") == []
    assert found.faults == []
    assert all("onerror" not in attrs for _, attrs in found.tags)
    assert evil in found.sections["failures"]


def test_numbers_of_the_scores_are_told(page):
    results = page.sections["results"]
    # Dice of the large bowel: 0.9 less 0.035 less 0.001 in the mean.
    assert "large bowel found 0.864" in results
    assert "n scans n patients" in results
    assert "16 8" in results
    assert re.search(r"0\.864 \(0\.8\d\d to 0\.8\d\d\)", results)


def test_few_patients_get_no_intervals():
    scores = scores_of(3)
    found = Page(run_page(facts_of(scores), {}))
    head = found.sections[""]
    assert "3 patients are too few for intervals: it takes 6" in head
    assert not re.search(r"\(0\.\d+ to 0\.\d+\)", found.sections["results"])
    assert "None: too few patients." in found.sections["claim"]


@pytest.mark.parametrize(
    ("section", "said"),
    [
        pytest.param("training", "kept no numbers of its epochs", id="curves"),
        pytest.param("results", "have not been scored yet", id="results"),
        pytest.param("cases", "the folder is gone", id="cases"),
        pytest.param("size", "have not been scored yet", id="size"),
        pytest.param("volumes", "have not been scored yet", id="volumes"),
        pytest.param("failures", "have not been scored yet", id="failures"),
        pytest.param("calibration", "No probabilities were counted", id="calibration"),
        pytest.param("card", "To be filled in by the authors", id="model card"),
    ],
)
def test_what_is_missing_is_said_where_it_would_be(section, said):
    facts = replace(facts_of([]), **{key: {} for key in EMPTY}, sides=())
    found = Page(run_page(facts, {}, absent={"cases": "Alas, the folder is gone."}))
    assert found.faults == []
    assert said in found.sections[section]


def test_phantoms_are_not_taken_for_patients():
    scores = scores_of(8)
    real = run_page(facts_of(scores), {})
    made_up = run_page(facts_of(scores, phantom=True), {})
    for words in ("computed and not scanned", "Phantom in the layout of"):
        assert words in made_up
        assert words not in real
    assert "85 patients" in real
    assert "85 patients" not in made_up


def test_millimetres_that_are_none_are_not_taken_for_some():
    pictures = read_manifest("uwmgi").model_copy(update={"spacing_known": False})
    page = run_page(facts_of(scores_of(3), manifest=pictures), {})
    assert "distances and volumes count voxels, not millimetres" in page
    assert "count voxels" not in run_page(facts_of(scores_of(3)), {})


def test_failures_are_listed_with_their_pictures():
    missed = score("case7_day1", "stomach", 0.0, status="missed", volume_pred_ml=0.0)
    false = score("case8_day1", "stomach", 0.0, status="false_positive", volume_ref_ml=0.0)
    scores = [*scores_of(8), missed, false]
    found = Page(run_page(facts_of(scores), pictures_of(scores)))
    assert "case7_day1 stomach missed" in found.sections["failures"]
    assert "case8_day1 stomach drawn where there is none" in found.sections["failures"]
    assert "1 organ missed and 1 organ drawn where there is none" in found.sections[""]
    assert "Stomach: missed in 1 of 17 scans" in found.sections["card"]


def test_a_real_run_makes_less_than_five_megabytes():
    scores = [
        row._replace(dice=0.0, status="missed") if n % 7 == 0 else row
        for n, row in enumerate(scores_of(30))
    ]
    rng = np.random.default_rng(0)
    # Noise is what a picture packs worst; outlines everywhere.
    image = rng.normal(500, 150, (266, 266, 3)).astype(np.float32)
    masks = rng.uniform(size=(2, 3, 266, 266, 3)) < 0.5
    masks[..., :40] = masks[:, :, :40] = False
    masks[:, :, ::8] = masks[:, :, :, ::8] = True
    cases = pictured(scores)
    assert len(cases) == MOST_PICTURES
    drawn = case_picture(Scene(image, *masks, (1.5, 1.5, 3.0)), MANIFEST.labels, cases[0])
    html = run_page(facts_of(scores), dict.fromkeys([case.key for case in cases], drawn))
    assert drawn.width_px > 600
    assert 1_000_000 < len(html.encode()) < 5_000_000
    assert f"At most {MOST_PICTURES} pictures are kept" in html
