"""Peers that cannot share medseg's environment: one of their own each, in a process of their own.

Such an environment sees all packages of the running one and adds the peer's, so both sides compute
with the very same torch and nothing heavy is fetched twice. A script that runs in it calls `serve`;
its measurements come back as `Timed`, so that neither its start nor the pipe between counts.
"""

import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from medseg.bench.measure import Timed, timed
from medseg.errors import Problem, ResourceError

ENVIRONMENTS = Path("build/peers")
_MADE = "made_from.json"
_SHOWN_LINES = 12
_ANSWER = "answer: "
_ROOT = Path(__file__).resolve().parents[2]


def environment(
    name: str,
    requirements: Sequence[str],
    *,
    alone: Sequence[str] = (),
    folder: Path = ENVIRONMENTS,
) -> Path:
    """Return the Python of a virtual environment with a peer, made where it is not there yet.

    Args:
        name: The peer's name, and the environment's folder in `folder`.
        requirements: What pip is asked to install, its options among them.
        alone: Installed after that, without what they require themselves: for a peer that asks for
            more than the measured part of it uses.
        folder: Where environments lie. They hold absolute paths and cannot be moved.

    Raises:
        ResourceError: The installation failed.
    """
    path = (folder / name).resolve()
    python = path / ("Scripts" if os.name == "nt" else "bin") / "python"
    packages = [*site.getsitepackages(), str(_ROOT)]
    asked = {
        "requirements": [list(requirements), list(alone)],
        "torch": version("torch"),
        "packages": packages,
    }
    made = path / _MADE
    if made.is_file() and json.loads(made.read_text()) == asked:
        return python
    shutil.rmtree(path, ignore_errors=True)
    venv.create(path, with_pip=find_spec("pip") is None)
    own = next(path.glob("**/site-packages"))
    # Behind the peer's own packages, and with what the .pth files there add; pip comes along.
    own.joinpath("beside.pth").write_text(
        "".join(f"import site; site.addsitedir({packages!r})\n" for packages in packages)
    )
    if requirements:
        _install(python, requirements)
    if alone:
        _install(python, ["--no-deps", *alone])
    made.write_text(json.dumps(asked))
    return python


def _install(python: Path, requirements: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # A peer that wants another torch would be measured with another torch.
        fixed = Path(folder) / "constraints.txt"
        fixed.write_text(f"torch=={version('torch')}\n")
        done = subprocess.run(
            [python, "-m", "pip", "install", "-q", "-c", fixed, *requirements],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise ResourceError(
            Problem(
                "E-PEER",
                " ".join(requirements),
                f"pip failed: {_last_lines(done.stderr or done.stdout)}",
                fix="connect to a package index, or leave this comparison out",
            )
        )


class Peer:
    """A script that calls `serve`, running for as long as the ``with`` block.

    Args:
        python: The Python to run it with, as `environment` returns it.
        script: The script.
    """

    def __init__(self, python: Path, script: Path) -> None:
        self.python, self.script = python, script

    def __enter__(self) -> Self:
        # A file, not a pipe: nobody reads it while the script writes.
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            [self.python, self.script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def call(self, **message: Any) -> Timed:  # noqa: ANN401
        """Have the script work once, and return what came out and how long it took there.

        Args:
            message: What the script's function is called with, as JSON.

        Raises:
            ResourceError: The script died; the message ends with its last words.
        """
        # Both are pipes.
        ask, answers = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        try:
            ask.write(json.dumps(message) + "\n")
            ask.flush()
        except BrokenPipeError:
            answer = ""
        else:
            # Libraries may print while they are imported, before `serve` is called.
            answer = next((line for line in answers if line.startswith(_ANSWER)), "")
        if not answer:
            raise self._death()
        return Timed(**json.loads(answer.removeprefix(_ANSWER)))

    def _death(self) -> ResourceError:
        code = self._process.wait()
        self._said.seek(0)
        found = f"ended with code {code}: {_last_lines(self._said.read())}"
        return ResourceError(Problem("E-PEER", self.script.name, found, "an answer"))


def serve(work: Callable[..., Any]) -> None:
    """Answer the calls of a `Peer` until it ends: the last line of a peer's script.

    Args:
        work: Called with each message; returns something that is JSON, such as the path of a file
            it wrote, or that in a `Timed` where only a part of the work counts.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    for line in sys.stdin:
        message = json.loads(line)
        done = timed(lambda: work(**message))  # noqa: B023
        answers.write(f"{_ANSWER}{json.dumps(done._asdict())}\n")
        answers.flush()


def _last_lines(text: str) -> str:
    """Return the end of what a process said, or that it said nothing."""
    return " | ".join(text.strip().splitlines()[-_SHOWN_LINES:]) or "it said nothing"
