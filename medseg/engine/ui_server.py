"""MLflow's own server as a process beside this one: started, waited for, ended."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from medseg.engine.tracking import default_uri
from medseg.errors import Problem, ResourceError

_START_PATIENCE_S = 120.0
_END_PATIENCE_S = 10.0
ANYWHERE = "0.0.0.0"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Seven more processes, for jobs that segmentation does not have.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0; ResourceError when it cannot be listened on."""
    with socket.socket() as trial:
        # A server that ended a moment ago leaves connections behind, which disturb nobody.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            fix = f"choose another, as with --port {port + 1 if port < 65535 else 0}"
            reason = error.strerror or str(error)
            raise ResourceError(Problem("E-PORT", f"{host}:{port}", reason, fix=fix)) from error
        return int(trial.getsockname()[1])


def started(output: Path, host: str, port: int, said: IO[str]) -> subprocess.Popen[bytes]:
    """Start the server on the store of an output folder; what it prints goes to `said`."""
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
        *("--backend-store-uri", default_uri(output)),
        *("--default-artifact-root", str((output / "artifacts").resolve())),
        *("--host", host, "--port", str(port), *_hosts(host, port)),
        *("--uvicorn-opts", "--log-level warning --no-access-log"),
    ]
    # In a session of its own: Ctrl-C reaches medseg alone, which then ends the whole group.
    return subprocess.Popen(
        command,
        stdout=said,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **_QUIET},
        start_new_session=True,
    )


def _hosts(host: str, port: int) -> list[str]:
    """Return the words that name the hosts to answer as; MLflow's own choice where others may ask.

    By default it takes every name that begins as a private address does, such as 10.evil.example.
    """
    if host not in ("127.0.0.1", "localhost"):
        return []
    names = [f"{name}{end}" for name in ("127.0.0.1", "localhost") for end in ("", f":{port}")]
    return ["--allowed-hosts", ",".join(names)]


def wait_for(server: subprocess.Popen[bytes], host: str, port: int, said: IO[str]) -> None:
    """Return once the server answers; ResourceError when it ended or does not answer in time."""
    until = time.monotonic() + _START_PATIENCE_S
    while not _answers(host, port):
        if server.poll() is not None:
            raise fault(said, "does not start")
        if time.monotonic() > until:
            raise fault(said, f"does not answer within {_START_PATIENCE_S:.0f} s")
        time.sleep(0.1)


def _answers(host: str, port: int) -> bool:
    # Not urllib, which would ask a proxy for this machine's own port.
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def fault(said: IO[str], found: str) -> ResourceError:
    """Return the fault with the last lines that the server said."""
    said.seek(0)
    last = [line.strip() for line in said.read().splitlines() if line.strip()][-3:]
    fix = "a store of an older MLflow needs 'mlflow db upgrade' once"
    return ResourceError(Problem("E-UI", "MLflow server", f"{found}: {' | '.join(last)}", fix=fix))


def end(server: subprocess.Popen[bytes]) -> None:
    """End the server and the processes it began."""
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(_END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            server.kill()
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # all of them ended when they were asked to
