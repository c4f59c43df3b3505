"""A real browser: Debian's Chromium or the one on the machine, driven by Playwright."""

import os
import shutil
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Graphics by the processor: a machine that runs tests has no other. The last ones keep the browser
# from looking for its maker's servers.
SWITCHES = (
    *("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-quic", "--no-first-run"),
)


@pytest.fixture(scope="module")
def chromium():
    """A running browser, which ends with the file of its tests: its graphics never rest.

    A test that asks for it needs Chromium, which `make test` installs.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("there is no Chromium; 'make test' installs it where it may")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(SWITCHES))
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, request):
    """An empty page of 1400 x 900 whose faults fail the test; `page.keep(name)` keeps a picture.

    Pictures go to the folder in MEDSEG_TEST_ARTIFACTS, by default ``test-artifacts``.
    """
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    folder = Path(os.environ.get("MEDSEG_TEST_ARTIFACTS", "test-artifacts"))

    def keep(name):
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")
        return folder / f"{name}.png"

    page.keep = keep
    yield page
    context.close()
    assert faults == []
