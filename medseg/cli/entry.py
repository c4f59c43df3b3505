"""Where the command line begins and where every command ends.

A `MedsegError` becomes one line a problem on stderr, or a JSON object with the key ``problems`` on
stdout, and its exit code. Nothing heavy is imported here: a command imports what it needs when it
runs, so that help is there at once.
"""

import errno
import json
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import ClassVar

import click

from medseg import __version__
from medseg.cli import options
from medseg.cli.lazy import Entry, LazyGroup
from medseg.cli.options import State
from medseg.errors import MedsegError, Problem, ResourceError, Stopped, UsageError, shown

_ADVICE = "run it again as 'medseg -vv …' for the traceback, and report it"


class _Medseg(LazyGroup):
    entries: ClassVar[Mapping[str, Entry]] = {
        "run": Entry(
            "medseg.cli.run:run", "Prepare, train, tune, predict, evaluate, report: in one go."
        ),
        "data": Entry("medseg.cli.data:data", "Make a phantom; check, split and describe data."),
        "predict": Entry("medseg.cli.predict:predict", "Segment scans with a trained model."),
        "evaluate": Entry("medseg.cli.evaluate:evaluate", "Compare predictions with a reference."),
        "compare": Entry("medseg.cli.compare:compare", "Tell which of several runs is better."),
        "report": Entry("medseg.cli.report:report", "Write the page that tells of a run."),
        "reproduce": Entry("medseg.cli.reproduce:reproduce", "Run it again; tell what differs."),
        "export": Entry("medseg.cli.export:export", "Write predictions in forms others take."),
        "bundle": Entry("medseg.cli.bundle:bundle", "List, check and begin bundles."),
        "bench": Entry("medseg.cli.bench:bench", "Measure medseg beside what people use instead."),
        "plan": Entry("medseg.cli.plan:plan", "Tell how long a cohort takes, and what limits it."),
        "sync": Entry("medseg.cli.sync:sync", "Send MLflow what runs kept while it was away."),
        "ui": Entry("medseg.cli.ui:ui", "Browse the runs in MLflow."),
        "view": Entry("medseg.cli.view:view", "Look at scans and organs, predicted and true."),
        "doctor": Entry("medseg.cli.doctor:doctor", "Tell versions, devices, memory and disk."),
    }


@click.group(cls=_Medseg, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="medseg")
@options.verbosity
def cli() -> None:
    """Segment medical images: slices in, contours at the right place out."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, else what went wrong.

    2 usage or configuration, 3 input data, 4 resources, 5 refused for safety, 6 partial,
    7 diverged, 130 interrupted, 143 terminated, 1 a fault of medseg itself.

    Args:
        args: The words after ``medseg``; None takes those of the process.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s")
    state = State(words=tuple(sys.argv[1:] if args is None else args))
    _stop_on_termination()
    try:
        result = cli.main(args, prog_name="medseg", standalone_mode=False, obj=state)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.Abort as abort:
        return getattr(abort.__cause__, "exit_code", 128 + signal.SIGINT)
    except Exception as error:
        if state.verbosity >= 2:
            traceback.print_exc()
        # A usage error may be met before the option is.
        return _told(error, as_json=state.json or "--json" in (sys.argv if args is None else args))
    return result if isinstance(result, int) else 0


def _told(error: Exception, *, as_json: bool) -> int:
    """Print an error as one line a problem, or as JSON, and return its exit code."""
    match error:
        case MedsegError():
            problems, code = error.problems, error.exit_code
        case click.ClickException():
            problems, code = (_usage(error),), error.exit_code
        # Asking whether a path is there raises these: it is none that the system knows.
        case OSError(errno=errno.ENAMETOOLONG | errno.EACCES) if error.filename is not None:
            found, fix = error.strerror or "cannot be read", "check the path and its permissions"
            problems = (Problem("E-IO", str(error.filename)[:200], found, fix=fix),)
            code = UsageError.exit_code
        # Whatever was writing: the disk says the same to all.
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            subject = str(error.filename or "the disk")[:200]
            found, fix = error.strerror or "is full", "free some space"
            problems = (Problem("E-DISK", subject, found, "room to write", fix),)
            code = ResourceError.exit_code
        case _:
            found = " ".join(f"{type(error).__name__}: {error}".split())
            problems, code = (Problem("E-FAULT", "medseg", found, fix=_ADVICE),), 1
    told = json.dumps({"problems": [problem.as_dict() for problem in problems]})
    # What is to be told may be that nothing can be written there.
    if not (as_json and _said(told, err=False)):
        _said(shown(problems), err=True)
    return code


def _said(text: str, *, err: bool) -> bool:
    """Print a text and return whether that was possible: a disk may be full, nobody may listen."""
    try:
        click.echo(text, err=err)
    except OSError:
        return False
    return True


def _usage(error: click.ClickException) -> Problem:
    """Return click's complaint as a problem that names the command and its help."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "medseg"
    found = " ".join(error.format_message().split()).rstrip(".?")
    return Problem("E-USAGE", command, found, fix=f"see {command} --help")


def _stop_on_termination() -> None:
    """Treat SIGTERM as Ctrl-C is treated, so that what the one saves the other saves too."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
