"""Fixtures that every test may ask for."""

import logging
import os
import signal
from functools import cache
from pathlib import Path

import pytest
from chromium import chromium, page  # noqa: F401 - fixtures
from hypothesis import HealthCheck, settings
from kaggle_layout import KaggleLayout
from object_store import s3, s3_server  # noqa: F401 - fixtures

from medseg.data.phantom import write_phantom

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is loaded: threads of several workers would wait for each other at every step.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# An example that compiles a kernel takes seconds, and so does any on a busy machine. The examples
# are the same in every run: what is red is the change, not the draw.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Begun in the background of a script; what tests begin must heed Ctrl-C all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _as_loud_as_ever():
    """Give the log its level back: commands with -q and -v change it for the whole process."""
    logging.getLogger("medseg").setLevel(logging.WARNING)


@pytest.fixture(scope="session", autouse=True)
def _configured_apart(tmp_path_factory):
    """Keep the user's own configuration, such as the trust list, out of tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def repository():
    """The folder of the source tree."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real samples, which lies beside the project or not at all."""
    folder = (Path(__file__).parents[1] / "../shared/data").resolve()
    if not folder.is_dir():
        pytest.skip("real samples are not beside the project")
    return folder


@pytest.fixture(scope="session")
def bundle_phantom(tiny_phantom, tmp_path_factory):
    """A function that gives a small phantom of a bundle's data set, by the bundle's name."""

    @cache
    def made(like):
        if like == "uwmgi":
            return tiny_phantom
        return write_phantom(tmp_path_factory.mktemp("phantom") / like, like=like, tiny=True)

    return lambda name: made(name.partition("_")[0])


@pytest.fixture(scope="session")
def tiny_phantom(tmp_path_factory):
    """The root of three patients on two days in Kaggle's layout: dolls of 16 or 20 slices.

    Read it, do not change it: all tests of a session share it.
    """
    return write_phantom(
        tmp_path_factory.mktemp("phantom") / "uwmgi", patients=3, days=2, tiny=True
    )


@pytest.fixture
def kaggle(tmp_path):
    """An empty data set in Kaggle's layout: add scans, break them, save the label table."""
    return KaggleLayout(tmp_path / "uwmgi")
