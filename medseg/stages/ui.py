"""Browse: MLflow's own user interface on the store of an output folder, for this machine alone."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from medseg.engine.tracking import default_uri
from medseg.errors import Problem, ResourceError, Stopped, UsageError

_START_PATIENCE_S = 120.0
_END_PATIENCE_S = 10.0
_ANYWHERE = "0.0.0.0"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Seven more processes, for jobs that segmentation does not have.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def serve(output: Path, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve the runs of an output folder until Ctrl-C.

    Args:
        output: The folder that holds ``mlflow.db``.
        host: The address to listen on. MLflow asks nobody for a password: leave it at
            ``127.0.0.1`` unless the network is trusted.
        port: The port to listen on; 0 takes a free one.
        ready: Called with the URL once it answers.

    Raises:
        UsageError: The folder holds no runs yet.
        ResourceError: The port is in use, or the server does not start.
        Stopped: A signal other than Ctrl-C ended it.
    """
    if not (output / "mlflow.db").is_file():
        fix = "train first, as with 'medseg run uwmgi_segformer', or name the folder with --output"
        raise UsageError(Problem("E-NO-STORE", str(output), "holds no runs", "mlflow.db", fix))
    port = _free(host, port)
    with tempfile.TemporaryFile("w+") as said:
        server = _started(output, host, port, said)
        try:
            _wait_for(server, "127.0.0.1" if host == _ANYWHERE else host, port, said)
            ready(f"http://{'localhost' if host == _ANYWHERE else host}:{port}")
            if server.wait():
                raise _fault(said, "ended by itself")
        except Stopped:
            raise
        except KeyboardInterrupt:
            return
        finally:
            _end(server)


def _free(host: str, port: int) -> int:
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


def _started(output: Path, host: str, port: int, said: IO[str]) -> subprocess.Popen[bytes]:
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
        *("--backend-store-uri", default_uri(output)),
        *("--default-artifact-root", str((output / "artifacts").resolve())),
        *("--host", host, "--port", str(port)),
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


def _wait_for(server: subprocess.Popen[bytes], host: str, port: int, said: IO[str]) -> None:
    until = time.monotonic() + _START_PATIENCE_S
    while not _answers(host, port):
        if server.poll() is not None:
            raise _fault(said, "does not start")
        if time.monotonic() > until:
            raise _fault(said, f"does not answer within {_START_PATIENCE_S:.0f} s")
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


def _fault(said: IO[str], found: str) -> ResourceError:
    """Return the fault with the last lines that the server said."""
    said.seek(0)
    last = [line.strip() for line in said.read().splitlines() if line.strip()][-3:]
    fix = "a store of an older MLflow needs 'mlflow db upgrade' once"
    return ResourceError(Problem("E-UI", "MLflow server", f"{found}: {' | '.join(last)}", fix=fix))


def _end(server: subprocess.Popen[bytes]) -> None:
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
