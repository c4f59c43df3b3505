"""Whether a Ray cluster answers, and what Ray reads from the environment when it is imported."""

import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from medseg.errors import Problem, ResourceError, UsageError

_CONNECT_S, _ANSWER_S = 5.0, 25.0
_FORM = re.compile(r"(?P<host>[^:/\s]+|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})")
_FIX = "start it with 'ray start --head', or leave --address out for a Ray on this machine"


@contextmanager
def settings(address: str | None) -> Iterator[None]:
    """Set what Ray reads from the environment, and set it back."""
    chosen = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SCHEDULER_EVENTS": "0"}
    if address is None:
        # By this name Ray calls that it is for one machine, on any system: all is on 127.0.0.1.
        chosen["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        chosen |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token()}
        # Ray's workers make way for everything else; what was asked for here is not less urgent.
        chosen["RAY_worker_niceness"] = "0"
    elif "RAY_AUTH_MODE" not in os.environ and _has_token():
        chosen["RAY_AUTH_MODE"] = "token"
    chosen["RAY_BACKEND_LOG_LEVEL"] = os.environ.get("RAY_BACKEND_LOG_LEVEL", "error")
    before = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@cache
def _token() -> str:
    """Return this process's token: Ray looks for one only once."""
    return secrets.token_hex(32)


def _has_token() -> bool:
    """Whether there is a token where Ray looks for one."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    return "RAY_AUTH_TOKEN" in os.environ or file.is_file()


def require_answer(address: str) -> None:
    """Make sure that a Ray cluster answers, within seconds: Ray itself asks for minutes.

    Args:
        address: ``auto``, HOST:PORT or ``ray://HOST:PORT``.

    Raises:
        UsageError: The address is none, or the cluster has another token.
        ResourceError: Nothing answers, or something that is no Ray.
    """
    if address != "auto":
        _require_port(address)
    if address.startswith("ray://"):
        return
    asked = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check"]
    try:
        done = subprocess.run(
            [*asked, "--address", address],
            capture_output=True,
            text=True,
            timeout=_ANSWER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        found = f"did not answer as a Ray cluster within {_ANSWER_S:.0f} s"
        raise ResourceError(Problem("E-RAY-ADDRESS", address, found, fix=_FIX)) from None
    if done.returncode == 0:
        return
    if "AuthenticationError" in done.stderr:
        found = "refused this user's token"
        fix = "put the cluster's token into ~/.ray/auth_token, or give RAY_AUTH_TOKEN_PATH"
        raise UsageError(Problem("E-RAY-TOKEN", address, found, fix=fix))
    last = ([*done.stderr.strip().splitlines()] or ["no Ray cluster answers"])[-1]
    found = re.sub(r"^[\w.]+: ", "", last).partition(". ")[0].rstrip(".")
    raise ResourceError(Problem("E-RAY-ADDRESS", address, found, fix=_FIX))


def _require_port(address: str) -> None:
    found = _FORM.fullmatch(address.removeprefix("ray://"))
    if not found or int(found["port"]) > 65535:
        expected = "auto, HOST:PORT or ray://HOST:PORT"
        raise UsageError(Problem("E-RAY-ADDRESS", address, "is no address of Ray", expected))
    try:
        target = (found["host"].strip("[]"), int(found["port"]))
        socket.create_connection(target, timeout=_CONNECT_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        told = f"does not answer: {reason}"
        raise ResourceError(Problem("E-RAY-ADDRESS", address, told, fix=_FIX)) from error
