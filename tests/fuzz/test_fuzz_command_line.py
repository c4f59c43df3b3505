"""Whatever is typed ends with a documented exit code, and never as a fault of medseg."""

import json
import sys

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medseg.cli import main
from medseg.cli.entry import cli

ENDS = {0, 2, 3, 4, 5, 6, 7}
# What starts a server, measures or writes without being told much: only its words are read.
IDLE = {
    *("ui", "view", "bench", "doctor", "sync"),
    *("bundle check", "bundle list", "bundle trust", "data phantom"),
}
# What imports for seconds before it looks at its words: done in the slow suite.
HEAVY = {"run", "predict", "report", "reproduce", "bundle new"}
ODD = (
    "",
    " ",
    "-",
    "--",
    "-1",
    "0",
    "1e999",
    "nan",
    "²",
    "٣",
    "\udcff",
    "\x1b[2J",
    "a\nb",
    "é" * 300,
)
ODDER = ("=", "a=", "=b", "a=[[", "a=" + "[" * 5000, "9" * 5000, "auto", "cuda:99999999999", "none")
PLACES = ("here", "list.csv", "list.json", "some.nii.gz", "some.yaml", "missing", "here\udcff")
PEERS = ("dimse:", "dimse:A@", "dimse:A@b:c", "dicomweb:", "dicomweb:x", "uwmgi", "unet", "lgg")

# Neither `/` nor a folder above is named: some commands look through all that is in a folder.
TEXTS = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), max_size=12)
WORDS = st.sampled_from((*ODD, *ODDER, *PLACES, *PEERS)) | TEXTS.filter(lambda t: t.strip(". "))


def leaves(command, path=()):
    """Yield every command below a group, with the words that lead to it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), (*path, name))


COMMANDS = dict(leaves(cli))


def values(kind):
    """Return a strategy of values for a type of click: mostly what it asks for."""
    match kind:
        case click.Choice():
            return st.sampled_from(list(kind.choices)) | WORDS
        case click.Path():
            return st.sampled_from(PLACES) | WORDS
        case _ if kind.name.startswith(("integer", "float")):
            return st.integers(-2, 9).map(str) | st.floats().map(str) | WORDS
        case _:
            return WORDS


def option(param):
    """Return a strategy of an option and, unless it is a flag, its value."""
    names = st.sampled_from([*param.opts, *param.secondary_opts])
    if getattr(param, "is_flag", False) or getattr(param, "count", False):
        return names.map(lambda name: [name])
    return st.tuples(names, values(param.type)).map(list)


def chained(parts):
    return [word for part in parts for word in part]


def lines(path, command):
    """Return a strategy of command lines for one command."""
    operands = [p for p in command.params if isinstance(p, click.Argument)]
    options = [option(p) for p in command.params if isinstance(p, click.Option)]
    given_options = st.lists(st.one_of(options), max_size=5).map(chained)
    # All operands and what is required, so that it is not for want of these that it ends.
    required = [option(p) for p in command.params if isinstance(p, click.Option) and p.required]
    needed = st.tuples(*[values(p.type).map(lambda value: [value]) for p in operands], *required)
    parts = st.tuples(needed.map(chained) | st.just([]), given_options)
    extra = st.lists(WORDS, max_size=1)
    return st.builds(lambda told, more: [*path, *chained(told), *more], parts, extra)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An almost empty folder to stand in, and commands that do not begin long work."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here\udcff").mkdir()  # a name that is no text
    for name in PLACES[1:5]:
        (tmp_path / name).write_text("image\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    idle(monkeypatch, IDLE)
    return tmp_path


def idle(monkeypatch, names):
    for path, command in COMMANDS.items():
        if " ".join(path) in names:
            monkeypatch.setattr(command, "callback", lambda *_, **__: None)


def require_documented(words, capsys):
    capsys.readouterr()
    sys.stderr.reconfigure(errors="backslashreplace")  # as Python's own is
    code = main(words)
    out, err = capsys.readouterr()
    assert code in ENDS, err or out
    if code and "--json" in words:
        assert json.loads(out)["problems"]


@pytest.mark.parametrize("path", [pytest.param(path, id=" ".join(path)) for path in COMMANDS])
def test_a_command_ends_with_a_documented_code(path, place, capsys, monkeypatch):
    idle(monkeypatch, HEAVY)

    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    @given(lines(path, COMMANDS[path]))
    def law(words):
        require_documented(words, capsys)

    law()


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(words=st.lists(WORDS | st.sampled_from(["data", "bundle", "-v", "--json"]), max_size=4))
def test_any_words_end_with_a_documented_code(words, place, capsys, monkeypatch):
    idle(monkeypatch, HEAVY)
    require_documented(words, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("path", [pytest.param(path, id=" ".join(path)) for path in COMMANDS])
def test_a_command_ends_so_a_thousand_times(path, place, capsys):
    @settings(
        max_examples=1000,
        suppress_health_check=list(HealthCheck),
        derandomize=False,
    )
    @given(lines(path, COMMANDS[path]))
    def law(words):
        require_documented(words, capsys)

    law()
