"""Every command ends in one place: a line a problem, or JSON, and an exit code for its kind."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from medseg.cli import cli, main, options
from medseg.errors import (
    DataError,
    DivergedError,
    GeometryError,
    PartialError,
    Problem,
    ResourceError,
    Stopped,
    UnsafeError,
    UsageError,
)

GAP = Problem("E-GAP", "case7_day0", "slice 42 is missing", "41, 42, 43", "restore the file")
SIZE = Problem("E-SIZE", "case7_day1", "is 10 x 10", "266 x 266")


@pytest.fixture
def ending(monkeypatch):
    """Add a command ``end`` that raises what it is given, and put everything back afterwards."""
    before = signal.getsignal(signal.SIGTERM), logging.getLogger("medseg").level

    def add(error):
        @click.command("end")
        @options.verbosity
        @options.as_json
        def end():
            if isinstance(error, int):
                os.kill(os.getpid(), error)
            raise error

        monkeypatch.setitem(cli.commands, "end", end)

    yield add
    signal.signal(signal.SIGTERM, before[0])
    logging.getLogger("medseg").setLevel(before[1])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(UsageError(GAP), 2, id="usage"),
        pytest.param(DataError(GAP), 3, id="data"),
        pytest.param(GeometryError(GAP), 3, id="geometry is data"),
        pytest.param(ResourceError(GAP), 4, id="resources"),
        pytest.param(UnsafeError(GAP), 5, id="safety"),
        pytest.param(PartialError(GAP), 6, id="partial"),
        pytest.param(DivergedError(GAP), 7, id="diverged"),
    ],
)
def test_each_kind_of_error_has_its_exit_code(ending, capsys, error, code):
    ending(error)
    assert main(["end"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "error[E-GAP]: case7_day0: slice 42 is missing (expected 41, 42, 43)."
        " Fix: restore the file.\n"
    )


def test_all_problems_are_told_a_line_each(ending, capsys):
    ending(DataError(GAP, SIZE))
    assert main(["end"]) == 3
    err = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in err] == ["error[E-GAP]", "error[E-SIZE]"]


def test_beyond_fifty_problems_the_rest_are_counted(ending, capsys):
    ending(DataError(*[GAP] * 53))
    main(["end"])
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 51
    assert err[-1] == "… and 3 more"


def test_json_tells_all_problems_on_stdout(ending, capsys):
    ending(DataError(GAP, SIZE))
    assert main(["end", "--json"]) == 3
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "problems": [
            {
                "code": "E-GAP",
                "subject": "case7_day0",
                "found": "slice 42 is missing",
                "expected": "41, 42, 43",
                "fix": "restore the file",
                "level": "error",
            },
            {
                "code": "E-SIZE",
                "subject": "case7_day1",
                "found": "is 10 x 10",
                "expected": "266 x 266",
                "fix": "",
                "level": "error",
            },
        ]
    }


def test_a_path_that_the_system_refuses_is_no_fault_of_medseg(ending, capsys):
    assert main(["report", "x" * 300]) == 2
    assert f"error[E-IO]: {'x' * 200}: File name too long." in capsys.readouterr().err
    ending(PermissionError(errno.EACCES, "Permission denied", "secret/run"))
    assert main(["end"]) == 2
    assert (
        "error[E-IO]: secret/run: Permission denied. Fix: check the path and its permissions."
        in (capsys.readouterr().err)
    )
    ending(OSError(errno.EACCES, "Permission denied"))
    assert main(["end"]) == 1  # nothing says of what


def test_an_unexpected_error_is_one_line_with_advice(ending, capsys):
    ending(ZeroDivisionError("division\nby zero"))
    assert main(["end"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error[E-FAULT]: medseg: ZeroDivisionError: division by zero.")
    assert "medseg -vv" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["-vv", "end"], id="before the command"),
        pytest.param(["end", "-vv"], id="after it"),
        pytest.param(["-v", "end", "-v"], id="one on each side"),
    ],
)
def test_very_verbose_shows_the_traceback(ending, capsys, words):
    ending(ZeroDivisionError("division by zero"))
    assert main(words) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("error[E-FAULT]")


def test_interruption_ends_with_130(ending, capsys):
    ending(KeyboardInterrupt())
    assert main(["end"]) == 130
    assert capsys.readouterr().err.strip() == ""


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="interrupted"),
        pytest.param(signal.SIGTERM, 143, id="terminated"),
    ],
)
def test_a_stop_that_saved_ends_with_the_signals_code(ending, number, code):
    ending(Stopped(number))
    assert main(["end"]) == code


def test_a_real_termination_ends_with_143(ending):
    ending(int(signal.SIGTERM))
    assert main(["end"]) == 143


def test_an_exit_code_that_a_command_chose_is_kept(monkeypatch):
    @click.command("end")
    def end():
        click.get_current_context().exit(4)

    monkeypatch.setitem(cli.commands, "end", end)
    assert main(["end"]) == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(
            ["doktor"], "medseg: No such command 'doktor' (did you mean 'doctor'?)", id="misspelt"
        ),
        pytest.param(["zzzz"], "(there are run, data, predict,", id="nothing like it"),
        pytest.param(
            ["doctor", "--jsn"], "medseg doctor: No such option '--jsn'", id="misspelt option"
        ),
        pytest.param(
            ["bundle", "lst"],
            "medseg bundle: No such command 'lst' (did you mean 'list'?)",
            id="misspelt subcommand",
        ),
        pytest.param(["--frobnicate"], "No such option '--frobnicate'", id="option of the program"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(capsys, words, told):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error[E-USAGE]: medseg")
    assert told in err
    assert "--help" in err
    assert err.count("\n") == 1


def test_a_usage_error_is_json_where_json_was_asked_for(capsys):
    assert main(["bundle", "lst", "--json"]) == 2
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [problem["code"] for problem in problems] == ["E-USAGE"]


@pytest.mark.parametrize(
    "words", [pytest.param([], id="medseg alone"), pytest.param(["bundle"], id="a group alone")]
)
def test_without_a_command_the_help_is_shown_and_the_code_is_2(capsys, words):
    assert main(words) == 2
    assert "Commands:" in capsys.readouterr().err


def test_version(capsys):
    assert main(["-V"]) == 0
    assert capsys.readouterr().out.startswith("medseg, version ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("words", "full", "code"),
    [
        pytest.param(["data", "info", "uwmgi", "--json"], "stdout", 4, id="what is asked for"),
        pytest.param(["data", "info", "nosuch", "--json"], "stdout", 2, id="a problem as JSON"),
        pytest.param(["data", "info", "nosuch"], "stderr", 2, id="a problem"),
    ],
)
def test_where_nothing_can_be_written_the_code_still_tells(words, full, code):
    with Path("/dev/full").open("w") as nowhere:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {full: nowhere}
        done = subprocess.run([sys.executable, "-m", "medseg", *words], **streams, check=False)
    assert done.returncode == code
    if full == "stdout":
        assert done.stderr.startswith(b"error[E-")
        assert len(done.stderr.splitlines()) == 1
