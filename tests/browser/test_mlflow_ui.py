"""Runs side by side in MLflow's own pages: what somebody sees who presses Compare."""

import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from medseg.bundle import find_bundle
from medseg.engine.settings import parameters
from medseg.engine.tracking import Tracker, default_uri

PATIENCE_MS = 45_000
ORGANS = ("large_bowel", "small_bowel", "stomach")
# Dice of the organs, each number once, in as many digits as the page shows.
RUNS = {
    "segformer_b0": (0.811, 0.762, 0.853),
    "segformer_b2": (0.834, 0.785, 0.876),
    "segformer_b4": (0.857, 0.808, 0.899),
    "segformer_b5": (0.862, 0.813, 0.904),
}
COMPARED = ("segformer_b0", "segformer_b2", "segformer_b4")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """An output folder with one experiment of four runs, told to MLflow as a training does."""
    folder = tmp_path_factory.mktemp("runs")
    config = find_bundle("uwmgi_segformer").config("train")
    for network, dice in RUNS.items():
        settings = {**config, "network_def": {"_target_": f"medseg.models.{network}"}}
        tracker = Tracker(
            default_uri(folder),
            experiment="uwmgi_segformer",
            run_name=network,
            output=folder / network,
            params=parameters(settings),
            tags={"medseg.network": network},
        )
        with tracker:
            for epoch in (1, 2, 3):
                tracker.log_metrics({"train/loss": 1 / epoch}, step=epoch)
            scores = zip(ORGANS, dice, strict=True)
            tracker.log_metrics({f"test/dice/{organ}": value for organ, value in scores}, step=3)
        assert tracker.problem is None
    return folder


@pytest.fixture(scope="module")
def address(output):
    """The address that ``medseg ui`` printed."""
    command = [sys.executable, "-m", "medseg", "ui", "--output", str(output), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    words = process.stdout.readline().split()
    if not words:
        pytest.fail(process.communicate()[1])
    yield words[0]
    process.terminate()
    process.communicate(timeout=30)


@pytest.fixture
def asked(page):
    """Every address that the page asks for."""
    addresses = []
    page.on("request", lambda request: addresses.append(request.url))
    return addresses


def test_three_runs_are_compared(page, address, asked):
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    # MLflow begins with language models, whose experiments have no runs to compare.
    page.get_by_role("button", name="Model training").click()
    page.get_by_role("link", name="Experiments", exact=True).first.click()
    page.get_by_role("link", name="uwmgi_segformer", exact=True).first.click()
    for network in COMPARED:
        link = page.get_by_role("link", name=network, exact=True)
        link.wait_for()
        page.get_by_role("row").filter(has=link).get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_role("heading", name="Comparing 3 Runs from 1 Experiment").wait_for()
    page.get_by_role("switch", name="Parameters - Show diff only").check()
    page.get_by_role("link", name="test/dice/stomach").scroll_into_view_if_needed()
    page.keep("mlflow-compare")

    # A table of names, and beside it one of numbers with a column a run.
    names = page.get_by_role("link", name="test/dice/").all_inner_texts()
    numbers = page.get_by_role("grid").last.inner_text().split()
    assert names == [f"test/dice/{organ}" for organ in ORGANS]
    shown = [numbers[row * 3 : row * 3 + 3] for row in range(3)]
    columns = page.get_by_role("row", name="Run Name:").get_by_role("cell").all_inner_texts()
    assert sorted(columns) == sorted(COMPARED)
    for column, network in enumerate(columns):
        assert [float(row[column]) for row in shown] == list(RUNS[network])
    parameters_shown = page.get_by_role("row", name="network", exact=False).all_inner_texts()
    assert any(set(COMPARED) <= set(text.split()) for text in parameters_shown)
    assert "segformer_b5" not in page.locator("main").inner_text()
    assert {urlsplit(url).hostname for url in asked if url.startswith("http")} == {"127.0.0.1"}
