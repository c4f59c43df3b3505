"""The options that commands share."""

import logging
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from medseg.cli import options


@pytest.fixture
def asked():
    """Return a function that gives words to a command with all options and returns what it got."""
    level = logging.getLogger("medseg").level
    got = {}

    @click.command()
    @options.settings
    @options.seed
    @options.output
    @options.device
    @options.verbosity
    @options.as_json
    @options.pass_state
    def probe(state, **given):
        got.update(given, json=state.json, verbosity=state.verbosity)

    def ask(*words):
        result = CliRunner().invoke(probe, words)
        return got if result.exit_code == 0 else result

    yield ask
    logging.getLogger("medseg").setLevel(level)


def test_what_is_not_asked_for(asked):
    assert asked() == {
        "settings": {},
        "seed": None,
        "output": Path("runs"),
        "device": "auto",
        "json": False,
        "verbosity": 0,
    }


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:0", "cuda:11"])
def test_devices(asked, name):
    assert asked("--device", name)["device"] == name


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", ""])
def test_what_is_no_device_is_a_usage_error(asked, name):
    result = asked("--device", name)
    assert result.exit_code == 2
    assert "is none of auto, cpu, cuda" in result.output


def test_settings_are_split_at_the_first_equals_sign_and_the_last_of_a_key_counts(asked):
    got = asked("--set", "a::b=1", "--set", "c=x=y", "--set", "empty=", "--set", "a::b=2")
    assert got["settings"] == {"a::b": "2", "c": "x=y", "empty": ""}


@pytest.mark.parametrize("word", ["epochs", "=3", " =3"])
def test_a_setting_without_key_or_equals_sign_is_a_usage_error(asked, word):
    result = asked("--set", word)
    assert result.exit_code == 2
    assert "is not KEY=VALUE" in result.output


def test_a_negative_seed_is_a_usage_error(asked):
    assert asked("--seed", "0")["seed"] == 0
    assert asked("--seed", "-1").exit_code == 2


@pytest.mark.parametrize(
    ("words", "verbosity", "level"),
    [
        pytest.param(["-q"], -1, logging.ERROR, id="quiet"),
        pytest.param(["-v"], 1, logging.INFO, id="verbose"),
        pytest.param(["-vv"], 2, logging.DEBUG, id="very verbose"),
        pytest.param(["-vvvv"], 4, logging.DEBUG, id="more than there is"),
        pytest.param(["-v", "-q"], 0, logging.WARNING, id="one takes back the other"),
    ],
)
def test_verbosity_sets_the_level_of_the_log(asked, words, verbosity, level):
    assert asked(*words)["verbosity"] == verbosity
    assert logging.getLogger("medseg").level == level
